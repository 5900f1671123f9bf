//! Kernels over plain floats (numerics, sections 5 to 7, 9 and 10).
//!
//! What compilers do well by themselves is left to them: loops of a few additions and
//! multiplications. Sums, rotations and whatever has an exponential in it go by lanes.

use crate::kernels::args::RopePairs;
use crate::kernels::lanes::Lanes;
use crate::math::{Float, LANES, canonical, fma, fold_lanes, gelu, silu, soft_cap as capped, sqrt};

/// The i-th of some little-endian floats, which may lie at any address.
#[inline(always)]
fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b))
}

/// `1 / √(mean of squares + eps)`.
#[inline(always)]
fn rms_scale<L: Lanes>(x: &[f32], eps: f32) -> f32 {
    let mut lanes = L::splat(0.0);
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        let x = L::load(chunk);
        lanes = x.fma(x, lanes);
    }
    let mut lanes = lanes.to_array();
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = fma(x, x, *lane);
    }
    1.0 / sqrt(fold_lanes(lanes) / x.len() as f32 + eps)
}

#[inline(always)]
pub(in crate::kernels) fn rms_norm<L: Lanes>(x: &[f32], w: &[u8], eps: f32, out: &mut [f32]) {
    let scale = rms_scale::<L>(x, eps);
    for ((out, &x), w) in out.iter_mut().zip(x).zip(floats(w)) {
        *out = canonical((x * scale) * w);
    }
}

#[inline(always)]
pub(in crate::kernels) fn rms_norm_in_place<L: Lanes>(x: &mut [f32], w: &[u8], eps: f32) {
    let scale = rms_scale::<L>(x, eps);
    for (x, w) in x.iter_mut().zip(floats(w)) {
        *x = canonical((*x * scale) * w);
    }
}

#[inline(always)]
pub(in crate::kernels) fn rope<L: Lanes>(
    pairs: RopePairs,
    head: &mut [f32],
    cos: &[f32],
    sin: &[f32],
) {
    match pairs {
        // Neighbours lie in one register, and compilers know how to part them.
        RopePairs::Norm => {
            let angles = cos.iter().zip(sin);
            for ([a, b], (&c, &s)) in head.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
                (*a, *b) = rotate(*a, *b, c, s);
            }
        }
        RopePairs::NeoX => {
            let Some((a, b)) = head.split_at_mut_checked(cos.len()) else { return };
            let n = a.len().min(b.len()).min(sin.len());
            let (mut a, mut b) = (a.split_at_mut(n).0, b.split_at_mut(n).0);
            let (mut cos, mut sin) = (cos.split_at(n).0, sin.split_at(n).0);
            if const { L::WIDE } {
                let (a_lanes, a_rest) = a.as_chunks_mut::<LANES>();
                let (b_lanes, b_rest) = b.as_chunks_mut::<LANES>();
                let (c_lanes, c_rest) = cos.as_chunks::<LANES>();
                let (s_lanes, s_rest) = sin.as_chunks::<LANES>();
                let angles = c_lanes.iter().zip(s_lanes);
                for ((a, b), (c, s)) in a_lanes.iter_mut().zip(b_lanes).zip(angles) {
                    let (x, y) = rotate(L::load(a), L::load(b), L::load(c), L::load(s));
                    x.store(a);
                    y.store(b);
                }
                (a, b, cos, sin) = (a_rest, b_rest, c_rest, s_rest);
            }
            for ((a, b), (&c, &s)) in a.iter_mut().zip(b).zip(cos.iter().zip(sin)) {
                (*a, *b) = rotate(*a, *b, c, s);
            }
        }
    }
}

#[inline(always)]
fn rotate<F: Float>(a: F, b: F, c: F, s: F) -> (F, F) {
    (a.fma(c, -(b * s)).canonical(), a.fma(s, b * c).canonical())
}

/// A function of each float by itself. A type and no closure: what is compiled with a set's CPU
/// features must say that it is inlined.
trait Each: Copy {
    fn of<F: Float>(self, x: F) -> F;
}

#[derive(Clone, Copy)]
struct Silu;

impl Each for Silu {
    #[inline(always)]
    fn of<F: Float>(self, x: F) -> F {
        silu(x)
    }
}

#[derive(Clone, Copy)]
struct Gelu;

impl Each for Gelu {
    #[inline(always)]
    fn of<F: Float>(self, x: F) -> F {
        gelu(x)
    }
}

/// `gate = f(gate) · up`.
#[inline(always)]
fn gated<L: Lanes>(f: impl Each, gate: &mut [f32], up: &[f32]) {
    let n = gate.len().min(up.len());
    let (mut gate, mut up) = (gate.split_at_mut(n).0, up.split_at(n).0);
    if const { L::WIDE } {
        let (gate_lanes, gate_rest) = gate.as_chunks_mut::<LANES>();
        let (up_lanes, up_rest) = up.as_chunks::<LANES>();
        for (gate, up) in gate_lanes.iter_mut().zip(up_lanes) {
            (f.of(L::load(gate)) * L::load(up)).canonical().store(gate);
        }
        (gate, up) = (gate_rest, up_rest);
    }
    for (gate, &up) in gate.iter_mut().zip(up) {
        *gate = canonical(f.of(*gate) * up);
    }
}

#[inline(always)]
pub(in crate::kernels) fn silu_mul<L: Lanes>(gate: &mut [f32], up: &[f32]) {
    gated::<L>(Silu, gate, up);
}

#[inline(always)]
pub(in crate::kernels) fn gelu_mul<L: Lanes>(gate: &mut [f32], up: &[f32]) {
    gated::<L>(Gelu, gate, up);
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
pub(in crate::kernels) fn soft_cap<L: Lanes>(mut x: &mut [f32], cap: f32) {
    if const { L::WIDE } {
        let (lanes, rest) = x.as_chunks_mut::<LANES>();
        for x in lanes {
            capped(L::load(x), cap).canonical().store(x);
        }
        x = rest;
    }
    for x in x {
        *x = canonical(capped(*x, cap));
    }
}
