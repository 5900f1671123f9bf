//! How bytes are multiplied on 64-bit Arm: with widening multiplications, dot products, or matrix
//! products.

use core::arch::aarch64::*;
use core::arch::asm;

use super::rows::Rows;
use super::{decode, prefill};
use crate::kernels::args::MatmulRows;
use crate::kernels::rows::{Format, tiles};
use crate::quant::GgmlType;

/// How bytes are multiplied.
pub(super) trait Bytes: Copy {
    /// An unfinished sum for each of four rows.
    type Partial: Copy;
    /// Steps that a partial sum of levels up to `max` can take.
    fn steps(max: u8) -> usize;
    fn start(sum: int32x4_t) -> Self::Partial;
    /// Adds the products of four bytes of each row with the same four of `x`.
    fn step(sum: Self::Partial, w: int8x16_t, x: int8x16_t) -> Self::Partial;
    fn flush(sum: int32x4_t, partial: Self::Partial) -> int32x4_t;

    /// [`RowSimd::one_token`] for formats that have a faster way.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn one_token(_ty: GgmlType, _m: &MatmulRows<'_>) -> Option<usize> {
        None
    }

    /// [`RowSimd::many_tokens`] for eight rows at a time, with tiles that suit the instructions.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn many_tokens<F: Format>(m: &MatmulRows<'_>) -> usize {
        // SAFETY: passed on to the caller. 32 registers hold 2 × 4 sums and accumulators, weights
        // and activations.
        unsafe { tiles::<Rows<Self>, F, 2, 4>(Rows::new(), m, 0) }
    }

    /// Adds the products of sixteen bytes of each of four rows with as many activations, if that
    /// is faster than [`Bytes::step`]; says whether it has.
    ///
    /// # Safety
    /// Sixteen activations must be readable at `x`.
    #[inline(always)]
    unsafe fn dot16(_sum: &mut int32x4_t, _w: [int8x16_t; 4], _x: *const i8) -> bool {
        false
    }

    /// A group of a tile in the form that [`Bytes::tile16`] wants.
    #[inline(always)]
    fn settle(w: [int8x16_t; 8]) -> [int8x16_t; 8] {
        w
    }

    /// [`Bytes::dot16`] for half of a settled group of `4·H` rows and `N` tokens.
    ///
    /// # Safety
    /// Sixteen activations must be readable at each of `x`.
    #[inline(always)]
    unsafe fn tile16<const H: usize, const N: usize>(
        _sums: &mut [[int32x4_t; H]; N],
        _w: [[int8x16_t; 4]; H],
        _x: [*const i8; N],
    ) -> bool {
        false
    }
}

/// Widening multiplications, which every CPU has.
#[derive(Clone, Copy)]
pub(super) struct Widening;

impl Bytes for Widening {
    /// Products of rows 0 and 1, and of rows 2 and 3, four 16-bit sums each.
    type Partial = [int16x8_t; 2];

    /// A sum gets one product a step, of activations up to 127.
    #[inline(always)]
    fn steps(max: u8) -> usize {
        match max {
            0..=31 => 8,
            32..=63 => 4,
            _ => 2,
        }
    }

    #[inline(always)]
    fn start(_: int32x4_t) -> [int16x8_t; 2] {
        // SAFETY: NEON is a feature of the target.
        unsafe { [vdupq_n_s16(0); 2] }
    }

    #[inline(always)]
    fn step([low, high]: [int16x8_t; 2], w: int8x16_t, x: int8x16_t) -> [int16x8_t; 2] {
        // SAFETY: NEON is a feature of the target.
        unsafe { [vmlal_s8(low, vget_low_s8(w), vget_low_s8(x)), vmlal_high_s8(high, w, x)] }
    }

    #[inline(always)]
    fn flush(sum: int32x4_t, [low, high]: [int16x8_t; 2]) -> int32x4_t {
        // SAFETY: NEON is a feature of the target.
        unsafe { vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))) }
    }
}

/// The dot product instruction.
#[derive(Clone, Copy)]
pub(super) struct Sdot;

/// Adds to each lane of `sum` the products of its four bytes with the four of lane `K` of `x`.
#[inline(always)]
pub(super) fn sdot_by_lane<const K: usize>(
    sum: int32x4_t,
    w: int8x16_t,
    x: int8x16_t,
) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: only the set that has this instruction uses `Sdot`; it works on these registers
    // alone. (The intrinsic is not stable yet.)
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {w:v}.16b, {x:v}.4b[{k}]",
            sum = inlateout(vreg) sum,
            w = in(vreg) w,
            x = in(vreg) x,
            k = const K,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

impl Bytes for Sdot {
    type Partial = int32x4_t;

    #[inline(always)]
    fn steps(_: u8) -> usize {
        8
    }

    #[inline(always)]
    fn start(sum: int32x4_t) -> int32x4_t {
        sum
    }

    #[inline(always)]
    fn step(sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
        sdot_by_lane::<0>(sum, w, x)
    }

    #[inline(always)]
    fn flush(_: int32x4_t, partial: int32x4_t) -> int32x4_t {
        partial
    }

    #[inline(always)]
    unsafe fn one_token(ty: GgmlType, m: &MatmulRows<'_>) -> Option<usize> {
        // SAFETY: this type stands for the instructions; outputs are passed on to the caller.
        unsafe { decode::one_token(ty, m) }
    }

    #[inline(always)]
    unsafe fn many_tokens<F: Format>(m: &MatmulRows<'_>) -> usize {
        // SAFETY: as above.
        unsafe { prefill::rows::<F>(Rows::new(), m) }
    }

