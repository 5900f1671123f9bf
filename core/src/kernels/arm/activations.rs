//! Activation functions, and activations to integers, on a microcontroller's FPU: in assembly, so that
//! a value stays in its registers, which the compiler's code leaves for every fused multiply-add.

use core::arch::asm;

use crate::kernels::args::ActGroup;
use crate::kernels::generic::quantize::inverse_scale;
use crate::math::{EXP_STEPS, canonical, exp, fpv4::round_to_i8, silu};

/// `gate = silu(gate) · up`.
pub(super) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    let n = gate.len().min(up.len());
    let (mut gate, mut up) = (gate.split_at_mut(n).0, up.split_at(n).0);
    loop {
        let done = silu_mul_plain(gate, up);
        let rest = (gate.split_at_mut_checked(done), up.split_at_checked(done));
        let (Some((_, [x, gate_rest @ ..])), Some((_, [y, up_rest @ ..]))) = rest else { return };
        *x = canonical(silu(*x) * y);
        (gate, up) = (gate_rest, up_rest);
    }
}

/// The constants of [`crate::math::exp`].
static STEPS: [f32; 10] = EXP_STEPS;

/// What `e^x` is computed of below it as [`crate::math::exp`] has it: 2^n is one normal number then.
const LARGEST: f32 = 86.0;

/// `e^s1` in s4, for what is [`LARGEST`] at most. These are the steps of [`crate::math::exp`], but
/// that 2^n is multiplied with by adding to the exponent. s16 to s25 are the constants, s26 is 1.
macro_rules! exp_steps {
    () => {
        // n, and what is left of the exponent beyond it.
        "vmul.f32 s3, s1, s16
        vadd.f32 s3, s3, s17
        vsub.f32 s4, s3, s17
        vfma.f32 s1, s4, s18
        vfma.f32 s1, s4, s19
        vmov.f32 s5, s21
        vfma.f32 s5, s20, s1
        vmov.f32 s6, s22
        vfma.f32 s6, s5, s1
        vmov.f32 s5, s23
        vfma.f32 s5, s6, s1
        vmov.f32 s6, s24
        vfma.f32 s6, s5, s1
        vmov.f32 s5, s25
        vfma.f32 s5, s6, s1
        vmul.f32 s6, s1, s1
        vfma.f32 s1, s5, s6
        vadd.f32 s4, s1, s26
        vmov {n}, {y}, s3, s4
        add {y}, {y}, {n}, lsl #23
        vmov s4, {y}"
    };
}

/// `x[i] = e^(x[i] − max)`.
pub(super) fn exp_beyond(mut x: &mut [f32], max: f32) {
    loop {
        let done = exp_beyond_plain(x, max);
        let Some((_, [first, rest @ ..])) = x.split_at_mut_checked(done) else { return };
        *first = exp(*first - max);
        x = rest;
    }
}

/// As [`exp_beyond`] up to the first exponent beyond ±86; returns how many values come before it.
fn exp_beyond_plain(x: &mut [f32], max: f32) -> usize {
    let range = x.as_mut_ptr_range();
    let mut at = range.start;
    // SAFETY: the FPU has the instructions. They read and write the floats from `at` up to `end`,
    // and read the constants.
    unsafe {
        asm!(
            "vldmia {constants}, {{s16-s25}}",
            "vmov.f32 s26, #1.0",
            "vmov s27, s28, {largest}, {max}",
            "b 3f",
            "2:",
            "vldr s1, [{at}]",
            "vsub.f32 s1, s1, s28",
            "vabs.f32 s2, s1",
            "vcmp.f32 s2, s27",
            "vmrs APSR_nzcv, fpscr",
            "bhi 4f",
            exp_steps!(),
            "vstmia {at}!, {{s4}}",
            "3:",
            "cmp {at}, {end}",
            "bne 2b",
            "4:",
            constants = in(reg) &raw const STEPS,
            largest = in(reg) LARGEST.to_bits(),
            max = in(reg) max.to_bits(),
            at = inout(reg) at,
            end = in(reg) range.end,
            n = out(reg) _,
            y = out(reg) _,
            out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _, out("s6") _,
            out("s16") _, out("s17") _, out("s18") _, out("s19") _, out("s20") _, out("s21") _,
            out("s22") _, out("s23") _, out("s24") _, out("s25") _, out("s26") _, out("s27") _,
            out("s28") _,
            options(nostack),
        );
    }
    (at as usize - range.start as usize) / size_of::<f32>()
}

