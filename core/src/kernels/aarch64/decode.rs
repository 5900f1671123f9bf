//! One token times rows of the plainest formats, which leave least work to hide waste behind.
//!
//! Four rows to a register of results, up to sixteen rows at once, so that what belongs to the
//! token is read once for them. A row is read in the order of memory, by instructions that deal
//! its bytes to lanes and step its pointer at the same time; nothing else computes addresses.

use core::arch::aarch64::*;
use core::arch::asm;

use super::decode_k::{self, Q4K, Q6K};
use crate::kernels::args::{ActGroup, MatmulRows};
use crate::kernels::lanes::Register;
use crate::quant::GgmlType;

/// How some groups of a format with one scale for 32 weights are multiplied, of rows that are read
/// by fours.
trait Streamed {
    /// Groups that are multiplied at once.
    const GROUPS: usize;
    /// Groups after which the sums must be begun anew.
    const RUN: usize;
    /// The groups' activations, as the weights need them.
    type Acts: Copy;
    /// Integer sums of four rows, carried from group to group.
    type Sums: Copy;
    /// No products at all.
    fn new() -> Self::Sums;
    /// # Safety
    /// `GROUPS` groups and their activations must be readable.
    unsafe fn acts(x: *const i8, groups: *const ActGroup) -> Self::Acts;
    /// `acc` with the products of the groups' blocks of four rows, whose pointers move on.
    ///
    /// # Safety
    /// The blocks must be readable at each.
    unsafe fn blocks(
        rows: &mut [*const u8; 4],
        acts: Self::Acts,
        sums: &mut Self::Sums,
        acc: float32x4_t,
    ) -> float32x4_t;

    /// Adds the products of a whole run to `acc`, if there is a faster way for as many rows; says
    /// whether it has. The pointers move on.
    ///
    /// # Safety
    /// The activations of the run must be readable at `x`, its blocks at each pointer.
    #[inline(always)]
    unsafe fn whole_run(
        _rows: &mut [*const u8],
        _x: &mut *const i8,
        _run: &[ActGroup],
        _acc: &mut [float32x4_t],
    ) -> bool {
        false
    }
}

/// Multiplies one token with the rows that fill registers, and returns how many rows those were;
/// `None` for formats that are not streamed.
///
/// # Safety
/// The CPU must have the dot product instructions; nobody else may access the outputs that `m`
/// names.
#[inline(always)]
pub(super) unsafe fn one_token(ty: GgmlType, m: &MatmulRows<'_>) -> Option<usize> {
    // SAFETY: passed on to the caller.
    unsafe {
        match ty {
            GgmlType::Q4_0 => Some(all_rows::<Q4_0By4, Q4_0>(m)),
            GgmlType::Q8_0 => Some(all_rows::<Q8_0, Q8_0>(m)),
            GgmlType::Q4_K => Some(decode_k::rows::<Q4K>(m)),
            GgmlType::Q6_K => Some(decode_k::rows::<Q6K>(m)),
            _ => None,
        }
    }
}

/// # Safety
/// As [`one_token`].
#[inline(always)]
unsafe fn all_rows<F: Streamed, G: Streamed<Sums = F::Sums>>(m: &MatmulRows<'_>) -> usize {
    // SAFETY: passed on to the caller.
    unsafe {
        let row = rows::<F, G, 4>(m, 0);
        rows::<F, G, 1>(m, row)
    }
}

