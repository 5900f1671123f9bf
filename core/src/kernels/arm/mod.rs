//! The set for 32-bit Arm.

mod dsp;
mod float;
mod rows;
mod rows_by_two;

pub(super) use dsp::TABLE as DSP;
