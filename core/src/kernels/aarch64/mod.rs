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

#[cfg(not(feature = "std"))]
use super::Table;

pub(super) use dotprod::TABLE as DOTPROD;
pub(super) use i8mm::TABLE as I8MM;
pub(super) use neon::TABLE as NEON;

/// The last set whose features the target has.
#[cfg(not(feature = "std"))]
pub(super) static COMPILED_FOR: &Table = if i8mm::IN_TARGET {
    &I8MM
} else if dotprod::IN_TARGET {
    &DOTPROD
} else {
    &NEON
};
