//! [`Streamed`] products of `Q8_0`.

use core::arch::aarch64::*;
use core::arch::asm;

use super::decode::Streamed;
use crate::kernels::args::ActGroup;

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
