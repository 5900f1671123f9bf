//! `Q8_0`: id 8, 8.5 bits per weight, `w = d·q`.
//!
//! ```text
//! offset 0   2   d    f16
//!        2  32   qs   i8, in order
//! size  34, 32 weights
//! ```

use super::block::{Block32, Quantize};
use super::packing::{half, inverse, round, to_half};

/// A block of `Q8_0`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockQ8_0 {
    /// Scale, `f16`.
    pub d: [u8; 2],
    /// Weights as multiples of the scale. −128 is never written but may be read.
    pub qs: [i8; 32],
}

const _: () = assert!(size_of::<BlockQ8_0>() == 34);

impl Block32 for BlockQ8_0 {
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn scale(&self) -> f32 {
        half(self.d)
    }

    #[inline(always)]
    fn unpack(&self, q: &mut [i8; 32]) {
        *q = self.qs;
    }
}

impl Quantize for BlockQ8_0 {
    /// The largest magnitude becomes ±127; halves are rounded away from zero.
    fn quantize(x: &[f32; 32]) -> Self {
        // Not `f32::max`: here the later of two operands wins unless the earlier is larger, so a
        // NaN is taken up and dropped again with the next element, as the reference does.
        let amax = x.iter().fold(0.0, |max: f32, x| if max > x.abs() { max } else { x.abs() });
        let d = amax / 127.0;
        let id = inverse(d);
        Self { d: to_half(d), qs: x.map(|x| round(x * id)) }
    }
}
