//! The numerics text, put down once more, one value at a time and with no eye to speed: what the
//! kernels, scalar ones included, are held to. Section numbers are those of that text.

use bantam_core::half::f32_to_f16;
use bantam_core::kernels::{ActGroup, RopePairs};
use bantam_core::math::{CANONICAL_NAN, exp, gelu, silu, tanh};
use bantam_core::quant::block::{Block32, Block256, blocks};
use bantam_core::quant::{Activation, GgmlType};

use crate::stored::CachedRow;

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
    pub(crate) groups: Vec<ActGroup>,
}

/// 3, whole groups only.
pub(crate) fn quantize(x: &[f32]) -> (Vec<i8>, Vec<ActGroup>) {
    let (mut q, mut groups) = (Vec::new(), Vec::new());
    for x in x.chunks_exact(32) {
        let amax = x.iter().fold(0.0, |max, x| if x.abs() > max { x.abs() } else { max });
        let id = if amax == 0.0 { 0.0 } else { 127.0 / amax };
        // A cast makes 0 of a NaN.
        let here: Vec<i8> =
            x.iter().map(|x| (x * id).round_ties_even().clamp(-127.0, 127.0) as i8).collect();
        groups.push(group(amax / 127.0, &here));
        q.extend(here);
    }
    (q, groups)
}

/// 3: what goes with 32 integers under a scale.
pub(crate) fn group(d: f32, q: &[i8]) -> ActGroup {
    let sums = [sum(&q[..16]) as i16, sum(&q[16..]) as i16];
    ActGroup { d, dsum: d * sum(q) as f32, sums }
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
        let (qx, dx) = (&x.q[b * 32..][..32], x.groups[b].d);
        let mut qw = [0; 32];
        block.unpack(&mut qw);
        acc = (block.scale() * dx).mul_add(integer_dot(&qw, qx) as f32, acc);
        if matches!(B::TYPE, GgmlType::Q4_1 | GgmlType::Q5_1) {
            acc = block.min().mul_add(dx * sum(qx) as f32, acc);
        }
    }
    acc
}

fn dot256<B: Block256>(row: &[u8], x: &Row) -> f32 {
    let run = match B::TYPE {
        GgmlType::Q2_K | GgmlType::Q3_K | GgmlType::Q6_K => 16,
        _ => 32,
    };
    let has_min = matches!(B::TYPE, GgmlType::Q2_K | GgmlType::Q4_K | GgmlType::Q5_K);
    let mut acc = 0.0f32;
    for (b, block) in blocks::<B>(row).unwrap().iter().enumerate() {
        let (mut qw, mut s, mut m) = ([0; 256], [0; 16], [0; 16]);
        block.unpack(&mut qw);
        block.unpack_scales(&mut s, &mut m);
        for j in (0..256).step_by(run) {
            let (qw, qx) = (&qw[j..][..run], &x.q[256 * b + j..][..run]);
            let dx = x.groups[8 * b + j / 32].d;
            let (dw, mw) =
                (block.scale() * f32::from(s[j / 16]), -(block.min_scale() * f32::from(m[j / 16])));
            acc = (dw * dx).mul_add(integer_dot(qw, qx) as f32, acc);
            if has_min {
                acc = mw.mul_add(dx * sum(qx) as f32, acc);
            }
        }
    }
    acc
}

/// The activations that weights of this format are multiplied with.
pub(crate) fn activations(ty: GgmlType, x: Vec<f32>) -> Row {
    let (q, groups) = match ty.activation() {
        Activation::F32 => Default::default(),
        Activation::Q8 => quantize(&x),
    };
    Row { floats: x, q, groups }
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
    pub(crate) k: &'a [CachedRow],
    pub(crate) v: &'a [CachedRow],
    pub(crate) first: usize,
    pub(crate) end: usize,
    pub(crate) scale: f32,
    pub(crate) soft_cap: Option<f32>,
}

/// 8.
pub(crate) fn attend(a: &Attention<'_>) -> Vec<f32> {
    let (mut m, mut l, mut o) = (f32::NEG_INFINITY, [0.0f32; 16], vec![0.0f32; a.q.len()]);
    let (integers, qd) = round_query(a.q);
    for chunk in a.first / 64..a.end.div_ceil(64) {
        let here = (chunk * 64).max(a.first)..((chunk + 1) * 64).min(a.end);
        let score = |t: usize| {
            let dot =
                |q: &[f32], k: &[f32]| q.iter().zip(k).fold(0.0, |s, (q, k)| q.mul_add(*k, s));
            let CachedRow { values, scales } = &a.k[t];
            let s = match scales {
                None => dot(a.q, values),
                Some(d) => integers.chunks(32).zip(values.chunks(32)).zip(qd.iter().zip(d)).fold(
                    0.0f32,
                    |s, ((q, k), (qd, kd))| {
                        let k: Vec<i8> = k.iter().map(|&k| k as i8).collect();
                        (qd * kd).mul_add(integer_dot(q, &k) as f32, s)
                    },
                ),
            };
            let s = s * a.scale;
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
            let CachedRow { values, scales } = &a.v[t];
            for (i, (o, &v)) in o.iter_mut().zip(values).enumerate() {
                let e = scales.as_ref().map_or(e, |d| e * d[i / 32]);
                *o = e.mul_add(v, *o);
            }
        }
    }
    let l = fold(l);
    o.into_iter().map(|o| canonical(o / l)).collect()
}

/// 8: integers and scales of a row in a `q8_0` cache.
pub(crate) fn store_q8_0(x: &[f32]) -> (Vec<i8>, Vec<u16>) {
    let (q, d) = round_query(x);
    (q, store_f16(&d))
}

/// 8: integers and scales of a query that meets such rows.
fn round_query(x: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let (mut q, mut d) = (Vec::new(), Vec::new());
    for x in x.chunks(32) {
        let amax = x.iter().fold(0.0, |max, x| if x.abs() > max { x.abs() } else { max });
        d.push(amax / 127.0);
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