/// As [`silu_mul`] up to the first value that is beyond ±86, or whose result is no number; returns
/// how many values come before it. Both slices have as many.
fn silu_mul_plain(gate: &mut [f32], up: &[f32]) -> usize {
    let n = gate.len().min(up.len());
    let start = gate.as_mut_ptr();
    let end = start.wrapping_add(n);
    let mut at = start;
    // SAFETY: the FPU has the instructions. They read and write the floats from `at` up to `end`,
    // read as many of `up`, and read the constants.
    unsafe {
        asm!(
            "vldmia {constants}, {{s16-s25}}",
            "vmov.f32 s26, #1.0",
            "vmov s27, {largest}",
            "b 3f",
            "2:",
            "vldr s0, [{at}]",
            "vneg.f32 s1, s0",
            "vabs.f32 s2, s0",
            "vcmp.f32 s2, s27",
            "vmrs APSR_nzcv, fpscr",
            "bhi 4f",
            exp_steps!(),
            "vadd.f32 s4, s4, s26",
            "vdiv.f32 s0, s0, s4",
            "vldmia {up}!, {{s5}}",
            "vmul.f32 s0, s0, s5",
            "vcmp.f32 s0, s0",
            "vmrs APSR_nzcv, fpscr",
            "bvs 4f",
            "vstmia {at}!, {{s0}}",
            "3:",
            "cmp {at}, {end}",
            "bne 2b",
            "4:",
            constants = in(reg) &raw const STEPS,
            largest = in(reg) LARGEST.to_bits(),
            at = inout(reg) at,
            end = in(reg) end,
            up = inout(reg) up.as_ptr() => _,
            n = out(reg) _,
            y = out(reg) _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            out("s6") _, out("s16") _, out("s17") _, out("s18") _, out("s19") _, out("s20") _,
            out("s21") _, out("s22") _, out("s23") _, out("s24") _, out("s25") _, out("s26") _,
            out("s27") _,
            options(nostack),
        );
    }
    (at as usize - start as usize) / size_of::<f32>()
}

/// Quantizes whole groups; whatever is missing in one of the slices ends the loop.
pub(super) fn quantize(x: &[f32], qs: &mut [i8], groups: &mut [ActGroup]) {
    let x = x.as_chunks().0.iter();
    for ((x, qs), group) in x.zip(qs.as_chunks_mut::<32>().0).zip(groups) {
        let amax = greatest_magnitude(x);
        let factor = inverse_scale(amax);
        let (mut sums, halves) = ([0; 2], qs.as_chunks_mut().0);
        for (sum, (x, qs)) in sums.iter_mut().zip(x.as_chunks().0.iter().zip(halves)) {
            *sum = scale_and_round(x, factor, qs);
        }
        *group = ActGroup::new(amax / 127.0, sums);
    }
}

/// The greatest magnitude, which is no NaN's; +0 if there is no other.
fn greatest_magnitude(x: &[f32; 32]) -> f32 {
    // Magnitudes are ordered as their bits are, and so are these without the sign, moved up by one.
    let mut greatest = 0u32;
    // SAFETY: the target has the instructions, which read the 32 floats.
    unsafe {
        asm!(
            "2:",
            "ldmia {x}!, {{r0-r3}}",
            "cmp {greatest}, r0, lsl #1",
            "it lo",
            "lsllo {greatest}, r0, #1",
            "cmp {greatest}, r1, lsl #1",
            "it lo",
            "lsllo {greatest}, r1, #1",
            "cmp {greatest}, r2, lsl #1",
            "it lo",
            "lsllo {greatest}, r2, #1",
            "cmp {greatest}, r3, lsl #1",
            "it lo",
            "lsllo {greatest}, r3, #1",
            "cmp {x}, {end}",
            "bne 2b",
            x = inout(reg) x.as_ptr() => _,
            end = in(reg) x.as_ptr_range().end,
            greatest = inout(reg) greatest,
            out("r0") _, out("r1") _, out("r2") _, out("r3") _,
            options(pure, readonly, nostack),
        );
    }
    let infinite = f32::INFINITY.to_bits();
    if greatest >> 1 <= infinite {
        return f32::from_bits(greatest >> 1);
    }
    let magnitudes = x.iter().map(|x| x.to_bits() & !(1 << 31));
    f32::from_bits(magnitudes.filter(|&bits| bits <= infinite).fold(0, u32::max))
}

// A function of its own, lest its code be there for each half of a group.
#[inline(never)]
fn scale_and_round(x: &[f32; 16], factor: f32, out: &mut [i8; 16]) -> i16 {
    round_to_i8(x, factor, out)
}
