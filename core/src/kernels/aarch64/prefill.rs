//! Several tokens times rows, with the dot product instructions: eight rows and four tokens at once.
//!
//! As [`crate::kernels::rows::tile`], but for the tile: registers that are needed together lie
//! side by side, so that one instruction loads two, and pointers move as they are used.

use core::arch::aarch64::*;
use core::arch::asm;

use super::bytes::{Sdot, sdot_by_lane};
use super::rows::Rows;
use crate::kernels::args::{ActGroup, MatmulRows};
use crate::kernels::lanes::Register;
use crate::kernels::rows::{At, Format, Group, Kind, RowSimd, Sink, dsum};

/// Groups of 32 columns in a tile: 18 KiB.
const TILE_GROUPS: usize = 48;
/// Registers of rows.
const H: usize = 2;

/// Unpacked weights of a group.
#[derive(Clone, Copy)]
#[repr(C)]
struct TileGroup {
    q: [[int8x16_t; H]; 8],
    /// Scales of its runs.
    d: [[float32x4_t; H]; 2],
    /// Their minimums.
    m: [[float32x4_t; H]; 2],
}

type Tile = [TileGroup; TILE_GROUPS];

/// Puts what is unpacked into half of a tile's registers.
struct Fill<'t> {
    tile: &'t mut Tile,
    h: usize,
    /// What is taken off every weight.
    excess: i32,
}

impl Sink<Rows<Sdot>> for Fill<'_> {
    #[inline(always)]
    unsafe fn take(&mut self, g: usize, group: &Group<Rows<Sdot>>) {
        let Some(to) = self.tile.get_mut(g) else { return };
        let h = self.h % H;
        // SAFETY: NEON is a feature of the target.
        let excess = unsafe { vdupq_n_s8(self.excess as i8) };
        for (q, &w) in to.q.iter_mut().zip(group.q.as_flattened()) {
            // SAFETY: as above.
            q[h] = if self.excess == 0 { w } else { unsafe { vsubq_s8(w, excess) } };
        }
        for run in 0..2 {
            to.d[run][h] = group.d[run];
            to.m[run][h] = group.m[run];
        }
    }
}

/// Unpacks `n_blocks` blocks of four rows.
///
/// # Safety
/// They must be readable from `at` on.
#[inline(never)]
unsafe fn fill<F: Format>(s: Rows<Sdot>, at: At, n_blocks: usize, h: usize, tile: &mut Tile) {
    let excess = if F::Kind::SIGNED { 0 } else { F::EXCESS };
    let mut sink = Fill { tile, h, excess };
    for b in 0..n_blocks {
        // SAFETY: the block is readable, by the caller's promise.
        unsafe { F::unpack(s, at.add(b * F::BYTES), b * F::GROUPS, &mut sink) };
    }
}

/// Multiplies all tokens with the rows that fill tiles; returns how many rows those were.
///
/// # Safety
/// The CPU must have the dot product instructions; nobody else may access the outputs that `m`
/// names.
#[inline(always)]
pub(super) unsafe fn rows<F: Format>(s: Rows<Sdot>, m: &MatmulRows<'_>) -> usize {
    const ROWS: usize = 4 * H;
    let (stride, n_groups, n_tokens) = (m.row_bytes(), m.n_cols() / ActGroup::LEN, m.n_places());
    let (qs, groups) = m.q8();
    let (out, out_stride) = m.places();
    let zero = float32x4_t::splat(0.0);
    let empty = TileGroup { q: [[s.zeros(); H]; 8], d: [[zero; H]; 2], m: [[zero; H]; 2] };
    let mut tile = [empty; TILE_GROUPS];
    let mut row = 0;
    while row + ROWS <= m.n_rows() {
        let mut first = 0;
        while first < n_groups {
            let n = TILE_GROUPS.min(n_groups - first);
            for h in 0..H {
                // SAFETY: the rows exist, and so do their blocks that the tile's groups are in: a
                // tile begins with a block, and holds whole ones.
                unsafe {
                    let ptr = m.rows().as_ptr().add((row + 4 * h) * stride);
                    let at = At { ptr: ptr.add(first / F::GROUPS * F::BYTES), stride };
                    fill::<F>(s, at, n / F::GROUPS, h, &mut tile);
                }
            }
            let span = Span {
                qs: qs.as_ptr().wrapping_add(ActGroup::LEN * first),
                groups: groups.as_ptr().wrapping_add(first),
                token_groups: n_groups,
                out: out.wrapping_add(row),
                out_stride,
                begins: first == 0,
                ends: first + n == n_groups,
            };
            // SAFETY: the tokens have activations and a place for their results; the span's groups
            // are both theirs and the tile's.
            unsafe {
                let t = tokens::<F::Kind, 4>(&tile[..n], &span, 0, n_tokens);
                tokens::<F::Kind, 1>(&tile[..n], &span, t, n_tokens);
            }
            first += n;
        }
        row += ROWS;
    }
    row
}

