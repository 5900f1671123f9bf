//! Activations to 8-bit integers (numerics, section 3).

use crate::kernels::args::ActGroup;
use crate::kernels::lanes::Lanes;
use crate::math::LANES;

/// Quantizes whole groups; whatever is missing in one of the slices ends the loop.
#[inline(always)]
pub(in crate::kernels) fn quantize<L: Lanes>(x: &[f32], qs: &mut [i8], groups: &mut [ActGroup]) {
    let runs = x.as_chunks::<LANES>().0.as_chunks::<2>().0.iter();
    let qs = qs.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0;
    for (([a, b], [qa, qb]), group) in runs.zip(qs).zip(groups) {
        let (a, b) = (L::load(a), L::load(b));
        let amax = a.greatest_magnitude(b);
        let id = inverse_scale(amax);
        let (a, b) = (a * L::splat(id), b * L::splat(id));
        *group = ActGroup::new(amax / 127.0, [a.round_to_i8(qa), b.round_to_i8(qb)]);
    }
}

/// What floats up to `amax` are multiplied with to become 8-bit integers.
#[inline(always)]
pub(in crate::kernels) fn inverse_scale(amax: f32) -> f32 {
    if amax == 0.0 { 0.0 } else { 127.0 / amax }
}
