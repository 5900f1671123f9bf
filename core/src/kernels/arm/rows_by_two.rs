//! Whole rows of the plainest formats in one piece of assembly, for a microcontroller's FPU.
//!
//! Two rows' accumulators stay in its registers, and sums and scales reach it by one move each,
//! which the compiler does not do by itself (see `float`).

use super::rows::RowsByTwo;

#[cfg(bantam_arm_fpv4)]
pub(super) use fpv4::{Q4_0, Q4_1, Q8_0};

#[cfg(not(bantam_arm_fpv4))]
pub(super) const Q4_0: Option<RowsByTwo> = None;
#[cfg(not(bantam_arm_fpv4))]
pub(super) const Q4_1: Option<RowsByTwo> = None;
#[cfg(not(bantam_arm_fpv4))]
pub(super) const Q8_0: Option<RowsByTwo> = None;

#[cfg(bantam_arm_fpv4)]
mod fpv4 {
    use core::arch::asm;

    use super::RowsByTwo;
    use crate::kernels::arm::dsp::{NIBBLES, bytes_step, nibbles_step};
    use crate::kernels::arm::rows::Group;

    /// Writes a function for a format: how its scales are loaded, the steps of a block, a mask that
    /// they need, and what a block's minimums take before and after its scales are used.
    ///
    /// Of a block: s0 and s1 are the rows' halves, s2 `d` and s3 `dsum` of the activations, s7 and
    /// s8 the sums. s5 and s6 are the accumulators.
    macro_rules! rows_by_two {
        (
            $name:ident, $rows:ident, $load:literal of $bytes:literal bytes,
            [$first:ident $($step:ident)*], [$(mask = $mask:expr)?], [$($min:literal)*], [$($add_min:literal)*]
        ) => {
            pub(in super::super) const $name: Option<RowsByTwo> = Some($rows);

            /// # Safety
            /// Blocks for as many groups as there are, one at least, must be readable in each row.
            unsafe fn $rows([a, b]: [*const u8; 2], x: &[Group], acc: &mut [f32; 2]) {
                let [mut t, mut u] = acc.map(f32::to_bits);
                // SAFETY: the target has the instructions. They read groups until one says that no
                // other follows, and of each row as many blocks, by the caller's promise; LDR and
                // LDRH take any address.
                unsafe {
                    asm!(
                        "vmov s5, s6, {t}, {u}",
                        "2:",
                        "ldmia {x}!, {{r0, r1, r2, r3}}",
                        concat!($load, " {t}, [{a}], #", $bytes),
                        concat!($load, " {u}, [{b}], #", $bytes),
                        "vmov s2, s3, r1, r2",
                        "vmov s0, s1, {t}, {u}",
                        // The first row's sum begins with what is in the second's.
                        "mov {sum_b}, r0",
                        // Nothing changes the flags until they are looked at.
                        "cmp r3, #0",
                        $first!("{sum_b}"),
                        $($step!("{sum_a}"),)*
                        $($min,)*
                        "vmov s7, s8, {sum_a}, {sum_b}",
                        "vcvtb.f32.f16 s0, s0",
                        "vcvtb.f32.f16 s1, s1",
                        "vcvt.f32.s32 s7, s7",
                        "vcvt.f32.s32 s8, s8",
                        "vmul.f32 s0, s0, s2",
                        "vmul.f32 s1, s1, s2",
                        "vfma.f32 s5, s0, s7",
                        "vfma.f32 s6, s1, s8",
                        $($add_min,)*
                        "bne 2b",
                        "vmov {t}, {u}, s5, s6",
                        x = inout(reg) x.as_ptr() => _,
                        a = inout(reg) a => _,
                        b = inout(reg) b => _,
                        t = inout(reg) t,
                        u = inout(reg) u,
                        sum_a = out(reg) _,
                        sum_b = out(reg) _,
                        $(mask = in(reg) $mask,)?
                        out("r0") _, out("r1") _, out("r2") _, out("r3") _,
                        out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s5") _,
                        out("s6") _, out("s7") _, out("s8") _, out("s9") _, out("s10") _,
                        options(pure, readonly, nostack),
                    );
                }
                *acc = [t, u].map(f32::from_bits);
            }
        };
    }

    rows_by_two! {
        Q8_0, q8_0, "ldrh" of 2 bytes,
        [bytes_step bytes_step bytes_step bytes_step], [], [], []
    }
    rows_by_two! {
        Q4_0, q4_0, "ldrh" of 2 bytes,
        [nibbles_step nibbles_step nibbles_step nibbles_step], [mask = NIBBLES], [], []
    }
    rows_by_two! {
        Q4_1, q4_1, "ldr" of 4 bytes,
        [nibbles_step nibbles_step nibbles_step nibbles_step], [mask = NIBBLES],
        ["vcvtt.f32.f16 s9, s0" "vcvtt.f32.f16 s10, s1"],
        ["vfma.f32 s5, s9, s3" "vfma.f32 s6, s10, s3"]
    }
}
