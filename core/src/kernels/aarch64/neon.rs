//! NEON as every 64-bit Arm CPU has it, and what all sets there share.

use core::arch::aarch64::*;

use super::bytes::Widening;
use super::dots;
use super::rows::Rows;
use crate::kernels::Table;
use crate::kernels::args::MatmulRows;
use crate::kernels::isa::{Isa, Outlined, kernel_table};
use crate::kernels::lanes::{Register, Registers};
use crate::kernels::rows::matmul_rows;
use crate::math::{CANONICAL_NAN, EXP_MAGIC, LANES};
#[cfg(not(target_os = "none"))]
use crate::quant::search::SearchApart;

struct Neon;

// The target has NEON, or this file would not be compiled.
pub(in crate::kernels) static TABLE: Table = kernel_table!("aarch64/neon", Neon, || true);

/// Sixteen floats.
pub(super) type Floats = Registers<float32x4_t, 4>;
/// Of 32 registers, those for sums of sixteen lanes, beside a few operands.
pub(super) const ACCUMULATORS: usize = 6;
/// Queries at once: fewer than there are accumulators for, since each has a register of factors.
pub(super) const QUERIES: usize = 5;

impl Isa for Neon {
    type Lanes = Floats;
    type Dots = dots::Widening;
    #[cfg(not(target_os = "none"))]
    type Search = SearchApart<Floats>;
    const ACCUMULATORS: usize = ACCUMULATORS;
    const QUERIES: usize = QUERIES;

    #[inline(always)]
    unsafe fn matmul_rows<O: Outlined>(m: &MatmulRows<'_>) {
        // SAFETY: NEON multiplies bytes; exclusive outputs are passed on to the caller.
        unsafe { matmul_rows::<Self, O, _>(Rows::<Widening>::new(), m) }
    }
}

/// Wraps intrinsics.
macro_rules! methods {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name($($arg: $ty),*) -> $out {
            // SAFETY: NEON is a feature of the target.
            unsafe { $body }
        }
    )*};
}

