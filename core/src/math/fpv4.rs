//! Instructions of a microcontroller's FPU, for builds without the standard library.
//!
//! The compiler does not let assembly have operands in the registers of an FPU of single precision
//! only; they can be named as overwritten. So values come and go through integer registers, which
//! costs a fused multiply-add four moves, where software takes a few hundred instructions.

#![allow(unsafe_code)] // assembly
#![cfg_attr(feature = "std", allow(dead_code))] // the standard library has the same

use core::arch::asm;

/// `a·b + c` with one rounding.
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    let mut bits = c.to_bits();
    // SAFETY: the FPU has the instructions; they change nothing but the registers named.
    unsafe {
        asm!(
            "vmov s0, s1, {a}, {b}",
            "vmov s2, {c}",
            "vfma.f32 s2, s0, s1",
            "vmov {c}, s2",
            a = in(reg) a.to_bits(),
            b = in(reg) b.to_bits(),
            c = inlateout(reg) bits,
            out("s0") _, out("s1") _, out("s2") _,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    f32::from_bits(bits)
}

/// `√x`, correctly rounded; NaN below zero.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    let mut bits = x.to_bits();
    // SAFETY: the FPU has the instructions; they change nothing but the registers named.
    unsafe {
        asm!(
            "vmov s0, {x}",
            "vsqrt.f32 s0, s0",
            "vmov {x}, s0",
            x = inlateout(reg) bits,
            out("s0") _,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    f32::from_bits(bits)
}
