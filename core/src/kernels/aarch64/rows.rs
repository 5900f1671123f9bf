//! Quantized products on 64-bit Arm: four rows to a register.

use core::arch::aarch64::*;
use core::arch::asm;
use core::marker::PhantomData;

use super::bytes::Bytes;
use super::neon::widen;
use crate::kernels::args::MatmulRows;
use crate::kernels::rows::{At, Format, Kind, RowSimd, Span, TileRows, compiled_under, tiles};
use crate::quant::GgmlType;

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
    const SIGNED_TILES: bool = true;
    type Vector = int8x16_t;
    /// Transposed: register `j` has bytes `4j..4j + 4` of each row.
    type Piece = [int8x16_t; 4];
    type Ints = int32x4_t;
    type Floats = float32x4_t;
    type Partial = B::Partial;

    #[inline(always)]
    unsafe fn load16(self, at: At) -> [int8x16_t; 4] {
        // SAFETY: sixteen bytes are readable in each row, by the caller's promise, at any address;
        // NEON. The instruction deals a row's words to the same lane of four registers.
        unsafe {
            let (ptr, stride) = (at.ptr, at.stride);
            let v = vld4q_dup_s32(ptr.cast());
            let v = vld4q_lane_s32::<1>(ptr.add(stride).cast(), v);
            let v = vld4q_lane_s32::<2>(ptr.add(2 * stride).cast(), v);
            let v = vld4q_lane_s32::<3>(ptr.add(3 * stride).cast(), v);
            let bytes = vreinterpretq_s8_s32;
            [bytes(v.0), bytes(v.1), bytes(v.2), bytes(v.3)]
        }
    }

    #[inline(always)]
    unsafe fn load4(self, at: At) -> int32x4_t {
        // SAFETY: four bytes are readable in each row, by the caller's promise, at any address.
        unsafe {
            let (ptr, stride) = (at.ptr, at.stride);
            let v = vld1q_dup_s32(ptr.cast());
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
            let v = vld1_dup_u16(ptr.cast());
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
        // Four copies of the byte that holds a register's four bits, one bit looked at in each.
        const BYTE: [u8; 16] = [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12];
        const BIT: [u32; 2] = [0x0804_0201, 0x8040_2010];
        let mut out = [[self.zeros(); 4]; 2];
        for (k, v) in out.as_flattened_mut().iter_mut().enumerate() {
            // SAFETY: NEON is a feature of the target; the table has sixteen bytes.
            *v = unsafe {
                let byte = vaddq_u8(vld1q_u8(BYTE.as_ptr()), vdupq_n_u8(k as u8 / 2));
                let copies = vqtbl1q_u8(vreinterpretq_u8_s32(words), byte);
                let set = vtstq_u8(copies, vreinterpretq_u8_u32(vdupq_n_u32(BIT[k % 2])));
                vreinterpretq_s8_u8(vandq_u8(set, vdupq_n_u8(16)))
            };
        }
        out
    }

    #[inline(always)]
    fn admit_signed(self, p: [int8x16_t; 4]) -> [int8x16_t; 4] {
        p
    }

    #[inline(always)]
    fn words(self, p: [int8x16_t; 4]) -> [int32x4_t; 4] {
        let [a, b, c, d] = p;
        // SAFETY: NEON is a feature of the target.
        unsafe {
            let words = vreinterpretq_s32_s8;
            [words(a), words(b), words(c), words(d)]
        }
    }

    #[inline(always)]
    fn interleave(self, p: [int8x16_t; 4]) -> [int8x16_t; 4] {
        p
    }

    #[inline(always)]
    fn settle(self, w: [int8x16_t; 8], excess: i32) -> [int8x16_t; 8] {
        let mut out = w;
        if excess != 0 {
            for w in &mut out {
                // SAFETY: NEON is a feature of the target.
                *w = unsafe { vsubq_s8(*w, vdupq_n_s8(excess as i8)) };
            }
        }
        B::settle(out)
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
        all: [[int8x16_t; 4]; P],
        x: *const i8,
    ) -> int32x4_t {
        let mut out = sum;
        for (p, &w) in all.iter().enumerate() {
            // SAFETY: the activations are the caller's promise.
            if unsafe { !B::dot16(&mut out, w, x.add(16 * p)) } {
                // SAFETY: as above.
                return unsafe { self.dot_in_steps::<K, P>(sum, all, x) };
            }
        }
        out
    }

    #[inline(always)]
    unsafe fn dot_tile<K: Kind, const H: usize, const N: usize>(
        self,
        sums: [[int32x4_t; H]; N],
        tile: [&[int8x16_t; 8]; H],
        run: usize,
        x: [*const i8; N],
    ) -> [[int32x4_t; H]; N] {
        let mut sums = sums;
        let halves = if K::RUNS == 1 { 0..2 } else { run..run + 1 };
        for half in halves {
            let mut w = [[self.zeros(); 4]; H];
            for (w, tile) in w.iter_mut().zip(tile) {
                w.copy_from_slice(&tile[4 * half..4 * half + 4]);
            }
            let mut xs = x;
            for x in &mut xs {
                // SAFETY: the group's activations are the caller's promise.
                *x = unsafe { x.add(16 * half) };
            }
            // SAFETY: as above.
            if unsafe { !B::tile16(&mut sums, w, xs) } {
                // SAFETY: as above.
                return unsafe { self.tile_in_steps::<K, H, N>(sums, tile, run, x) };
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn fast_token(self, ty: GgmlType, m: &MatmulRows<'_>) -> Option<usize> {
        // SAFETY: passed on to the caller.
        unsafe { B::one_token(ty, m) }
    }

    compiled_under!();

    #[inline(always)]
    unsafe fn many_tokens<F: Format>(self, m: &MatmulRows<'_>) -> usize {
        // SAFETY: passed on to the caller.
        unsafe {
            let row = B::many_tokens::<F>(m);
            tiles::<Self, F, 1, 4>(self, m, row)
        }
    }
}
