//! The numerics text, put down once more, one value at a time and with no eye to speed: what the
//! kernels, scalar ones included, are held to. Section numbers are those of that text.

use bantam_core::half::f32_to_f16;
use bantam_core::kernels::RopePairs;
use bantam_core::math::{CANONICAL_NAN, exp, gelu, silu, tanh};
use bantam_core::quant::block::{Block32, Block256, blocks};
use bantam_core::quant::{Activation, GgmlType};

/// 1.5
pub(crate) fn canonical(x: f32) -> f32 {
    if x.is_nan() { CANONICAL_NAN } else { x }
}

/// 1.6, of `fma(a, b, lane)`.
fn lane_sum(pairs: impl Iterator<Item = (f32, f32)>) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (i, (a, b)) in pairs.enumerate() {
        lanes[i % 16] = a.mul_add(b, lanes[i % 16]);
    }
    fold(lanes)
}

fn fold(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for j in 0..half {
            lanes[j] += lanes[j + half];
        }
    }
    lanes[0]
}

/// A row of activations in the form that some weights need.
pub(crate) struct Row {
    pub(crate) floats: Vec<f32>,
    pub(crate) q: Vec<i8>,
    pub(crate) d: Vec<f32>,
    pub(crate) sums: Vec<i16>,
}

/// 3, whole groups only.
pub(crate) fn quantize(x: &[f32], group: usize) -> (Vec<i8>, Vec<f32>, Vec<i16>) {
    let (mut q, mut d) = (Vec::new(), Vec::new());
    for x in x.chunks_exact(group) {
        let amax = x.iter().fold(0.0, |max, x| if x.abs() > max { x.abs() } else { max });
        d.push(amax / 127.0);
        let id = if amax == 0.0 { 0.0 } else { 127.0 / amax };
        // A cast makes 0 of a NaN.
        q.extend(x.iter().map(|x| (x * id).round_ties_even().clamp(-127.0, 127.0) as i8));
    }
    let sums = q.chunks_exact(16).map(|run| run.iter().map(|&q| i16::from(q)).sum()).collect();
    (q, d, sums)
}

/// 4.
pub(crate) fn dot(ty: GgmlType, row: &[u8], x: &Row) -> f32 {
    use bantam_core::quant::*;
    canonical(match ty {
        GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => {
            let mut w = vec![0.0; x.floats.len()];
            dequantize_row(ty, row, &mut w).unwrap();
            lane_sum(w.into_iter().zip(x.floats.iter().copied()))
        }
        GgmlType::Q4_0 => dot32::<q4_0::BlockQ4_0>(row, x),
        GgmlType::Q4_1 => dot32::<q4_1::BlockQ4_1>(row, x),
        GgmlType::Q5_0 => dot32::<q5_0::BlockQ5_0>(row, x),
        GgmlType::Q5_1 => dot32::<q5_1::BlockQ5_1>(row, x),
        GgmlType::Q8_0 => dot32::<q8_0::BlockQ8_0>(row, x),
        GgmlType::IQ4_NL => dot32::<iq4_nl::BlockIQ4NL>(row, x),
        GgmlType::MXFP4 => dot32::<mxfp4::BlockMXFP4>(row, x),
        GgmlType::Q2_K => dot256::<q2_k::BlockQ2K>(row, x),
        GgmlType::Q3_K => dot256::<q3_k::BlockQ3K>(row, x),
        GgmlType::Q4_K => dot256::<q4_k::BlockQ4K>(row, x),
        GgmlType::Q5_K => dot256::<q5_k::BlockQ5K>(row, x),
        GgmlType::Q6_K => dot256::<q6_k::BlockQ6K>(row, x),
        GgmlType::IQ4_XS => dot256::<iq4_xs::BlockIQ4XS>(row, x),
    })
}

fn integer_dot(a: &[i8], b: &[i8]) -> i64 {
    a.iter().zip(b).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum()
}

fn sum(x: &[i8]) -> i64 {
    x.iter().map(|&x| i64::from(x)).sum()
}

fn dot32<B: Block32>(row: &[u8], x: &Row) -> f32 {
    let mut acc = 0.0f32;
    for (b, block) in blocks::<B>(row).unwrap().iter().enumerate() {
        let (qx, dx) = (&x.q[b * 32..][..32], x.d[b]);
        let mut qw = [0; 32];
        block.unpack(&mut qw);
        acc = (block.scale() * dx).mul_add(integer_dot(&qw, qx) as f32, acc);
        if matches!(B::TYPE, GgmlType::Q4_1 | GgmlType::Q5_1) {
            acc = (block.min() * dx).mul_add(sum(qx) as f32, acc);
        }
    }
    acc
}

