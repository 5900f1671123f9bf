//! Kernels over plain floats (numerics, sections 5 to 7, 9 and 10).

use crate::kernels::args::RopePairs;
use crate::math::{LANES, canonical, fma, fold_lanes, gelu, silu, soft_cap as capped, sqrt};

/// The i-th of some little-endian floats, which may lie at any address.
#[inline(always)]
fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b))
}

/// `1 / √(mean of squares + eps)`.
#[inline(always)]
fn rms_scale(x: &[f32], eps: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = fma(x, x, *lane);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = fma(x, x, *lane);
    }
    1.0 / sqrt(fold_lanes(lanes) / x.len() as f32 + eps)
}

#[inline(always)]
pub(in crate::kernels) fn rms_norm(x: &[f32], w: &[u8], eps: f32, out: &mut [f32]) {
    let scale = rms_scale(x, eps);
    for ((out, &x), w) in out.iter_mut().zip(x).zip(floats(w)) {
        *out = canonical((x * scale) * w);
    }
}

#[inline(always)]
pub(in crate::kernels) fn rms_norm_in_place(x: &mut [f32], w: &[u8], eps: f32) {
    let scale = rms_scale(x, eps);
    for (x, w) in x.iter_mut().zip(floats(w)) {
        *x = canonical((*x * scale) * w);
    }
}

#[inline(always)]
pub(in crate::kernels) fn rope(pairs: RopePairs, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let angles = cos.iter().zip(sin);
    match pairs {
        RopePairs::Norm => {
            for ([a, b], (&c, &s)) in head.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
                (*a, *b) = rotate(*a, *b, c, s);
            }
        }
        RopePairs::NeoX => {
            let Some((first, rest)) = head.split_at_mut_checked(cos.len()) else { return };
            for ((a, b), (&c, &s)) in first.iter_mut().zip(rest).zip(angles) {
                (*a, *b) = rotate(*a, *b, c, s);
            }
        }
    }
}

#[inline(always)]
fn rotate(a: f32, b: f32, c: f32, s: f32) -> (f32, f32) {
    (canonical(fma(a, c, -(b * s))), canonical(fma(a, s, b * c)))
}

#[inline(always)]
pub(in crate::kernels) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    for (gate, &up) in gate.iter_mut().zip(up) {
        *gate = canonical(silu(*gate) * up);
    }
}

#[inline(always)]
pub(in crate::kernels) fn gelu_mul(gate: &mut [f32], up: &[f32]) {
    for (gate, &up) in gate.iter_mut().zip(up) {
        *gate = canonical(gelu(*gate) * up);
    }
}

#[inline(always)]
pub(in crate::kernels) fn add(x: &mut [f32], y: &[f32]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x = canonical(*x + y);
    }
}

#[inline(always)]
pub(in crate::kernels) fn add_bias(x: &mut [f32], bias: &[u8]) {
    for (x, bias) in x.iter_mut().zip(floats(bias)) {
        *x = canonical(*x + bias);
    }
}

#[inline(always)]
pub(in crate::kernels) fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x = canonical(*x * factor);
    }
}

#[inline(always)]
pub(in crate::kernels) fn soft_cap(x: &mut [f32], cap: f32) {
    for x in x {
        *x = canonical(capped(*x, cap));
    }
}