    #[inline(always)]
    unsafe fn dot16(sum: &mut int32x4_t, w: [int8x16_t; 4], x: *const i8) -> bool {
        let mut sums = [[*sum]];
        // SAFETY: passed on to the caller.
        unsafe { Self::tile16(&mut sums, [w], [x]) };
        *sum = sums[0][0];
        true
    }

    #[inline(always)]
    unsafe fn tile16<const H: usize, const N: usize>(
        sums: &mut [[int32x4_t; H]; N],
        w: [[int8x16_t; 4]; H],
        x: [*const i8; N],
    ) -> bool {
        // SAFETY: passed on to the caller.
        let x = unsafe { load_each(x) };
        sdot_all::<0, H, N>(sums, w, x);
        sdot_all::<1, H, N>(sums, w, x);
        sdot_all::<2, H, N>(sums, w, x);
        sdot_all::<3, H, N>(sums, w, x);
        true
    }
}

/// Sixteen activations of each token.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn load_each<const N: usize>(from: [*const i8; N]) -> [int8x16_t; N] {
    // SAFETY: NEON is a feature of the target.
    let mut out = [unsafe { vdupq_n_s8(0) }; N];
    for (to, from) in out.iter_mut().zip(from) {
        // SAFETY: the caller's promise; NEON.
        *to = unsafe { vld1q_s8(from) };
    }
    out
}

/// Adds the products of vector `K` of every row with activations `4·K..` of every token.
#[inline(always)]
fn sdot_all<const K: usize, const H: usize, const N: usize>(
    sums: &mut [[int32x4_t; H]; N],
    w: [[int8x16_t; 4]; H],
    x: [int8x16_t; N],
) {
    for (sums, x) in sums.iter_mut().zip(x) {
        for (sum, w) in sums.iter_mut().zip(&w) {
            *sum = sdot_by_lane::<K>(*sum, w[K], x);
        }
    }
}

/// The matrix multiplication for several tokens, and the dot product for one.
#[derive(Clone, Copy)]
pub(super) struct Smmla;

/// Adds to `sum` the products of two rows of eight bytes with two tokens': first row times both,
/// second row times both.
#[inline(always)]
fn smmla(sum: int32x4_t, rows: int8x16_t, tokens: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: only the set that has this instruction uses `Smmla`; it works on these registers
    // alone. (The intrinsic is not stable yet.)
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {sum:v}.4s, {rows:v}.16b, {tokens:v}.16b",
            sum = inlateout(vreg) sum,
            rows = in(vreg) rows,
            tokens = in(vreg) tokens,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// The first, then the second, halves of both registers.
#[inline(always)]
fn zip_halves(a: int8x16_t, b: int8x16_t) -> [int8x16_t; 2] {
    // SAFETY: NEON is a feature of the target.
    unsafe {
        let (a, b) = (vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b));
        [vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))]
    }
}

impl Bytes for Smmla {
    type Partial = int32x4_t;

    #[inline(always)]
    fn steps(max: u8) -> usize {
        Sdot::steps(max)
    }

    #[inline(always)]
    fn start(sum: int32x4_t) -> int32x4_t {
        Sdot::start(sum)
    }

    #[inline(always)]
    fn step(sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
        Sdot::step(sum, w, x)
    }

    #[inline(always)]
    fn flush(sum: int32x4_t, partial: int32x4_t) -> int32x4_t {
        Sdot::flush(sum, partial)
    }

    #[inline(always)]
    unsafe fn one_token(ty: GgmlType, m: &MatmulRows<'_>) -> Option<usize> {
        // SAFETY: passed on to the caller; CPUs with one instruction have the other.
        unsafe { Sdot::one_token(ty, m) }
    }

    #[inline(always)]
    unsafe fn dot16(sum: &mut int32x4_t, w: [int8x16_t; 4], x: *const i8) -> bool {
        // SAFETY: passed on to the caller.
        unsafe { Sdot::dot16(sum, w, x) }
    }

    /// Eight bytes of rows 0 and 1 in even registers, of rows 2 and 3 in odd ones.
    #[inline(always)]
    fn settle(w: [int8x16_t; 8]) -> [int8x16_t; 8] {
        let mut out = w;
        for (out, w) in out.as_chunks_mut::<2>().0.iter_mut().zip(w.as_chunks::<2>().0) {
            // SAFETY: NEON is a feature of the target.
            unsafe {
                let (a, b) = (vreinterpretq_s32_s8(w[0]), vreinterpretq_s32_s8(w[1]));
                *out = [
                    vreinterpretq_s8_s32(vzip1q_s32(a, b)),
                    vreinterpretq_s8_s32(vzip2q_s32(a, b)),
                ];
            }
        }
        out
    }

    #[inline(always)]
    unsafe fn tile16<const H: usize, const N: usize>(
        sums: &mut [[int32x4_t; H]; N],
        w: [[int8x16_t; 4]; H],
        x: [*const i8; N],
    ) -> bool {
        // SAFETY: passed on to the caller.
        let x = unsafe { load_each(x) };
        let mut t = 0;
        while t < N {
            // The last of an odd number goes with itself.
            let other = (t + 1).min(N - 1);
            let x = zip_halves(x[t], x[other]);
            for h in 0..H {
                let (first, second) = (sums[t][h], sums[other][h]);
                // SAFETY: NEON is a feature of the target.
                unsafe {
                    let ab = smmla(vzip1q_s32(first, second), w[h][0], x[0]);
                    let cd = smmla(vzip2q_s32(first, second), w[h][1], x[0]);
                    let (ab, cd) = (smmla(ab, w[h][2], x[1]), smmla(cd, w[h][3], x[1]));
                    sums[t][h] = vuzp1q_s32(ab, cd);
                    sums[other][h] = vuzp2q_s32(ab, cd);
                }
            }
            t += 2;
        }
        true
    }
}
