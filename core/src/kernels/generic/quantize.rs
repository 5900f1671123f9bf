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
        let zero = L::splat(0.0);
        // The first operand gives way if it is a NaN.
        let amax = a.max(zero).max((-a).max(b.max((-b).max(zero)))).greatest();
        let id = if amax == 0.0 { 0.0 } else { 127.0 / amax };
        *group = ActGroup::new(amax / 127.0, [round(a, id, qa), round(b, id, qb)]);
    }
}

/// Adding this to a float in ±2^22 leaves the nearest integer, ties to even, in the low bits.
const MAGIC: f32 = 12_582_912.0;

/// Writes `x·id` rounded to integers in −127..=127, NaN as 0; returns their sum.
#[inline(always)]
fn round<L: Lanes>(x: L, id: f32, out: &mut [i8; LANES]) -> i16 {
    let (x, zero) = (x * L::splat(id), L::splat(0.0));
    // One of the halves is 0, or both for a NaN.
    let (above, below) = (x.max(zero).min(L::splat(127.0)), x.min(zero).max(L::splat(-127.0)));
    let rounded = (above + below + L::splat(MAGIC)).to_array();
    let mut sum = 0i32;
    for (q, r) in out.iter_mut().zip(rounded) {
        let integer = (r.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
        *q = integer as i8;
        sum = sum.wrapping_add(integer);
    }
    sum as i16
}
