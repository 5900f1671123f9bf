//! `Q2_K`: id 10, 2.625 bits per weight, `w = (d·s)·q − dmin·m`, `s` and `m` per run of 16.
//!
//! ```text
//! offset  0  16   scales  of run j: low nibble s, high nibble m
//!        16  64   qs      half h of 128 weights, plane p of 32 in it: bits 2p.. of bytes 32h..
//!        80   2   d       f16
//!        82   2   dmin    f16
//! size   84, 256 weights
//! ```

use super::block::Block256;
use super::packing::{crumbs, half};

/// A super-block of `Q2_K`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockQ2K {
    /// Sub-scales and minimums, a nibble each.
    pub scales: [u8; 16],
    /// Levels 0..=3, four to a byte.
    pub qs: [u8; 64],
    /// Scale of the sub-scales, `f16`.
    pub d: [u8; 2],
    /// Scale of the minimums, `f16`.
    pub dmin: [u8; 2],
}

const _: () = assert!(size_of::<BlockQ2K>() == 84);

impl Block256 for BlockQ2K {
    const HAS_MIN: bool = true;
    const GROUP: usize = 16;

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
        crumbs(&self.qs, q);
    }

    #[inline(always)]
    fn unpack_scales(&self, s: &mut [i8; 16], m: &mut [u8; 16]) {
        for j in 0..16 {
            s[j] = (self.scales[j] & 15) as i8;
            m[j] = self.scales[j] >> 4;
        }
    }
}
