//! AVX-512 with VNNI: Intel from Ice Lake on, AMD from Zen 4 on.
//!
//! `vpdpbusd` multiplies unsigned bytes with signed ones and adds four products to each 32-bit
//! lane. Weights are the unsigned side, signed ones with 128 added; sums begin with minus that
//! excess times the activations' sum, which keeps them exact.

use core::arch::x86_64::*;

use super::avx2;
use super::dots::Vnni;
use crate::kernels::Table;
use crate::kernels::args::MatmulRows;
use crate::kernels::isa::{Isa, Outlined, kernel_table};
use crate::kernels::lanes::Registers;
use crate::kernels::rows::{
    At, Format, Kind, NEAR_ROWS, Q8_0, RowSimd, Span, TileRows, compiled_under, matmul_rows, tiles,
};
use crate::quant::GgmlType;
#[cfg(not(target_os = "none"))]
use crate::quant::search::SearchWithin;

pub(super) struct Avx512;

#[cfg(feature = "std")]
fn is_available() -> bool {
    std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vnni")
        && std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c")
}

#[cfg(not(feature = "std"))]
fn is_available() -> bool {
    IN_TARGET
}

/// Whether the target has its features.
#[cfg(not(feature = "std"))]
pub(super) const IN_TARGET: bool = cfg!(all(
    target_feature = "avx512f",
    target_feature = "avx512bw",
    target_feature = "avx512vl",
    target_feature = "avx512dq",
    target_feature = "avx512vnni",
    target_feature = "avx2",
    target_feature = "fma",
    target_feature = "f16c"
));

pub(in crate::kernels) static TABLE: Table = kernel_table!(
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
    "x86_64/avx512vnni",
    Avx512,
    is_available
);

impl Isa for Avx512 {
    type Lanes = Registers<__m512, 1>;
    type Dots = Vnni;
    #[cfg(not(target_os = "none"))]
    type Search = SearchWithin<Self::Lanes>;
    const ACCUMULATORS: usize = 24;

    #[inline(always)]
    fn prefetch(address: *const u8) {
        // SAFETY: every x86-64 CPU has the instruction, and no address makes it fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    unsafe fn matmul_rows<O: Outlined>(m: &MatmulRows<'_>) {
        // SAFETY: called only from this set's functions, which have its features; exclusive
        // outputs are passed on to the caller.
        unsafe { matmul_rows::<Self, O, _>(Rows::new(), m) }
    }
}

/// Sixteen rows to a register; proof that the CPU has this set.
#[derive(Clone, Copy)]
struct Rows(());

impl Rows {
    /// # Safety
    /// The CPU must have this set's features.
    #[inline(always)]
    unsafe fn new() -> Self {
        Rows(())
    }
}

/// Sixteen bytes of rows 0, 4, 8 and 12, one row to a 128-bit lane.
///
/// # Safety
/// They must be readable, and the CPU must have this set's features.
#[inline(always)]
unsafe fn four(at: At) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let next = 4 * at.stride;
        let v = _mm512_castsi128_si512(_mm_loadu_si128(at.ptr.cast()));
        let v = _mm512_inserti32x4(v, _mm_loadu_si128(at.ptr.add(next).cast()), 1);
        let v = _mm512_inserti32x4(v, _mm_loadu_si128(at.ptr.add(2 * next).cast()), 2);
        _mm512_inserti32x4(v, _mm_loadu_si128(at.ptr.add(3 * next).cast()), 3)
    }
}

/// The signs of bytes: adding 128 to a signed byte flips its top bit.
const FLIP: i8 = -128;

impl RowSimd for Rows {
    const SIGNED_EXCESS: i32 = 128;
    type Vector = __m512i;
    /// Transposed: register `j` has bytes `4j..4j + 4` of each row.
    type Piece = [__m512i; 4];
    type Ints = __m512i;
    type Floats = __m512;
    type Partial = __m512i;

