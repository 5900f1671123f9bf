//! [`Streamed`] products of `Q4_0`.

use core::arch::aarch64::*;
use core::arch::asm;

use super::decode::{Streamed, load_words};
use crate::kernels::args::ActGroup;

pub(super) struct Q4_0;

impl Streamed for Q4_0 {
    const GROUPS: usize = 1;
    const RUN: usize = usize::MAX;
    /// Two registers of them, what sums begin with (minus the eight that nibbles are too large
    /// by), and the scale.
    type Acts = ([int8x16_t; 2], int32x4_t, f32);
    type Sums = ();

    #[inline(always)]
    fn new() {}

    #[inline(always)]
    unsafe fn acts(x: *const i8, group: *const ActGroup) -> Self::Acts {
        // SAFETY: 32 activations and a group, by the caller's promise; NEON. Eight times a sum of
        // sixteen fits 16 bits.
        unsafe {
            let sums = vreinterpretq_s16_s32(vld1q_dup_s32((*group).sums.as_ptr().cast()));
            let start = vpaddlq_s16(vmulq_n_s16(sums, -8));
            ([vld1q_s8(x), vld1q_s8(x.add(16))], start, (*group).d)
        }
    }

    #[inline(always)]
    unsafe fn blocks(
        rows: &mut [*const u8; 4],
        (x, start, d_x): Self::Acts,
        (): &mut (),
        acc: float32x4_t,
    ) -> float32x4_t {
        let [a, b, c, d] = rows;
        let mut acc = acc;
        // One piece, since a compiler that moves others in between copies fixed registers.
        // SAFETY: eighteen bytes are read in each row, by the caller's promise, at any address.
        // Word `j` of a row's nibbles goes to the row's lane of register `j`. Only a set that has
        // the dot product instructions comes here.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "ld1r {{{scales:v}.4h}}, [{a}], #2",
                "ld4r {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{a}], #16",
                "ld1 {{{scales:v}.h}}[1], [{b}], #2",
                "ld4 {{v0.s, v1.s, v2.s, v3.s}}[1], [{b}], #16",
                "ld1 {{{scales:v}.h}}[2], [{c}], #2",
                "ld4 {{v0.s, v1.s, v2.s, v3.s}}[2], [{c}], #16",
                "ld1 {{{scales:v}.h}}[3], [{d}], #2",
                "ld4 {{v0.s, v1.s, v2.s, v3.s}}[3], [{d}], #16",
                "fcvtl {scales:v}.4s, {scales:v}.4h",
                "and v4.16b, v0.16b, {mask:v}.16b",
                "and v5.16b, v1.16b, {mask:v}.16b",
                "and v6.16b, v2.16b, {mask:v}.16b",
                "and v7.16b, v3.16b, {mask:v}.16b",
                "sdot {sum:v}.4s, v4.16b, {x0:v}.4b[0]",
                "ushr v0.16b, v0.16b, #4",
                "sdot {sum:v}.4s, v5.16b, {x0:v}.4b[1]",
                "ushr v1.16b, v1.16b, #4",
                "sdot {sum:v}.4s, v6.16b, {x0:v}.4b[2]",
                "ushr v2.16b, v2.16b, #4",
                "sdot {sum:v}.4s, v7.16b, {x0:v}.4b[3]",
                "ushr v3.16b, v3.16b, #4",
                "sdot {sum:v}.4s, v0.16b, {x1:v}.4b[0]",
                "sdot {sum:v}.4s, v1.16b, {x1:v}.4b[1]",
                "sdot {sum:v}.4s, v2.16b, {x1:v}.4b[2]",
                "sdot {sum:v}.4s, v3.16b, {x1:v}.4b[3]",
                "fmul {scales:v}.4s, {scales:v}.4s, {d_x:v}.s[0]",
                "scvtf {sum:v}.4s, {sum:v}.4s",
                "fmla {acc:v}.4s, {scales:v}.4s, {sum:v}.4s",
                a = inout(reg) *a,
                b = inout(reg) *b,
                c = inout(reg) *c,
                d = inout(reg) *d,
                scales = out(vreg) _,
                sum = inout(vreg) start => _,
                acc = inout(vreg) acc,
                d_x = in(vreg) d_x,
                mask = in(vreg) vdupq_n_u8(15),
                x0 = in(vreg) x[0],
                x1 = in(vreg) x[1],
                out("v0") _,
                out("v1") _,
                out("v2") _,
                out("v3") _,
                out("v4") _,
                out("v5") _,
                out("v6") _,
                out("v7") _,
                options(readonly, nostack, preserves_flags),
            );
        }
        acc
    }
}

