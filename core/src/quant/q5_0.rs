//! `Q5_0`: id 6, 5.5 bits per weight, `w = d·(q − 16)`.
//!
//! ```text
//! offset 0   2   d    f16
//!        2   4   qh   bit i: fifth bit of weight i
//!        6  16   qs   low nibbles: weights 0..16, high nibbles: weights 16..32
//! size  22, 32 weights
//! ```

use super::block::{Block32, Form32, Pack32, Quantize};
use super::packing::{fifth_bits, half, inverse, largest, level, nibbles, pack, to_half};

/// A block of `Q5_0`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockQ5_0 {
    /// Scale, `f16`.
    pub d: [u8; 2],
    /// Fifth bits of the levels.
    pub qh: [u8; 4],
    /// Lower four bits of the levels, two to a byte.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ5_0>() == 22);

impl Block32 for BlockQ5_0 {
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn scale(&self) -> f32 {
        half(self.d)
    }

    #[inline(always)]
    fn unpack(&self, q: &mut [i8; 32]) {
        let (low, high) = (nibbles(&self.qs), fifth_bits(self.qh));
        for i in 0..32 {
            q[i] = ((low[i] | high[i]) as i8).wrapping_sub(16);
        }
    }
}

impl Quantize for BlockQ5_0 {
    /// The value of the largest magnitude becomes −16 exactly; the others are rounded to the
    /// nearest level, and what would be +16 is cut to +15.
    fn quantize(x: &[f32; 32]) -> Self {
        let d = largest(x) / -16.0;
        let id = inverse(d);
        let (qs, qh) = pack(&x.map(|x| level(x * id + 16.5, 31)));
        Self { d: to_half(d), qh, qs }
    }
}

impl Pack32 for BlockQ5_0 {
    const FORM: Form32 = Form32 { has_min: Self::HAS_MIN, levels: [-16.0, 15.0] };

    #[inline(always)]
    fn pack(d: u16, _: u16, q: &[i8; 32]) -> Self {
        let (qs, qh) = pack(&q.map(|q| q.wrapping_add(16) as u8));
        Self { d: d.to_le_bytes(), qh, qs }
    }
}
