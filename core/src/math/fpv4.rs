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

/// Writes `x` times `factor`, rounded to integers in −127..=127, ties to even and NaN as 0; returns
/// their sum.
#[cfg(bantam_arm_dsp)]
#[inline(always)]
pub(crate) fn round_to_i8(x: &[f32; 16], factor: f32, out: &mut [i8; 16]) -> i16 {
    /// Four of them, from four registers: scaled, rounded, saturated and packed. An integer of −128 becomes
    /// −127 when 1 is taken with saturation and given back.
    macro_rules! four {
        ($a:literal, $b:literal, $c:literal, $d:literal) => {
            concat!(
                concat!("vmul.f32 ", $a, ", ", $a, ", s16\n"),
                concat!("vmul.f32 ", $b, ", ", $b, ", s16\n"),
                concat!("vmul.f32 ", $c, ", ", $c, ", s16\n"),
                concat!("vmul.f32 ", $d, ", ", $d, ", s16\n"),
                concat!("vcvtr.s32.f32 ", $a, ", ", $a, "\n"),
                concat!("vcvtr.s32.f32 ", $b, ", ", $b, "\n"),
                concat!("vcvtr.s32.f32 ", $c, ", ", $c, "\n"),
                concat!("vcvtr.s32.f32 ", $d, ", ", $d, "\n"),
                concat!("vmov r0, r1, ", $a, ", ", $b, "\n"),
                concat!("vmov r2, r3, ", $c, ", ", $d, "\n"),
                "ssat r0, #8, r0\n",
                "ssat r1, #8, r1\n",
                "ssat r2, #8, r2\n",
                "ssat r3, #8, r3\n",
                "bfi r0, r1, #8, #8\n",
                "bfi r0, r2, #16, #8\n",
                "bfi r0, r3, #24, #8\n",
                "qsub8 r0, r0, {ones}\n",
                "sadd8 r0, r0, {ones}\n",
                "str r0, [{out}], #4\n",
                "sxtb16 r1, r0\n",
                "sxtab16 r1, r1, r0, ror #8\n",
                "smlad {sum}, r1, {pair}, {sum}\n",
            )
        };
    }
    let mut sum = 0i32;
    // SAFETY: the target has the instructions. They read the sixteen floats and write the sixteen
    // integers, for which STR takes any address.
    unsafe {
        asm!(
            "vmov s16, {factor}",
            "vldmia {x}, {{s0-s15}}",
            four!("s0", "s1", "s2", "s3"),
            four!("s4", "s5", "s6", "s7"),
            four!("s8", "s9", "s10", "s11"),
            four!("s12", "s13", "s14", "s15"),
            factor = in(reg) factor.to_bits(),
            x = in(reg) x.as_ptr(),
            out = inout(reg) out.as_mut_ptr() => _,
            ones = in(reg) 0x0101_0101,
            pair = in(reg) 0x0001_0001,
            sum = inout(reg) sum,
            out("r0") _, out("r1") _, out("r2") _, out("r3") _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            out("s6") _, out("s7") _, out("s8") _, out("s9") _, out("s10") _, out("s11") _,
            out("s12") _, out("s13") _, out("s14") _, out("s15") _, out("s16") _,
            options(nostack),
        );
    }
    sum as i16
}