/// The products of sixteen bytes of nibbles in registers `w`, the low ones' with activations `low`
/// and the high ones' with `high`, added to the sum in `v10`. Registers `t` are overwritten.
macro_rules! nibbles_times {
    ($w0:literal $w1:literal $w2:literal $w3:literal, $t0:literal $t1:literal $t2:literal
        $t3:literal, $low:literal, $high:literal) => {
        concat!(
            "and v",
            $t0,
            ".16b, v",
            $w0,
            ".16b, {mask:v}.16b\n",
            "and v",
            $t1,
            ".16b, v",
            $w1,
            ".16b, {mask:v}.16b\n",
            "and v",
            $t2,
            ".16b, v",
            $w2,
            ".16b, {mask:v}.16b\n",
            "and v",
            $t3,
            ".16b, v",
            $w3,
            ".16b, {mask:v}.16b\n",
            "sdot v10.4s, v",
            $t0,
            ".16b, {",
            $low,
            ":v}.4b[0]\n",
            "ushr v",
            $w0,
            ".16b, v",
            $w0,
            ".16b, #4\n",
            "sdot v10.4s, v",
            $t1,
            ".16b, {",
            $low,
            ":v}.4b[1]\n",
            "ushr v",
            $w1,
            ".16b, v",
            $w1,
            ".16b, #4\n",
            "sdot v10.4s, v",
            $t2,
            ".16b, {",
            $low,
            ":v}.4b[2]\n",
            "ushr v",
            $w2,
            ".16b, v",
            $w2,
            ".16b, #4\n",
            "sdot v10.4s, v",
            $t3,
            ".16b, {",
            $low,
            ":v}.4b[3]\n",
            "ushr v",
            $w3,
            ".16b, v",
            $w3,
            ".16b, #4\n",
            "sdot v10.4s, v",
            $w0,
            ".16b, {",
            $high,
            ":v}.4b[0]\n",
            "sdot v10.4s, v",
            $w1,
            ".16b, {",
            $high,
            ":v}.4b[1]\n",
            "sdot v10.4s, v",
            $w2,
            ".16b, {",
            $high,
            ":v}.4b[2]\n",
            "sdot v10.4s, v",
            $w3,
            ".16b, {",
            $high,
            ":v}.4b[3]",
        )
    };
}

/// Adds the sum in `v10` times the scales in `v11` and the activations' scale `$k` to `acc`.
macro_rules! scale_and_add {
    ($k:literal) => {
        concat!(
            "fmul v11.4s, v11.4s, {d_x:v}.s[",
            $k,
            "]\n",
            "scvtf v10.4s, v10.4s\n",
            "fmla {acc:v}.4s, v11.4s, v10.4s",
        )
    };
}

/// Takes the scales of two blocks out of three registers: first the lower halves of the last one's
/// words, then the upper ones of the first one's.
const SCALES_OF_TWO: [u8; 16] = [32, 33, 36, 37, 40, 41, 44, 45, 2, 3, 6, 7, 10, 11, 14, 15];

/// Four blocks of a row, which are eighteen words.
///
/// They are read as words, whatever they hold: in the first and third block the scale and the first
/// two bytes of nibbles share one, and the last two bytes share one with the next block's scale.
pub(super) struct Q4_0By4;

impl Streamed for Q4_0By4 {
    const GROUPS: usize = 4;
    const RUN: usize = usize::MAX;
    /// Two registers of each group, what sums begin with, and scales. Of the first and third group,
    /// a register begins with its third activation and ends with the first two.
    type Acts = ([int8x16_t; 8], int32x4_t, float32x4_t);
    type Sums = ();

    #[inline(always)]
    fn new() {}

