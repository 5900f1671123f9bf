//! Instructions of a RISC-V FPU, for builds without the standard library.

#![allow(unsafe_code)] // assembly
#![cfg_attr(feature = "std", allow(dead_code))] // the standard library has the same

use core::arch::asm;

/// `a·b + c` with one rounding.
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    let out;
    // SAFETY: the FPU has the instruction, or this file would not be compiled; it changes nothing
    // but the register named and the FPU's flags.
    unsafe {
        asm!(
            "fmadd.s {out}, {a}, {b}, {c}, rne",
            out = lateout(freg) out,
            a = in(freg) a,
            b = in(freg) b,
            c = in(freg) c,
            options(pure, nomem, nostack),
        );
    }
    out
}

/// `√x`, correctly rounded; NaN below zero.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    let out;
    // SAFETY: as above.
    unsafe {
        asm!(
            "fsqrt.s {out}, {x}, rne",
            out = lateout(freg) out,
            x = in(freg) x,
            options(pure, nomem, nostack),
        );
    }
    out
}
