//! NEON as every 64-bit Arm CPU has it, and what all sets there share.

use core::arch::aarch64::*;

use super::bytes::Widening;
use super::rows::Rows;
use crate::kernels::Table;
use crate::kernels::args::MatmulRows;
use crate::kernels::isa::{Isa, kernel_table};
use crate::kernels::lanes::{Register, Registers};
use crate::kernels::rows::matmul_rows;
use crate::math::{CANONICAL_NAN, EXP_MAGIC};

struct Neon;

// The target has NEON, or this file would not be compiled.
pub(in crate::kernels) static TABLE: Table = kernel_table!("aarch64/neon", Neon, || true);

/// Sixteen floats.
pub(super) type Floats = Registers<float32x4_t, 4>;
/// Of 32 registers, those for sums of sixteen lanes, beside a few operands.
pub(super) const ACCUMULATORS: usize = 6;

impl Isa for Neon {
    type Lanes = Floats;
    const ACCUMULATORS: usize = ACCUMULATORS;

    #[inline(always)]
    unsafe fn matmul_rows(m: &MatmulRows<'_>) {
        // SAFETY: NEON multiplies bytes; exclusive outputs are passed on to the caller.
        unsafe { matmul_rows(Rows::<Widening>::new(), m) }
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
            let magic = vdupq_n_s32(EXP_MAGIC.to_bits() as i32);
            let n = vsubq_s32(vreinterpretq_s32_f32(a), magic);
            let half = vshrq_n_s32::<1>(n);
            let bias = vdupq_n_s32(127);
            let x = vshlq_n_s32::<23>(vaddq_s32(half, bias));
            let y = vshlq_n_s32::<23>(vaddq_s32(vsubq_s32(n, half), bias));
            (vreinterpretq_f32_s32(x), vreinterpretq_f32_s32(y))
        };
        greatest(a: Self) -> f32 = vmaxvq_f32(a);
        total(a: Self) -> f32 = vaddvq_f32(a);
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
