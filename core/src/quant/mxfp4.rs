//! `MXFP4`: id 39, 4.25 bits per weight, `w = (2^(e − 127) / 2)·q`, where `q` is twice a 4-bit
//! float (OCP Microscaling Formats 1.0: E2M1 elements, E8M0 scale).
//!
//! ```text
//! offset 0   1   e    exponent of the scale, biased by 127
//!        1  16   qs   low nibbles: weights 0..16, high nibbles: weights 16..32
//! size  17, 32 weights
//!
//! nibble         0  1    2  3    4  5  6  7     8 and above: the negatives
//! 4-bit float    0  0.5  1  1.5  2  3  4  6
//! q              0  1    2  3    4  6  8  12
//! ```
//!
//! The specification's NaN, `e = 255`, is read as 2^128 here, as GGML and the `gguf` package do.

use super::block::Block32;
use super::packing::nibbles;

/// The integers that nibbles number: the table above.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
pub(crate) const TABLE: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// A block of `MXFP4`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockMXFP4 {
    /// Biased exponent of the scale.
    pub e: u8,
    /// 4-bit floats, two to a byte.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockMXFP4>() == 17);

impl Block32 for BlockMXFP4 {
    const HAS_MIN: bool = false;

    /// Half the power of two, exactly: subnormal for `e` of 0 and 1.
    #[inline(always)]
    fn scale(&self) -> f32 {
        let e = u32::from(self.e);
        let subnormal = 0x0020_0000 << (e & 1);
        let normal = e.wrapping_sub(1) << 23;
        f32::from_bits(if e < 2 { subnormal } else { normal })
    }

    #[inline(always)]
    fn unpack(&self, q: &mut [i8; 32]) {
        for (q, code) in q.iter_mut().zip(nibbles(&self.qs)) {
            // A table of eight, as comparisons: vectors of bytes have no other lookup that every
            // target knows.
            let low = code & 7;
            let size = low + u8::from(low >= 5) + u8::from(low >= 6) + 3 * u8::from(low >= 7);
            let negative = if code >= 8 { -1 } else { 0 };
            *q = (size as i8 ^ negative).wrapping_sub(negative);
        }
    }
}