    #[inline(always)]
    unsafe fn load16(self, at: At) -> [__m512i; 4] {
        // SAFETY: sixteen bytes are readable in each row, by the caller's promise; features.
        unsafe {
            let (a, b) = (four(at), four(at.add(at.stride)));
            let (c, d) = (four(at.add(2 * at.stride)), four(at.add(3 * at.stride)));
            let (ab_lo, ab_hi) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd_lo, cd_hi) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab_lo, cd_lo),
                _mm512_unpackhi_epi64(ab_lo, cd_lo),
                _mm512_unpacklo_epi64(ab_hi, cd_hi),
                _mm512_unpackhi_epi64(ab_hi, cd_hi),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load4(self, at: At) -> __m512i {
        let mut words = [0u32; 16];
        for (i, word) in words.iter_mut().enumerate() {
            // SAFETY: four bytes are readable in each row, by the caller's promise.
            *word = unsafe { at.ptr.add(i * at.stride).cast::<u32>().read_unaligned() };
        }
        // SAFETY: `self` proves the features.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn load2(self, at: At) -> __m512i {
        // Put together in registers, four halves at a time: one loaded from halves that were just
        // stored waits until every instruction before it is done, and with it memory.
        let mut fours = [0i64; 4];
        for (i, four) in fours.iter_mut().enumerate() {
            for k in 0..4 {
                // SAFETY: two bytes are readable in each row, by the caller's promise.
                let half =
                    unsafe { at.ptr.add((4 * i + k) * at.stride).cast::<u16>().read_unaligned() };
                *four |= i64::from(half) << (16 * k);
            }
        }
        let [a, b, c, d] = fours;
        // SAFETY: `self` proves the features.
        unsafe { _mm512_cvtepu16_epi32(_mm256_setr_epi64x(a, b, c, d)) }
    }

    // What passes by the second level is not written back to the third when it makes room, which
    // takes as much of the way to memory as reading does.
    #[inline(always)]
    fn prefetch(self, ptr: *const u8) {
        // SAFETY: `self` proves the features.
        unsafe { _mm_prefetch::<_MM_HINT_NTA>(ptr.cast()) }
    }

