//! `Q5_1`: id 7, 6 bits per weight, `w = d·q + m`.
//!
//! ```text
//! offset 0   2   d    f16
//!        2   2   m    f16
//!        4   4   qh   bit i: fifth bit of weight i
//!        8  16   qs   low nibbles: weights 0..16, high nibbles: weights 16..32
//! size  24, 32 weights
//! ```

use super::block::{Block32, Form32, Pack32, Quantize};
use super::packing::{fifth_bits, half, inverse, level, nibbles, pack, range, to_half};

/// A block of `Q5_1`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockQ5_1 {
    /// Scale, `f16`.
    pub d: [u8; 2],
    /// Minimum, `f16`.
    pub m: [u8; 2],
    /// Fifth bits of the levels.
    pub qh: [u8; 4],
    /// Lower four bits of the levels, two to a byte.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ5_1>() == 24);

impl Block32 for BlockQ5_1 {
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn scale(&self) -> f32 {
        half(self.d)
    }

    #[inline(always)]
    fn min(&self) -> f32 {
        half(self.m)
    }

    #[inline(always)]
    fn unpack(&self, q: &mut [i8; 32]) {
        let (low, high) = (nibbles(&self.qs), fifth_bits(self.qh));
        for i in 0..32 {
            q[i] = (low[i] | high[i]) as i8;
        }
    }
}

impl Quantize for BlockQ5_1 {
    /// The smallest value becomes level 0 and the largest level 31.
    fn quantize(x: &[f32; 32]) -> Self {
        let (min, max) = range(x);
        let d = (max - min) / 31.0;
        let id = inverse(d);
        let (qs, qh) = pack(&x.map(|x| level((x - min) * id + 0.5, 31)));
        Self { d: to_half(d), m: to_half(min), qh, qs }
    }
}

impl Pack32 for BlockQ5_1 {
    const FORM: Form32 = Form32 { has_min: Self::HAS_MIN, levels: [0.0, 31.0] };

    #[inline(always)]
    fn pack(d: u16, m: u16, q: &[i8; 32]) -> Self {
        let (qs, qh) = pack(&q.map(|q| q as u8));
        Self { d: d.to_le_bytes(), m: m.to_le_bytes(), qh, qs }
    }
}
