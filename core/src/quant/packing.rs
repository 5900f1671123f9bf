//! Bit layouts and rounding steps that several formats share.

use crate::half::{f16_to_f32, f32_to_f16};

/// The float of a stored `f16`.
#[inline(always)]
pub(super) fn half(bytes: [u8; 2]) -> f32 {
    f16_to_f32(u16::from_le_bytes(bytes))
}

/// The `f16` to store for a float.
#[inline(always)]
pub(super) fn to_half(x: f32) -> [u8; 2] {
    f32_to_f16(x).to_le_bytes()
}

/// The nibbles of 16 bytes: the low ones are elements 0..16, the high ones 16..32.
#[inline(always)]
pub(super) fn nibbles(qs: &[u8; 16]) -> [u8; 32] {
    let mut out = [0; 32];
    for i in 0..16 {
        out[i] = qs[i] & 15;
        out[i + 16] = qs[i] >> 4;
    }
    out
}

/// Fifth bits at their place: bit `i` of the 32 becomes 16 or 0 in element `i`.
#[inline(always)]
pub(super) fn fifth_bits(qh: [u8; 4]) -> [u8; 32] {
    let mut out = [0; 32];
    // Byte operations only (which byte, which bit of it): four times as many lanes as shifts of
    // the 32-bit word would have.
    for i in 0..32 {
        let bit = qh[i / 8] & (1 << (i % 8));
        out[i] = if bit == 0 { 0 } else { 16 };
    }
    out
}

/// Two-bit fields of 64 bytes: in half `h` of 128 elements, plane `p` of 32 is bits `2p..` of
/// bytes `32h..`.
#[inline(always)]
pub(super) fn crumbs(qs: &[u8; 64], q: &mut [i8; 256]) {
    for (q, qs) in q.as_chunks_mut::<128>().0.iter_mut().zip(qs.as_chunks::<32>().0) {
        for i in 0..32 {
            q[i] = (qs[i] & 3) as i8;
            q[i + 32] = (qs[i] >> 2 & 3) as i8;
            q[i + 64] = (qs[i] >> 4 & 3) as i8;
            q[i + 96] = (qs[i] >> 6) as i8;
        }
    }
}

/// Nibbles of 128 bytes: group `g` of 64 elements is bytes `32g..`, the low ones first.
#[inline(always)]
pub(super) fn nibbles_by_64(qs: &[u8; 128], q: &mut [i8; 256]) {
    for (q, qs) in q.as_chunks_mut::<64>().0.iter_mut().zip(qs.as_chunks::<32>().0) {
        for i in 0..32 {
            q[i] = (qs[i] & 15) as i8;
            q[i + 32] = (qs[i] >> 4) as i8;
        }
    }
}

/// The 6-bit sub-scales and minimums of `Q4_K` and `Q5_K`, each of the eight written twice.
#[inline(always)]
pub(super) fn six_bit_scales(packed: &[u8; 12], s: &mut [i8; 16], m: &mut [u8; 16]) {
    let (mut scale, mut min) = ([0u8; 8], [0u8; 8]);
    for k in 0..4 {
        let (low_s, low_m, rest) = (packed[k], packed[k + 4], packed[k + 8]);
        scale[k] = low_s & 63;
        min[k] = low_m & 63;
        scale[k + 4] = rest & 15 | low_s >> 6 << 4;
        min[k + 4] = rest >> 4 | low_m >> 6 << 4;
    }
    for j in 0..16 {
        s[j] = scale[j / 2] as i8;
        m[j] = min[j / 2];
    }
}

/// The inverse of [`nibbles_by_64`], for the lower four bits of the levels.
#[inline(always)]
pub(super) fn pack_nibbles_by_64(q: &[i8; 256]) -> [u8; 128] {
    let mut out = [0; 128];
    for (qs, q) in out.as_chunks_mut::<32>().0.iter_mut().zip(q.as_chunks::<64>().0) {
        for i in 0..32 {
            qs[i] = (q[i] & 15 | q[i + 32] << 4) as u8;
        }
    }
    out
}

/// The inverse of [`six_bit_scales`].
#[inline(always)]
pub(super) fn pack_six_bit_scales(s: &[i8; 16], m: &[u8; 16]) -> [u8; 12] {
    let mut out = [0; 12];
    for k in 0..4 {
        let (s, m) = ([s[2 * k] as u8, s[2 * k + 8] as u8], [m[2 * k], m[2 * k + 8]]);
        out[k] = s[0] | s[1] >> 4 << 6;
        out[k + 4] = m[0] | m[1] >> 4 << 6;
        out[k + 8] = s[1] & 15 | m[1] << 4;
    }
    out
}

