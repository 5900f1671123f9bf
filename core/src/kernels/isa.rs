//! What an instruction set may do in its own way, and the table that each set fills.

use core::ops::Range;

use super::args::{ActGroup, Attend, MatmulRows, RopePairs};
use super::dots::Dots;
use super::generic::attention::{self, Cached, QueryState, Slice};
use super::generic::floats::Weights;
use super::generic::{float, matmul, quantize, store};
use super::lanes::Lanes;
use crate::math::exp;
#[cfg(not(target_os = "none"))]
use crate::quant::block::{Form32, Form256, Parts256};
#[cfg(not(target_os = "none"))]
use crate::quant::search::{PutBlock, Searches};

/// The few inner steps that compilers do not vectorize well by themselves.
///
/// Every implementation returns the same bits as the provided ones. The methods are called only
/// from functions compiled with the set's CPU features.
pub(super) trait Isa {
    /// Sixteen floats as the float kernels work on them.
    type Lanes: Lanes;
    /// How it multiplies the integers of a cache.
    type Dots: Dots<Floats = Self::Lanes>;
    /// How it searches for quantized weights.
    #[cfg(not(target_os = "none"))]
    type Search: Searches;

    /// How many `Lanes` the registers hold beside a few operands: what attention accumulates in.
    const ACCUMULATORS: usize;

    /// The most queries that attention works on together.
    const QUERIES: usize = 6;

    /// Asks for the cache line at an address, which need not be one that can be read.
    #[inline(always)]
    fn prefetch(_: *const u8) {}

    /// As [`KernelSet::quantize`](super::KernelSet::quantize).
    #[inline(always)]
    fn quantize(x: &[f32], qs: &mut [i8], groups: &mut [ActGroup]) {
        quantize::quantize::<Self::Lanes>(x, qs, groups);
    }

    /// As [`KernelSet::silu_mul`](super::KernelSet::silu_mul).
    #[inline(always)]
    fn silu_mul(gate: &mut [f32], up: &[f32]) {
        float::silu_mul::<Self::Lanes>(gate, up);
    }

    /// `x[i] = e^(x[i] − max)`. A function of its own, as the exponential is long where there is no
    /// register to keep what it needs.
    #[inline(never)]
    fn exp_beyond(x: &mut [f32], max: f32) {
        for x in x {
            *x = exp(*x - max);
        }
    }