/// Multiplies the rows from `row` on by `4·V`; returns the first that is left. Groups go through
/// `F`, and those that are too few for it through `G`.
///
/// # Safety
/// As [`one_token`].
#[inline(always)]
unsafe fn rows<F: Streamed, G: Streamed<Sums = F::Sums>, const V: usize>(
    m: &MatmulRows<'_>,
    mut row: usize,
) -> usize {
    let (qs, groups) = m.q8_row(0);
    let stride = m.row_bytes();
    let mut ptrs = [[m.rows().as_ptr().wrapping_add(row * stride); 4]; V];
    for (i, ptr) in ptrs.as_flattened_mut().iter_mut().enumerate() {
        *ptr = ptr.wrapping_add(i * stride);
    }
    while row + 4 * V <= m.n_rows() {
        let mut acc = [float32x4_t::splat(0.0); V];
        let mut x = qs.as_ptr();
        for run in groups.chunks(F::RUN) {
            // SAFETY: there are 32 activations for each group, and a block in each row.
            if unsafe { F::whole_run(ptrs.as_flattened_mut(), &mut x, run, &mut acc) } {
                continue;
            }
            let mut sums = [F::new(); V];
            let mut pairs = run.chunks_exact(2 * F::GROUPS);
            // SAFETY: there are 32 activations for each group, and a block in each row.
            unsafe {
                for pair in &mut pairs {
                    // What is written twice needs no copies of sums.
                    groups_times::<F, V>(&mut ptrs, &mut sums, &mut acc, &mut x, pair.as_ptr());
                    let second = pair.as_ptr().add(F::GROUPS);
                    groups_times::<F, V>(&mut ptrs, &mut sums, &mut acc, &mut x, second);
                }
                let mut rest = pairs.remainder().chunks_exact(F::GROUPS);
                for some in &mut rest {
                    groups_times::<F, V>(&mut ptrs, &mut sums, &mut acc, &mut x, some.as_ptr());
                }
                for group in rest.remainder() {
                    groups_times::<G, V>(&mut ptrs, &mut sums, &mut acc, &mut x, group);
                }
            }
        }
        for ptr in ptrs.as_flattened_mut() {
            *ptr = ptr.wrapping_add((4 * V - 1) * stride);
        }
        // SAFETY: no other part is alive; the slice has a place for every row.
        unsafe {
            if let Some(out) = m.out_row(0).get_mut(row..row + 4 * V) {
                for (out, acc) in out.as_chunks_mut::<4>().0.iter_mut().zip(acc) {
                    Register::store(Register::canonical(acc), out.as_mut_ptr());
                }
            }
        }
        row += 4 * V;
    }
    row
}

/// Multiplies some groups with `4·V` rows; all pointers move on.
///
/// # Safety
/// `F::GROUPS` groups and their activations must be readable, and as many blocks at each pointer.
#[inline(always)]
unsafe fn groups_times<F: Streamed, const V: usize>(
    rows: &mut [[*const u8; 4]; V],
    sums: &mut [F::Sums; V],
    acc: &mut [float32x4_t; V],
    x: &mut *const i8,
    groups: *const ActGroup,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        let acts = F::acts(*x, groups);
        *x = x.add(ActGroup::LEN * F::GROUPS);
        for ((rows, sums), acc) in rows.iter_mut().zip(sums).zip(acc) {
            *acc = F::blocks(rows, acts, sums, *acc);
        }
    }
}

struct Q4_0;

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

/// Four words of each row at pointers `a` to `d`, word `j` to the row's lane of register `j` of
/// four; then the pointers move by `$step`.
macro_rules! load_words_then {
    ($v0:literal, $v3:literal, $step:literal) => {
        concat!(
            "ld4r {{v",
            $v0,
            ".4s-v",
            $v3,
            ".4s}}, [{a}], ",
            $step,
            "\n",
            "ld4 {{v",
            $v0,
            ".s-v",
            $v3,
            ".s}}[1], [{b}], ",
            $step,
            "\n",
            "ld4 {{v",
            $v0,
            ".s-v",
            $v3,
            ".s}}[2], [{c}], ",
            $step,
            "\n",
            "ld4 {{v",
            $v0,
            ".s-v",
            $v3,
            ".s}}[3], [{d}], ",
            $step,
        )
    };
}
pub(super) use load_words_then;

/// As `load_words_then`, to the words that follow.
macro_rules! load_words {
    ($v0:literal, $v3:literal) => {
        $crate::kernels::aarch64::decode::load_words_then!($v0, $v3, "#16")
    };
}
pub(super) use load_words;

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
struct Q4_0By4;

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

/// A block of four rows, as in [`Q8_0::blocks`]: sums of all rows were in `$before` and go to
/// `$after`.
macro_rules! q8_0_block {
    ($v:literal, $a:literal $b:literal $c:literal $d:literal, $before:literal, $after:literal) => {
        concat!(
            "ld1r {{v4.4h}}, [{",
            $a,
            "}], #2\n",
            "ld4r {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{",
            $a,
            "}], #32\n",
            "ld1 {{v4.h}}[1], [{",
            $b,
            "}], #2\n",
            "ld4 {{v0.d, v1.d, v2.d, v3.d}}[1], [{",
            $b,
            "}], #32\n",
            "ld1 {{v4.h}}[2], [{",
            $c,
            "}], #2\n",
            "sdot {ab",
            $v,
            ":v}.4s, v0.16b, v6.16b\n",
            "sdot {ab",
            $v,
            ":v}.4s, v1.16b, v7.16b\n",
            "sdot {ab",
            $v,
            ":v}.4s, v2.16b, v8.16b\n",
            "sdot {ab",
            $v,
            ":v}.4s, v3.16b, v9.16b\n",
            "ld4r {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{",
            $c,
            "}], #32\n",
            "ld1 {{v4.h}}[3], [{",
            $d,
            "}], #2\n",
            "ld4 {{v0.d, v1.d, v2.d, v3.d}}[1], [{",
            $d,
            "}], #32\n",
            "fcvtl v4.4s, v4.4h\n",
            "sdot {cd",
            $v,
            ":v}.4s, v0.16b, v6.16b\n",
            "sdot {cd",
            $v,
            ":v}.4s, v1.16b, v7.16b\n",
            "sdot {cd",
            $v,
            ":v}.4s, v2.16b, v8.16b\n",
            "sdot {cd",
            $v,
            ":v}.4s, v3.16b, v9.16b\n",
            "fmul v4.4s, v4.4s, v5.s[0]\n",
            "addp {",
            $after,
            $v,
            ":v}.4s, {ab",
            $v,
            ":v}.4s, {cd",
            $v,
            ":v}.4s\n",
            "fsub {",
            $before,
            $v,
            ":v}.4s, {",
            $after,
            $v,
            ":v}.4s, {",
            $before,
            $v,
            ":v}.4s\n",
            "fmla {acc",
            $v,
            ":v}.4s, v4.4s, {",
            $before,
            $v,
            ":v}.4s",
        )
    };
}

