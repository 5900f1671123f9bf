//! [`Streamed`] products of `Q8_0`.

use core::arch::aarch64::*;
use core::arch::asm;

use super::decode::Streamed;
use crate::kernels::args::{ActGroup, MatmulRows};
use crate::kernels::lanes::Register;

pub(super) struct Q8_0;

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
}

/// A block of four rows, as in [`Q8_0::blocks`]: sums of all rows were in `$before` and go to
/// `$after`. One pointer goes from row to row, and back to the first one's next block. `$k` numbers
/// the group among those whose scales are loaded.
macro_rules! block {
    ($v:literal, $k:literal, $before:literal, $after:literal) => {
        concat!(
            "ld1r {{v4.4h}}, [{p",
            $v,
            "}], #2\n",
            "ld4r {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{p",
            $v,
            "}], {to_next}\n",
            "ld1 {{v4.h}}[1], [{p",
            $v,
            "}], #2\n",
            "ld4 {{v0.d, v1.d, v2.d, v3.d}}[1], [{p",
            $v,
            "}], {to_next}\n",
            "ld1 {{v4.h}}[2], [{p",
            $v,
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
            "ld4r {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{p",
            $v,
            "}], {to_next}\n",
            "ld1 {{v4.h}}[3], [{p",
            $v,
            "}], #2\n",
            "ld4 {{v0.d, v1.d, v2.d, v3.d}}[1], [{p",
            $v,
            "}], {to_first}\n",
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
            "fmul v4.4s, v4.4s, v5.s[",
            $k,
            "]\n",
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

/// A group's activations, and its blocks of sixteen rows.
macro_rules! group {
    ($k:literal, $before:literal, $after:literal) => {
        concat!(
            "ld4r {{v6.2d, v7.2d, v8.2d, v9.2d}}, [{x}], #32\n",
            block!("0", $k, $before, $after),
            "\n",
            block!("1", $k, $before, $after),
            "\n",
            block!("2", $k, $before, $after),
            "\n",
            block!("3", $k, $before, $after),
        )
    };
}

/// Begins sums of four rows anew.
macro_rules! begin {
    ($v:literal) => {
        concat!(
            "mov {ab",
            $v,
            ":v}.16b, {lanes:v}.16b\n",
            "mov {cd",
            $v,
            ":v}.16b, {lanes:v}.16b\n",
            "mov {one",
            $v,
            ":v}.16b, {none:v}.16b",
        )
    };
}

/// Multiplies rows by sixteen, if groups are even in number; returns the first row that is left.
///
/// All is one piece: where compilers allocate registers, they move what need not be moved.
///
/// # Safety
/// As [`super::decode::one_token`].
#[inline(always)]
pub(super) unsafe fn sixteen_rows(m: &MatmulRows<'_>) -> usize {
    let (qs, groups) = m.q8_row(0);
    let stride = m.row_bytes();
    if m.n_places() == 0 || groups.is_empty() || groups.len() % 2 != 0 {
        return 0;
    }
    let (out, _) = m.places();
    let ([lanes, _], none) = Q8_0::new();
    let first = m.rows().as_ptr();
    let (mut p0, mut p1) = (first, first.wrapping_add(4 * stride));
    let (mut p2, mut p3) = (p0.wrapping_add(8 * stride), p1.wrapping_add(8 * stride));
    let mut row = 0;
    while row + 16 <= m.n_rows() {
        let mut acc = [float32x4_t::splat(0.0); 4];
        let [acc0, acc1, acc2, acc3] = &mut acc;
        // SAFETY: sixteen rows are read, of which each has a block for each group; 32 activations
        // for each group. Only a set that has the dot product instructions comes here.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "cbz {left}, 4f",
                // A run of eight groups, or four.
                "2:",
                begin!("0"),
                begin!("1"),
                begin!("2"),
                begin!("3"),
                "mov {n}, #2",
                "cmp {left}, #2",
                "csel {n}, {left}, {n}, lo",
                "sub {left}, {left}, {n}",
                "3:",
                "ld3 {{v5.4s, v6.4s, v7.4s}}, [{group}], #48",
                group!("0", "one", "two"),
                group!("1", "two", "one"),
                group!("2", "one", "two"),
                group!("3", "two", "one"),
                "subs {n}, {n}, #1",
                "b.ne 3b",
                "cbnz {left}, 2b",
                // Two groups that are left.
                "4:",
                "cbz {two}, 5f",
                begin!("0"),
                begin!("1"),
                begin!("2"),
                begin!("3"),
                "ldr s5, [{group}], #12",
                group!("0", "one", "two"),
                "ldr s5, [{group}]",
                group!("0", "two", "one"),
                "5:",
                p0 = inout(reg) p0,
                p1 = inout(reg) p1,
                p2 = inout(reg) p2,
                p3 = inout(reg) p3,
                to_next = in(reg) stride.wrapping_sub(2),
                to_first = in(reg) 32usize.wrapping_sub(3 * stride),
                x = inout(reg) qs.as_ptr() => _,
                group = inout(reg) groups.as_ptr() => _,
                left = inout(reg) groups.len() / 4 => _,
                two = in(reg) groups.len() % 4,
                n = out(reg) _,
                lanes = in(vreg) lanes,
                none = in(vreg) none,
                ab0 = out(vreg) _,
                cd0 = out(vreg) _,
                one0 = out(vreg) _,
                two0 = out(vreg) _,
                acc0 = inout(vreg) *acc0,
                ab1 = out(vreg) _,
                cd1 = out(vreg) _,
                one1 = out(vreg) _,
                two1 = out(vreg) _,
                acc1 = inout(vreg) *acc1,
                ab2 = out(vreg) _,
                cd2 = out(vreg) _,
                one2 = out(vreg) _,
                two2 = out(vreg) _,
                acc2 = inout(vreg) *acc2,
                ab3 = out(vreg) _,
                cd3 = out(vreg) _,
                one3 = out(vreg) _,
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
        for (v, &acc) in acc.iter().enumerate() {
            // SAFETY: the token has a place for every row's result, which nobody else accesses.
            unsafe { Register::store(Register::canonical(acc), out.add(row + 4 * v)) };
        }
        for p in [&mut p0, &mut p1, &mut p2, &mut p3] {
            *p = p.wrapping_add(15 * stride);
        }
        row += 16;
    }
    row
}