    /// Weight rows times activations, by formats.
    ///
    /// # Safety
    /// The CPU must have the set's features, and nobody else may access the outputs that `m` names.
    #[inline(always)]
    unsafe fn matmul_rows<O: Outlined>(m: &MatmulRows<'_>)
    where
        Self: Sized,
    {
        // SAFETY: passed on to the caller.
        unsafe { matmul::matmul_rows::<Self, O>(m) }
    }

    /// Rows of floats times activations, where [`floats`](super::generic::floats) has no tiles.
    ///
    /// # Safety
    /// As [`matmul_rows`](Isa::matmul_rows).
    #[inline(always)]
    unsafe fn float_rows(m: &MatmulRows<'_>) {
        // SAFETY: passed on to the caller.
        unsafe { matmul::float_rows(m) }
    }

    /// As [`attention::queries`], of a cache of half floats.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn attend_halves<O: Outlined>(a: &Attend<'_>, keys: &[u16], values: &[u16])
    where
        Self: Sized,
    {
        // SAFETY: passed on to the caller.
        unsafe { attention::queries::<Self, O, _>(a, keys, values) }
    }

    /// As [`float::rms_norm`].
    #[inline(always)]
    fn rms_norm(x: &[f32], w: &[u8], eps: f32, out: &mut [f32]) {
        float::rms_norm::<Self::Lanes>(x, w, eps, out);
    }

    /// As [`float::rms_norm_in_place`].
    #[inline(always)]
    fn rms_norm_in_place(x: &mut [f32], w: &[u8], eps: f32) {
        float::rms_norm_in_place::<Self::Lanes>(x, w, eps);
    }

    /// As [`float::rope`].
    #[inline(always)]
    fn rope(pairs: RopePairs, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        float::rope::<Self::Lanes>(pairs, head, cos, sin);
    }

    /// As [`float::add`].
    #[inline(always)]
    fn add(x: &mut [f32], y: &[f32]) {
        float::add(x, y);
    }

    /// As [`store::store_f16`].
    #[inline(always)]
    fn store_f16(x: &[f32], out: &mut [u16]) {
        store::store_f16::<Self::Lanes>(x, out);
    }
}

/// Pieces of kernels that are functions of their own, compiled with a set's CPU features.
pub(super) trait Outlined {
    /// As [`attention::tile`].
    ///
    /// # Safety
    /// As there, and the CPU must have the set's features.
    unsafe fn tile<C: Cached, const N: usize>(a: &Attend<'_>, keys: C, values: C, query: usize);

    /// As [`attention::weigh`].
    ///
    /// # Safety
    /// The CPU must have the set's features.
    unsafe fn weigh(a: &Attend<'_>, lanes: Range<usize>, state: &mut QueryState<'_>);

    /// As [`attention::add_values`] for one query.
    ///
    /// # Safety
    /// The CPU must have the set's features.
    unsafe fn add_values<C: Cached>(keys: C, values: C, slice: Slice, state: &mut QueryState<'_>);

    /// As [`Searches::weighted_blocks`].
    ///
    /// # Safety
    /// The CPU must have the set's features.
    #[cfg(not(target_os = "none"))]
    unsafe fn weighted_blocks(form: &Form32, x: &[f32], importance: &[f32], put: &mut PutBlock<'_>);

    /// As [`Searches::super_block`].
    ///
    /// # Safety
    /// The CPU must have the set's features.
    #[cfg(not(target_os = "none"))]
    unsafe fn super_block(
        form: &Form256,
        x: &[f32; 256],
        importance: Option<&[f32; 256]>,
    ) -> Parts256;

    /// As [`tile`](super::generic::floats::tile).
    ///
    /// # Safety
    /// As there, and the CPU must have the set's features.
    unsafe fn float_tile<B: Weights, const R: usize, const N: usize>(
        m: &MatmulRows<'_>,
        row: usize,
        t: usize,
    );
}

/// Fills a `Table` with the generic kernels compiled under the given attributes for an `Isa`.
///
/// The attribute list is the one place where a set's CPU features are written for its functions.
/// What only models need that a build leaves out does nothing there.
macro_rules! kernel_table {
    ($(#[$attr:meta])* $name:literal, $isa:ty, $is_available:expr) => {{
        use $crate::kernels::args::{ActGroup, Attend, MatmulRows, RopePairs};
        use $crate::kernels::generic::{attention, float, floats, store};
        $(#[$attr])*
        unsafe fn quantize(x: &[f32], qs: &mut [i8], groups: &mut [ActGroup]) {
            <$isa as $crate::kernels::isa::Isa>::quantize(x, qs, groups);
        }
        $(#[$attr])*
        unsafe fn matmul_rows(m: &MatmulRows<'_>) {
            // SAFETY: the caller of this table entry holds the outputs alone.
            unsafe { <$isa as $crate::kernels::isa::Isa>::matmul_rows::<Outlined>(m) }
        }
        $(#[$attr])*
        unsafe fn rms_norm(x: &[f32], w: &[u8], eps: f32, out: &mut [f32]) {
            <$isa as $crate::kernels::isa::Isa>::rms_norm(x, w, eps, out);
        }
        $(#[$attr])*
        unsafe fn rms_norm_in_place(x: &mut [f32], w: &[u8], eps: f32) {
            if cfg!(any(feature = "gemma3", feature = "qwen3")) {
                <$isa as $crate::kernels::isa::Isa>::rms_norm_in_place(x, w, eps);
            }
        }
        $(#[$attr])*
        unsafe fn rope(pairs: RopePairs, head: &mut [f32], cos: &[f32], sin: &[f32]) {
            <$isa as $crate::kernels::isa::Isa>::rope(pairs, head, cos, sin);
        }
        $(#[$attr])*
        unsafe fn attend(a: &Attend<'_>) {
            // SAFETY: the caller of this table entry has the features and holds the outputs alone.
            unsafe { attention::attend::<$isa, Outlined>(a) }
        }
        struct Outlined;
        impl $crate::kernels::isa::Outlined for Outlined {
            $(#[$attr])*
            // Each is called from one place, where compilers would make one function of them all.
            #[cfg_attr(target_pointer_width = "64", inline(never))]
            unsafe fn tile<C: attention::Cached, const N: usize>(
                a: &Attend<'_>,
                keys: C,
                values: C,
                query: usize,
            ) {
                // SAFETY: passed on to the caller.
                unsafe { attention::tile::<$isa, Outlined, C, N>(a, keys, values, query) }
            }
            $(#[$attr])*
            unsafe fn weigh(
                a: &Attend<'_>,
                lanes: core::ops::Range<usize>,
                state: &mut attention::QueryState<'_>,
            ) {
                attention::weigh::<$isa>(a, lanes, state);
            }
            $(#[$attr])*
            unsafe fn add_values<C: attention::Cached>(
                keys: C,
                values: C,
                slice: attention::Slice,
                state: &mut attention::QueryState<'_>,
            ) {
                attention::add_values::<$isa, C, 1>(
                    keys,
                    values,
                    slice,
                    core::array::from_mut(state),
                );
            }
            #[cfg(not(target_os = "none"))]
            $(#[$attr])*
            #[inline(never)]
            unsafe fn weighted_blocks(
                form: &$crate::quant::block::Form32,
                x: &[f32],
                importance: &[f32],
                put: &mut $crate::quant::search::PutBlock<'_>,
            ) {
                <<$isa as $crate::kernels::isa::Isa>::Search as $crate::quant::search::Searches>::weighted_blocks(
                    form, x, importance, put,
                );
            }
            #[cfg(not(target_os = "none"))]
            $(#[$attr])*
            #[inline(never)]
            unsafe fn super_block(
                form: &$crate::quant::block::Form256,
                x: &[f32; 256],
                importance: Option<&[f32; 256]>,
            ) -> $crate::quant::block::Parts256 {
                <<$isa as $crate::kernels::isa::Isa>::Search as $crate::quant::search::Searches>::super_block(
                    form, x, importance,
                )
            }
            $(#[$attr])*
            unsafe fn float_tile<B: floats::Weights, const R: usize, const N: usize>(
                m: &MatmulRows<'_>,
                row: usize,
                t: usize,
            ) {
                // SAFETY: passed on to the caller.
                unsafe {
                    floats::tile::<<$isa as $crate::kernels::isa::Isa>::Lanes, B, R, N>(m, row, t);
                }
            }
        }
        $(#[$attr])*
        unsafe fn silu_mul(gate: &mut [f32], up: &[f32]) {
            <$isa as $crate::kernels::isa::Isa>::silu_mul(gate, up);
        }
        $(#[$attr])*
        unsafe fn gelu_mul(gate: &mut [f32], up: &[f32]) {
            if cfg!(feature = "gemma3") {
                float::gelu_mul::<<$isa as $crate::kernels::isa::Isa>::Lanes>(gate, up);
            }
        }
        $(#[$attr])*
        unsafe fn add(x: &mut [f32], y: &[f32]) {
            <$isa as $crate::kernels::isa::Isa>::add(x, y);
        }
        $(#[$attr])*
        unsafe fn add_bias(x: &mut [f32], bias: &[u8]) {
            if cfg!(feature = "qwen2") {
                float::add_bias(x, bias);
            }
        }
        $(#[$attr])*
        unsafe fn scale(x: &mut [f32], factor: f32) {
            if cfg!(feature = "gemma3") {
                float::scale(x, factor);
            }
        }
        $(#[$attr])*
        unsafe fn soft_cap(x: &mut [f32], cap: f32) {
            if cfg!(feature = "gemma3") {
                float::soft_cap::<<$isa as $crate::kernels::isa::Isa>::Lanes>(x, cap);
            }
        }
        $(#[$attr])*
        unsafe fn store_f16(x: &[f32], out: &mut [u16]) {
            if cfg!(feature = "cache_f16") {
                <$isa as $crate::kernels::isa::Isa>::store_f16(x, out);
            }
        }
        $(#[$attr])*
        unsafe fn store_q8_0(x: &[f32], qs: &mut [i8], d: &mut [u16]) {
            if cfg!(feature = "cache_q8_0") {
                store::store_q8_0::<<$isa as $crate::kernels::isa::Isa>::Lanes>(x, qs, d);
            }
        }
        #[cfg(not(target_os = "none"))]
        $(#[$attr])*
        unsafe fn quantize_weights(
            ty: $crate::quant::GgmlType,
            x: &[f32],
            importance: Option<&[f32]>,
            out: &mut [u8],
        ) -> Result<(), $crate::quant::QuantError> {
            $crate::quant::quantize_with(
                ty,
                x,
                importance,
                out,
                // SAFETY: the caller of this table entry has the features.
                |form, x, importance, put| unsafe {
                    <Outlined as $crate::kernels::isa::Outlined>::weighted_blocks(
                        form, x, importance, put,
                    );
                },
                // SAFETY: the caller of this table entry has the features.
                |form, x, importance| unsafe {
                    <Outlined as $crate::kernels::isa::Outlined>::super_block(form, x, importance)
                },
            )
        }
        $crate::kernels::Table {
            name: $name,
            is_available: $is_available,
            quantize,
            matmul_rows,
            rms_norm,
            rms_norm_in_place,
            rope,
            attend,
            silu_mul,
            gelu_mul,
            add,
            add_bias,
            scale,
            soft_cap,
            store_f16,
            store_q8_0,
            #[cfg(not(target_os = "none"))]
            quantize_weights,
        }
    }};
}
pub(super) use kernel_table;