/// The part of the dot products that a tile is for.
struct Span {
    /// Token 0's first activations.
    qs: *const i8,
    /// What is kept beside them.
    groups: *const ActGroup,
    /// Groups from a token to the next.
    token_groups: usize,
    /// Where token 0's results go.
    out: *mut f32,
    /// Elements from there to the next token's.
    out_stride: usize,
    /// Whether the dot products begin here; otherwise the output has their sums so far.
    begins: bool,
    /// Whether they end here.
    ends: bool,
}

/// Multiplies tokens from `t` on, `N` at a time, with a tile; returns the first that is left.
///
/// # Safety
/// The span's pointers must be good for tokens up to `end`, for the tile's groups of activations
/// and for a result of each row, and nobody else may access these results.
#[inline(never)]
unsafe fn tokens<K: Kind, const N: usize>(
    tile: &[TileGroup],
    span: &Span,
    mut t: usize,
    end: usize,
) -> usize {
    while t + N <= end {
        let mut acc = [[float32x4_t::splat(0.0); H]; N];
        let mut x = [span.qs; N];
        let mut groups = [span.groups; N];
        let mut out = [span.out; N];
        for i in 0..N {
            let first = (t + i) * span.token_groups;
            // SAFETY: the token's, by the caller's promise.
            unsafe {
                (x[i], groups[i]) = (x[i].add(ActGroup::LEN * first), groups[i].add(first));
                out[i] = out[i].add((t + i) * span.out_stride);
            }
        }
        if !span.begins {
            for (acc, out) in acc.iter_mut().zip(out) {
                for (h, acc) in acc.iter_mut().enumerate() {
                    // SAFETY: the rows' results, by the caller's promise.
                    *acc = unsafe { Register::load(out.add(4 * h)) };
                }
            }
        }
        for group in tile {
            for run in 0..K::RUNS {
                // SAFETY: the tokens have the group, by the caller's promise.
                let sums = unsafe {
                    match K::RUNS {
                        1 => dot32(&group.q, &mut x),
                        _ => dot16(&group.q[4 * run..4 * run + 4], &mut x),
                    }
                };
                for i in 0..N {
                    // SAFETY: as above.
                    let act = unsafe { &*groups[i] };
                    for h in 0..H {
                        // SAFETY: NEON is a feature of the target.
                        unsafe {
                            let d = vmulq_n_f32(group.d[run][h], act.d);
                            acc[i][h] = vfmaq_f32(acc[i][h], d, vcvtq_f32_s32(sums[i][h]));
                        }
                    }
                    if K::HAS_MIN {
                        let dsum = dsum::<K>(act, run);
                        for (acc, &m) in acc[i].iter_mut().zip(&group.m[run]) {
                            // SAFETY: NEON is a feature of the target.
                            *acc = unsafe { vfmaq_n_f32(*acc, m, dsum) };
                        }
                    }
                }
            }
            for group in &mut groups {
                // SAFETY: at most the end of the token's groups.
                *group = unsafe { group.add(1) };
            }
        }
        for (acc, out) in acc.iter().zip(out) {
            for (h, &acc) in acc.iter().enumerate() {
                let acc = if span.ends { Register::canonical(acc) } else { acc };
                // SAFETY: the rows' results, by the caller's promise.
                unsafe { Register::store(acc, out.add(4 * h)) };
            }
        }
        t += N;
    }
    t
}

