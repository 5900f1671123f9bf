//! Host side of Bantam: model files, memory, threads, chat, and the `bantam` command.
//!
//! Everything that computes is in `bantam-core`; this crate lends it what an operating system
//! has: mapped files, memory, threads, a terminal.

#![deny(unsafe_code)]

pub mod board;
#[cfg(feature = "bundled")]
pub mod bundled;
pub mod chat;
pub mod cli;
pub mod convert;
pub mod cpu;
pub mod doctor;
pub mod error;
pub mod generate;
pub mod gguf_writer;
pub mod imatrix;
pub mod intent;
pub mod interrupt;
pub mod load;
pub mod memory;
#[allow(unsafe_code)] // Maps files and handles the signal that a vanished page raises.
pub mod model_file;
pub mod new_file;
pub mod npy;
pub mod perplexity;
#[allow(unsafe_code)] // Lends a job on the caller's stack to other threads.
pub mod pool;
pub mod quantize;
pub mod serial;

pub use error::Error;

/// The README's example, compiled and so kept true.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
