//! `Q3_K`: id 11, 3.4375 bits per weight, `w = (d·s)·q`, `s` −32..=31 per run of 16, `q` −4..=3.
//!
//! ```text
//! offset   0  32   hmask   plane p of 32 weights: bit p of byte i; 0 takes 4 from the level
//!         32  64   qs      half h of 128 weights, plane p of 32 in it: bits 2p.. of bytes 32h..
//!         96  12   scales  6-bit s + 32 of run j: its lower nibble is a nibble of bytes 0..8,
//!                          low for j < 8 and high after; its upper two bits are bits 2(j / 4)..
//!                          of byte 8 + j mod 4
//!        108   2   d       f16
//! size   110, 256 weights
//! ```

use super::block::Block256;
use super::packing::{crumbs, half};

/// A super-block of `Q3_K`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockQ3K {
    /// Third bits of the levels, inverted.
    pub hmask: [u8; 32],
    /// Lower two bits of the levels, four to a byte.
    pub qs: [u8; 64],
    /// Sub-scales, 6 bits each.
    pub scales: [u8; 12],
    /// Scale of the sub-scales, `f16`.
    pub d: [u8; 2],
}

const _: () = assert!(size_of::<BlockQ3K>() == 110);

impl Block256 for BlockQ3K {
    const HAS_MIN: bool = false;
    const GROUP: usize = 16;

    #[inline(always)]
    fn scale(&self) -> f32 {
        half(self.d)
    }

    #[inline(always)]
    fn unpack(&self, q: &mut [i8; 256]) {
        crumbs(&self.qs, q);
        for (plane, q) in q.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (q, mask) in q.iter_mut().zip(self.hmask) {
                let four = !(mask >> plane) << 2 & 4;
                *q = q.wrapping_sub(four as i8);
            }
        }
    }

    #[inline(always)]
    fn unpack_scales(&self, s: &mut [i8; 16], m: &mut [u8; 16]) {
        for (j, s) in s.iter_mut().enumerate() {
            let low = self.scales[j % 8] >> (j / 8 * 4) & 15;
            let high = self.scales[8 + j % 4] >> (j / 4 * 2) & 3;
            *s = ((low | high << 4) as i8).wrapping_sub(32);
        }
        *m = [0; 16];
    }
}
