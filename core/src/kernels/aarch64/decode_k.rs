//! One token times rows of `Q4_K` and `Q6_K`, four at a time, as `decode` does it for plainer
//! formats.

use core::arch::aarch64::*;
use core::arch::asm;

use super::decode::{load_words, load_words_then};
use super::neon::widen;
use crate::kernels::args::{ActGroup, MatmulRows};
use crate::kernels::lanes::Register;

/// Groups in a super-block.
const GROUPS: usize = 8;

/// How a super-block of four rows is multiplied.
pub(super) trait Streamed {
    /// `acc` with the products of a block of four rows; all pointers move on.
    ///
    /// # Safety
    /// A block must be readable at each of `rows`, eight groups at `groups`, and their activations
    /// at `x`. The CPU must have the dot product instructions.
    unsafe fn block(
        rows: &mut [*const u8; 4],
        x: &mut *const i8,
        groups: *const ActGroup,
        acc: float32x4_t,
    ) -> float32x4_t;
}

/// Multiplies the rows that fill registers; returns how many those were.
///
/// # Safety
/// As [`super::decode::one_token`].
#[inline(always)]
pub(super) unsafe fn rows<F: Streamed>(m: &MatmulRows<'_>) -> usize {
    let (qs, groups) = m.q8_row(0);
    let stride = m.row_bytes();
    let mut ptrs = [m.rows().as_ptr(); 4];
    for (i, ptr) in ptrs.iter_mut().enumerate() {
        *ptr = ptr.wrapping_add(i * stride);
    }
    let mut row = 0;
    while row + 4 <= m.n_rows() {
        let mut acc = float32x4_t::splat(0.0);
        let mut x = qs.as_ptr();
        for groups in groups.chunks_exact(GROUPS) {
            // SAFETY: there are 32 activations for each group, and a block in each row.
            acc = unsafe { F::block(&mut ptrs, &mut x, groups.as_ptr(), acc) };
        }
        for ptr in &mut ptrs {
            *ptr = ptr.wrapping_add(3 * stride);
        }
        // SAFETY: no other part is alive; the slice has a place for every row.
        unsafe {
            if let Some(out) = m.out_row(0).get_mut(row..row + 4) {
                Register::store(Register::canonical(acc), out.as_mut_ptr());
            }
        }
        row += 4;
    }
    row
}

/// Sixteen bytes of each row, word by word, whose pointers move on.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn load16([a, b, c, d]: &mut [*const u8; 4]) -> [uint8x16_t; 4] {
    let out: [uint8x16_t; 4];
    // SAFETY: the caller's promise, at any address.
    unsafe {
        let (v0, v1, v2, v3);
        asm!(
            load_words!("0", "3"),
            a = inout(reg) *a,
            b = inout(reg) *b,
            c = inout(reg) *c,
            d = inout(reg) *d,
            out("v0") v0,
            out("v1") v1,
            out("v2") v2,
            out("v3") v3,
            options(readonly, nostack, preserves_flags),
        );
        out = [v0, v1, v2, v3];
    }
    out
}

/// Scales of four groups of activations, and what minimums are multiplied with.
///
/// # Safety
/// The groups must be readable.
#[inline(always)]
unsafe fn scales_of_four(groups: *const ActGroup) -> [float32x4_t; 2] {
    // SAFETY: twelve words are readable, by the caller's promise; NEON.
    unsafe {
        // The intrinsic becomes loads of what lies side by side, and many moves.
        let (d, dsum);
        asm!(
            "ld3 {{v0.4s, v1.4s, v2.4s}}, [{groups}]",
            groups = in(reg) groups,
            out("v0") d,
            out("v1") dsum,
            out("v2") _,
            options(pure, readonly, nostack, preserves_flags),
        );
        [d, dsum]
    }
}

/// Table indices that take byte `K` of every word to byte `to` of it, and zeros to the others.
const fn byte_of_words(k: u8, to: usize) -> [u8; 16] {
    let mut out = [0xFF; 16];
    let mut word = 0;
    while word < 4 {
        out[4 * word + to] = 4 * word as u8 + k;
        word += 1;
    }
    out
}

