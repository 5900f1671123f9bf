//! Sets for 64-bit Arm.

mod dotprod;
mod neon;
mod rows;

pub(super) use dotprod::TABLE as DOTPROD;
pub(super) use neon::TABLE as NEON;
