//! The DSP instructions: Cortex-M4, M7 and M33, and every Arm CPU from version 6 on.
//!
//! They multiply 16-bit integers by pairs and add both products to a 32-bit sum. Which targets
//! have them is known when core is built (`build.rs`), so there is nothing to detect.

use core::arch::asm;
use core::mem::offset_of;

use super::rows::{self, Group};
#[cfg(bantam_arm_fpv4)]
use super::{attention, floats};
use crate::kernels::Table;
#[cfg(bantam_arm_fpv4)]
use crate::kernels::args::ActGroup;
use crate::kernels::args::MatmulRows;
#[cfg(bantam_arm_fpv4)]
use crate::kernels::args::{Attend, RopePairs};
use crate::kernels::dots::OneByOne;
use crate::kernels::isa::{Isa, Outlined, kernel_table};
use crate::kernels::lanes::Registers;
use crate::math::LANES;
#[cfg(not(target_os = "none"))]
use crate::quant::search::PlainSearch;

pub(super) struct Dsp;

pub(in crate::kernels) static TABLE: Table = kernel_table!("arm/dsp", Dsp, || true);

impl Isa for Dsp {
    type Lanes = Registers<f32, LANES>;
    type Dots = OneByOne;
    #[cfg(not(target_os = "none"))]
    type Search = PlainSearch;
    const ACCUMULATORS: usize = 1;

    #[cfg(bantam_arm_fpv4)]
    fn quantize(x: &[f32], qs: &mut [i8], groups: &mut [ActGroup]) {
        super::activations::quantize(x, qs, groups);
    }

    #[cfg(bantam_arm_fpv4)]
    fn silu_mul(gate: &mut [f32], up: &[f32]) {
        super::activations::silu_mul(gate, up);
    }

    #[cfg(bantam_arm_fpv4)]
    fn exp_beyond(x: &mut [f32], max: f32) {
        super::activations::exp_beyond(x, max);
    }

    #[inline(always)]
    unsafe fn matmul_rows<O: Outlined>(m: &MatmulRows<'_>) {
        // SAFETY: exclusive outputs are passed on to the caller.
        unsafe { rows::matmul_rows::<Self, O>(m) }
    }

    #[cfg(bantam_arm_fpv4)]
    #[inline(always)]
    unsafe fn float_rows(m: &MatmulRows<'_>) {
        // SAFETY: exclusive outputs are passed on to the caller.
        unsafe { floats::matmul_rows(m) }
    }

    #[cfg(bantam_arm_fpv4)]
    #[inline(always)]
    unsafe fn attend_halves<O: Outlined>(a: &Attend<'_>, keys: &[u16], values: &[u16]) {
        // SAFETY: exclusive outputs are passed on to the caller.
        unsafe { attention::attend(a, keys, values) }
    }

    #[cfg(bantam_arm_fpv4)]
    #[inline(always)]
    fn rms_norm(x: &[f32], w: &[u8], eps: f32, out: &mut [f32]) {
        floats::rms_norm(x, w, eps, out);
    }

    #[cfg(bantam_arm_fpv4)]
    #[inline(always)]
    fn rms_norm_in_place(x: &mut [f32], w: &[u8], eps: f32) {
        floats::rms_norm_in_place(x, w, eps);
    }

    #[cfg(bantam_arm_fpv4)]
    #[inline(always)]
    fn rope(pairs: RopePairs, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        floats::rope(pairs, head, cos, sin);
    }

    #[cfg(bantam_arm_fpv4)]
    #[inline(always)]
    fn add(x: &mut [f32], y: &[f32]) {
        floats::add(x, y);
    }

    #[cfg(bantam_arm_fpv4)]
    #[inline(always)]
    fn store_f16(x: &[f32], out: &mut [u16]) {
        floats::store_f16(x, out);
    }
}

