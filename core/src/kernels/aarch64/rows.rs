//! Quantized products on 64-bit Arm: four rows to a register.

use core::arch::aarch64::*;
use core::arch::asm;
use core::marker::PhantomData;

use super::neon::widen;
use crate::kernels::args::MatmulRows;
use crate::kernels::rows::{At, Format, Kind, RowSimd, Span, TileRows, compiled_under, tiles};

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

    /// Adds the products of each row's bytes with `x`, if that is faster than taking the rows side
    /// by side.
    ///
    /// # Safety
    /// `16·P` activations must be readable at `x`.
    unsafe fn dot_rows<const P: usize>(
        sum: int32x4_t,
        w: [[int8x16_t; 4]; P],
        x: *const i8,
    ) -> Option<int32x4_t>;
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

    #[inline(always)]
    unsafe fn dot_rows<const P: usize>(
        _: int32x4_t,
        _: [[int8x16_t; 4]; P],
        _: *const i8,
    ) -> Option<int32x4_t> {
        None
    }
}

/// The dot product instruction.
#[derive(Clone, Copy)]
pub(super) struct Sdot;

/// Adds to each lane of `sum` the products of its four bytes.
#[inline(always)]
fn sdot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: only the set that has this instruction uses `Sdot`; it works on these registers
    // alone. (The intrinsic is not stable yet.)
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inlateout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
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
        sdot(sum, w, x)
    }

    #[inline(always)]
    fn flush(_: int32x4_t, partial: int32x4_t) -> int32x4_t {
        partial
    }

    #[inline(always)]
    unsafe fn dot_rows<const P: usize>(
        sum: int32x4_t,
        w: [[int8x16_t; 4]; P],
        x: *const i8,
    ) -> Option<int32x4_t> {
        // SAFETY: NEON is a feature of the target; the activations are the caller's promise.
        unsafe {
            let mut rows = [vdupq_n_s32(0); 4];
            for (p, w) in w.iter().enumerate() {
                let x = vld1q_s8(x.add(16 * p));
                for (row, &w) in rows.iter_mut().zip(w) {
                    *row = sdot(*row, w, x);
                }
            }
            let [a, b, c, d] = rows;
            Some(vaddq_s32(sum, vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))))
        }
    }
}

/// Four rows to a register; proof that the CPU has the multiplication.
#[derive(Clone, Copy)]
pub(super) struct Rows<B>(PhantomData<B>);

impl<B: Bytes> Rows<B> {
    /// # Safety
    /// The CPU must have the instructions of `B`.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        Rows(PhantomData)
    }
}

/// `v >> shift` for positive shifts, `v << -shift` for negative ones, by bytes.
#[inline(always)]
fn shift_bytes(v: int8x16_t, shift: i32) -> int8x16_t {
    // SAFETY: NEON is a feature of the target.
    unsafe { vreinterpretq_s8_u8(vshlq_u8(vreinterpretq_u8_s8(v), vdupq_n_s8(-shift as i8))) }
}

#[inline(always)]
fn and_bytes(v: int8x16_t, mask: u8) -> int8x16_t {
    // SAFETY: NEON is a feature of the target.
    unsafe { vandq_s8(v, vdupq_n_s8(mask as i8)) }
}

impl<B: Bytes> RowSimd for Rows<B> {
    const SIGNED_EXCESS: i32 = 0;
    type Vector = int8x16_t;
    /// One register for each row.
    type Piece = [int8x16_t; 4];
    type Ints = int32x4_t;
    type Floats = float32x4_t;
    type Partial = B::Partial;

