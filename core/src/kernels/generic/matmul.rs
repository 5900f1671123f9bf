//! Weight rows times activations (numerics, section 4).
//!
//! A block of weights is unpacked once for a few tokens at a time; every token keeps its own
//! accumulator, so neither the tile nor the batch can be seen in a result.

use super::floats;
use crate::kernels::args::{ActGroup, Acts, MatmulRows};
use crate::kernels::isa::{Isa, Outlined};
use crate::math::{LANES, canonical, fma, fold_lanes};
use crate::quant::GgmlType;
use crate::quant::block::{Block32, Block256, FloatBlock, blocks, widen16};

/// Tokens that share one unpacking of a block.
const TILE: usize = 4;

/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
pub(in crate::kernels) unsafe fn matmul_rows<I: Isa, O: Outlined>(m: &MatmulRows<'_>) {
    use crate::quant::*;
    // SAFETY: passed on to the caller, in every arm.
    unsafe {
        match m.ty {
            GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => floats::matmul_rows::<I, O>(m),
            GgmlType::Q4_0 => each::<Small<q4_0::BlockQ4_0>>(m),
            GgmlType::Q4_1 => each::<Small<q4_1::BlockQ4_1>>(m),
            GgmlType::Q5_0 => each::<Small<q5_0::BlockQ5_0>>(m),
            GgmlType::Q5_1 => each::<Small<q5_1::BlockQ5_1>>(m),
            GgmlType::Q8_0 => each::<Small<q8_0::BlockQ8_0>>(m),
            GgmlType::IQ4_NL => each::<Small<iq4_nl::BlockIQ4NL>>(m),
            GgmlType::MXFP4 => each::<Small<mxfp4::BlockMXFP4>>(m),
            GgmlType::Q2_K => each::<Super<q2_k::BlockQ2K>>(m),
            GgmlType::Q3_K => each::<Super<q3_k::BlockQ3K>>(m),
            GgmlType::Q4_K => each::<Super<q4_k::BlockQ4K>>(m),
            GgmlType::Q5_K => each::<Super<q5_k::BlockQ5K>>(m),
            GgmlType::Q6_K => each::<Super<q6_k::BlockQ6K>>(m),
            GgmlType::IQ4_XS => each::<Super<iq4_xs::BlockIQ4XS>>(m),
        }
    }
}

/// As [`matmul_rows`], for float weights only; of others nothing is written.
///
/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
pub(in crate::kernels) unsafe fn float_rows(m: &MatmulRows<'_>) {
    use crate::quant::float::{BlockBF16, BlockF16, BlockF32};
    // SAFETY: passed on to the caller, in every arm.
    unsafe {
        match m.ty {
            GgmlType::F32 => each::<Floats<BlockF32>>(m),
            GgmlType::F16 => each::<Floats<BlockF16>>(m),
            GgmlType::BF16 => each::<Floats<BlockBF16>>(m),
            _ => {}
        }
    }
}

/// The dot products of one row with `N` tokens from `t` on.
trait Dot {
    /// Whether this build has code for the format.
    const BUILT_IN: bool;

    fn dot<const N: usize>(row: &[u8], acts: &Acts<'_>, t: usize) -> [f32; N];
}

/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
unsafe fn each<D: Dot>(m: &MatmulRows<'_>) {
    if const { !D::BUILT_IN } {
        return;
    }
    let tokens = m.acts.n_rows();
    for (r, row) in m.rows.chunks_exact(m.row_bytes.max(1)).enumerate() {
        let mut t = 0;
        while t + TILE <= tokens {
            // SAFETY: passed on to the caller.
            unsafe { put(m, r, t, D::dot::<TILE>(row, &m.acts, t)) };
            t += TILE;
        }
        while t < tokens {
            // SAFETY: passed on to the caller.
            unsafe { put(m, r, t, D::dot::<1>(row, &m.acts, t)) };
            t += 1;
        }
    }
}

/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
unsafe fn put<const N: usize>(m: &MatmulRows<'_>, r: usize, t: usize, values: [f32; N]) {
    for (i, value) in values.into_iter().enumerate() {
        // SAFETY: this part is dropped before the next is made; nobody else has one.
        if let Some(out) = unsafe { m.out_row(t + i) }.get_mut(r) {
            *out = canonical(value);
        }
    }
}

/// Blocks of 32 with one scale and perhaps a minimum.
struct Small<B>(core::marker::PhantomData<B>);

impl<B: Block32> Dot for Small<B> {
    const BUILT_IN: bool = B::TYPE.is_built_in();