/// Adds the products of four registers of four bytes of each row with sixteen activations to a sum.
macro_rules! dot16 {
    ($sum:literal, $w0:literal $w1:literal $w2:literal $w3:literal, $x:literal) => {
        concat!(
            "sdot v", $sum, ".4s, v", $w0, ".16b, v", $x, ".4b[0]\n", "sdot v", $sum, ".4s, v",
            $w1, ".16b, v", $x, ".4b[1]\n", "sdot v", $sum, ".4s, v", $w2, ".16b, v", $x,
            ".4b[2]\n", "sdot v", $sum, ".4s, v", $w3, ".16b, v", $x, ".4b[3]",
        )
    };
}

/// The same instruction for four registers each.
macro_rules! four_times {
    ($op:literal, $to0:literal $to1:literal $to2:literal $to3:literal,
        $from0:literal $from1:literal $from2:literal $from3:literal, $with:literal) => {
        concat!(
            $op, " v", $to0, ".16b, v", $from0, ".16b, ", $with, "\n", $op, " v", $to1, ".16b, v",
            $from1, ".16b, ", $with, "\n", $op, " v", $to2, ".16b, v", $from2, ".16b, ", $with,
            "\n", $op, " v", $to3, ".16b, v", $from3, ".16b, ", $with,
        )
    };
}

/// Adds the sum in `v8`, and the minimum, to `acc`; `$byte` takes the group's scale and minimum
/// out of words, `$k` numbers it among four.
macro_rules! scale_and_add {
    ($byte:literal, $k:literal) => {
        concat!(
            "tbl v11.16b, {{{scales:v}.16b}}, {",
            $byte,
            ":v}.16b\n",
            "tbl v12.16b, {{{mins:v}.16b}}, {",
            $byte,
            ":v}.16b\n",
            "ucvtf v11.4s, v11.4s\n",
            "ucvtf v12.4s, v12.4s\n",
            "fmul v11.4s, v11.4s, {d_w:v}.4s\n",
            "fmul v12.4s, v12.4s, {d_min:v}.4s\n",
            "fmul v11.4s, v11.4s, {d_x:v}.s[{",
            $k,
            "}]\n",
            "scvtf v8.4s, v8.4s\n",
            "fmla {acc:v}.4s, v11.4s, v8.4s\n",
            "fmla {acc:v}.4s, v12.4s, {dsum:v}.s[{",
            $k,
            "}]",
        )
    };
}

pub(super) struct Q4K;

/// What the groups of a block of four rows are scaled with.
#[derive(Clone, Copy)]
struct Scales {
    d: float32x4_t,
    /// Less than zero, as minimums are taken off.
    d_min: float32x4_t,
    /// A byte for each of four groups in each row's word; of groups 0 to 3, and 4 to 7.
    scales: [uint8x16_t; 2],
    mins: [uint8x16_t; 2],
}

/// The scales of a block, whose pointers move on behind them.
///
/// # Safety
/// Sixteen bytes must be readable in each row.
#[inline(always)]
unsafe fn six_bit_scales(rows: &mut [*const u8; 4]) -> Scales {
    // SAFETY: passed on to the caller; NEON.
    unsafe {
        let [halves, scales, mins, high] = load16(rows);
        let halves = vreinterpretq_u32_u8(halves);
        let low = vdupq_n_u8(63);
        Scales {
            d: widen(vmovn_u32(halves)),
            d_min: vnegq_f32(widen(vshrn_n_u32::<16>(halves))),
            // The upper two bits go above four of the last word.
            scales: [vandq_u8(scales, low), vsliq_n_u8::<4>(high, vshrq_n_u8::<6>(scales))],
            mins: [
                vandq_u8(mins, low),
                vsliq_n_u8::<4>(vshrq_n_u8::<4>(high), vshrq_n_u8::<6>(mins)),
            ],
        }
    }
}