fn dot256<B: Block256>(row: &[u8], x: &Row) -> f32 {
    let mut acc = 0.0f32;
    for (b, block) in blocks::<B>(row).unwrap().iter().enumerate() {
        let (qx, dx) = (&x.q[b * 256..][..256], x.d[b]);
        let (mut qw, mut s, mut m) = ([0; 256], [0; 16], [0; 16]);
        block.unpack(&mut qw, &mut s, &mut m);
        let runs = || qw.chunks(16).zip(qx.chunks(16)).enumerate();
        let isum: i64 = runs().map(|(j, (w, x))| i64::from(s[j]) * integer_dot(w, x)).sum();
        let msum: i64 = runs().map(|(j, (_, x))| i64::from(m[j]) * sum(x)).sum();
        acc = (block.scale() * dx).mul_add(isum as f32, acc);
        if matches!(B::TYPE, GgmlType::Q2_K | GgmlType::Q4_K | GgmlType::Q5_K) {
            acc = (-(block.min_scale() * dx)).mul_add(msum as f32, acc);
        }
    }
    acc
}

/// The activations that weights of this format are multiplied with.
pub(crate) fn activations(ty: GgmlType, x: Vec<f32>) -> Row {
    let (q, d, sums) = match ty.activation() {
        Activation::F32 => Default::default(),
        Activation::Q8x32 => quantize(&x, 32),
        Activation::Q8x256 => quantize(&x, 256),
    };
    Row { floats: x, q, d, sums }
}

/// 6.
pub(crate) fn rms_norm(x: &[f32], w: &[f32], eps: f32) -> Vec<f32> {
    let ss = lane_sum(x.iter().map(|&x| (x, x)));
    let scale = 1.0 / (ss / x.len() as f32 + eps).sqrt();
    x.iter().zip(w).map(|(x, w)| canonical((x * scale) * w)).collect()
}

/// 7.
pub(crate) fn rope(pairs: RopePairs, x: &[f32], cos: &[f32], sin: &[f32]) -> Vec<f32> {
    let mut out = x.to_vec();
    for (i, (&c, &s)) in cos.iter().zip(sin).enumerate() {
        let (i, j) = match pairs {
            RopePairs::Norm => (2 * i, 2 * i + 1),
            RopePairs::NeoX => (i, i + cos.len()),
        };
        let (a, b) = (x[i], x[j]);
        out[i] = canonical(a.mul_add(c, -(b * s)));
        out[j] = canonical(a.mul_add(s, b * c));
    }
    out
}

/// What section 8 is given: keys and values are one row per position.
pub(crate) struct Attention<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [Vec<f32>],
    pub(crate) v: &'a [Vec<f32>],
    pub(crate) first: usize,
    pub(crate) end: usize,
    pub(crate) scale: f32,
    pub(crate) soft_cap: Option<f32>,
}

/// 8.
pub(crate) fn attend(a: &Attention<'_>) -> Vec<f32> {
    let (mut m, mut l, mut o) = (f32::NEG_INFINITY, [0.0f32; 16], vec![0.0f32; a.q.len()]);
    for chunk in a.first / 64..a.end.div_ceil(64) {
        let here = (chunk * 64).max(a.first)..((chunk + 1) * 64).min(a.end);
        let score = |t: usize| {
            let s = a.q.iter().zip(&a.k[t]).fold(0.0f32, |s, (q, k)| q.mul_add(*k, s)) * a.scale;
            a.soft_cap.map_or(s, |cap| cap * tanh(s / cap))
        };
        let s: Vec<f32> = here.clone().map(score).collect();
        let cm = s.iter().fold(f32::NEG_INFINITY, |m, &s| if s > m { s } else { m });
        if cm > m {
            let f = exp(m - cm);
            l.iter_mut().for_each(|l| *l *= f);
            o.iter_mut().for_each(|o| *o *= f);
            m = cm;
        }
        for (t, s) in here.zip(s) {
            let e = exp(s - m);
            l[t % 16] += e;
            for (o, &v) in o.iter_mut().zip(&a.v[t]) {
                *o = e.mul_add(v, *o);
            }
        }
    }
    let l = fold(l);
    o.into_iter().map(|o| canonical(o / l)).collect()
}

/// 8: integers and scales of a row in a `q8_0` cache.
pub(crate) fn store_q8_0(x: &[f32]) -> (Vec<i8>, Vec<u16>) {
    let (mut q, mut d) = (Vec::new(), Vec::new());
    for x in x.chunks(32) {
        let amax = x.iter().fold(0.0, |max, x| if x.abs() > max { x.abs() } else { max });
        d.push(f32_to_f16(amax / 127.0));
        let id = if amax == 0.0 { 0.0 } else { 127.0 / amax };
        // A cast makes 0 of a NaN.
        q.extend(x.iter().map(|x| (x * id).round_ties_even().clamp(-127.0, 127.0) as i8));
    }
    (q, d)
}

/// 9 and 10, element by element.
pub(crate) fn map(f: impl Fn(f32, f32) -> f32, x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(&x, &y)| canonical(f(x, y))).collect()
}

pub(crate) fn silu_mul(gate: f32, up: f32) -> f32 {
    silu(gate) * up
}

pub(crate) fn gelu_mul(gate: f32, up: f32) -> f32 {
    gelu(gate) * up
}

pub(crate) fn soft_cap(x: f32, cap: f32) -> f32 {
    cap * tanh(x / cap)
}

/// 2.
pub(crate) fn store_f16(x: &[f32]) -> Vec<u16> {
    x.iter().map(|&x| f32_to_f16(x)).collect()
}
