//! `IQ4_XS`: id 23, 4.25 bits per weight, `w = (d·s)·table[q]`, `s` −32..=31 per 32.
//!
//! ```text
//! offset 0    2   d         f16
//!        2    2   scales_h  u16; bits 2k..: upper two bits of s + 32 of sub-block k
//!        4    4   scales_l  nibble k, the low one of a byte first: its lower four bits
//!        8  128   qs        sub-block k: bytes 16k.., low nibbles its first 16 weights, high
//!                           nibbles its last
//! size 136, 256 weights
//! ```

use super::block::Block256;
use super::packing::{half, nibbles, non_linear};

/// A super-block of `IQ4_XS`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockIQ4XS {
    /// Scale of the sub-scales, `f16`.
    pub d: [u8; 2],
    /// Upper two bits of the sub-scales.
    pub scales_h: [u8; 2],
    /// Lower four bits of the sub-scales.
    pub scales_l: [u8; 4],
    /// Places in the table, two to a byte.
    pub qs: [u8; 128],
}

const _: () = assert!(size_of::<BlockIQ4XS>() == 136);

impl Block256 for BlockIQ4XS {
    const HAS_MIN: bool = false;
    const GROUP: usize = 32;

    #[inline(always)]
    fn scale(&self) -> f32 {
        half(self.d)
    }

    #[inline(always)]
    fn unpack(&self, q: &mut [i8; 256]) {
        let sub_blocks = q.as_chunks_mut::<32>().0.iter_mut().zip(self.qs.as_chunks::<16>().0);
        for (q, qs) in sub_blocks {
            non_linear(nibbles(qs), q);
        }
    }

    #[inline(always)]
    fn unpack_scales(&self, s: &mut [i8; 16], m: &mut [u8; 16]) {
        let high = u16::from_le_bytes(self.scales_h);
        for k in 0..8 {
            let low = self.scales_l[k / 2] >> (k % 2 * 4) & 15;
            let high = (high >> (2 * k) & 3) as u8;
            let scale = ((low | high << 4) as i8).wrapping_sub(32);
            s[2 * k] = scale;
            s[2 * k + 1] = scale;
        }
        *m = [0; 16];
    }
}
