#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod arena;
pub mod cache;
pub mod engine;
pub mod gguf;
pub mod half;
pub mod kernels;
pub mod math;
pub mod model;
pub mod ops;
pub mod par;
pub mod quant;
pub mod rng;
pub mod sampler;
#[cfg(feature = "schema")]
pub mod schema;
pub mod tensor;
pub mod tokenizer;

/// A token's number in its model's vocabulary.
pub type Token = u32;

#[doc = include_str!("../docs/numerics.md")]
pub mod numerics {}
