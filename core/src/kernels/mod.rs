//! Everything that costs time, once per instruction set, with the same bits from each.
//!
//! A [`KernelSet`] is a proof: one can only be had for a set that this CPU runs, so its methods
//! are safe. What each kernel computes is written once, in `generic`, operation for operation as
//! the numerics text says; `scalar` compiles that as it is, the sets of an architecture compile it
//! with their CPU features on and put their own instructions behind the `isa::Isa` trait where
//! the compiler does not find them.

#![allow(unsafe_code)] // target-feature functions behind proven availability

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod aarch64;
mod args;
#[cfg(bantam_arm_dsp)]
mod arm;
mod attention;
mod dots;
mod generic;
mod isa;
mod lanes;
mod matmul;
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
mod rows;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use args::{ActGroup, Acts, Attend, AttentionShape, CacheRef, MatmulRows, RopePairs};
pub use matmul::Product;

#[cfg(target_os = "none")]
use crate::quant::quantize_plain;
use crate::quant::{GgmlType, QuantError};
use core::fmt;

/// The functions of one set. All are unsafe to call unless the CPU has the set's features.
struct Table {
    name: &'static str,
    is_available: fn() -> bool,
    quantize: unsafe fn(&[f32], &mut [i8], &mut [ActGroup]),
    matmul_rows: unsafe fn(&MatmulRows<'_>),
    rms_norm: unsafe fn(&[f32], &[u8], f32, &mut [f32]),
    rms_norm_in_place: unsafe fn(&mut [f32], &[u8], f32),
    rope: unsafe fn(RopePairs, &mut [f32], &[f32], &[f32]),
    attend: unsafe fn(&Attend<'_>),
    silu_mul: unsafe fn(&mut [f32], &[f32]),
    gelu_mul: unsafe fn(&mut [f32], &[f32]),
    add: unsafe fn(&mut [f32], &[f32]),
    add_bias: unsafe fn(&mut [f32], &[u8]),
    scale: unsafe fn(&mut [f32], f32),
    soft_cap: unsafe fn(&mut [f32], f32),
    store_f16: unsafe fn(&[f32], &mut [u16]),
    store_q8_0: unsafe fn(&[f32], &mut [i8], &mut [u16]),
    /// Not for boards: their programs hold the whole table, but do not make models.
    #[cfg(not(target_os = "none"))]
    quantize_weights: QuantizeWeights,
}

#[cfg(not(target_os = "none"))]
type QuantizeWeights =
    unsafe fn(GgmlType, &[f32], Option<&[f32]>, &mut [u8]) -> Result<(), QuantError>;

/// Every set compiled into this build, slowest first; the scalar one is always there.
static TABLES: &[&Table] = &[
    &scalar::TABLE,
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    &aarch64::NEON,
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    &aarch64::DOTPROD,
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    &aarch64::I8MM,
    #[cfg(bantam_arm_dsp)]
    &arm::DSP,
    #[cfg(target_arch = "x86_64")]
    &x86_64::AVX2,
    #[cfg(target_arch = "x86_64")]
    &x86_64::AVX512_VNNI,
];

/// One instruction set's kernels, known to run on this CPU.
#[derive(Clone, Copy)]
pub struct KernelSet(&'static Table);

impl KernelSet {
    /// The fastest set that this CPU runs.
    ///
    /// With the `std` feature the CPU is asked; without it, what the target was built for counts.
    pub fn best() -> Self {
        #[cfg(feature = "std")]
        return Self::available().last().unwrap_or(Self::scalar());
        // Where CPUs are not asked it is a constant, so that programs hold no other set.
        #[cfg(all(target_arch = "aarch64", target_feature = "neon", not(feature = "std")))]
        return KernelSet(aarch64::COMPILED_FOR);
        #[cfg(all(target_arch = "x86_64", not(feature = "std")))]
        return KernelSet(x86_64::COMPILED_FOR);
        #[cfg(all(bantam_arm_dsp, not(feature = "std")))]
        return KernelSet(&arm::DSP);
        #[cfg(not(any(
            all(target_arch = "aarch64", target_feature = "neon"),
            target_arch = "x86_64",
            bantam_arm_dsp,
            feature = "std"
        )))]
        return Self::scalar();
    }

    /// The set that defines what all others must compute.
    pub const fn scalar() -> Self {
        KernelSet(&scalar::TABLE)
    }

    /// Every set that this CPU runs, slowest first.
    pub fn available() -> impl Iterator<Item = KernelSet> {
        TABLES.iter().filter(|table| (table.is_available)()).map(|table| KernelSet(table))
    }

    /// The available set with this name, such as `x86_64/avx2`.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::available().find(|set| set.name() == name)
    }

    /// The set's name as tools print it and benchmarks record it.
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// Quantizes `x` with one scale per 32 values.
    ///
    /// Shapes: `qs` as long as `x`, `groups` one per 32 values. What has no counterpart in all
    /// three, a partial group at the end included, is left as it was.
    pub fn quantize(self, x: &[f32], qs: &mut [i8], groups: &mut [ActGroup]) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.quantize)(x, qs, groups) }
    }

    /// Writes a row of weights in a format, with the bytes of [`crate::quant::quantize_row`], or of
    /// [`crate::quant::quantize_row_weighted`] if there is `importance`.
    ///
    /// # Errors
    /// As there.
    pub fn quantize_weights(
        self,
        ty: GgmlType,
        x: &[f32],
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) -> Result<(), QuantError> {
        #[cfg(not(target_os = "none"))]
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        return unsafe { (self.0.quantize_weights)(ty, x, importance, out) };
        #[cfg(target_os = "none")]
        return quantize_plain(ty, x, importance, out);
    }

    /// Multiplies some weight rows with every token's activations.
    ///
    /// # Safety
    /// The outputs that `m` names must not be accessed by anyone else during the call.
    pub unsafe fn matmul_rows(self, m: &MatmulRows<'_>) {
        // SAFETY: the CPU has the set's features; exclusive outputs are the caller's promise.
        unsafe { (self.0.matmul_rows)(m) }
    }

    /// `out = x / rms(x) · w`, `w` being little-endian f32 bytes. All three of equal length.
    pub fn rms_norm(self, x: &[f32], w: &[u8], eps: f32, out: &mut [f32]) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.rms_norm)(x, w, eps, out) }
    }

    /// `x = x / rms(x) · w`.
    pub fn rms_norm_in_place(self, x: &mut [f32], w: &[u8], eps: f32) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.rms_norm_in_place)(x, w, eps) }
    }

    /// Rotates one head's pairs by the angles whose cosines and sines are given.
    pub fn rope(self, pairs: RopePairs, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.rope)(pairs, head, cos, sin) }
    }

    /// Attention of queries that share one head's keys and values.
    ///
    /// # Safety
    /// The outputs of the queries that `a` names must not be accessed by anyone else meanwhile.
    pub unsafe fn attend(self, a: &Attend<'_>) {
        // SAFETY: the CPU has the set's features; exclusive outputs are the caller's promise.
        unsafe { (self.0.attend)(a) }
    }

    /// `gate = silu(gate) · up`.
    pub fn silu_mul(self, gate: &mut [f32], up: &[f32]) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.silu_mul)(gate, up) }
    }

    /// `gate = gelu(gate) · up`.
    pub fn gelu_mul(self, gate: &mut [f32], up: &[f32]) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.gelu_mul)(gate, up) }
    }

    /// `x = x + y`.
    pub fn add(self, x: &mut [f32], y: &[f32]) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.add)(x, y) }
    }

    /// `x = x + bias`, the bias being little-endian f32 bytes.
    pub fn add_bias(self, x: &mut [f32], bias: &[u8]) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.add_bias)(x, bias) }
    }

    /// `x = x · factor`.
    pub fn scale(self, x: &mut [f32], factor: f32) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.scale)(x, factor) }
    }

    /// `x = cap · tanh(x / cap)`.
    pub fn soft_cap(self, x: &mut [f32], cap: f32) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.soft_cap)(x, cap) }
    }

    /// Rounds `x` to half floats.
    pub fn store_f16(self, x: &[f32], out: &mut [u16]) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.store_f16)(x, out) }
    }

    /// Rounds `x` to 8-bit integers with a half float's scale, in `d`, for each 32 and for the rest.
    pub fn store_q8_0(self, x: &[f32], qs: &mut [i8], d: &mut [u16]) {
        // SAFETY: a KernelSet exists only for a set whose features this CPU has.
        unsafe { (self.0.store_q8_0)(x, qs, d) }
    }
}

impl fmt::Debug for KernelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelSet({})", self.name())
    }
}

#[cfg(test)]
mod tests;
