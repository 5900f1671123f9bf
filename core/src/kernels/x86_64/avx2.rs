//! AVX2 with FMA and F16C: Intel from Haswell on, AMD from Excavator on.
//!
//! `vpmaddubsw` multiplies unsigned bytes with signed ones and adds two products in 16 bits, which
//! saturate. Weights are the unsigned side; as many products are added in 16 bits as their largest
//! level allows. Signed weights go in as magnitudes, with their signs put on the activations.

use core::arch::x86_64::*;

use super::dots::Maddubs;
use crate::kernels::Table;
use crate::kernels::args::MatmulRows;
use crate::kernels::isa::{Isa, Outlined, kernel_table};
use crate::kernels::lanes::Registers;
use crate::kernels::rows::{
    At, Format, Kind, RowSimd, Span, TileRows, compiled_under, matmul_rows, tiles,
};
#[cfg(not(target_os = "none"))]
use crate::quant::search::SearchWithin;

pub(super) struct Avx2;

#[cfg(feature = "std")]
fn is_available() -> bool {
    std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c")
}

#[cfg(not(feature = "std"))]
fn is_available() -> bool {
    IN_TARGET
}

/// Whether the target has its features.
#[cfg(not(feature = "std"))]
pub(super) const IN_TARGET: bool =
    cfg!(all(target_feature = "avx2", target_feature = "fma", target_feature = "f16c"));

pub(in crate::kernels) static TABLE: Table = kernel_table!(
    #[target_feature(enable = "avx2,fma,f16c")]
    "x86_64/avx2",
    Avx2,
    is_available
);

impl Isa for Avx2 {
    type Lanes = Registers<__m256, 2>;
    type Dots = Maddubs;
    #[cfg(not(target_os = "none"))]
    type Search = SearchWithin<Self::Lanes>;
    const ACCUMULATORS: usize = 6;

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

/// Eight rows to a register; proof that the CPU has this set.
#[derive(Clone, Copy)]
pub(super) struct Rows(());

impl Rows {
    /// # Safety
    /// The CPU must have this set's features.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        Rows(())
    }
}

/// Sixteen bytes of rows 0 and 4, one row to a 128-bit lane.
///
/// # Safety
/// They must be readable, and the CPU must have this set's features.
#[inline(always)]
unsafe fn two(at: At) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let v = _mm256_castsi128_si256(_mm_loadu_si128(at.ptr.cast()));
        _mm256_inserti128_si256(v, _mm_loadu_si128(at.ptr.add(4 * at.stride).cast()), 1)
    }
}

impl RowSimd for Rows {
    const SIGNED_EXCESS: i32 = 0;
    type Vector = __m256i;
    /// Transposed: register `j` has bytes `4j..4j + 4` of each row.
    type Piece = [__m256i; 4];
    type Ints = __m256i;
    type Floats = __m256;
    /// Pairs of 16-bit sums.
    type Partial = __m256i;

