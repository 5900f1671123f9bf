//! `IQ4_NL`: id 20, 4.5 bits per weight, `w = d·table[q]`.
//!
//! ```text
//! offset 0   2   d    f16
//!        2  16   qs   low nibbles: weights 0..16, high nibbles: weights 16..32
//! size  18, 32 weights
//! ```

use super::block::Block32;
use super::packing::{half, nibbles, non_linear};

/// The integers that nibbles number.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
pub(crate) const TABLE: [i8; 16] = super::packing::NON_LINEAR;

/// A block of `IQ4_NL`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockIQ4NL {
    /// Scale, `f16`.
    pub d: [u8; 2],
    /// Places in the table, two to a byte.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockIQ4NL>() == 18);

impl Block32 for BlockIQ4NL {
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn scale(&self) -> f32 {
        half(self.d)
    }

    #[inline(always)]
    fn unpack(&self, q: &mut [i8; 32]) {
        non_linear(nibbles(&self.qs), q);
    }
}
