//! Floats in AVX and AVX-512 registers.

use core::arch::x86_64::*;

use crate::kernels::lanes::{Register, Registers};
use crate::math::{CANONICAL_NAN, EXP_MAGIC, LANES};

/// Wraps intrinsics: every method is called only from functions of a set that has the register.
macro_rules! methods {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name($($arg: $ty),*) -> $out {
            // SAFETY: the set whose functions call this has the register's CPU features.
            unsafe { $body }
        }
    )*};
}

/// The sum of sixteen signed bytes.
///
/// # Safety
/// For sets of this architecture only, whose features include the instructions.
#[inline(always)]
unsafe fn sum_of_bytes(bytes: __m128i) -> i16 {
    // SAFETY: the caller's promise. Eight unsigned bytes are added at a time, each too large by 128.
    unsafe {
        let unsigned = _mm_xor_si128(bytes, _mm_set1_epi8(i8::MIN));
        let sums = _mm_sad_epu8(unsigned, _mm_setzero_si128());
        (_mm_cvtsi128_si32(sums) + _mm_extract_epi16::<4>(sums) - 16 * 128) as i16
    }
}

impl Register for __m256 {
    const WIDTH: usize = 8;
    methods! {
        splat(x: f32) -> Self = _mm256_set1_ps(x);
        add(a: Self, b: Self) -> Self = _mm256_add_ps(a, b);
        sub(a: Self, b: Self) -> Self = _mm256_sub_ps(a, b);
        mul(a: Self, b: Self) -> Self = _mm256_mul_ps(a, b);
        div(a: Self, b: Self) -> Self = _mm256_div_ps(a, b);
        neg(a: Self) -> Self = _mm256_xor_ps(a, _mm256_set1_ps(-0.0));
        fma(a: Self, b: Self, c: Self) -> Self = _mm256_fmadd_ps(a, b, c);
        // The instructions return their second operand unless the comparison holds.
        max(a: Self, b: Self) -> Self = _mm256_max_ps(a, b);
        min(a: Self, b: Self) -> Self = _mm256_min_ps(a, b);
        where_greater(a: Self, b: Self, x: Self, y: Self) -> Self =
            _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b));
        canonical(a: Self) -> Self = _mm256_blendv_ps(
            a,
            _mm256_set1_ps(CANONICAL_NAN),
            _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a),
        );
        powers_of_two(a: Self) -> (Self, Self) = {
            let magic = _mm256_set1_epi32(EXP_MAGIC.to_bits() as i32);
            let n = _mm256_sub_epi32(_mm256_castps_si256(a), magic);
            let half = _mm256_srai_epi32::<1>(n);
            let bias = _mm256_set1_epi32(127);
            let x = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
            let y = _mm256_add_epi32(_mm256_sub_epi32(n, half), bias);
            (_mm256_castsi256_ps(x), _mm256_castsi256_ps(_mm256_slli_epi32::<23>(y)))
        };
        greatest(a: Self) -> f32 = {
            let a = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let a = _mm_max_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)))
        };
        total(a: Self) -> f32 = {
            let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)))
        };
    }
    #[inline(always)]
    fn greatest_magnitude<const N: usize>(a: Registers<Self, N>, b: Registers<Self, N>) -> f32 {
        // SAFETY: the set whose functions call this has the register's CPU features.
        let mut most = unsafe { _mm256_setzero_ps() };
        for &x in a.0.iter().chain(&b.0) {
            // SAFETY: as above. A NaN gives way to the second operand.
            most = unsafe { _mm256_max_ps(_mm256_andnot_ps(Self::splat(-0.0), x), most) };
        }
        Self::greatest(most)
    }
    #[inline(always)]
    fn round_to_i8<const N: usize>(x: Registers<Self, N>, out: &mut [i8; LANES]) -> i16 {
        const { assert!(N == 2) };
        let (most, least) = (Self::splat(127.0), Self::splat(-127.0));
        // SAFETY: the set whose functions call this has the register's CPU features; sixteen bytes
        // are written to as many.
        unsafe {
            let mut words = [_mm256_setzero_si256(); 2];
            for (words, &x) in words.iter_mut().zip(&x.0) {
                let number = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_ORD_Q>(x, x));
                let x = _mm256_max_ps(_mm256_min_ps(x, most), least);
                *words = _mm256_and_si256(_mm256_cvtps_epi32(x), number);
            }
            // Narrowed by 128-bit lanes, whose middle quarters change places.
            let halves = _mm256_packs_epi32(words[0], words[1]);
            let halves = _mm256_permute4x64_epi64::<0b11_01_10_00>(halves);
            let bytes = _mm_packs_epi16(
                _mm256_castsi256_si128(halves),
                _mm256_extracti128_si256::<1>(halves),
            );
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
            sum_of_bytes(bytes)
        }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: eight floats are readable, by the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(a: Self, to: *mut f32) {
        // SAFETY: eight floats are writable, by the caller's promise.
        unsafe { _mm256_storeu_ps(to, a) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: eight half floats are readable, by the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_f16(a: Self, to: *mut u16) {
        // SAFETY: eight half floats are writable, by the caller's promise.
        unsafe {
            // The instruction would keep what else a NaN holds.
            let nan =
                _mm256_or_ps(_mm256_and_ps(a, _mm256_set1_ps(-0.0)), Self::splat(CANONICAL_NAN));
            let a = _mm256_blendv_ps(a, nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a));
            _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a));
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: eight bytes are readable, by the caller's promise.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
}

