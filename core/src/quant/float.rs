//! Plain floats: `F32` (id 0, 32 bits per weight), `F16` (id 1, 16) and `BF16` (id 30, 16).
//!
//! ```text
//! F32   sign 1 | exponent 8 | fraction 23    little-endian
//! F16   sign 1 | exponent 5 | fraction 10
//! BF16  sign 1 | exponent 8 | fraction 7
//! ```

use super::block::FloatBlock;
use crate::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

/// One `F32` element.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockF32(pub [u8; 4]);

/// One `F16` element.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockF16(pub [u8; 2]);

/// One `BF16` element.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockBF16(pub [u8; 2]);

const _: () = assert!(size_of::<BlockF32>() == 4);
const _: () = assert!(size_of::<BlockF16>() == 2);
const _: () = assert!(size_of::<BlockBF16>() == 2);

impl FloatBlock for BlockF32 {
    #[inline(always)]
    fn get(self) -> f32 {
        f32::from_le_bytes(self.0)
    }

    #[inline(always)]
    fn put(x: f32) -> Self {
        Self(x.to_le_bytes())
    }
}

impl FloatBlock for BlockF16 {
    #[inline(always)]
    fn get(self) -> f32 {
        f16_to_f32(u16::from_le_bytes(self.0))
    }

    #[inline(always)]
    fn put(x: f32) -> Self {
        Self(f32_to_f16(x).to_le_bytes())
    }
}

impl FloatBlock for BlockBF16 {
    #[inline(always)]
    fn get(self) -> f32 {
        bf16_to_f32(u16::from_le_bytes(self.0))
    }

    #[inline(always)]
    fn put(x: f32) -> Self {
        Self(f32_to_bf16(x).to_le_bytes())
    }
}