struct Q8_0;

/// 1.5 · 2^23.
const MIDDLE: f32 = 12_582_912.0;

impl Streamed for Q8_0 {
    const GROUPS: usize = 1;
    /// |Σ| ≤ 8 · 32 · 128 · 127 < 2^22.
    const RUN: usize = 8;
    /// Eight in each register, twice, and the scale.
    type Acts = ([int8x16_t; 4], f32);
    /// The sums of two rows in either register, two lanes for each, and of all four rows. They
    /// run on over the blocks, and their bits are those of floats between 2^23 and 2^24, whose
    /// differences are exact: that is what a block adds, as a float already, and nothing has to be
    /// set to zero or converted.
    type Sums = ([int32x4_t; 2], float32x4_t);

    #[inline(always)]
    fn new() -> Self::Sums {
        const LANES: [u32; 4] = [MIDDLE.to_bits(), 0, MIDDLE.to_bits(), 0];
        // SAFETY: NEON is a feature of the target; four words are readable.
        unsafe {
            let lanes = vreinterpretq_s32_u32(vld1q_u32(LANES.as_ptr()));
            ([lanes; 2], vdupq_n_f32(MIDDLE))
        }
    }

    #[inline(always)]
    unsafe fn acts(x: *const i8, group: *const ActGroup) -> Self::Acts {
        // SAFETY: 32 activations, at any address, and a group, by the caller's promise; NEON.
        unsafe {
            let x = vld4q_dup_s64(x.cast());
            let bytes = vreinterpretq_s8_s64;
            ([bytes(x.0), bytes(x.1), bytes(x.2), bytes(x.3)], (*group).d)
        }
    }