    #[inline(always)]
    unsafe fn acts(x: *const i8, groups: *const ActGroup) -> Self::Acts {
        let (x0, x1, x2, x3, x4, x5, x6, x7);
        let (start, d_x);
        // SAFETY: four groups, of three words each, and their activations, by the caller's
        // promise; NEON. Eight times a sum of sixteen fits 16 bits.
        unsafe {
            asm!(
                "ldp {x0:q}, {x1:q}, [{x}]",
                "ldp {x2:q}, {x3:q}, [{x}, #32]",
                "ldp {x4:q}, {x5:q}, [{x}, #64]",
                "ldp {x6:q}, {x7:q}, [{x}, #96]",
                "ext {x0:v}.16b, {x0:v}.16b, {x0:v}.16b, #2",
                "ext {x1:v}.16b, {x1:v}.16b, {x1:v}.16b, #2",
                "ext {x4:v}.16b, {x4:v}.16b, {x4:v}.16b, #2",
                "ext {x5:v}.16b, {x5:v}.16b, {x5:v}.16b, #2",
                "ld3 {{v0.4s, v1.4s, v2.4s}}, [{groups}]",
                "mul v2.8h, v2.8h, {minus_eight:v}.8h",
                "saddlp {start:v}.4s, v2.8h",
                x = in(reg) x,
                groups = in(reg) groups,
                minus_eight = in(vreg) vdupq_n_s16(-8),
                x0 = out(vreg) x0,
                x1 = out(vreg) x1,
                x2 = out(vreg) x2,
                x3 = out(vreg) x3,
                x4 = out(vreg) x4,
                x5 = out(vreg) x5,
                x6 = out(vreg) x6,
                x7 = out(vreg) x7,
                start = lateout(vreg) start,
                out("v0") d_x,
                out("v1") _,
                out("v2") _,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        ([x0, x1, x2, x3, x4, x5, x6, x7], start, d_x)
    }

    #[inline(always)]
    unsafe fn blocks(
        rows: &mut [*const u8; 4],
        (x, start, d_x): Self::Acts,
        (): &mut (),
        acc: float32x4_t,
    ) -> float32x4_t {
        let [a, b, c, d] = rows;
        let mut acc = acc;
        // SAFETY: 72 bytes are read in each row, by the caller's promise, at any address. Only a
        // set that has the dot product instructions comes here.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "ld2r {{v4.4s, v5.4s}}, [{a}], #8",
                "ld2 {{v4.s, v5.s}}[1], [{b}], #8",
                "ld2 {{v4.s, v5.s}}[2], [{c}], #8",
                "ld2 {{v4.s, v5.s}}[3], [{d}], #8",
                load_words!("0", "3"),
                "tbl v12.16b, {{v2.16b, v3.16b, v4.16b}}, {scales:v}.16b",
                "bit v2.16b, v4.16b, {upper:v}.16b",
                "fcvtl v11.4s, v12.4h",
                "dup v10.4s, {start:v}.s[0]",
                nibbles_times!("5" "0" "1" "2", "6" "7" "8" "9", "x0", "x1"),
                scale_and_add!("0"),
                load_words!("6", "9"),
                "fcvtl2 v11.4s, v12.8h",
                "dup v10.4s, {start:v}.s[1]",
                nibbles_times!("3" "6" "7" "8", "0" "1" "2" "4", "x2", "x3"),
                scale_and_add!("1"),
                load_words!("0", "3"),
                "xtn v12.4h, v9.4s",
                "shrn2 v12.8h, v3.4s, #16",
                "bit v3.16b, v9.16b, {upper:v}.16b",
                "fcvtl v11.4s, v12.4h",
                "dup v10.4s, {start:v}.s[2]",
                nibbles_times!("0" "1" "2" "3", "4" "5" "6" "7", "x4", "x5"),
                scale_and_add!("2"),
                load_words!("4", "7"),
                "fcvtl2 v11.4s, v12.8h",
                "dup v10.4s, {start:v}.s[3]",
                nibbles_times!("4" "5" "6" "7", "0" "1" "2" "3", "x6", "x7"),
                scale_and_add!("3"),
                a = inout(reg) *a,
                b = inout(reg) *b,
                c = inout(reg) *c,
                d = inout(reg) *d,
                start = in(vreg) start,
                acc = inout(vreg) acc,
                d_x = in(vreg) d_x,
                mask = in(vreg) vdupq_n_u8(15),
                upper = in(vreg) vdupq_n_u32(0xFFFF_0000),
                scales = in(vreg) vld1q_u8(SCALES_OF_TWO.as_ptr()),
                x0 = in(vreg) x[0],
                x1 = in(vreg) x[1],
                x2 = in(vreg) x[2],
                x3 = in(vreg) x[3],
                x4 = in(vreg) x[4],
                x5 = in(vreg) x[5],
                x6 = in(vreg) x[6],
                x7 = in(vreg) x[7],
                out("v0") _,
                out("v1") _,
                out("v2") _,
                out("v3") _,
                out("v4") _,
                out("v5") _,
                out("v6") _,
                out("v7") _,
                out("v8") _,
                out("v9") _,
                out("v10") _,
                out("v11") _,
                out("v12") _,
                options(readonly, nostack, preserves_flags),
            );
        }
        acc
    }
}