    #[inline(always)]
    unsafe fn load16(self, at: At) -> [int8x16_t; 4] {
        // SAFETY: sixteen bytes are readable in each row, by the caller's promise; NEON.
        unsafe {
            [
                vld1q_s8(at.ptr.cast()),
                vld1q_s8(at.ptr.add(at.stride).cast()),
                vld1q_s8(at.ptr.add(2 * at.stride).cast()),
                vld1q_s8(at.ptr.add(3 * at.stride).cast()),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load4(self, at: At) -> int32x4_t {
        // SAFETY: four bytes are readable in each row, by the caller's promise, at any address.
        unsafe {
            let (ptr, stride) = (at.ptr, at.stride);
            let v = vld1q_lane_s32::<0>(ptr.cast(), vdupq_n_s32(0));
            let v = vld1q_lane_s32::<1>(ptr.add(stride).cast(), v);
            let v = vld1q_lane_s32::<2>(ptr.add(2 * stride).cast(), v);
            vld1q_lane_s32::<3>(ptr.add(3 * stride).cast(), v)
        }
    }

    #[inline(always)]
    unsafe fn load2(self, at: At) -> int32x4_t {
        // SAFETY: two bytes are readable in each row, by the caller's promise, at any address.
        unsafe {
            let (ptr, stride) = (at.ptr, at.stride);
            let v = vld1_lane_u16::<0>(ptr.cast(), vdup_n_u16(0));
            let v = vld1_lane_u16::<1>(ptr.add(stride).cast(), v);
            let v = vld1_lane_u16::<2>(ptr.add(2 * stride).cast(), v);
            let v = vld1_lane_u16::<3>(ptr.add(3 * stride).cast(), v);
            vreinterpretq_s32_u32(vmovl_u16(v))
        }
    }

    #[inline(always)]
    fn prefetch(self, ptr: *const u8) {
        // SAFETY: a hint, which reads nothing and takes any address.
        unsafe {
            asm!(
                "prfm pldl2keep, [{ptr}]",
                ptr = in(reg) ptr,
                options(readonly, nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    fn bits(self, p: [int8x16_t; 4], shift: u32, mask: u8) -> [int8x16_t; 4] {
        let mut out = p;
        for v in &mut out {
            if shift > 0 {
                *v = shift_bytes(*v, shift as i32);
            }
            if mask != 0xFF >> shift {
                *v = and_bytes(*v, mask);
            }
        }
        out
    }

    #[inline(always)]
    fn bits_up(self, p: [int8x16_t; 4], shift: u32, mask: u8) -> [int8x16_t; 4] {
        let mut out = p;
        for v in &mut out {
            *v = and_bytes(shift_bytes(*v, -(shift as i32)), mask);
        }
        out
    }

    #[inline(always)]
    fn or(self, a: [int8x16_t; 4], b: [int8x16_t; 4]) -> [int8x16_t; 4] {
        let mut out = a;
        for (a, b) in out.iter_mut().zip(b) {
            // SAFETY: NEON is a feature of the target.
            *a = unsafe { vorrq_s8(*a, b) };
        }
        out
    }

    #[inline(always)]
    fn lookup(self, p: [int8x16_t; 4], table: &[i8; 16]) -> [int8x16_t; 4] {
        let mut out = p;
        for v in &mut out {
            // SAFETY: NEON is a feature of the target; the table has sixteen bytes.
            *v = unsafe { vqtbl1q_s8(vld1q_s8(table.as_ptr()), vreinterpretq_u8_s8(*v)) };
        }
        out
    }

    #[inline(always)]
    fn fifth_bits(self, words: int32x4_t) -> [[int8x16_t; 4]; 2] {
        // Eight copies of each of the two bytes that hold sixteen bits, one bit looked at in each.
        const BYTE: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
        const BIT: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
        let mut out = [[self.zeros(); 4]; 2];
        for (half, piece) in out.iter_mut().enumerate() {
            for (row, v) in piece.iter_mut().enumerate() {
                // SAFETY: NEON is a feature of the target; the tables have sixteen bytes.
                *v = unsafe {
                    let first = vdupq_n_u8((4 * row + 2 * half) as u8);
                    let byte = vaddq_u8(vld1q_u8(BYTE.as_ptr()), first);
                    let copies = vqtbl1q_u8(vreinterpretq_u8_s32(words), byte);
                    let set = vtstq_u8(copies, vld1q_u8(BIT.as_ptr()));
                    vreinterpretq_s8_u8(vandq_u8(set, vdupq_n_u8(16)))
                };
            }
        }
        out
    }

    #[inline(always)]
    fn admit_signed(self, p: [int8x16_t; 4]) -> [int8x16_t; 4] {
        p
    }

    #[inline(always)]
    fn words(self, p: [int8x16_t; 4]) -> [int32x4_t; 4] {
        let [a, b, c, d] = self.interleave(p);
        // SAFETY: NEON is a feature of the target.
        unsafe {
            [
                vreinterpretq_s32_s8(a),
                vreinterpretq_s32_s8(b),
                vreinterpretq_s32_s8(c),
                vreinterpretq_s32_s8(d),
            ]
        }
    }

    #[inline(always)]
    fn interleave(self, [a, b, c, d]: [int8x16_t; 4]) -> [int8x16_t; 4] {
        // SAFETY: NEON is a feature of the target.
        unsafe {
            let words = vreinterpretq_s32_s8;
            let doubles = vreinterpretq_s64_s32;
            let ab = [vtrn1q_s32(words(a), words(b)), vtrn2q_s32(words(a), words(b))];
            let cd = [vtrn1q_s32(words(c), words(d)), vtrn2q_s32(words(c), words(d))];
            [
                vreinterpretq_s8_s64(vtrn1q_s64(doubles(ab[0]), doubles(cd[0]))),
                vreinterpretq_s8_s64(vtrn1q_s64(doubles(ab[1]), doubles(cd[1]))),
                vreinterpretq_s8_s64(vtrn2q_s64(doubles(ab[0]), doubles(cd[0]))),
                vreinterpretq_s8_s64(vtrn2q_s64(doubles(ab[1]), doubles(cd[1]))),
            ]
        }
    }

    #[inline(always)]
    fn zeros(self) -> int8x16_t {
        // SAFETY: NEON is a feature of the target.
        unsafe { vdupq_n_s8(0) }
    }

    #[inline(always)]
    fn ints(self, x: i32) -> int32x4_t {
        // SAFETY: NEON is a feature of the target.
        unsafe { vdupq_n_s32(x) }
    }

    #[inline(always)]
    fn field(self, w: int32x4_t, shift: u32, mask: u32) -> int32x4_t {
        // SAFETY: NEON is a feature of the target.
        unsafe {
            let shifted = vshlq_u32(vreinterpretq_u32_s32(w), vdupq_n_s32(-(shift as i32)));
            vreinterpretq_s32_u32(vandq_u32(shifted, vdupq_n_u32(mask)))
        }
    }

    #[inline(always)]
    fn join(self, a: int32x4_t, b: int32x4_t, shift: u32) -> int32x4_t {
        // SAFETY: NEON is a feature of the target.
        unsafe { vorrq_s32(a, vshlq_s32(b, vdupq_n_s32(shift as i32))) }
    }

    #[inline(always)]
    fn signed_byte(self, w: int32x4_t, k: u32) -> int32x4_t {
        // SAFETY: NEON is a feature of the target.
        unsafe { vshrq_n_s32::<24>(vshlq_s32(w, vdupq_n_s32(24 - 8 * k as i32))) }
    }

    #[inline(always)]
    fn floats_from(self, x: int32x4_t) -> float32x4_t {
        // SAFETY: NEON is a feature of the target.
        unsafe { vcvtq_f32_s32(x) }
    }

    #[inline(always)]
    fn floats_from_half(self, x: int32x4_t) -> float32x4_t {
        // SAFETY: NEON is a feature of the target.
        widen(unsafe { vmovn_u32(vreinterpretq_u32_s32(x)) })
    }

    #[inline(always)]
    fn begin(self, pair: [i16; 2], wanted: [bool; 2], excess: i32) -> int32x4_t {
        let first = i32::from(wanted[0]) * i32::from(pair[0]);
        let second = i32::from(wanted[1]) * i32::from(pair[1]);
        self.ints(-excess * (first + second))
    }

    #[inline(always)]
    fn steps<K: Kind>() -> usize {
        B::steps(K::MAX)
    }

    #[inline(always)]
    fn start(self, sum: int32x4_t) -> B::Partial {
        B::start(sum)
    }

    #[inline(always)]
    unsafe fn step<K: Kind>(self, sum: B::Partial, w: int8x16_t, x: *const i8) -> B::Partial {
        // SAFETY: four activations at any address, by the caller's promise; NEON.
        let x = unsafe { vreinterpretq_s8_s32(vld1q_dup_s32(x.cast())) };
        B::step(sum, w, x)
    }

    #[inline(always)]
    fn flush(self, sum: int32x4_t, partial: B::Partial) -> int32x4_t {
        B::flush(sum, partial)
    }

    #[inline(always)]
    unsafe fn dot<K: Kind, const P: usize>(
        self,
        sum: int32x4_t,
        w: [[int8x16_t; 4]; P],
        x: *const i8,
    ) -> int32x4_t {
        // SAFETY: the activations are the caller's promise.
        if let Some(sum) = unsafe { B::dot_rows(sum, w, x) } {
            return sum;
        }
        // SAFETY: as above.
        unsafe { self.dot_side_by_side::<K, P>(sum, w, x) }
    }

    compiled_under!();

    #[inline(always)]
    unsafe fn many_tokens<F: Format>(self, m: &MatmulRows<'_>) -> usize {
        // SAFETY: passed on to the caller. 24 registers hold 4 × 2 sums, accumulators and weights.
        unsafe {
            let row = tiles::<Self, F, 4, 2>(self, m, 0);
            tiles::<Self, F, 1, 4>(self, m, row)
        }
    }
}
