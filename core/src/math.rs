//! Elementary functions as fixed sequences of IEEE operations (section 5 of the numerics text).
//!
//! Those that kernels need many of are written once over [`Float`], which is one f32 or a register
//! of them: every lane is the scalar sequence by construction.

#![allow(clippy::excessive_precision)] // constants keep the digits they were published with

use core::ops::{Add, Div, Mul, Neg, Sub};

mod angles;
#[cfg(bantam_arm_fpv4)]
pub(crate) mod fpv4;
#[cfg(bantam_riscv_f)]
mod riscv_f;
mod soft;

pub use angles::{Wide, sin_cos};

/// The NaN that kernels write in place of any NaN.
pub const CANONICAL_NAN: f32 = f32::from_bits(0x7FC0_0000);

/// `x`, or the canonical NaN if `x` is one.
#[inline(always)]
pub fn canonical(x: f32) -> f32 {
    if x.is_nan() { CANONICAL_NAN } else { x }
}

/// `a·b + c` with one rounding.
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(feature = "std")]
    return a.mul_add(b, c);
    #[cfg(all(not(feature = "std"), bantam_arm_fpv4))]
    return fpv4::fma(a, b, c);
    #[cfg(all(not(feature = "std"), bantam_riscv_f))]
    return riscv_f::fma(a, b, c);
    #[cfg(not(any(feature = "std", bantam_arm_fpv4, bantam_riscv_f)))]
    return soft::fma(a, b, c);
}

/// `√x`, correctly rounded; NaN below zero.
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    #[cfg(feature = "std")]
    return x.sqrt();
    #[cfg(all(not(feature = "std"), bantam_arm_fpv4))]
    return fpv4::sqrt(x);
    #[cfg(all(not(feature = "std"), bantam_riscv_f))]
    return riscv_f::sqrt(x);
    #[cfg(not(any(feature = "std", bantam_arm_fpv4, bantam_riscv_f)))]
    return soft::sqrt_exact(x);
}

/// Lanes of every float reduction.
pub const LANES: usize = 16;

/// The fixed tree over sixteen lanes: 8, 4, 2, 1.
#[inline(always)]
pub fn fold_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for j in 0..half {
            lanes[j] += lanes[j + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// One f32, or several side by side that go through the same operations.
pub trait Float:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// `x`, in every lane.
    fn splat(x: f32) -> Self;

    /// `self·b + c` with one rounding.
    fn fma(self, b: Self, c: Self) -> Self;

    /// `x` where `a > b`, otherwise `y`.
    fn where_greater(a: Self, b: Self, x: Self, y: Self) -> Self;

    /// The canonical NaN where there is a NaN, otherwise `self`.
    fn canonical(self) -> Self;

    /// `2^(n >> 1)` and `2^(n - (n >> 1))`, for the integer `n` that `self - EXP_MAGIC` is.
    fn powers_of_two(self) -> (Self, Self);

    /// `self` where `self > other`, otherwise `other`.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self::where_greater(self, other, self, other)
    }

    /// `self` where `self < other`, otherwise `other`.
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self::where_greater(other, self, self, other)
    }

    /// `self` within `low..=high`; a NaN stays one.
    #[inline(always)]
    fn clamp_number(self, low: Self, high: Self) -> Self {
        // A NaN stays in both, as neither comparison with it holds.
        high.min(low.max(self))
    }
}

impl Float for f32 {
    #[inline(always)]
    fn splat(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn fma(self, b: f32, c: f32) -> f32 {
        fma(self, b, c)
    }
    #[inline(always)]
    fn where_greater(a: f32, b: f32, x: f32, y: f32) -> f32 {
        if a > b { x } else { y }
    }
    #[inline(always)]
    fn canonical(self) -> f32 {
        canonical(self)
    }
    #[inline(always)]
    fn powers_of_two(self) -> (f32, f32) {
        let n = (self.to_bits() as i32).wrapping_sub(EXP_MAGIC.to_bits() as i32);
        let half = n >> 1;
        let power = |k: i32| f32::from_bits((k.wrapping_add(127) as u32) << 23);
        (power(half), power(n.wrapping_sub(half)))
    }
}

/// [`LANES`] floats side by side.
pub trait Sixteen: Float {
    /// The floats, the first in the first lane.
    fn load(from: &[f32; LANES]) -> Self;

    /// Writes the lanes in order.
    fn store(self, to: &mut [f32; LANES]);

    /// The lanes in order.
    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        self.store(&mut out);
        out
    }
}

/// Adding and taking away 1.5·2^23 rounds what lies in ±2^22 to an integer, ties to even; the sum's
/// low bits hold it. (For `exp`, and wherever floats become 8-bit integers.)
pub const EXP_MAGIC: f32 = 12_582_912.0;

/// What [`exp`] computes with: log2 e, [`EXP_MAGIC`], −ln 2 in two parts, of which the first is short
/// enough that its product with n is exact, and minimax coefficients for (e^r − 1 − r) / r² on ±ln2/2,
/// the highest first (Cephes, expf).
pub(crate) const EXP_STEPS: [f32; 10] = [
    core::f32::consts::LOG2_E,
    EXP_MAGIC,
    -0.693_359_375,
    2.121_944_4e-4,
    1.987_569_1e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    5.0e-1,
];

/// `e^x`; +0 below −104, +∞ above 88.73. Error at most 1.01 ULP (1.5 where the result
/// is subnormal).
#[inline(always)]
pub fn exp<F: Float>(x: F) -> F {
    let [log2_e, magic, minus_ln2_hi, minus_ln2_lo, first, others @ ..] = EXP_STEPS;
    let (low, high) = (F::splat(-104.0), F::splat(88.73));
    let clamped = x.clamp_number(low, high);
    let shifted = clamped * F::splat(log2_e) + F::splat(magic);
    let n = shifted - F::splat(magic);
    let r = n.fma(F::splat(minus_ln2_hi), clamped);
    let r = n.fma(F::splat(minus_ln2_lo), r);
    let mut p = F::splat(first);
    for c in others {
        p = p.fma(r, F::splat(c));
    }
    let y = p.fma(r * r, r) + F::splat(1.0);
    let (half, other_half) = shifted.powers_of_two();
    // At −104 this rounds to +0, and at 88.73 it overflows.
    y * half * other_half
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub fn silu<F: Float>(x: F) -> F {
    x / (F::splat(1.0) + exp(-x))
}

/// The tanh form of GELU, through the logistic function.
#[inline(always)]
pub fn gelu<F: Float>(x: F) -> F {
    const CUBIC: f32 = 0.044_715;
    // -2·√(2/π)
    const SCALE: f32 = -1.595_769_1;
    let p = (F::splat(CUBIC) * (x * x)).fma(x, x);
    x / (F::splat(1.0) + exp(F::splat(SCALE) * p))
}

/// `tanh x` as `1 − 2 / (e^2x + 1)`.
#[inline(always)]
pub fn tanh<F: Float>(x: F) -> F {
    F::splat(1.0) - F::splat(2.0) / (exp(F::splat(2.0) * x) + F::splat(1.0))
}

/// `cap · tanh(x / cap)`.
#[inline(always)]
pub fn soft_cap<F: Float>(x: F, cap: f32) -> F {
    F::splat(cap) * tanh(x / F::splat(cap))
}

#[cfg(test)]
mod tests;