/// Products of a group's weights with the 32 activations at each of `x`, which move on.
///
/// # Safety
/// The activations must be readable.
#[inline(always)]
unsafe fn dot32<const N: usize>(
    w: &[[int8x16_t; H]; 8],
    x: &mut [*const i8; N],
) -> [[int32x4_t; H]; N] {
    // SAFETY: NEON is a feature of the target.
    let mut sums = [[unsafe { vdupq_n_s32(0) }; H]; N];
    let (sums_of, xs) = (sums.as_flattened_mut(), x.as_mut_slice());
    if let ([s00, s01, s10, s11, s20, s21, s30, s31], [x0, x1, x2, x3]) = (sums_of, xs) {
        // SAFETY: the caller's promise, at any address, and the group. Only a set that has the dot product instructions comes here.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "ldp q0, q1, [{x0}], #32",
                "ldp q2, q3, [{x1}], #32",
                "ldp q4, q5, [{x2}], #32",
                "ldp q6, q7, [{x3}], #32",
                "movi {s00:v}.4s, #0",
                "movi {s01:v}.4s, #0",
                "movi {s10:v}.4s, #0",
                "movi {s11:v}.4s, #0",
                "movi {s20:v}.4s, #0",
                "movi {s21:v}.4s, #0",
                "movi {s30:v}.4s, #0",
                "movi {s31:v}.4s, #0",
                "ldp q8, q9, [{w}, #0]",
                "sdot {s00:v}.4s, v8.16b, v0.4b[0]",
                "sdot {s01:v}.4s, v9.16b, v0.4b[0]",
                "sdot {s10:v}.4s, v8.16b, v2.4b[0]",
                "sdot {s11:v}.4s, v9.16b, v2.4b[0]",
                "sdot {s20:v}.4s, v8.16b, v4.4b[0]",
                "sdot {s21:v}.4s, v9.16b, v4.4b[0]",
                "sdot {s30:v}.4s, v8.16b, v6.4b[0]",
                "sdot {s31:v}.4s, v9.16b, v6.4b[0]",
                "ldp q10, q11, [{w}, #32]",
                "sdot {s00:v}.4s, v10.16b, v0.4b[1]",
                "sdot {s01:v}.4s, v11.16b, v0.4b[1]",
                "sdot {s10:v}.4s, v10.16b, v2.4b[1]",
                "sdot {s11:v}.4s, v11.16b, v2.4b[1]",
                "sdot {s20:v}.4s, v10.16b, v4.4b[1]",
                "sdot {s21:v}.4s, v11.16b, v4.4b[1]",
                "sdot {s30:v}.4s, v10.16b, v6.4b[1]",
                "sdot {s31:v}.4s, v11.16b, v6.4b[1]",
                "ldp q8, q9, [{w}, #64]",
                "sdot {s00:v}.4s, v8.16b, v0.4b[2]",
                "sdot {s01:v}.4s, v9.16b, v0.4b[2]",
                "sdot {s10:v}.4s, v8.16b, v2.4b[2]",
                "sdot {s11:v}.4s, v9.16b, v2.4b[2]",
                "sdot {s20:v}.4s, v8.16b, v4.4b[2]",
                "sdot {s21:v}.4s, v9.16b, v4.4b[2]",
                "sdot {s30:v}.4s, v8.16b, v6.4b[2]",
                "sdot {s31:v}.4s, v9.16b, v6.4b[2]",
                "ldp q10, q11, [{w}, #96]",
                "sdot {s00:v}.4s, v10.16b, v0.4b[3]",
                "sdot {s01:v}.4s, v11.16b, v0.4b[3]",
                "sdot {s10:v}.4s, v10.16b, v2.4b[3]",
                "sdot {s11:v}.4s, v11.16b, v2.4b[3]",
                "sdot {s20:v}.4s, v10.16b, v4.4b[3]",
                "sdot {s21:v}.4s, v11.16b, v4.4b[3]",
                "sdot {s30:v}.4s, v10.16b, v6.4b[3]",
                "sdot {s31:v}.4s, v11.16b, v6.4b[3]",
                "ldp q8, q9, [{w}, #128]",
                "sdot {s00:v}.4s, v8.16b, v1.4b[0]",
                "sdot {s01:v}.4s, v9.16b, v1.4b[0]",
                "sdot {s10:v}.4s, v8.16b, v3.4b[0]",
                "sdot {s11:v}.4s, v9.16b, v3.4b[0]",
                "sdot {s20:v}.4s, v8.16b, v5.4b[0]",
                "sdot {s21:v}.4s, v9.16b, v5.4b[0]",
                "sdot {s30:v}.4s, v8.16b, v7.4b[0]",
                "sdot {s31:v}.4s, v9.16b, v7.4b[0]",
                "ldp q10, q11, [{w}, #160]",
                "sdot {s00:v}.4s, v10.16b, v1.4b[1]",
                "sdot {s01:v}.4s, v11.16b, v1.4b[1]",
                "sdot {s10:v}.4s, v10.16b, v3.4b[1]",
                "sdot {s11:v}.4s, v11.16b, v3.4b[1]",
                "sdot {s20:v}.4s, v10.16b, v5.4b[1]",
                "sdot {s21:v}.4s, v11.16b, v5.4b[1]",
                "sdot {s30:v}.4s, v10.16b, v7.4b[1]",
                "sdot {s31:v}.4s, v11.16b, v7.4b[1]",
                "ldp q8, q9, [{w}, #192]",
                "sdot {s00:v}.4s, v8.16b, v1.4b[2]",
                "sdot {s01:v}.4s, v9.16b, v1.4b[2]",
                "sdot {s10:v}.4s, v8.16b, v3.4b[2]",
                "sdot {s11:v}.4s, v9.16b, v3.4b[2]",
                "sdot {s20:v}.4s, v8.16b, v5.4b[2]",
                "sdot {s21:v}.4s, v9.16b, v5.4b[2]",
                "sdot {s30:v}.4s, v8.16b, v7.4b[2]",
                "sdot {s31:v}.4s, v9.16b, v7.4b[2]",
                "ldp q10, q11, [{w}, #224]",
                "sdot {s00:v}.4s, v10.16b, v1.4b[3]",
                "sdot {s01:v}.4s, v11.16b, v1.4b[3]",
                "sdot {s10:v}.4s, v10.16b, v3.4b[3]",
                "sdot {s11:v}.4s, v11.16b, v3.4b[3]",
                "sdot {s20:v}.4s, v10.16b, v5.4b[3]",
                "sdot {s21:v}.4s, v11.16b, v5.4b[3]",
                "sdot {s30:v}.4s, v10.16b, v7.4b[3]",
                "sdot {s31:v}.4s, v11.16b, v7.4b[3]",
                w = in(reg) w.as_ptr(),
                x0 = inout(reg) *x0,
                x1 = inout(reg) *x1,
                x2 = inout(reg) *x2,
                x3 = inout(reg) *x3,
                s00 = out(vreg) *s00,
                s01 = out(vreg) *s01,
                s10 = out(vreg) *s10,
                s11 = out(vreg) *s11,
                s20 = out(vreg) *s20,
                s21 = out(vreg) *s21,
                s30 = out(vreg) *s30,
                s31 = out(vreg) *s31,
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
                options(readonly, nostack, preserves_flags),
            );
        }
        return sums;
    }
    for half in 0..2 {
        // SAFETY: passed on to the caller.
        let more = unsafe { dot16(&w[4 * half..4 * half + 4], x) };
        for (sum, more) in sums.as_flattened_mut().iter_mut().zip(more.as_flattened()) {
            // SAFETY: NEON is a feature of the target.
            *sum = unsafe { vaddq_s32(*sum, *more) };
        }
    }
    sums
}

/// Products of half a group's weights with the sixteen activations at each of `x`, which move on.
///
/// # Safety
/// The activations must be readable.
#[inline(always)]
unsafe fn dot16<const N: usize>(
    w: &[[int8x16_t; H]],
    x: &mut [*const i8; N],
) -> [[int32x4_t; H]; N] {
    // SAFETY: NEON is a feature of the target.
    let mut sums = [[unsafe { vdupq_n_s32(0) }; H]; N];
    let &[a, b, c, d] = w else { return sums };
    for (sums, x) in sums.iter_mut().zip(x) {
        // SAFETY: the caller's promise.
        let acts = unsafe { vld1q_s8(*x) };
        for h in 0..H {
            sums[h] = sdot_by_lane::<0>(sums[h], a[h], acts);
            sums[h] = sdot_by_lane::<1>(sums[h], b[h], acts);
            sums[h] = sdot_by_lane::<2>(sums[h], c[h], acts);
            sums[h] = sdot_by_lane::<3>(sums[h], d[h], acts);
        }
        // SAFETY: as above.
        *x = unsafe { x.add(16) };
    }
    sums
}