/// One instruction of three registers or four that does nothing but compute.
macro_rules! instruction {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $text:literal;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub(super) fn $name($($arg: $ty),*) -> $out {
            let out: $out;
            // SAFETY: the target has the instruction, or this file would not be compiled; it
            // works on these registers alone (and the sticky overflow flag, which nobody reads).
            unsafe {
                asm!(
                    $text,
                    out = lateout(reg) out,
                    $($arg = in(reg) $arg,)*
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            out
        }
    )*};
}

instruction! {
    /// `sum` and the products of the lower and of the upper halves of `a` and `b`.
    smlad(a: u32, b: u32, sum: i32) -> i32 = "smlad {out}, {a}, {b}, {sum}";
    /// The first and the third byte of `w`, sign-extended to a half each.
    sxtb16(w: u32) -> u32 = "sxtb16 {out}, {w}";
    /// The second and the fourth.
    sxtb16_ror8(w: u32) -> u32 = "sxtb16 {out}, {w}, ror #8";
}

/// The lower nibble of each half.
pub(super) const NIBBLES: u32 = 0x000F_000F;

/// Adds eight bytes' products in each of two rows, to `$start` in the first.
macro_rules! bytes_step {
    ($start:literal) => {
        concat!(
            "ldmia {x}!, {{r0, r1, r2, r3}}
        ldr {t}, [{a}], #4
        sxtb16 {u}, {t}
        smlad {sum_a}, {u}, r0, ",
            $start,
            "
        sxtb16 {t}, {t}, ror #8
        smlad {sum_a}, {t}, r1, {sum_a}
        ldr {t}, [{b}], #4
        sxtb16 {u}, {t}
        smlad {sum_b}, {u}, r0, {sum_b}
        sxtb16 {t}, {t}, ror #8
        smlad {sum_b}, {t}, r1, {sum_b}
        ldr {t}, [{a}], #4
        sxtb16 {u}, {t}
        smlad {sum_a}, {u}, r2, {sum_a}
        sxtb16 {t}, {t}, ror #8
        smlad {sum_a}, {t}, r3, {sum_a}
        ldr {t}, [{b}], #4
        sxtb16 {u}, {t}
        smlad {sum_b}, {u}, r2, {sum_b}
        sxtb16 {t}, {t}, ror #8
        smlad {sum_b}, {t}, r3, {sum_b}"
        )
    };
}

