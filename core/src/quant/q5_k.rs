//! `Q5_K`: id 13, 5.5 bits per weight, `w = (d·s)·q − dmin·m`, `s` and `m` per 32.
//!
//! ```text
//! offset  0    2   d       f16
//!         2    2   dmin    f16
//!         4   12   scales  as in Q4_K
//!        16   32   qh      plane p of 32 weights: its fifth bits are bit p of byte i
//!        48  128   qs      as in Q4_K
//! size  176, 256 weights
//! ```

use super::block::{Block256, Form256, Pack256, Parts256};
use super::packing::{
    half, nibbles_by_64, pack_nibbles_by_64, pack_six_bit_scales, six_bit_scales,
};

/// A super-block of `Q5_K`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockQ5K {
    /// Scale of the sub-scales, `f16`.
    pub d: [u8; 2],
    /// Scale of the minimums, `f16`.
    pub dmin: [u8; 2],
    /// Sub-scales and minimums, 6 bits each.
    pub scales: [u8; 12],
    /// Fifth bits of the levels.
    pub qh: [u8; 32],
    /// Lower four bits of the levels, two to a byte.
    pub qs: [u8; 128],
}

const _: () = assert!(size_of::<BlockQ5K>() == 176);

impl Block256 for BlockQ5K {
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
        for (plane, q) in q.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (q, qh) in q.iter_mut().zip(self.qh) {
                *q |= ((qh >> plane & 1) << 4) as i8;
            }
        }
    }

    #[inline(always)]
    fn unpack_scales(&self, s: &mut [i8; 16], m: &mut [u8; 16]) {
        six_bit_scales(&self.scales, s, m);
    }
}

impl Pack256 for BlockQ5K {
    const FORM: Form256 = Form256 {
        group: Self::GROUP,
        has_min: Self::HAS_MIN,
        levels: [0.0, 31.0],
        scales: [0.0, 63.0],
        size_counts: 2.0,
    };

    #[inline(always)]
    fn pack(parts: &Parts256) -> Self {
        let mut qh = [0; 32];
        for (plane, q) in parts.q.as_chunks::<32>().0.iter().enumerate() {
            for (qh, q) in qh.iter_mut().zip(q) {
                *qh |= (q >> 4 & 1) as u8 * (1 << plane);
            }
        }
        Self {
            d: parts.d.to_le_bytes(),
            dmin: parts.dmin.to_le_bytes(),
            scales: pack_six_bit_scales(&parts.s, &parts.m),
            qh,
            qs: pack_nibbles_by_64(&parts.q),
        }
    }
}
