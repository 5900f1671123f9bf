//! AVX2 with FMA and F16C: Intel from Haswell on, AMD from Excavator on.

use core::arch::x86_64::{
    __m256, __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_shuffle_epi32,
    _mm_unpackhi_epi64, _mm256_add_epi32, _mm256_castsi256_si128, _mm256_cvtepi8_epi16,
    _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_setzero_si256,
};

use crate::kernels::Table;
use crate::kernels::isa::{Isa, kernel_table};
use crate::kernels::lanes::Registers;

pub(super) struct Avx2;

#[cfg(feature = "std")]
fn is_available() -> bool {
    std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c")
}

#[cfg(not(feature = "std"))]
fn is_available() -> bool {
    cfg!(all(target_feature = "avx2", target_feature = "fma", target_feature = "f16c"))
}

pub(in crate::kernels) static TABLE: Table = kernel_table!(
    #[target_feature(enable = "avx2,fma,f16c")]
    "x86_64/avx2",
    Avx2,
    is_available
);

impl Isa for Avx2 {
    type Lanes = Registers<__m256, 2>;
    const ACCUMULATORS: usize = 6;

    #[inline(always)]
    fn dot_32(w: &[i8; 32], x: &[i8; 32]) -> i32 {
        // SAFETY: called only from this set's functions, which have AVX2; both loads of 16 bytes
        // lie in arrays of 32.
        unsafe {
            let mut sum = _mm256_setzero_si256();
            for half in [0, 16] {
                let w = _mm256_cvtepi8_epi16(_mm_loadu_si128(w.as_ptr().add(half).cast()));
                let x = _mm256_cvtepi8_epi16(_mm_loadu_si128(x.as_ptr().add(half).cast()));
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(w, x));
            }
            horizontal_sum(sum)
        }
    }

    #[inline(always)]
    fn dot_256(w: &[i16; 256], x: &[i8; 256]) -> i32 {
        // SAFETY: called only from this set's functions, which have AVX2; each step loads 16
        // weights and 16 activations, and 16 steps make the 256 of both arrays.
        unsafe {
            let mut sum = _mm256_setzero_si256();
            for i in (0..256).step_by(16) {
                let w = _mm256_loadu_si256(w.as_ptr().add(i).cast());
                let x = _mm256_cvtepi8_epi16(_mm_loadu_si128(x.as_ptr().add(i).cast()));
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(w, x));
            }
            horizontal_sum(sum)
        }
    }
}

/// The sum of eight 32-bit lanes.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
unsafe fn horizontal_sum(v: __m256i) -> i32 {
    // SAFETY: AVX2 is the caller's promise.
    unsafe {
        let four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)))
    }
}