/// The values that the non-linear 4-bit formats choose from.
pub(super) const NON_LINEAR: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The values at places below 16 of the non-linear table.
///
/// Looked up one by one, they take more than half of a dot product's time, and a table lookup has
/// no vector form that the compiler would find. So where there are vectors the table is climbed:
/// each step adds, in all lanes at once, what it rises by where the place is beyond it.
#[inline(always)]
pub(super) fn non_linear(places: [u8; 32], out: &mut [i8; 32]) {
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_feature = "simd128")) {
        climb(places, out);
    } else {
        *out = places.map(|place| NON_LINEAR[usize::from(place & 15)]);
    }
}

#[inline(always)]
fn climb(places: [u8; 32], out: &mut [i8; 32]) {
    *out = [NON_LINEAR[0]; 32];
    for k in 1..16 {
        let rise = NON_LINEAR[k] - NON_LINEAR[k - 1];
        for i in 0..32 {
            let beyond = places[i] as i8 >= k as i8;
            out[i] = out[i].wrapping_add(if beyond { rise } else { 0 });
        }
    }
}

/// The inverse of [`nibbles`] and [`fifth_bits`], for levels below 32.
pub(super) fn pack(levels: &[u8; 32]) -> ([u8; 16], [u8; 4]) {
    let (mut qs, mut qh) = ([0; 16], 0u32);
    for i in 0..16 {
        qs[i] = levels[i] & 15 | levels[i + 16] << 4;
    }
    for (i, level) in levels.iter().enumerate() {
        qh |= u32::from(level >> 4 & 1) << i;
    }
    (qs, qh.to_le_bytes())
}

/// The value of the largest magnitude, with its sign: the first of several, +0 if there is none.
/// A NaN never wins.
pub(super) fn largest(x: &[f32; 32]) -> f32 {
    let (mut max, mut amax) = (0.0, 0.0);
    for &v in x {
        if v.abs() > amax {
            (max, amax) = (v, v.abs());
        }
    }
    max
}

/// The smallest and the largest value: the first of several. A NaN never wins; among NaN only,
/// the range is turned inside out.
pub(super) fn range(x: &[f32; 32]) -> (f32, f32) {
    let (mut min, mut max) = (f32::MAX, f32::MIN);
    for &v in x {
        min = if v < min { v } else { min };
        max = if v > max { v } else { max };
    }
    (min, max)
}

/// `1 / d`, or 0 for a scale of zero.
pub(super) fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// `x` without its fraction, in the low byte of an integer of 32 bits; 0 for a NaN and for what
/// has no such integer. That is what the reference quantizers' conversions do on x86-64; the
/// language they are written in leaves it open.
pub(super) fn truncate(x: f32) -> i8 {
    if x.abs() < 2_147_483_648.0 { x as i32 as i8 } else { 0 }
}

/// `x` without its fraction and at most `max`: a quantized level.
pub(super) fn level(x: f32, max: i8) -> u8 {
    truncate(x).min(max) as u8
}

/// `x` rounded to the nearest integer, halves away from zero, as [`truncate`] gives it.
pub(super) fn round(x: f32) -> i8 {
    // The largest float below one half: a half would lift 0.49999997 to 1.
    const NEARLY_HALF: f32 = 0.5f32.next_down();
    truncate(x + NEARLY_HALF.copysign(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_agrees_with_the_standard_library() {
        // It can only go wrong beside a multiple of one half.
        for k in 0..600 {
            let at = (k as f32 * 0.5).to_bits();
            for bits in at.saturating_sub(3)..=at + 3 {
                let x = f32::from_bits(bits);
                assert_eq!(round(x), x.round() as i32 as i8, "{x:e}");
                assert_eq!(round(-x), -x.round() as i32 as i8, "-{x:e}");
            }
        }
    }

    #[test]
    fn what_has_no_integer_truncates_to_zero() {
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e9, -3e9, 2_147_483_648.0] {
            assert_eq!(truncate(x), 0);
            assert_eq!(round(x), 0);
        }
        assert_eq!(truncate(300.5), 44);
    }

    #[test]
    fn climbing_the_table_ends_where_a_lookup_does() {
        let mut out = [0; 32];
        climb(core::array::from_fn(|i| i as u8 % 16), &mut out);
        assert_eq!(out[..16], NON_LINEAR);
        assert_eq!(out[16..], NON_LINEAR);
    }

    #[test]
    fn packing_is_undone() {
        let mut levels = [0; 32];
        for (i, level) in levels.iter_mut().enumerate() {
            *level = (i * 11 + 5) as u8 % 32;
        }
        let (qs, qh) = pack(&levels);
        let (low, high) = (nibbles(&qs), fifth_bits(qh));
        for i in 0..32 {
            assert_eq!(low[i] | high[i], levels[i]);
        }
    }
}