    #[inline(always)]
    fn bits(self, p: [__m512i; 4], shift: u32, mask: u8) -> [__m512i; 4] {
        let mut out = p;
        for v in &mut out {
            // SAFETY: `self` proves the features.
            unsafe {
                let shifted = _mm512_srlv_epi32(*v, _mm512_set1_epi32(shift as i32));
                *v = _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8));
            }
        }
        out
    }

    #[inline(always)]
    fn bits_up(self, p: [__m512i; 4], shift: u32, mask: u8) -> [__m512i; 4] {
        let mut out = p;
        for v in &mut out {
            // SAFETY: `self` proves the features.
            unsafe {
                let shifted = _mm512_sllv_epi32(*v, _mm512_set1_epi32(shift as i32));
                *v = _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8));
            }
        }
        out
    }

    #[inline(always)]
    fn or(self, a: [__m512i; 4], b: [__m512i; 4]) -> [__m512i; 4] {
        let mut out = a;
        for (a, b) in out.iter_mut().zip(b) {
            // SAFETY: `self` proves the features.
            *a = unsafe { _mm512_or_si512(*a, b) };
        }
        out
    }

    #[inline(always)]
    fn lookup(self, p: [__m512i; 4], table: &[i8; 16]) -> [__m512i; 4] {
        let mut out = p;
        for v in &mut out {
            // SAFETY: `self` proves the features.
            unsafe {
                let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
                *v = _mm512_shuffle_epi8(table, *v);
            }
        }
        out
    }

    #[inline(always)]
    fn fifth_bits(self, words: __m512i) -> [[__m512i; 4]; 2] {
        let mut out = [[words; 4]; 2];
        for (k, v) in out.as_flattened_mut().iter_mut().enumerate() {
            // SAFETY: `self` proves the features.
            unsafe {
                // Four copies of the byte that holds the four bits, one bit looked at in each.
                let byte = _mm512_set1_epi32((k / 2) as i32 * 0x0101_0101);
                let lane = _mm512_set4_epi32(0x0C0C_0C0C, 0x0808_0808, 0x0404_0404, 0);
                let copies = _mm512_shuffle_epi8(words, _mm512_add_epi32(byte, lane));
                let look = if k % 2 == 0 { 0x0804_0201 } else { 0x8040_2010_u32 as i32 };
                let set = _mm512_test_epi8_mask(copies, _mm512_set1_epi32(look));
                *v = _mm512_maskz_set1_epi8(set, 16);
            }
        }
        out
    }

    #[inline(always)]
    fn admit_signed(self, p: [__m512i; 4]) -> [__m512i; 4] {
        let mut out = p;
        for v in &mut out {
            // SAFETY: `self` proves the features.
            *v = unsafe { _mm512_xor_si512(*v, _mm512_set1_epi8(FLIP)) };
        }
        out
    }

    #[inline(always)]
    fn words(self, p: [__m512i; 4]) -> [__m512i; 4] {
        p
    }

    #[inline(always)]
    fn interleave(self, p: [__m512i; 4]) -> [__m512i; 4] {
        p
    }

    #[inline(always)]
    fn zeros(self) -> __m512i {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn ints(self, x: i32) -> __m512i {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_set1_epi32(x) }
    }

    #[inline(always)]
    fn field(self, w: __m512i, shift: u32, mask: u32) -> __m512i {
        // SAFETY: `self` proves the features.
        unsafe {
            let shifted = _mm512_srlv_epi32(w, _mm512_set1_epi32(shift as i32));
            _mm512_and_si512(shifted, _mm512_set1_epi32(mask as i32))
        }
    }

    #[inline(always)]
    fn join(self, a: __m512i, b: __m512i, shift: u32) -> __m512i {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_or_si512(a, _mm512_sllv_epi32(b, _mm512_set1_epi32(shift as i32))) }
    }

    #[inline(always)]
    fn signed_byte(self, w: __m512i, k: u32) -> __m512i {
        // SAFETY: `self` proves the features.
        unsafe {
            let top = _mm512_sllv_epi32(w, _mm512_set1_epi32(24 - 8 * k as i32));
            _mm512_srai_epi32(top, 24)
        }
    }

    #[inline(always)]
    fn floats_from(self, x: __m512i) -> __m512 {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_cvtepi32_ps(x) }
    }

    #[inline(always)]
    fn floats_from_half(self, x: __m512i) -> __m512 {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x)) }
    }

    #[inline(always)]
    fn steps<K: Kind>() -> usize {
        8
    }

    #[inline(always)]
    fn start(self, sum: __m512i) -> __m512i {
        sum
    }

    #[inline(always)]
    unsafe fn step<K: Kind>(self, sum: __m512i, w: __m512i, x: *const i8) -> __m512i {
        // SAFETY: four activations, by the caller's promise; features.
        unsafe { _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    fn flush(self, _: __m512i, partial: __m512i) -> __m512i {
        partial
    }

    /// Sixteen long rows of `Q8_0` and as many that are asked for ahead do not stay in a first-level
    /// cache. Eight do, and what is read from memory needs no wider multiplications.
    #[inline(always)]
    unsafe fn fast_token(self, ty: GgmlType, m: &MatmulRows<'_>) -> Option<usize> {
        if ty != GgmlType::Q8_0 || m.row_bytes() * Self::ROWS <= NEAR_ROWS {
            return None;
        }
        // SAFETY: this set's features include the other's; outputs are passed on to the caller.
        Some(unsafe { avx2::Rows::new().one_token::<Q8_0>(m) })
    }

    compiled_under!(#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]);

    #[inline(always)]
    unsafe fn many_tokens<F: Format>(self, m: &MatmulRows<'_>) -> usize {
        // SAFETY: passed on to the caller. 24 registers hold 2 × 6 sums and accumulators.
        unsafe {
            let row = tiles::<Self, F, 2, 6>(self, m, 0);
            tiles::<Self, F, 1, 6>(self, m, row)
        }
    }
}
