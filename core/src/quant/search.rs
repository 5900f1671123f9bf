//! Scales and levels of super-blocks that stand for given weights with little error.

use super::block::{Block256, Parts256};
use crate::half::{f16_to_f32, f32_to_f16};

/// The parts of a super-block that stands for `x`: levels span each group's range.
pub(super) fn quantize256<B: Block256>(x: &[f32; 256]) -> Parts256 {
    let x = x.map(|x| if x.is_nan() { 0.0 } else { x.clamp(f32::MIN, f32::MAX) });
    let mut parts = Parts256 { d: 0, dmin: 0, s: [0; 16], m: [0; 16], q: [0; 256] };
    let most = match B::TYPE {
        super::GgmlType::Q4_K => 15.0,
        super::GgmlType::Q5_K => 31.0,
        _ => 32.0,
    };
    let (mut scales, mut mins) = ([0f32; 16], [0f32; 16]);
    for (j, x) in x.chunks(B::GROUP).enumerate() {
        let low = x.iter().fold(0f32, |a, &b| a.min(b));
        let high = x.iter().fold(0f32, |a, &b| a.max(b));
        for k in j * B::GROUP / 16..(j + 1) * B::GROUP / 16 {
            if B::HAS_MIN {
                (scales[k], mins[k]) = (high / most - low / most, -low);
            } else {
                scales[k] = high.max(-low) / most;
            }
        }
    }
    let top = if B::HAS_MIN { 63.0 } else { 127.0 };
    let d = scales.iter().fold(0f32, |a, &b| a.max(b)) / top;
    let dmin = mins.iter().fold(0f32, |a, &b| a.max(b)) / top;
    parts.d = f32_to_f16(d.min(65504.0));
    parts.dmin = f32_to_f16(dmin.min(65504.0));
    let (d, dmin) = (f16_to_f32(parts.d), f16_to_f32(parts.dmin));
    let over = |x: f32, d: f32| if d > 0.0 { x / d } else { 0.0 };
    for (j, x) in x.as_chunks::<16>().0.iter().enumerate() {
        parts.s[j] = (over(scales[j], d) + 0.5).min(top) as i8;
        parts.m[j] = (over(mins[j], dmin) + 0.5).min(top) as u8;
        let (s, m) = (d * f32::from(parts.s[j]), dmin * f32::from(parts.m[j]));
        for (q, x) in parts.q[16 * j..][..16].iter_mut().zip(x) {
            let bias = if B::HAS_MIN { 0.0 } else { most };
            let level = (over(x + m, s) + bias + 0.5)
                .clamp(0.0, most + bias - if B::HAS_MIN { 0.0 } else { 1.0 });
            *q = level as i8 - bias as i8;
        }
    }
    parts
}