impl Register for float32x4_t {
    const WIDTH: usize = 4;
    const BY_FOUR: bool = true;
    methods! {
        splat(x: f32) -> Self = vdupq_n_f32(x);
        add(a: Self, b: Self) -> Self = vaddq_f32(a, b);
        sub(a: Self, b: Self) -> Self = vsubq_f32(a, b);
        mul(a: Self, b: Self) -> Self = vmulq_f32(a, b);
        div(a: Self, b: Self) -> Self = vdivq_f32(a, b);
        neg(a: Self) -> Self = vnegq_f32(a);
        fma(a: Self, b: Self, c: Self) -> Self = vfmaq_f32(c, a, b);
        // FMAX would pass a NaN on.
        max(a: Self, b: Self) -> Self = vbslq_f32(vcgtq_f32(a, b), a, b);
        min(a: Self, b: Self) -> Self = vbslq_f32(vcltq_f32(a, b), a, b);
        where_greater(a: Self, b: Self, x: Self, y: Self) -> Self =
            vbslq_f32(vcgtq_f32(a, b), x, y);
        canonical(a: Self) -> Self =
            vbslq_f32(vceqq_f32(a, a), a, vdupq_n_f32(CANONICAL_NAN));
        powers_of_two(a: Self) -> (Self, Self) = {
            // Both exponents' biases, which halving deals out.
            let biased = vdupq_n_s32(2 * 127 - EXP_MAGIC.to_bits() as i32);
            let n = vaddq_s32(vreinterpretq_s32_f32(a), biased);
            let half = vshrq_n_s32::<1>(n);
            let (x, y) = (vshlq_n_s32::<23>(half), vshlq_n_s32::<23>(vsubq_s32(n, half)));
            (vreinterpretq_f32_s32(x), vreinterpretq_f32_s32(y))
        };
        // These pass a NaN on.
        clamp_number(a: Self, low: Self, high: Self) -> Self =
            vminq_f32(high, vmaxq_f32(low, a));
        greatest(a: Self) -> f32 = vmaxvq_f32(a);
        total(a: Self) -> f32 = vpadds_f32(vadd_f32(vget_low_f32(a), vget_high_f32(a)));
    }
    #[inline(always)]
    fn greatest_magnitude<const N: usize>(a: Registers<Self, N>, b: Registers<Self, N>) -> f32 {
        // Magnitudes are ordered as their bits are, below any NaN's.
        let mut greatest = bits_of_magnitude(Self::splat(0.0));
        for half in [a, b] {
            for x in half.0 {
                // SAFETY: NEON is a feature of the target.
                greatest = unsafe { vmaxq_u32(greatest, bits_of_magnitude(x)) };
            }
        }
        // SAFETY: as above.
        let amax = f32::from_bits(unsafe { vmaxvq_u32(greatest) });
        if !amax.is_nan() {
            return amax;
        }
        let mut greatest = Self::splat(0.0);
        for &x in a.0.iter().chain(&b.0) {
            greatest = Self::max(Self::max(x, Self::neg(x)), greatest);
        }
        Self::greatest(greatest)
    }
    #[inline(always)]
    fn round_to_i8<const N: usize>(x: Registers<Self, N>, out: &mut [i8; LANES]) -> i16 {
        const { assert!(N == 4) };
        // SAFETY: NEON is a feature of the target; sixteen bytes are writable. The conversion
        // rounds ties to even and makes 0 of a NaN; that and the narrowing ones saturate.
        unsafe {
            let a = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(x.0[0])), vcvtnq_s32_f32(x.0[1]));
            let b = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(x.0[2])), vcvtnq_s32_f32(x.0[3]));
            let q = vmaxq_s8(vqmovn_high_s16(vqmovn_s16(a), b), vdupq_n_s8(-127));
            vst1q_s8(out.as_mut_ptr(), q);
            vaddlvq_s8(q)
        }
    }
    #[inline(always)]
    unsafe fn store_f16(a: Self, to: *mut u16) {
        // SAFETY: NEON is a feature of the target; four half floats are writable, by the caller's
        // promise.
        unsafe {
            let half = narrow(a);
            // What a NaN had behind its first two bits goes.
            let nan = vcgt_u16(vand_u16(half, vdup_n_u16(0x7FFF)), vdup_n_u16(0x7C00));
            vst1_u16(to, vbic_u16(half, vand_u16(nan, vdup_n_u16(0x01FF))));
        }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: four floats are readable, by the caller's promise.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(a: Self, to: *mut f32) {
        // SAFETY: four floats are writable, by the caller's promise.
        unsafe { vst1q_f32(to, a) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: four half floats are readable, by the caller's promise.
        unsafe { widen(vld1_u16(from)) }
    }
    #[inline(always)]
    unsafe fn load_f16_pair(from: *const u16) -> [Self; 2] {
        // SAFETY: eight half floats are readable, by the caller's promise; NEON.
        unsafe {
            let both = vld1q_u16(from);
            [widen(vget_low_u16(both)), widen_high(both)]
        }
    }
    #[inline(always)]
    fn fma_by<const K: usize>(a: Self, factors: &[f32; 4], c: Self) -> Self {
        // SAFETY: NEON is a feature of the target; four floats are readable. The lane must be a
        // literal.
        unsafe {
            let factors = vld1q_f32(factors.as_ptr());
            match K {
                0 => vfmaq_laneq_f32::<0>(c, a, factors),
                1 => vfmaq_laneq_f32::<1>(c, a, factors),
                2 => vfmaq_laneq_f32::<2>(c, a, factors),
                _ => vfmaq_laneq_f32::<3>(c, a, factors),
            }
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: four bytes are readable, by the caller's promise, at any address.
        unsafe {
            let bytes = vcreate_s8(u64::from(from.cast::<u32>().read_unaligned().to_le()));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
        }
    }
}

/// Four half floats, converted exactly. (The intrinsic needs a type that is not stable yet.)
#[inline(always)]
pub(super) fn widen(bits: uint16x4_t) -> float32x4_t {
    let out: float32x4_t;
    // SAFETY: the instruction is part of NEON and works on these two registers alone.
    unsafe {
        core::arch::asm!(
            "fcvtl {out:v}.4s, {bits:v}.4h",
            out = lateout(vreg) out,
            bits = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    out
}

/// As [`widen`], for the upper four of eight.
#[inline(always)]
fn widen_high(bits: uint16x8_t) -> float32x4_t {
    let out: float32x4_t;
    // SAFETY: the instruction is part of NEON and works on these two registers alone.
    unsafe {
        core::arch::asm!(
            "fcvtl2 {out:v}.4s, {bits:v}.8h",
            out = lateout(vreg) out,
            bits = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    out
}

/// Four floats rounded to half floats; a NaN becomes a quiet one. (As above.)
#[inline(always)]
fn narrow(x: float32x4_t) -> uint16x4_t {
    let out: uint16x4_t;
    // SAFETY: the instruction is part of NEON and works on these two registers alone.
    unsafe {
        core::arch::asm!(
            "fcvtn {out:v}.4h, {x:v}.4s",
            out = lateout(vreg) out,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    out
}

/// The bits of floats without their signs.
#[inline(always)]
fn bits_of_magnitude(x: float32x4_t) -> uint32x4_t {
    // SAFETY: NEON is a feature of the target.
    unsafe { vreinterpretq_u32_f32(vabsq_f32(x)) }
}