/// `sum` and the products of 32 signed bytes in each of two rows, so that activations are loaded
/// once; `x` in the order of the bytes, as they are widened.
#[inline(always)]
pub(super) fn bytes_of_two<T: Copy>([a, b]: [&T; 2], x: &[u32; 16], sum: i32) -> [i32; 2] {
    const { assert!(size_of::<T>() == 32) };
    let (mut sum_a, mut sum_b) = (sum, sum);
    // SAFETY: the target has the instructions. They read the sixteen words of `x`, which are
    // aligned, and 32 bytes of `a` and of `b`, which for LDR need not be.
    unsafe {
        asm!(
            bytes_step!("{sum_a}"), bytes_step!("{sum_a}"),
            bytes_step!("{sum_a}"), bytes_step!("{sum_a}"),
            x = inout(reg) x.as_ptr() => _,
            a = inout(reg) &raw const *a => _,
            b = inout(reg) &raw const *b => _,
            sum_a = inout(reg) sum_a,
            sum_b = inout(reg) sum_b,
            t = out(reg) _,
            u = out(reg) _,
            out("r0") _, out("r1") _, out("r2") _, out("r3") _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [sum_a, sum_b]
}

/// Adds eight nibbles' products in each of two rows, to `$start` in the first.
macro_rules! nibbles_step {
    ($start:literal) => {
        concat!(
            "ldmia {x}!, {{r0, r1, r2, r3}}
        ldr {t}, [{a}], #4
        and {u}, {mask}, {t}
        smlad {sum_a}, {u}, r0, ",
            $start,
            "
        and {u}, {mask}, {t}, lsr #4
        smlad {sum_a}, {u}, r2, {sum_a}
        and {u}, {mask}, {t}, lsr #8
        smlad {sum_a}, {u}, r1, {sum_a}
        and {u}, {mask}, {t}, lsr #12
        smlad {sum_a}, {u}, r3, {sum_a}
        ldr {t}, [{b}], #4
        and {u}, {mask}, {t}
        smlad {sum_b}, {u}, r0, {sum_b}
        and {u}, {mask}, {t}, lsr #4
        smlad {sum_b}, {u}, r2, {sum_b}
        and {u}, {mask}, {t}, lsr #8
        smlad {sum_b}, {u}, r1, {sum_b}
        and {u}, {mask}, {t}, lsr #12
        smlad {sum_b}, {u}, r3, {sum_b}"
        )
    };
}

/// `sum` and the products of 32 nibbles in each of two rows; in `x`, what goes with a word's lower
/// nibbles is followed by what goes with its upper ones.
#[inline(always)]
pub(super) fn nibbles_of_two([a, b]: [&[u8; 16]; 2], x: &[u32; 16], sum: i32) -> [i32; 2] {
    let (mut sum_a, mut sum_b) = (sum, sum);
    // SAFETY: the target has the instructions. They read the sixteen words of `x`, which are
    // aligned, and 16 bytes of `a` and of `b`, which for LDR need not be.
    unsafe {
        asm!(
            nibbles_step!("{sum_a}"), nibbles_step!("{sum_a}"),
            nibbles_step!("{sum_a}"), nibbles_step!("{sum_a}"),
            x = inout(reg) x.as_ptr() => _,
            a = inout(reg) a.as_ptr() => _,
            b = inout(reg) b.as_ptr() => _,
            sum_a = inout(reg) sum_a,
            sum_b = inout(reg) sum_b,
            mask = in(reg) NIBBLES,
            t = out(reg) _,
            u = out(reg) _,
            out("r0") _, out("r1") _, out("r2") _, out("r3") _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [sum_a, sum_b]
}

/// Adds the products of four lower nibbles and of four upper ones.
macro_rules! halves_step {
    () => {
        "ldmia {x}!, {{r0, r1, r2, r3}}
        ldr {t}, [{w}], #4
        and {u}, {mask}, {t}
        smlad {low}, {u}, r0, {low}
        and {u}, {mask}, {t}, lsr #4
        smlad {high}, {u}, r2, {high}
        and {u}, {mask}, {t}, lsr #8
        smlad {low}, {u}, r1, {low}
        and {u}, {mask}, {t}, lsr #12
        smlad {high}, {u}, r3, {high}"
    };
}

/// The products of 32 lower nibbles and of 32 upper ones; `x` as for [`nibbles_of_two`].
#[inline(always)]
pub(super) fn nibbles_apart(w: &[u8; 32], x: &[Group; 2]) -> [i32; 2] {
    const BEFORE: usize = offset_of!(Group, pairs);
    let (mut low, mut high) = (0, 0);
    // SAFETY: the target has the instructions. They read the pairs of both groups, which are
    // aligned words, and the 32 bytes of `w`, which for LDR need not be.
    unsafe {
        asm!(
            "add {x}, {x}, #{before}",
            halves_step!(), halves_step!(), halves_step!(), halves_step!(),
            "add {x}, {x}, #{before}",
            halves_step!(), halves_step!(), halves_step!(), halves_step!(),
            before = const BEFORE,
            x = inout(reg) x.as_ptr() => _,
            w = inout(reg) w.as_ptr() => _,
            low = inout(reg) low,
            high = inout(reg) high,
            mask = in(reg) NIBBLES,
            t = out(reg) _,
            u = out(reg) _,
            out("r0") _, out("r1") _, out("r2") _, out("r3") _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [low, high]
}
