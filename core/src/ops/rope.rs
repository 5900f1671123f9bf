//! Rotary positions: frequencies once, angles per batch, rotation per head.

use super::Runner;
use crate::kernels::RopePairs;
use crate::math::{Wide, sin_cos};
use crate::tensor::TensorView;

/// Fills `freqs[i]` with `base^(−2i/rope_dim) / factor`, divided further by `divisors[i]` if given;
/// `rope_dim` is twice the length of `freqs`. The power is rounded once, and each quotient.
pub fn fill_freqs(base: f32, factor: f32, divisors: Option<TensorView<'_>>, freqs: &mut [f32]) {
    let ratio = Wide::inverse_root(base, u32::try_from(freqs.len()).unwrap_or(u32::MAX));
    let divisors = divisors.map_or(&[][..], |view| view.bytes()).as_chunks::<4>().0;
    let mut divisors = divisors.iter().map(|&b| f32::from_le_bytes(b));
    let mut power = Wide::ONE;
    for freq in freqs {
        *freq = power.to_f32() / factor / divisors.next().unwrap_or(1.0);
        power = power.times(ratio);
    }
}

/// Fills cosines and sines, positions × frequencies, for positions from `first_pos` on.
pub fn fill_angles(freqs: &[f32], first_pos: usize, cos: &mut [f32], sin: &mut [f32]) {
    let n = freqs.len().max(1);
    let places = cos.iter_mut().zip(sin).zip(freqs.iter().cycle());
    for (i, ((c, s), &freq)) in places.enumerate() {
        let theta = (first_pos + i / n) as f32 * freq;
        // Hostile divisors can make any angle; the reduction holds below 2^20.
        let theta = if theta.abs() < 1_048_576.0 { theta } else { 0.0 };
        (*s, *c) = sin_cos(theta);
    }
}

/// Rotates every head of every row of `x`, whose rows are `row_len` long; row `t` by row `t` of the
/// angles, `freqs` per row.
pub fn rope_rows(
    run: Runner<'_>,
    pairs: RopePairs,
    x: &mut [f32],
    [row_len, head_dim, freqs]: [usize; 3],
    cos: &[f32],
    sin: &[f32],
) {
    run.rows(x, row_len, &|t, row| {
        let angles = t * freqs..(t + 1) * freqs;
        let cos = cos.get(angles.clone()).unwrap_or(&[]);
        let sin = sin.get(angles).unwrap_or(&[]);
        for head in row.chunks_exact_mut(head_dim.max(1)) {
            // Elements beyond the rotated ones stay as they are.
            let rotated = head.get_mut(..2 * freqs).unwrap_or_default();
            run.kernels.rope(pairs, rotated, cos, sin);
        }
    });
}