    #[inline(always)]
    fn dot<const N: usize>(row: &[u8], acts: &Acts<'_>, t: usize) -> [f32; N] {
        let mut acc = [0.0f32; N];
        let x = tokens::<N>(acts, t);
        let mut w = [0i8; 32];
        for (b, block) in blocks::<B>(row).unwrap_or(&[]).iter().enumerate() {
            block.unpack(&mut w);
            let (dw, mw) = (block.scale(), block.min());
            for (acc, (qs, groups)) in acc.iter_mut().zip(&x) {
                let (Some(qs), Some(group)) = (qs.get(b), groups.get(b)) else { break };
                *acc = fma(dw * group.d, integer_dot(&w, qs) as f32, *acc);
                if B::HAS_MIN {
                    *acc = fma(mw, group.dsum, *acc);
                }
            }
        }
        acc
    }
}

/// Super-blocks of 256 with integer sub-scales and perhaps minimums.
struct Super<B>(core::marker::PhantomData<B>);

impl<B: Block256> Dot for Super<B> {
    const BUILT_IN: bool = B::TYPE.is_built_in();

    #[inline(always)]
    fn dot<const N: usize>(row: &[u8], acts: &Acts<'_>, t: usize) -> [f32; N] {
        let mut acc = [0.0f32; N];
        let x = tokens::<N>(acts, t);
        let (mut q, mut s, mut m) = ([0i8; 256], [0i8; 16], [0u8; 16]);
        for (b, block) in blocks::<B>(row).unwrap_or(&[]).iter().enumerate() {
            block.unpack(&mut q);
            block.unpack_scales(&mut s, &mut m);
            let (d, dmin) = (block.scale(), block.min_scale());
            let scales = s.as_chunks::<2>().0.iter().zip(m.as_chunks::<2>().0);
            for (g, (w, (s, m))) in q.as_chunks::<32>().0.iter().zip(scales).enumerate() {
                // Exact: eleven bits by at most seven.
                let (dw, mw) = (s.map(|s| d * f32::from(s)), m.map(|m| -(dmin * f32::from(m))));
                for (acc, (qs, groups)) in acc.iter_mut().zip(&x) {
                    let at = 8 * b + g;
                    let (Some(qs), Some(group)) = (qs.get(at), groups.get(at)) else { break };
                    if B::GROUP == 32 {
                        *acc = fma(dw[0] * group.d, integer_dot(w, qs) as f32, *acc);
                        if B::HAS_MIN {
                            *acc = fma(mw[0], group.dsum, *acc);
                        }
                        continue;
                    }
                    let runs = w.as_chunks::<16>().0.iter().zip(qs.as_chunks::<16>().0);
                    for (j, (w, x)) in runs.enumerate() {
                        *acc = fma(dw[j] * group.d, integer_dot(w, x) as f32, *acc);
                        if B::HAS_MIN {
                            *acc = fma(mw[j], group.d * f32::from(group.sums[j]), *acc);
                        }
                    }
                }
            }
        }
        acc
    }
}

/// One token's integers and what goes with them, group by group.
type Token<'a> = (&'a [[i8; 32]], &'a [ActGroup]);

/// Tokens `t..t + N`.
#[inline(always)]
fn tokens<'a, const N: usize>(acts: &Acts<'a>, t: usize) -> [Token<'a>; N] {
    let mut out: [Token<'a>; N] = [(&[], &[]); N];
    for (i, out) in out.iter_mut().enumerate() {
        let (qs, groups) = acts.q8_row(t + i);
        *out = (qs.as_chunks().0, groups);
    }
    out
}

/// `Σ w[i]·x[i]`, exact.
#[inline(always)]
fn integer_dot<const N: usize>(w: &[i8; N], x: &[i8; N]) -> i32 {
    w.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum()
}

/// Weights that are floats, in lane sums of sixteen.
struct Floats<B>(core::marker::PhantomData<B>);

impl<B: FloatBlock> Dot for Floats<B> {
    const BUILT_IN: bool = B::TYPE.is_built_in();

    #[inline(always)]
    fn dot<const N: usize>(row: &[u8], acts: &Acts<'_>, t: usize) -> [f32; N] {
        let mut lanes = [[0.0f32; LANES]; N];
        let x: [_; N] = core::array::from_fn(|i| acts.float_row(t + i));
        let (chunks, rest) = blocks::<B>(row).unwrap_or(&[]).as_chunks::<LANES>();
        for (c, chunk) in chunks.iter().enumerate() {
            let w = widen16(chunk);
            for (lanes, x) in lanes.iter_mut().zip(&x) {
                let Some(x) = x.as_chunks::<LANES>().0.get(c) else { break };
                for ((lane, &w), &x) in lanes.iter_mut().zip(&w).zip(x) {
                    *lane = fma(w, x, *lane);
                }
            }
        }
        for (lanes, x) in lanes.iter_mut().zip(&x) {
            let tail = x.as_chunks::<LANES>().1;
            for ((lane, &w), &x) in lanes.iter_mut().zip(rest).zip(tail) {
                *lane = fma(w.get(), x, *lane);
            }
        }
        // A loop rather than `map`, which is not inlined into a function with more CPU features.
        let mut sums = [0.0; N];
        for (sum, lanes) in sums.iter_mut().zip(lanes) {
            *sum = fold_lanes(lanes);
        }
        sums
    }
}