/// Two blocks of a row, as [`Q4_0By4`] reads them.
pub(super) struct Q4_0By2;

impl Streamed for Q4_0By2 {
    const GROUPS: usize = 2;
    const RUN: usize = usize::MAX;
    /// Each group's as in [`Q4_0`], but the first one's in the order of [`Q4_0By4`].
    type Acts = [<Q4_0 as Streamed>::Acts; 2];
    type Sums = ();

    #[inline(always)]
    fn new() {}

    #[inline(always)]
    unsafe fn acts(x: *const i8, groups: *const ActGroup) -> Self::Acts {
        // SAFETY: two groups and their activations, by the caller's promise; NEON.
        unsafe {
            let (first, start, d_x) = Q4_0::acts(x, groups);
            let second = Q4_0::acts(x.add(ActGroup::LEN), groups.add(1));
            let first = [vextq_s8::<2>(first[0], first[0]), vextq_s8::<2>(first[1], first[1])];
            [(first, start, d_x), second]
        }
    }

    #[inline(always)]
    unsafe fn blocks(
        rows: &mut [*const u8; 4],
        [(x, start, d_x), (y, start_y, d_y)]: Self::Acts,
        (): &mut (),
        acc: float32x4_t,
    ) -> float32x4_t {
        /// As [`SCALES_OF_TWO`], out of two registers.
        const SCALES: [u8; 16] = [16, 17, 20, 21, 24, 25, 28, 29, 2, 3, 6, 7, 10, 11, 14, 15];
        let [a, b, c, d] = rows;
        let mut acc = acc;
        // SAFETY: 36 bytes are read in each row, by the caller's promise, at any address. Only a
        // set that has the dot product instructions comes here.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "ld1r {{v4.4s}}, [{a}], #4",
                "ld1 {{v4.s}}[1], [{b}], #4",
                "ld1 {{v4.s}}[2], [{c}], #4",
                "ld1 {{v4.s}}[3], [{d}], #4",
                load_words!("0", "3"),
                load_words!("5", "8"),
                "tbl v12.16b, {{v3.16b, v4.16b}}, {scales:v}.16b",
                "bit v3.16b, v4.16b, {upper:v}.16b",
                "fcvtl v11.4s, v12.4h",
                "mov v10.16b, {start:v}.16b",
                nibbles_times!("0" "1" "2" "3", "4" "9" "13" "14", "x0", "x1"),
                "fmul v11.4s, v11.4s, {d_x:v}.s[0]",
                "scvtf v10.4s, v10.4s",
                "fmla {acc:v}.4s, v11.4s, v10.4s",
                "fcvtl2 v11.4s, v12.8h",
                "mov v10.16b, {start_y:v}.16b",
                nibbles_times!("5" "6" "7" "8", "0" "1" "2" "3", "y0", "y1"),
                "fmul v11.4s, v11.4s, {d_y:v}.s[0]",
                "scvtf v10.4s, v10.4s",
                "fmla {acc:v}.4s, v11.4s, v10.4s",
                a = inout(reg) *a,
                b = inout(reg) *b,
                c = inout(reg) *c,
                d = inout(reg) *d,
                start = in(vreg) start,
                start_y = in(vreg) start_y,
                acc = inout(vreg) acc,
                d_x = in(vreg) d_x,
                d_y = in(vreg) d_y,
                mask = in(vreg) vdupq_n_u8(15),
                upper = in(vreg) vdupq_n_u32(0xFFFF_0000),
                scales = in(vreg) vld1q_u8(SCALES.as_ptr()),
                x0 = in(vreg) x[0],
                x1 = in(vreg) x[1],
                y0 = in(vreg) y[0],
                y1 = in(vreg) y[1],
                out("v0") _,
                out("v1") _,
                out("v2") _,
                out("v3") _,
                out("v4") _,
                out("v5") _,
                out("v6") _,
                out("v7") _,
                out("v8") _,
                out("v9") _,
                out("v10") _,
                out("v11") _,
                out("v12") _,
                out("v13") _,
                out("v14") _,
                options(readonly, nostack, preserves_flags),
            );
        }
        acc
    }
}
