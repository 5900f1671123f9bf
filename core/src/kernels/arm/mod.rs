//! The set for 32-bit Arm.

#[cfg(bantam_arm_fpv4)]
mod activations;
#[cfg(bantam_arm_fpv4)]
mod attention;
mod dsp;
mod float;
#[cfg(bantam_arm_fpv4)]
mod floats;
#[cfg(bantam_arm_fpv4)]
mod pairs;
mod rows;

pub(super) use dsp::TABLE as DSP;