impl Register for __m512 {
    const WIDTH: usize = 16;
    methods! {
        splat(x: f32) -> Self = _mm512_set1_ps(x);
        add(a: Self, b: Self) -> Self = _mm512_add_ps(a, b);
        sub(a: Self, b: Self) -> Self = _mm512_sub_ps(a, b);
        mul(a: Self, b: Self) -> Self = _mm512_mul_ps(a, b);
        div(a: Self, b: Self) -> Self = _mm512_div_ps(a, b);
        neg(a: Self) -> Self = _mm512_xor_ps(a, _mm512_set1_ps(-0.0));
        fma(a: Self, b: Self, c: Self) -> Self = _mm512_fmadd_ps(a, b, c);
        // The instructions return their second operand unless the comparison holds.
        max(a: Self, b: Self) -> Self = _mm512_max_ps(a, b);
        min(a: Self, b: Self) -> Self = _mm512_min_ps(a, b);
        where_greater(a: Self, b: Self, x: Self, y: Self) -> Self =
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), y, x);
        canonical(a: Self) -> Self = _mm512_mask_blend_ps(
            _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a),
            a,
            _mm512_set1_ps(CANONICAL_NAN),
        );
        powers_of_two(a: Self) -> (Self, Self) = {
            let magic = _mm512_set1_epi32(EXP_MAGIC.to_bits() as i32);
            let n = _mm512_sub_epi32(_mm512_castps_si512(a), magic);
            let half = _mm512_srai_epi32::<1>(n);
            let bias = _mm512_set1_epi32(127);
            let x = _mm512_slli_epi32::<23>(_mm512_add_epi32(half, bias));
            let y = _mm512_add_epi32(_mm512_sub_epi32(n, half), bias);
            (_mm512_castsi512_ps(x), _mm512_castsi512_ps(_mm512_slli_epi32::<23>(y)))
        };
        greatest(a: Self) -> f32 = _mm512_reduce_max_ps(a);
        total(a: Self) -> f32 =
            <__m256 as Register>::total(_mm256_add_ps(
                _mm512_castps512_ps256(a),
                _mm512_extractf32x8_ps::<1>(a),
            ));
    }
    #[inline(always)]
    fn greatest_magnitude<const N: usize>(a: Registers<Self, N>, b: Registers<Self, N>) -> f32 {
        // SAFETY: the set whose functions call this has the register's CPU features.
        unsafe {
            let mut most = _mm512_setzero_ps();
            for &x in a.0.iter().chain(&b.0) {
                // A NaN gives way to the second operand.
                most = _mm512_max_ps(_mm512_abs_ps(x), most);
            }
            _mm512_reduce_max_ps(most)
        }
    }
    #[inline(always)]
    fn round_to_i8<const N: usize>(x: Registers<Self, N>, out: &mut [i8; LANES]) -> i16 {
        const { assert!(N == 1) };
        // SAFETY: the set whose functions call this has the register's CPU features; sixteen bytes
        // are written to as many.
        unsafe {
            let x = x.0[0];
            let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(x, x);
            let x = _mm512_max_ps(_mm512_min_ps(x, Self::splat(127.0)), Self::splat(-127.0));
            let bytes = _mm512_cvtepi32_epi8(_mm512_maskz_cvtps_epi32(number, x));
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
            sum_of_bytes(bytes)
        }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: sixteen floats are readable, by the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(a: Self, to: *mut f32) {
        // SAFETY: sixteen floats are writable, by the caller's promise.
        unsafe { _mm512_storeu_ps(to, a) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: sixteen half floats are readable, by the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_f16(a: Self, to: *mut u16) {
        // SAFETY: sixteen half floats are writable, by the caller's promise.
        unsafe {
            // The instruction would keep what else a NaN holds.
            let sign = _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(i32::MIN));
            let nan = _mm512_or_si512(sign, _mm512_castps_si512(Self::splat(CANONICAL_NAN)));
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            let a = _mm512_mask_blend_ps(is_nan, a, _mm512_castsi512_ps(nan));
            _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a));
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: sixteen bytes are readable, by the caller's promise.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
}
