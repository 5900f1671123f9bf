//! Sets for 64-bit Arm.

mod bytes;
mod decode;
mod decode_k;
mod decode_q4_0;
mod decode_q8_0;
mod dotprod;
mod dots;
mod i8mm;
mod neon;
mod prefill;
mod rows;

pub(super) use dotprod::TABLE as DOTPROD;
pub(super) use i8mm::TABLE as I8MM;
pub(super) use neon::TABLE as NEON;
