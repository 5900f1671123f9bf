//! The set for 32-bit Arm.

mod dsp;
mod float;
#[cfg(bantam_arm_fpv4)]
mod fpu;
#[cfg(bantam_arm_fpv4)]
mod pairs;
mod rows;

pub(super) use dsp::TABLE as DSP;
