//! Sets for 64-bit Arm.

mod neon;

pub(super) use neon::TABLE as NEON;
