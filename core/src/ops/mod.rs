//! Operations of the forward pass: one each, slices in, slices out, split over workers.
//!
//! What they compute is the kernels' business; which part of it runs where is decided here, and
//! never shows in a result.

mod attention;
mod embed;
mod linear;
mod norm;
mod rope;

pub use attention::attention;
pub use embed::embed;
pub use linear::{ActsBuffer, linear};
pub use norm::{norm_heads, norm_rows, norm_rows_in_place};
pub use rope::{fill_angles, fill_freqs, rope_rows};

pub use crate::kernels::AttentionShape;
use crate::kernels::KernelSet;
use crate::par::{Parallel, for_each_part, n_workers};

/// What runs an operation: kernels and workers.
#[derive(Clone, Copy)]
pub struct Runner<'a> {
    /// The kernels.
    pub kernels: KernelSet,
    /// The workers.
    pub parallel: &'a dyn Parallel,
}

impl Runner<'_> {
    /// Calls `f` for `x` row by row; rows have `len` elements and are grouped into tasks.
    pub fn rows(&self, x: &mut [f32], len: usize, f: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        let len = len.max(1);
        let n_rows = x.len() / len;
        let per_task = n_rows.div_ceil((n_workers(self.parallel) * 4).max(1)).max(1);
        for_each_part(self.parallel, x, per_task * len, &|_, task, part| {
            for (i, row) in part.chunks_exact_mut(len.max(1)).enumerate() {
                f(task * per_task + i, row);
            }
        });
    }
}
