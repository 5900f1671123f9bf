//! `Q4_1`: id 3, 5 bits per weight, `w = d·q + m`.
//!
//! ```text
//! offset 0   2   d    f16
//!        2   2   m    f16
//!        4  16   qs   low nibbles: weights 0..16, high nibbles: weights 16..32
//! size  20, 32 weights
//! ```

use super::block::{Block32, Form32, Pack32, Quantize};
use super::packing::{half, inverse, level, nibbles, pack, range, to_half};

/// A block of `Q4_1`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockQ4_1 {
    /// Scale, `f16`.
    pub d: [u8; 2],
    /// Minimum, `f16`.
    pub m: [u8; 2],
    /// Levels 0..=15, two to a byte.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ4_1>() == 20);

impl Block32 for BlockQ4_1 {
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
        for (q, level) in q.iter_mut().zip(nibbles(&self.qs)) {
            *q = level as i8;
        }
    }
}

impl Quantize for BlockQ4_1 {
    /// The smallest value becomes level 0 and the largest level 15.
    fn quantize(x: &[f32; 32]) -> Self {
        let (min, max) = range(x);
        let d = (max - min) / 15.0;
        let id = inverse(d);
        let (qs, _) = pack(&x.map(|x| level((x - min) * id + 0.5, 15)));
        Self { d: to_half(d), m: to_half(min), qs }
    }
}

impl Pack32 for BlockQ4_1 {
    const FORM: Form32 = Form32 { has_min: Self::HAS_MIN, levels: [0.0, 15.0] };

    #[inline(always)]
    fn pack(d: u16, m: u16, q: &[i8; 32]) -> Self {
        let (qs, _) = pack(&q.map(|q| q as u8));
        Self { d: d.to_le_bytes(), m: m.to_le_bytes(), qs }
    }
}
