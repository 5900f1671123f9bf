//! Keys times queries, four bytes of each to a 32-bit lane.

use core::arch::x86_64::*;

use crate::kernels::dots::{Dots, KeyWords};
use crate::kernels::lanes::Registers;

/// AVX2's `vpmaddubsw`: keys go in as magnitudes, with their signs put on the query. Two products
/// of at most 128 · 127 stay within 16 bits.
pub(super) struct Maddubs;

impl Dots for Maddubs {
    type Sums = [__m256i; 2];
    /// Keys and their magnitudes.
    type Keys = [[__m256i; 2]; 2];
    type Floats = Registers<__m256, 2>;

    #[inline(always)]
    fn start(_: i32) -> [__m256i; 2] {
        // SAFETY: only functions of the set with AVX2 get here.
        unsafe { [_mm256_setzero_si256(); 2] }
    }
    #[inline(always)]
    fn keys(from: &KeyWords) -> [[__m256i; 2]; 2] {
        let from = from.as_ptr().cast::<__m256i>();
        // SAFETY: as in `start`; sixteen words are two registers.
        unsafe {
            let (a, b) = (_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1)));
            [[a, _mm256_abs_epi8(a)], [b, _mm256_abs_epi8(b)]]
        }
    }
    #[inline(always)]
    fn add(mut sums: [__m256i; 2], keys: [[__m256i; 2]; 2], query: i32) -> [__m256i; 2] {
        for (sum, [key, magnitude]) in sums.iter_mut().zip(keys) {
            // SAFETY: as in `start`.
            unsafe {
                let query = _mm256_sign_epi8(_mm256_set1_epi32(query), key);
                let pairs = _mm256_maddubs_epi16(magnitude, query);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
        }
        sums
    }
    #[inline(always)]
    fn floats([a, b]: [__m256i; 2]) -> Registers<__m256, 2> {
        // SAFETY: as in `start`.
        Registers(unsafe { [_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b)] })
    }
}

/// AVX-512's `vpdpbusd`: keys are the unsigned side, with 128 added, and sums begin with minus that
/// excess.
pub(super) struct Vnni;

impl Dots for Vnni {
    type Sums = __m512i;
    type Keys = __m512i;
    type Floats = Registers<__m512, 1>;

    #[inline(always)]
    fn start(total: i32) -> __m512i {
        // SAFETY: only functions of the set with AVX-512 and VNNI get here.
        unsafe { _mm512_set1_epi32(-128 * total) }
    }
    #[inline(always)]
    fn keys(from: &KeyWords) -> __m512i {
        // SAFETY: as in `start`; sixteen words are one register. Adding 128 flips a byte's top bit.
        unsafe {
            _mm512_xor_si512(_mm512_loadu_si512(from.as_ptr().cast()), _mm512_set1_epi8(-128))
        }
    }
    #[inline(always)]
    fn add(sums: __m512i, keys: __m512i, query: i32) -> __m512i {
        // SAFETY: as in `start`.
        unsafe { _mm512_dpbusd_epi32(sums, keys, _mm512_set1_epi32(query)) }
    }
    #[inline(always)]
    fn floats(sums: __m512i) -> Registers<__m512, 1> {
        // SAFETY: as in `start`.
        Registers([unsafe { _mm512_cvtepi32_ps(sums) }])
    }
}
