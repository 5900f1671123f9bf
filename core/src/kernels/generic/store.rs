//! Floats to the forms that the cache keeps them in (numerics, sections 2 and 8).

use super::quantize::inverse_scale;
use crate::half::f32_to_f16;
use crate::kernels::args::CacheRef;
use crate::kernels::lanes::Lanes;
use crate::math::LANES;

#[inline(always)]
pub(in crate::kernels) fn store_f16<L: Lanes>(x: &[f32], out: &mut [u16]) {
    let n = x.len().min(out.len());
    let (mut x, mut out) = (x.split_at(n).0, out.split_at_mut(n).0);
    if const { L::WIDE } {
        let (chunks, rest) = x.as_chunks::<LANES>();
        let (places, rest_places) = out.as_chunks_mut::<LANES>();
        for (x, out) in chunks.iter().zip(places) {
            L::load(x).store_f16(out);
        }
        (x, out) = (rest, rest_places);
    }
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f32_to_f16(x);
    }
}

#[inline(always)]
pub(in crate::kernels) fn store_q8_0<L: Lanes>(x: &[f32], qs: &mut [i8], d: &mut [u16]) {
    const GROUP: usize = CacheRef::GROUP;
    const { assert!(GROUP == 2 * LANES) };
    for ((x, qs), d) in x.chunks(GROUP).zip(qs.chunks_mut(GROUP)).zip(d) {
        // What a shorter group lacks is 0 and changes nothing.
        let (mut floats, mut integers) = ([[0.0; LANES]; 2], [[0; LANES]; 2]);
        for (place, &x) in floats.as_flattened_mut().iter_mut().zip(x) {
            *place = x;
        }
        let ([a, b], [qa, qb]) = (&floats, &mut integers);
        let (a, b) = (L::load(a), L::load(b));
        let amax = a.greatest_magnitude(b);
        *d = f32_to_f16(amax / 127.0);
        let id = L::splat(inverse_scale(amax));
        (a * id).round_to_i8(qa);
        (b * id).round_to_i8(qb);
        for (q, &integer) in qs.iter_mut().zip(integers.as_flattened()) {
            *q = integer;
        }
    }
}
