//! Activations to 8-bit integers (numerics, section 3).

use crate::kernels::args::ActGroup;
use crate::kernels::lanes::Lanes;
use crate::math::{EXP_MAGIC, LANES};

/// Quantizes whole groups; whatever is missing in one of the slices ends the loop.
#[inline(always)]
pub(in crate::kernels) fn quantize<L: Lanes>(x: &[f32], qs: &mut [i8], groups: &mut [ActGroup]) {
    let runs = x.as_chunks::<LANES>().0.as_chunks::<2>().0.iter();
    let qs = qs.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0;
    for (([a, b], [qa, qb]), group) in runs.zip(qs).zip(groups) {
        let (a, b) = (L::load(a), L::load(b));
        let amax = greatest_magnitude(a, b);
        let id = inverse_scale(amax);
        *group = ActGroup::new(amax / 127.0, [round(a, id, qa), round(b, id, qb)]);
    }
}

/// The greatest magnitude of 32 floats, which is no NaN's; +0 if there is no other.
#[inline(always)]
pub(super) fn greatest_magnitude<L: Lanes>(a: L, b: L) -> f32 {
    let zero = L::splat(0.0);
    // The first operand gives way if it is a NaN.
    a.max(zero).max((-a).max(b.max((-b).max(zero)))).greatest()
}

/// What floats up to `amax` are multiplied with to become 8-bit integers.
#[inline(always)]
pub(super) fn inverse_scale(amax: f32) -> f32 {
    if amax == 0.0 { 0.0 } else { 127.0 / amax }
}

/// Writes `x·id` rounded to integers in −127..=127, NaN as 0; returns their sum.
#[inline(always)]
pub(super) fn round<L: Lanes>(x: L, id: f32, out: &mut [i8; LANES]) -> i16 {
    let (x, zero) = (x * L::splat(id), L::splat(0.0));
    // One of the halves is 0, or both for a NaN.
    let (above, below) = (x.max(zero).min(L::splat(127.0)), x.min(zero).max(L::splat(-127.0)));
    let shifted = above + below + L::splat(EXP_MAGIC);
    for (q, r) in out.iter_mut().zip(shifted.to_array()) {
        *q = r.to_bits() as i8;
    }
    (shifted - L::splat(EXP_MAGIC)).total() as i16
}
