//! `Q4_0`: id 2, 4.5 bits per weight, `w = d·(q − 8)`.
//!
//! ```text
//! offset 0   2   d    f16
//!        2  16   qs   low nibbles: weights 0..16, high nibbles: weights 16..32
//! size  18, 32 weights
//! ```

use super::block::{Block32, Form32, Pack32, Quantize};
use super::packing::{half, inverse, largest, level, nibbles, pack, to_half};

/// A block of `Q4_0`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockQ4_0 {
    /// Scale, `f16`.
    pub d: [u8; 2],
    /// Levels 0..=15, two to a byte.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ4_0>() == 18);

impl Block32 for BlockQ4_0 {
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn scale(&self) -> f32 {
        half(self.d)
    }

    #[inline(always)]
    fn unpack(&self, q: &mut [i8; 32]) {
        for (q, level) in q.iter_mut().zip(nibbles(&self.qs)) {
            *q = (level as i8).wrapping_sub(8);
        }
    }
}

impl Quantize for BlockQ4_0 {
    /// The value of the largest magnitude becomes −8 exactly; the others are rounded to the
    /// nearest level, and what would be +8 is cut to +7.
    fn quantize(x: &[f32; 32]) -> Self {
        let d = largest(x) / -8.0;
        let id = inverse(d);
        let (qs, _) = pack(&x.map(|x| level(x * id + 8.5, 15)));
        Self { d: to_half(d), qs }
    }
}

impl Pack32 for BlockQ4_0 {
    const FORM: Form32 = Form32 { has_min: Self::HAS_MIN, levels: [-8.0, 7.0] };

    #[inline(always)]
    fn pack(d: u16, _: u16, q: &[i8; 32]) -> Self {
        let (qs, _) = pack(&q.map(|q| q.wrapping_add(8) as u8));
        Self { d: d.to_le_bytes(), qs }
    }
}
