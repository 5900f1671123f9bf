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

/// `sums[i] = fma(factor, halves[i], sums[i])`, the halves being converted exactly.
#[inline(always)]
pub(crate) fn add_halves(factor: f32, halves: &[u16; 16], sums: &mut [f32; 16]) {
    /// Four of them: those of a pointer that goes on, to sums in four registers.
    macro_rules! four {
        ($a:literal, $b:literal, $c:literal, $d:literal) => {
            concat!(
                "ldr {t}, [{halves}], #4\n",
                "ldr {u}, [{halves}], #4\n",
                "vmov s0, s1, {t}, {u}\n",
                "vcvtb.f32.f16 s2, s0\n",
                "vcvtt.f32.f16 s3, s0\n",
                "vcvtb.f32.f16 s4, s1\n",
                "vcvtt.f32.f16 s5, s1\n",
                concat!("vfma.f32 ", $a, ", s15, s2\n"),
                concat!("vfma.f32 ", $b, ", s15, s3\n"),
                concat!("vfma.f32 ", $c, ", s15, s4\n"),
                concat!("vfma.f32 ", $d, ", s15, s5\n"),
            )
        };
    }
    // SAFETY: the FPU has the instructions. They read the sixteen half floats, for which LDR takes
    // any address, and read and write the sixteen sums.
    unsafe {
        asm!(
            "vmov s15, {factor}",
            "vldmia {sums}, {{s16-s31}}",
            four!("s16", "s17", "s18", "s19"),
            four!("s20", "s21", "s22", "s23"),
            four!("s24", "s25", "s26", "s27"),
            four!("s28", "s29", "s30", "s31"),
            "vstmia {sums}, {{s16-s31}}",
            factor = in(reg) factor.to_bits(),
            halves = inout(reg) halves.as_ptr() => _,
            sums = in(reg) sums.as_mut_ptr(),
            t = out(reg) _,
            u = out(reg) _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            out("s15") _, out("s16") _, out("s17") _, out("s18") _, out("s19") _, out("s20") _,
            out("s21") _, out("s22") _, out("s23") _, out("s24") _, out("s25") _, out("s26") _,
            out("s27") _, out("s28") _, out("s29") _, out("s30") _, out("s31") _,
            options(nostack, preserves_flags),
        );
    }
}
