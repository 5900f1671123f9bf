//! `Q6_K`: id 14, 6.5625 bits per weight, `w = (d·s)·(q − 32)`, `s` per run of 16.
//!
//! ```text
//! offset   0  128   ql      half h of 128 weights: bytes 64h.., low nibbles its first 64 weights,
//!                           high nibbles its last
//!        128   64   qh      half h, plane p of 32 in it: upper two bits are bits 2p.. of bytes 32h..
//!        192   16   scales  i8 s of run j
//!        208    2   d       f16
//! size   210, 256 weights
//! ```

use super::block::{Block256, Form256, Pack256, Parts256};
use super::packing::{crumbs, half};

/// A super-block of `Q6_K`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockQ6K {
    /// Lower four bits of the levels, two to a byte.
    pub ql: [u8; 128],
    /// Upper two bits of the levels, four to a byte.
    pub qh: [u8; 64],
    /// Sub-scales.
    pub scales: [i8; 16],
    /// Scale of the sub-scales, `f16`.
    pub d: [u8; 2],
}

const _: () = assert!(size_of::<BlockQ6K>() == 210);

impl Block256 for BlockQ6K {
    const HAS_MIN: bool = false;
    const GROUP: usize = 16;

    #[inline(always)]
    fn scale(&self) -> f32 {
        half(self.d)
    }

    #[inline(always)]
    fn unpack(&self, q: &mut [i8; 256]) {
        crumbs(&self.qh, q);
        let halves = q.as_chunks_mut::<128>().0.iter_mut().zip(self.ql.as_chunks::<64>().0);
        for (q, ql) in halves {
            for i in 0..64 {
                q[i] = (q[i] << 4 | (ql[i] & 15) as i8).wrapping_sub(32);
                q[i + 64] = (q[i + 64] << 4 | (ql[i] >> 4) as i8).wrapping_sub(32);
            }
        }
    }

    #[inline(always)]
    fn unpack_scales(&self, s: &mut [i8; 16], m: &mut [u8; 16]) {
        *s = self.scales;
        *m = [0; 16];
    }
}

impl Pack256 for BlockQ6K {
    const FORM: Form256 = Form256 {
        group: Self::GROUP,
        has_min: Self::HAS_MIN,
        levels: [-32.0, 31.0],
        scales: [-128.0, 127.0],
        size_counts: 0.0,
    };

    #[inline(always)]
    fn pack(parts: &Parts256) -> Self {
        let (mut ql, mut qh) = ([0; 128], [0; 64]);
        let halves = ql.as_chunks_mut::<64>().0.iter_mut().zip(qh.as_chunks_mut::<32>().0);
        for ((ql, qh), q) in halves.zip(parts.q.as_chunks::<128>().0) {
            let level = |i: usize| q[i].wrapping_add(32) as u8;
            for (i, ql) in ql.iter_mut().enumerate() {
                *ql = level(i) & 15 | level(i + 64) << 4;
            }
            for (i, qh) in qh.iter_mut().enumerate() {
                let [a, b, c, d] = [level(i), level(i + 32), level(i + 64), level(i + 96)];
                *qh = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
            }
        }
        Self { ql, qh, scales: parts.s, d: parts.d.to_le_bytes() }
    }
}