    #[inline(always)]
    unsafe fn load16(self, at: At) -> [__m256i; 4] {
        // SAFETY: sixteen bytes are readable in each row, by the caller's promise; features.
        unsafe {
            let (a, b) = (two(at), two(at.add(at.stride)));
            let (c, d) = (two(at.add(2 * at.stride)), two(at.add(3 * at.stride)));
            let (ab_lo, ab_hi) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let (cd_lo, cd_hi) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(ab_lo, cd_lo),
                _mm256_unpackhi_epi64(ab_lo, cd_lo),
                _mm256_unpacklo_epi64(ab_hi, cd_hi),
                _mm256_unpackhi_epi64(ab_hi, cd_hi),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load4(self, at: At) -> __m256i {
        let mut words = [0i32; 8];
        for (i, word) in words.iter_mut().enumerate() {
            // SAFETY: four bytes are readable in each row, by the caller's promise.
            *word = unsafe { at.ptr.add(i * at.stride).cast::<i32>().read_unaligned() };
        }
        let [a, b, c, d, e, f, g, h] = words;
        // SAFETY: `self` proves the features.
        unsafe { _mm256_setr_epi32(a, b, c, d, e, f, g, h) }
    }

    #[inline(always)]
    unsafe fn load2(self, at: At) -> __m256i {
        let mut words = [0i16; 8];
        for (i, word) in words.iter_mut().enumerate() {
            // SAFETY: two bytes are readable in each row, by the caller's promise.
            *word = unsafe { at.ptr.add(i * at.stride).cast::<i16>().read_unaligned() };
        }
        let [a, b, c, d, e, f, g, h] = words;
        // SAFETY: `self` proves the features.
        unsafe { _mm256_cvtepu16_epi32(_mm_setr_epi16(a, b, c, d, e, f, g, h)) }
    }

    // As in `avx512`: not into the second level.
    #[inline(always)]
    fn prefetch(self, ptr: *const u8) {
        // SAFETY: `self` proves the features.
        unsafe { _mm_prefetch::<_MM_HINT_NTA>(ptr.cast()) }
    }

    #[inline(always)]
    fn prefetch_near(self, ptr: *const u8) {
        // SAFETY: `self` proves the features.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ptr.cast()) }
    }

    #[inline(always)]
    fn bits(self, p: [__m256i; 4], shift: u32, mask: u8) -> [__m256i; 4] {
        let mut out = p;
        for v in &mut out {
            // SAFETY: `self` proves the features.
            unsafe {
                let shifted = _mm256_srlv_epi32(*v, _mm256_set1_epi32(shift as i32));
                *v = _mm256_and_si256(shifted, _mm256_set1_epi8(mask as i8));
            }
        }
        out
    }

    #[inline(always)]
    fn bits_up(self, p: [__m256i; 4], shift: u32, mask: u8) -> [__m256i; 4] {
        let mut out = p;
        for v in &mut out {
            // SAFETY: `self` proves the features.
            unsafe {
                let shifted = _mm256_sllv_epi32(*v, _mm256_set1_epi32(shift as i32));
                *v = _mm256_and_si256(shifted, _mm256_set1_epi8(mask as i8));
            }
        }
        out
    }

    #[inline(always)]
    fn or(self, a: [__m256i; 4], b: [__m256i; 4]) -> [__m256i; 4] {
        let mut out = a;
        for (a, b) in out.iter_mut().zip(b) {
            // SAFETY: `self` proves the features.
            *a = unsafe { _mm256_or_si256(*a, b) };
        }
        out
    }

    #[inline(always)]
    fn lookup(self, p: [__m256i; 4], table: &[i8; 16]) -> [__m256i; 4] {
        let mut out = p;
        for v in &mut out {
            // SAFETY: `self` proves the features.
            unsafe {
                let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
                *v = _mm256_shuffle_epi8(table, *v);
            }
        }
        out
    }

    #[inline(always)]
    fn fifth_bits(self, words: __m256i) -> [[__m256i; 4]; 2] {
        let mut out = [[words; 4]; 2];
        for (k, v) in out.as_flattened_mut().iter_mut().enumerate() {
            // SAFETY: `self` proves the features.
            unsafe {
                // Four copies of the byte that holds the four bits, one bit looked at in each.
                let byte = _mm256_set1_epi32((k / 2) as i32 * 0x0101_0101);
                let lane = _mm256_setr_epi32(
                    0,
                    0x0404_0404,
                    0x0808_0808,
                    0x0C0C_0C0C,
                    0,
                    0x0404_0404,
                    0x0808_0808,
                    0x0C0C_0C0C,
                );
                let copies = _mm256_shuffle_epi8(words, _mm256_add_epi32(byte, lane));
                let look = if k % 2 == 0 { 0x0804_0201 } else { 0x8040_2010_u32 as i32 };
                let look = _mm256_set1_epi32(look);
                let set = _mm256_cmpeq_epi8(_mm256_and_si256(copies, look), look);
                *v = _mm256_and_si256(set, _mm256_set1_epi8(16));
            }
        }
        out
    }

    #[inline(always)]
    fn admit_signed(self, p: [__m256i; 4]) -> [__m256i; 4] {
        p
    }

    #[inline(always)]
    fn words(self, p: [__m256i; 4]) -> [__m256i; 4] {
        p
    }

    #[inline(always)]
    fn interleave(self, p: [__m256i; 4]) -> [__m256i; 4] {
        p
    }

    #[inline(always)]
    fn zeros(self) -> __m256i {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn ints(self, x: i32) -> __m256i {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_set1_epi32(x) }
    }

    #[inline(always)]
    fn field(self, w: __m256i, shift: u32, mask: u32) -> __m256i {
        // SAFETY: `self` proves the features.
        unsafe {
            let shifted = _mm256_srlv_epi32(w, _mm256_set1_epi32(shift as i32));
            _mm256_and_si256(shifted, _mm256_set1_epi32(mask as i32))
        }
    }

    #[inline(always)]
    fn join(self, a: __m256i, b: __m256i, shift: u32) -> __m256i {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_or_si256(a, _mm256_sllv_epi32(b, _mm256_set1_epi32(shift as i32))) }
    }

    #[inline(always)]
    fn signed_byte(self, w: __m256i, k: u32) -> __m256i {
        // SAFETY: `self` proves the features.
        unsafe {
            let top = _mm256_sllv_epi32(w, _mm256_set1_epi32(24 - 8 * k as i32));
            _mm256_srai_epi32(top, 24)
        }
    }

    #[inline(always)]
    fn floats_from(self, x: __m256i) -> __m256 {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_cvtepi32_ps(x) }
    }

    #[inline(always)]
    fn floats_from_half(self, x: __m256i) -> __m256 {
        // SAFETY: `self` proves the features.
        unsafe {
            // The lower halves of each 128-bit lane's words side by side, then of both lanes.
            let low = _mm256_setr_epi8(
                0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1, //
                0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1,
            );
            let packed = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(x, low), 0b1000);
            _mm256_cvtph_ps(_mm256_castsi256_si128(packed))
        }
    }

    /// Two products at a time, of activations up to 127, must stay within 16 bits.
    #[inline(always)]
    fn steps<K: Kind>() -> usize {
        match K::MAX {
            0..=15 => 8,
            16..=31 => 4,
            32..=63 => 2,
            _ => 1,
        }
    }

    #[inline(always)]
    fn start(self, _: __m256i) -> __m256i {
        self.zeros()
    }

    #[inline(always)]
    unsafe fn step<K: Kind>(self, sum: __m256i, w: __m256i, x: *const i8) -> __m256i {
        // SAFETY: four activations, by the caller's promise; features.
        unsafe {
            let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
            let products = if K::SIGNED {
                _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
            } else {
                _mm256_maddubs_epi16(w, x)
            };
            _mm256_add_epi16(sum, products)
        }
    }

    #[inline(always)]
    fn flush(self, sum: __m256i, partial: __m256i) -> __m256i {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(partial, _mm256_set1_epi16(1))) }
    }

    compiled_under!(#[target_feature(enable = "avx2,fma,f16c")]);

    #[inline(always)]
    unsafe fn many_tokens<F: Format>(self, m: &MatmulRows<'_>) -> usize {
        // SAFETY: passed on to the caller. Sixteen registers hold 1 × 4 sums of each kind.
        unsafe { tiles::<Self, F, 1, 4>(self, m, 0) }
    }
}