impl Streamed for Q4K {
    #[inline(always)]
    unsafe fn block(
        rows: &mut [*const u8; 4],
        x: &mut *const i8,
        groups: *const ActGroup,
        acc: float32x4_t,
    ) -> float32x4_t {
        // SAFETY: the fields of the block, eight groups and their activations, by the caller's
        // promise.
        unsafe {
            let scales = six_bit_scales(rows);
            let acts = scales_of_four(groups);
            let acc = two_groups::<0, 0, 1>(rows, x, &scales, acts, acc);
            let acc = two_groups::<0, 2, 3>(rows, x, &scales, acts, acc);
            let acts = scales_of_four(groups.add(4));
            let acc = two_groups::<1, 0, 1>(rows, x, &scales, acts, acc);
            two_groups::<1, 2, 3>(rows, x, &scales, acts, acc)
        }
    }
}

/// Two groups of a block, whose levels share bytes: the low nibbles of 32, then the high ones.
/// They are groups `I` and `J` of its half `HALF`.
///
/// # Safety
/// 32 bytes must be readable in each row, and 64 activations.
#[inline(always)]
unsafe fn two_groups<const HALF: usize, const I: usize, const J: usize>(
    [a, b, c, d]: &mut [*const u8; 4],
    x: &mut *const i8,
    scales: &Scales,
    [d_x, dsum]: [float32x4_t; 2],
    acc: float32x4_t,
) -> float32x4_t {
    const BYTES: [[u8; 16]; 4] =
        [byte_of_words(0, 0), byte_of_words(1, 0), byte_of_words(2, 0), byte_of_words(3, 0)];
    let mut acc = acc;
    // SAFETY: the caller's promise, at any address; the tables have sixteen bytes. Only a set that
    // has the dot product instructions comes here.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            load_words!("0", "3"),
            load_words!("4", "7"),
            "ldp q9, q10, [{x}], #32",
            "movi v8.4s, #0",
            four_times!("and", "13" "14" "15" "16", "0" "1" "2" "3", "{mask:v}.16b"),
            dot16!("8", "13" "14" "15" "16", "9"),
            four_times!("and", "13" "14" "15" "16", "4" "5" "6" "7", "{mask:v}.16b"),
            dot16!("8", "13" "14" "15" "16", "10"),
            scale_and_add!("byte_i", "i"),
            "ldp q9, q10, [{x}], #32",
            "movi v8.4s, #0",
            four_times!("ushr", "0" "1" "2" "3", "0" "1" "2" "3", "#4"),
            dot16!("8", "0" "1" "2" "3", "9"),
            four_times!("ushr", "4" "5" "6" "7", "4" "5" "6" "7", "#4"),
            dot16!("8", "4" "5" "6" "7", "10"),
            scale_and_add!("byte_j", "j"),
            a = inout(reg) *a,
            b = inout(reg) *b,
            c = inout(reg) *c,
            d = inout(reg) *d,
            d_w = in(vreg) scales.d,
            x = inout(reg) *x,
            i = const I,
            j = const J,
            byte_i = in(vreg) vld1q_u8(BYTES[I].as_ptr()),
            byte_j = in(vreg) vld1q_u8(BYTES[J].as_ptr()),
            scales = in(vreg) scales.scales[HALF],
            mins = in(vreg) scales.mins[HALF],
            d_min = in(vreg) scales.d_min,
            d_x = in(vreg) d_x,
            dsum = in(vreg) dsum,
            mask = in(vreg) vdupq_n_u8(15),
            acc = inout(vreg) acc,
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
            out("v15") _,
            out("v16") _,
            options(readonly, nostack, preserves_flags),
        );
    }
    acc
}

pub(super) struct Q6K;

