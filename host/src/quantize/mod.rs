//! Quantizing a model file: which formats its tensors get, and writing them.
//!
//! A [`Preset`] and a [`Plan`] say what is to become of every tensor, before anything is written;
//! [`write()`] streams the tensors through. The formats are those that `llama-quantize` chooses, the
//! tensors and the metadata come in its order, and blocks are those of its quantizers, so that the
//! two programs' files can be compared byte by byte.

mod convert;
mod mix;
mod plan;
mod preset;

pub use convert::{WriteOptions, write};
pub use mix::{Choice, Facts, Mix, Tensor};
pub use plan::{Named, Plan, PlanOptions, Planned};
pub use preset::Preset;
