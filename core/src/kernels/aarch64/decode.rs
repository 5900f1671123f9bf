//! One token times rows of the plainest formats, which leave least work to hide waste behind.
//!
//! Four rows to a register of results, up to sixteen rows at once, so that what belongs to the
//! token is read once for them. A row is read in the order of memory, by instructions that deal
//! its bytes to lanes and step its pointer at the same time; nothing else computes addresses.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::kernels::args::{ActGroup, MatmulRows};
use crate::kernels::lanes::Register;
use crate::quant::GgmlType;

/// A format with one scale for 32 weights, of rows that are read by fours.
trait Streamed {
    /// Blocks after which the sums must be begun anew.
    const RUN: usize;
    /// A group's activations, as the weights need them.
    type Acts: Copy;
    /// Integer sums of four rows, carried from block to block.
    type Sums: Copy;
    /// No products at all.
    fn new() -> Self::Sums;
    /// # Safety
    /// 32 activations must be readable at `x`.
    unsafe fn acts(x: *const i8, group: &ActGroup) -> Self::Acts;
    /// `acc` with the products of a block of four rows, whose pointers move on to the next.
    ///
    /// # Safety
    /// A block must be readable at each.
    unsafe fn block(
        rows: &mut [*const u8; 4],
        x: Self::Acts,
        d_x: f32,
        sums: &mut Self::Sums,
        acc: float32x4_t,
    ) -> float32x4_t;
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
            GgmlType::Q4_0 => Some(all_rows::<Q4_0>(m)),
            GgmlType::Q8_0 => Some(all_rows::<Q8_0>(m)),
            _ => None,
        }
    }
}

/// # Safety
/// As [`one_token`].
#[inline(always)]
unsafe fn all_rows<F: Streamed>(m: &MatmulRows<'_>) -> usize {
    // SAFETY: passed on to the caller.
    unsafe {
        let row = rows::<F, 4>(m, 0);
        rows::<F, 1>(m, row)
    }
}

/// Multiplies the rows from `row` on by `4·V`; returns the first that is left.
///
/// # Safety
/// As [`one_token`].
#[inline(always)]
unsafe fn rows<F: Streamed, const V: usize>(m: &MatmulRows<'_>, mut row: usize) -> usize {
    let (qs, groups) = m.q8_row(0);
    let stride = m.row_bytes();
    while row + 4 * V <= m.n_rows() {
        let mut ptrs = [[m.rows().as_ptr(); 4]; V];
        let mut offset = row * stride;
        for ptr in ptrs.as_flattened_mut() {
            // SAFETY: the row exists.
            *ptr = unsafe { ptr.add(offset) };
            offset += stride;
        }
        let mut acc = [float32x4_t::splat(0.0); V];
        let mut x = qs.as_ptr();
        for run in groups.chunks(F::RUN) {
            let mut sums = [F::new(); V];
            let (pairs, last) = run.as_chunks::<2>();
            // SAFETY: there are 32 activations for each group, and a block in each row.
            unsafe {
                for pair in pairs {
                    for group in pair {
                        group_times::<F, V>(&mut ptrs, &mut sums, &mut acc, x, group);
                        x = x.add(ActGroup::LEN);
                    }
                }
                for group in last {
                    group_times::<F, V>(&mut ptrs, &mut sums, &mut acc, x, group);
                    x = x.add(ActGroup::LEN);
                }
            }
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

/// Multiplies one group with `4·V` rows, whose pointers move on.
///
/// # Safety
/// The group's activations must be readable at `x`, and a block at each pointer.
#[inline(always)]
unsafe fn group_times<F: Streamed, const V: usize>(
    rows: &mut [[*const u8; 4]; V],
    sums: &mut [F::Sums; V],
    acc: &mut [float32x4_t; V],
    x: *const i8,
    group: &ActGroup,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        let acts = F::acts(x, group);
        for ((rows, sums), acc) in rows.iter_mut().zip(sums).zip(acc) {
            *acc = F::block(rows, acts, group.d, sums, *acc);
        }
    }
}

struct Q4_0;

impl Streamed for Q4_0 {
    const RUN: usize = usize::MAX;
    /// Two registers of them, and what sums begin with: minus the eight that nibbles are too
    /// large by.
    type Acts = ([int8x16_t; 2], int32x4_t);
    type Sums = ();

    #[inline(always)]
    fn new() {}

    #[inline(always)]
    unsafe fn acts(x: *const i8, group: &ActGroup) -> Self::Acts {
        // SAFETY: 32 activations, by the caller's promise; the group's two sums; NEON. Eight times
        // a sum of sixteen fits 16 bits.
        unsafe {
            let sums = vreinterpretq_s16_s32(vld1q_dup_s32(group.sums.as_ptr().cast()));
            let start = vpaddlq_s16(vmulq_n_s16(sums, -8));
            ([vld1q_s8(x), vld1q_s8(x.add(16))], start)
        }
    }

    #[inline(always)]
    unsafe fn block(
        rows: &mut [*const u8; 4],
        (x, start): Self::Acts,
        d_x: f32,
        _: &mut (),
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

struct Q8_0;

/// 1.5 · 2^23.
const MIDDLE: f32 = 12_582_912.0;

impl Streamed for Q8_0 {
    /// |Σ| ≤ 8 · 32 · 128 · 127 < 2^22.
    const RUN: usize = 8;
    /// Eight in each register, twice.
    type Acts = [int8x16_t; 4];
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
    unsafe fn acts(x: *const i8, _: &ActGroup) -> [int8x16_t; 4] {
        // SAFETY: 32 activations, by the caller's promise, at any address; NEON.
        unsafe {
            let x = vld4q_dup_s64(x.cast());
            let bytes = vreinterpretq_s8_s64;
            [bytes(x.0), bytes(x.1), bytes(x.2), bytes(x.3)]
        }
    }

    #[inline(always)]
    unsafe fn block(
        rows: &mut [*const u8; 4],
        x: [int8x16_t; 4],
        d_x: f32,
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