    #[inline(always)]
    unsafe fn blocks(
        rows: &mut [*const u8; 4],
        (x, d_x): Self::Acts,
        sums: &mut Self::Sums,
        acc: float32x4_t,
    ) -> float32x4_t {
        let [a, b, c, d] = rows;
        let ([ab, cd], all) = sums;
        let before = *all;
        let mut acc = acc;
        // SAFETY: 34 bytes are read in each row, by the caller's promise, at any address. Eight
        // bytes of a row go to its half of a register. Only a set that has the dot product
        // instructions comes here.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "ld1r {{{scales:v}.4h}}, [{a}], #2",
                "ld4r {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{a}], #32",
                "ld1 {{{scales:v}.h}}[1], [{b}], #2",
                "ld4 {{v0.d, v1.d, v2.d, v3.d}}[1], [{b}], #32",
                "ld1 {{{scales:v}.h}}[2], [{c}], #2",
                "sdot {ab:v}.4s, v0.16b, {x0:v}.16b",
                "sdot {ab:v}.4s, v1.16b, {x1:v}.16b",
                "sdot {ab:v}.4s, v2.16b, {x2:v}.16b",
                "sdot {ab:v}.4s, v3.16b, {x3:v}.16b",
                "ld4r {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{c}], #32",
                "ld1 {{{scales:v}.h}}[3], [{d}], #2",
                "ld4 {{v0.d, v1.d, v2.d, v3.d}}[1], [{d}], #32",
                "fcvtl {scales:v}.4s, {scales:v}.4h",
                "sdot {cd:v}.4s, v0.16b, {x0:v}.16b",
                "sdot {cd:v}.4s, v1.16b, {x1:v}.16b",
                "sdot {cd:v}.4s, v2.16b, {x2:v}.16b",
                "sdot {cd:v}.4s, v3.16b, {x3:v}.16b",
                "fmul {scales:v}.4s, {scales:v}.4s, {d_x:v}.s[0]",
                "addp {all:v}.4s, {ab:v}.4s, {cd:v}.4s",
                "fsub {before:v}.4s, {all:v}.4s, {before:v}.4s",
                "fmla {acc:v}.4s, {scales:v}.4s, {before:v}.4s",
                a = inout(reg) *a,
                b = inout(reg) *b,
                c = inout(reg) *c,
                d = inout(reg) *d,
                scales = out(vreg) _,
                ab = inout(vreg) *ab,
                cd = inout(vreg) *cd,
                before = inout(vreg) before => _,
                all = out(vreg) *all,
                acc = inout(vreg) acc,
                d_x = in(vreg) d_x,
                x0 = in(vreg) x[0],
                x1 = in(vreg) x[1],
                x2 = in(vreg) x[2],
                x3 = in(vreg) x[3],
                out("v0") _,
                out("v1") _,
                out("v2") _,
                out("v3") _,
                options(readonly, nostack, preserves_flags),
            );
        }
        acc
    }

    /// Sixteen rows and an even number of groups: where compilers allocate registers, they move
    /// what need not be moved.
    #[inline(always)]
    unsafe fn whole_run(
        rows: &mut [*const u8],
        x: &mut *const i8,
        run: &[ActGroup],
        acc: &mut [float32x4_t],
    ) -> bool {
        let [p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15] = rows else {
            return false;
        };
        let [acc0, acc1, acc2, acc3] = acc else { return false };
        if run.is_empty() || run.len() % 2 != 0 {
            return false;
        }
        let ([lanes, _], none) = Self::new();
        // SAFETY: the caller's promise, at any address. Only a set that has the dot product
        // instructions comes here.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "2:",
                "ld4r {{v6.2d, v7.2d, v8.2d, v9.2d}}, [{x}], #32",
                "ldr s5, [{group}], #12",
                q8_0_block!("0", "p0" "p1" "p2" "p3", "one", "two"),
                q8_0_block!("1", "p4" "p5" "p6" "p7", "one", "two"),
                q8_0_block!("2", "p8" "p9" "p10" "p11", "one", "two"),
                q8_0_block!("3", "p12" "p13" "p14" "p15", "one", "two"),
                "ld4r {{v6.2d, v7.2d, v8.2d, v9.2d}}, [{x}], #32",
                "ldr s5, [{group}], #12",
                q8_0_block!("0", "p0" "p1" "p2" "p3", "two", "one"),
                q8_0_block!("1", "p4" "p5" "p6" "p7", "two", "one"),
                q8_0_block!("2", "p8" "p9" "p10" "p11", "two", "one"),
                q8_0_block!("3", "p12" "p13" "p14" "p15", "two", "one"),
                "subs {pairs}, {pairs}, #1",
                "b.ne 2b",
                p0 = inout(reg) *p0,
                p1 = inout(reg) *p1,
                p2 = inout(reg) *p2,
                p3 = inout(reg) *p3,
                p4 = inout(reg) *p4,
                p5 = inout(reg) *p5,
                p6 = inout(reg) *p6,
                p7 = inout(reg) *p7,
                p8 = inout(reg) *p8,
                p9 = inout(reg) *p9,
                p10 = inout(reg) *p10,
                p11 = inout(reg) *p11,
                p12 = inout(reg) *p12,
                p13 = inout(reg) *p13,
                p14 = inout(reg) *p14,
                p15 = inout(reg) *p15,
                x = inout(reg) *x,
                group = inout(reg) run.as_ptr() => _,
                pairs = inout(reg) run.len() / 2 => _,
                ab0 = inout(vreg) lanes => _,
                cd0 = inout(vreg) lanes => _,
                one0 = inout(vreg) none => _,
                two0 = out(vreg) _,
                acc0 = inout(vreg) *acc0,
                ab1 = inout(vreg) lanes => _,
                cd1 = inout(vreg) lanes => _,
                one1 = inout(vreg) none => _,
                two1 = out(vreg) _,
                acc1 = inout(vreg) *acc1,
                ab2 = inout(vreg) lanes => _,
                cd2 = inout(vreg) lanes => _,
                one2 = inout(vreg) none => _,
                two2 = out(vreg) _,
                acc2 = inout(vreg) *acc2,
                ab3 = inout(vreg) lanes => _,
                cd3 = inout(vreg) lanes => _,
                one3 = inout(vreg) none => _,
                two3 = out(vreg) _,
                acc3 = inout(vreg) *acc3,
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
                options(readonly, nostack),
            );
        }
        true
    }
}
