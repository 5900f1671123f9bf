//! Activations to 8-bit integers (numerics, section 3).

use crate::kernels::args::ActGroup;

/// Sixteen values share a stored sum.
const RUN: usize = 16;

/// Quantizes whole groups; whatever is missing in one of the slices ends the loop.
#[inline(always)]
pub(in crate::kernels) fn quantize(x: &[f32], qs: &mut [i8], groups: &mut [ActGroup]) {
    let pairs = x.as_chunks::<{ ActGroup::LEN }>().0.iter().zip(qs.as_chunks_mut().0);
    for ((x, qs), group) in pairs.zip(groups) {
        *group = quantize_group(x, qs);
    }
}

#[inline(always)]
fn quantize_group(x: &[f32; ActGroup::LEN], qs: &mut [i8; ActGroup::LEN]) -> ActGroup {
    let amax = largest_magnitude(x);
    let id = if amax == 0.0 { 0.0 } else { 127.0 / amax };
    let mut rounded = [0i32; ActGroup::LEN];
    for (q, &x) in rounded.iter_mut().zip(x) {
        *q = round(x * id);
    }
    for (q, &r) in qs.iter_mut().zip(&rounded) {
        *q = r as i8;
    }
    let mut sums = [0i16; 2];
    for (sum, run) in sums.iter_mut().zip(rounded.as_chunks::<RUN>().0) {
        *sum = run.iter().sum::<i32>() as i16;
    }
    ActGroup::new(amax / 127.0, sums)
}

/// The largest |x|, NaN left out, at least +0. Order does not matter, so lanes are free.
#[inline(always)]
fn largest_magnitude(x: &[f32; ActGroup::LEN]) -> f32 {
    let mut lanes = [0.0f32; RUN];
    for run in x.as_chunks::<RUN>().0 {
        for (lane, &x) in lanes.iter_mut().zip(run) {
            let magnitude = x.abs();
            *lane = if magnitude > *lane { magnitude } else { *lane };
        }
    }
    let mut half = RUN / 2;
    while half > 0 {
        for i in 0..half {
            let other = lanes[i + half];
            lanes[i] = if other > lanes[i] { other } else { lanes[i] };
        }
        half /= 2;
    }
    lanes[0]
}

/// The nearest integer, ties to even, in −127..=127; 0 for NaN.
#[inline(always)]
fn round(x: f32) -> i32 {
    // In ±127 the sum with 1.5·2^23 is rounded to an integer, which its low bits hold.
    const MAGIC: f32 = 12_582_912.0;
    let x = if x.is_nan() { 0.0 } else { x };
    let x = if x > 127.0 { 127.0 } else { x };
    let x = if x < -127.0 { -127.0 } else { x };
    ((x + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32)
}
