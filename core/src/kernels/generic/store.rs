//! Floats to the forms that the cache keeps them in (numerics, sections 2 and 8).

use crate::half::f32_to_f16;
use crate::kernels::args::CacheRef;

#[inline(always)]
pub(in crate::kernels) fn store_f16(x: &[f32], out: &mut [u16]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f32_to_f16(x);
    }
}

#[inline(always)]
pub(in crate::kernels) fn store_q8_0(x: &[f32], qs: &mut [i8], d: &mut [u16]) {
    // Adding and taking away 1.5·2^23 rounds to the nearest integer, ties to even.
    const MAGIC: f32 = 12_582_912.0;
    for ((x, qs), d) in x.chunks(CacheRef::GROUP).zip(qs.chunks_mut(CacheRef::GROUP)).zip(d) {
        let mut amax = 0.0f32;
        for x in x {
            amax = if x.abs() > amax { x.abs() } else { amax };
        }
        *d = f32_to_f16(amax / 127.0);
        let id = if amax == 0.0 { 0.0 } else { 127.0 / amax };
        for (q, &x) in qs.iter_mut().zip(x) {
            let x = x * id;
            let x = if x > 127.0 { 127.0 } else { x };
            let x = if x < -127.0 { -127.0 } else { x };
            let x = if x.is_nan() { 0.0 } else { x };
            *q = (x + MAGIC).to_bits() as i8;
        }
    }
}