/// Adds the products of a run of each row with sixteen activations, at `$x` bytes, to a sum. A
/// level's lower four bits are the low or high ones, as `$nibble` with `$with` takes them, of
/// registers `$w`, its upper two the first ones of `v8` to `v11` after `$up`.
macro_rules! run_times {
    ($sum:literal, $nibble:literal $with:literal,
        $w0:literal $w1:literal $w2:literal $w3:literal, $up:literal, $x:literal) => {
        concat!(
            "ldr q16, [{x}, #",
            $x,
            "]\n",
            "movi {",
            $sum,
            ":v}.4s, #0\n",
            $nibble,
            " v12.16b, v",
            $w0,
            ".16b, ",
            $with,
            "\n",
            $nibble,
            " v13.16b, v",
            $w1,
            ".16b, ",
            $with,
            "\n",
            "shl v14.16b, v8.16b, #",
            $up,
            "\n",
            "shl v15.16b, v9.16b, #",
            $up,
            "\n",
            "sri v14.16b, v12.16b, #2\n",
            "sri v15.16b, v13.16b, #2\n",
            "sdot {",
            $sum,
            ":v}.4s, v14.16b, v16.4b[0]\n",
            "sdot {",
            $sum,
            ":v}.4s, v15.16b, v16.4b[1]\n",
            $nibble,
            " v12.16b, v",
            $w2,
            ".16b, ",
            $with,
            "\n",
            $nibble,
            " v13.16b, v",
            $w3,
            ".16b, ",
            $with,
            "\n",
            "shl v14.16b, v10.16b, #",
            $up,
            "\n",
            "shl v15.16b, v11.16b, #",
            $up,
            "\n",
            "sri v14.16b, v12.16b, #2\n",
            "sri v15.16b, v13.16b, #2\n",
            "sdot {",
            $sum,
            ":v}.4s, v14.16b, v16.4b[2]\n",
            "sdot {",
            $sum,
            ":v}.4s, v15.16b, v16.4b[3]",
        )
    };
}

/// Four times the integer sums of one run of each of a half block's four groups: the first or
/// second sixteen weights of each, as pointers say, which then move by `LAST` from the third place
/// that is read. The second place is 32 bytes from the first, the third `NEXT` from the second.
///
/// # Safety
/// Sixteen bytes must be readable in each row at the three places; activations `x` of four groups,
/// of each the sixteen that the run has.
#[inline(always)]
unsafe fn four_runs<const NEXT: isize, const LAST: isize>(
    [a, b, c, d]: &mut [*const u8; 4],
    x: *const i8,
) -> [int32x4_t; 4] {
    let (sum0, sum1, sum2, sum3);
    // SAFETY: the caller's promise, at any address. Only a set that has the dot product
    // instructions comes here.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            load_words_then!("0", "3", "{first}"),
            load_words_then!("4", "7", "{next}"),
            load_words_then!("8", "11", "{last}"),
            // The upper bit is the sign, once 32 is taken off.
            four_times!("eor", "8" "9" "10" "11", "8" "9" "10" "11", "{signs:v}.16b"),
            run_times!("sum0", "shl" "#4", "0" "1" "2" "3", "6", "0"),
            run_times!("sum1", "shl" "#4", "4" "5" "6" "7", "4", "32"),
            run_times!("sum2", "and" "{mask:v}.16b", "0" "1" "2" "3", "2", "64"),
            "ldr q16, [{x}, #96]",
            "movi {sum3:v}.4s, #0",
            four_times!("and", "4" "5" "6" "7", "4" "5" "6" "7", "{mask:v}.16b"),
            four_times!("sri", "8" "9" "10" "11", "4" "5" "6" "7", "#2"),
            "sdot {sum3:v}.4s, v8.16b, v16.4b[0]",
            "sdot {sum3:v}.4s, v9.16b, v16.4b[1]",
            "sdot {sum3:v}.4s, v10.16b, v16.4b[2]",
            "sdot {sum3:v}.4s, v11.16b, v16.4b[3]",
            a = inout(reg) *a,
            b = inout(reg) *b,
            c = inout(reg) *c,
            d = inout(reg) *d,
            x = in(reg) x,
            first = in(reg) 32isize,
            next = in(reg) NEXT,
            last = in(reg) LAST,
            signs = in(vreg) vdupq_n_u8(0xAA),
            mask = in(vreg) vdupq_n_u8(0xF0),
            sum0 = out(vreg) sum0,
            sum1 = out(vreg) sum1,
            sum2 = out(vreg) sum2,
            sum3 = out(vreg) sum3,
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
            out("v15") _,
            out("v16") _,
            options(readonly, nostack, preserves_flags),
        );
    }
    [sum0, sum1, sum2, sum3]
}

