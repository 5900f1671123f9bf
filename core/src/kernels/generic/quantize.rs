//! Activations to 8-bit integers (numerics, section 3).

/// Sixteen values share a stored sum.
const RUN: usize = 16;

/// Quantizes whole groups of `G` values; whatever is missing in one of the slices ends the loop.
#[inline(always)]
pub(in crate::kernels) fn quantize<const G: usize>(
    x: &[f32],
    qs: &mut [i8],
    d: &mut [f32],
    sums: &mut [i16],
) {
    let groups = x.chunks_exact(G).zip(qs.chunks_exact_mut(G));
    for (((x, qs), d), sums) in groups.zip(d).zip(sums.chunks_exact_mut(G / RUN)) {
        let amax = largest_magnitude(x);
        *d = amax / 127.0;
        let id = if amax == 0.0 { 0.0 } else { 127.0 / amax };
        for (q, &x) in qs.iter_mut().zip(x) {
            *q = round(x * id);
        }
        for (sum, run) in sums.iter_mut().zip(qs.chunks_exact(RUN)) {
            *sum = run.iter().map(|&q| i16::from(q)).sum();
        }
    }
}

/// The largest |x|, NaN left out, at least +0. Order does not matter, so lanes are free.
#[inline(always)]
fn largest_magnitude(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; RUN];
    for run in x.chunks_exact(RUN) {
        for (lane, &x) in lanes.iter_mut().zip(run) {
            let magnitude = x.abs();
            *lane = if magnitude > *lane { magnitude } else { *lane };
        }
    }
    lanes.iter().fold(0.0, |max, &lane| if lane > max { lane } else { max })
}

/// The nearest integer, ties to even, in −127..=127; 0 for NaN.
#[inline(always)]
fn round(x: f32) -> i8 {
    // In ±127 the sum with 1.5·2^23 is rounded to an integer, which its low bits hold.
    const MAGIC: f32 = 12_582_912.0;
    let x = if x.is_nan() { 0.0 } else { x };
    let x = if x > 127.0 { 127.0 } else { x };
    let x = if x < -127.0 { -127.0 } else { x };
    ((x + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32) as i8
}
