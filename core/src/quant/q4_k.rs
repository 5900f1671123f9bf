//! `Q4_K`: id 12, 4.5 bits per weight, `w = (d·s)·q − dmin·m`, `s` and `m` per 32.
//!
//! ```text
//! offset  0    2   d       f16
//!         2    2   dmin    f16
//!         4   12   scales  6-bit s and m of sub-block k:
//!                          byte k      s of k < 4 in bits 0..6, bits 4..6 of s of k + 4 in 6..8
//!                          byte 4 + k  m likewise
//!                          byte 8 + k  bits 0..4 of s of k + 4 low, of m of k + 4 high
//!        16  128   qs      group g of 64 weights: bytes 32g.., low nibbles its first 32 weights,
//!                          high nibbles its last
//! size  144, 256 weights
//! ```

use super::block::{Block256, Form256, Pack256, Parts256};
use super::packing::{
    half, nibbles_by_64, pack_nibbles_by_64, pack_six_bit_scales, six_bit_scales,
};

/// A super-block of `Q4_K`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockQ4K {
    /// Scale of the sub-scales, `f16`.
    pub d: [u8; 2],
    /// Scale of the minimums, `f16`.
    pub dmin: [u8; 2],
    /// Sub-scales and minimums, 6 bits each.
    pub scales: [u8; 12],
    /// Levels 0..=15, two to a byte.
    pub qs: [u8; 128],
}

const _: () = assert!(size_of::<BlockQ4K>() == 144);

impl Block256 for BlockQ4K {
    const HAS_MIN: bool = true;
    const GROUP: usize = 32;

    #[inline(always)]
    fn scale(&self) -> f32 {
        half(self.d)
    }

    #[inline(always)]
    fn min_scale(&self) -> f32 {
        half(self.dmin)
    }

    #[inline(always)]
    fn unpack(&self, q: &mut [i8; 256]) {
        nibbles_by_64(&self.qs, q);
    }

    #[inline(always)]
    fn unpack_scales(&self, s: &mut [i8; 16], m: &mut [u8; 16]) {
        six_bit_scales(&self.scales, s, m);
    }
}

impl Pack256 for BlockQ4K {
    const FORM: Form256 = Form256 {
        group: Self::GROUP,
        has_min: Self::HAS_MIN,
        levels: [0.0, 15.0],
        scales: [0.0, 63.0],
        size_counts: 2.0,
    };

    #[inline(always)]
    fn pack(parts: &Parts256) -> Self {
        Self {
            d: parts.d.to_le_bytes(),
            dmin: parts.dmin.to_le_bytes(),
            scales: pack_six_bit_scales(&parts.s, &parts.m),
            qs: pack_nibbles_by_64(&parts.q),
        }
    }
}