/// The scales of a block at these places: a byte for each run in each row's four words, and the
/// floats that all are multiplied with.
///
/// # Safety
/// Eighteen bytes must be readable in each row.
#[inline(always)]
unsafe fn run_scales(mut rows: [*const u8; 4]) -> ([uint8x16_t; 4], float32x4_t) {
    // SAFETY: passed on to the caller, at any address; NEON.
    unsafe {
        let scales = load16(&mut rows);
        let d = vld1_dup_u16(rows[0].cast());
        let d = vld1_lane_u16::<1>(rows[1].cast(), d);
        let d = vld1_lane_u16::<2>(rows[2].cast(), d);
        (scales, widen(vld1_lane_u16::<3>(rows[3].cast(), d)))
    }
}

/// Adds four times the sums of the two runs of group `G` of a half block to `acc`; `scales` are
/// words in which theirs are bytes `K` and `L`.
#[inline(always)]
fn scale_group<const G: i32, const K: usize, const L: usize>(
    sums: [int32x4_t; 2],
    scales: uint8x16_t,
    d: float32x4_t,
    d_x: float32x4_t,
    acc: float32x4_t,
) -> float32x4_t {
    // To the top of a word, whose lower bits the conversion takes for a fraction.
    let bytes = [const { byte_of_words(K as u8, 3) }, const { byte_of_words(L as u8, 3) }];
    let mut acc = acc;
    for (sum, bytes) in sums.into_iter().zip(&bytes) {
        // SAFETY: NEON is a feature of the target; the table has sixteen bytes.
        unsafe {
            let scale = vqtbl1q_u8(scales, vld1q_u8(bytes.as_ptr()));
            let scale = vcvtq_n_f32_s32::<24>(vreinterpretq_s32_u8(scale));
            let d = vmulq_laneq_f32::<G>(vmulq_f32(d, scale), d_x);
            acc = vfmaq_f32(acc, d, vcvtq_n_f32_s32::<2>(sum));
        }
    }
    acc
}

impl Streamed for Q6K {
    #[inline(always)]
    unsafe fn block(
        rows: &mut [*const u8; 4],
        x: &mut *const i8,
        groups: *const ActGroup,
        acc: float32x4_t,
    ) -> float32x4_t {
        let mut ends = *rows;
        for end in &mut ends {
            *end = end.wrapping_add(192);
        }
        let mut acc = acc;
        // SAFETY: the fields of the block, eight groups and their activations, by the caller's
        // promise: lower bits at 0, upper ones at 128, then scales, 210 bytes in all.
        unsafe {
            let (scales, d) = run_scales(ends);
            let [d_x, _] = scales_of_four(groups);
            let first = four_runs::<96, -112>(rows, *x);
            let second = four_runs::<96, -80>(rows, x.add(16));
            acc = scale_group::<0, 0, 1>([first[0], second[0]], scales[0], d, d_x, acc);
            acc = scale_group::<1, 2, 3>([first[1], second[1]], scales[0], d, d_x, acc);
            acc = scale_group::<2, 0, 1>([first[2], second[2]], scales[1], d, d_x, acc);
            acc = scale_group::<3, 2, 3>([first[3], second[3]], scales[1], d, d_x, acc);
            let [d_x, _] = scales_of_four(groups.add(4));
            let first = four_runs::<64, -80>(rows, x.add(128));
            let second = four_runs::<64, 34>(rows, x.add(144));
            acc = scale_group::<0, 0, 1>([first[0], second[0]], scales[2], d, d_x, acc);
            acc = scale_group::<1, 2, 3>([first[1], second[1]], scales[2], d, d_x, acc);
            acc = scale_group::<2, 0, 1>([first[2], second[2]], scales[3], d, d_x, acc);
            acc = scale_group::<3, 2, 3>([first[3], second[3]], scales[3], d, d_x, acc);
            *x = x.add(256);
        }
        acc
    }
}
