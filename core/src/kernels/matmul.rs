//! Whole matrices times all tokens, split over workers by rows.

use super::{Acts, KernelSet, MatmulRows};
use crate::par::{Parallel, Shared, n_workers};
use crate::tensor::TensorView;

/// One matrix, and where its products go: `out[t · stride + row]` for token `t`.
#[derive(Debug)]
pub struct Product<'m, 'o> {
    weights: TensorView<'m>,
    out: &'o mut [f32],
    stride: usize,
}

impl<'m, 'o> Product<'m, 'o> {
    /// All rows of `weights`, results side by side for each token.
    pub fn new(weights: TensorView<'m>, out: &'o mut [f32]) -> Self {
        Product { weights, stride: weights.n_rows(), out }
    }

    /// Results of a token begin `stride` elements after those of the token before.
    pub fn with_stride(weights: TensorView<'m>, out: &'o mut [f32], stride: usize) -> Self {
        Product { weights, out, stride }
    }

    /// The weights.
    pub const fn weights(&self) -> TensorView<'m> {
        self.weights
    }
}

/// Tasks have a multiple of these rows with one token: they fill a register of any set.
const ONE_TOKEN_ROWS: usize = 16;
/// The same with several tokens, which are multiplied fastest with two registers of rows.
const MANY_TOKENS_ROWS: usize = 32;
/// Tasks per worker with several tokens, so that a slower core takes fewer.
const TASKS_PER_WORKER: usize = 4;
/// Bytes of weights that are worth a task with one token. Reading is all the work then, and
/// memory serves one core now better, now worse than the other: few microseconds to wait for.
const TASK_BYTES: usize = 128 << 10;

/// The most products of one pass over the workers: queries, keys and values.
const PRODUCTS: usize = 3;

/// A product as its tasks see it.
struct Part<'m, 'p> {
    weights: TensorView<'m>,
    out: Shared<'p, f32>,
    stride: usize,
    n_tasks: usize,
}

impl KernelSet {
    /// Multiplies every product whose format takes activations of this form, some in one pass over
    /// the workers; the others are left alone.
    ///
    /// Outputs too short for their tokens get nothing beyond their end.
    pub fn matmul(self, parallel: &dyn Parallel, acts: Acts<'_>, products: &mut [Product<'_, '_>]) {
        for products in products.chunks_mut(PRODUCTS) {
            self.matmul_pass(parallel, acts, products);
        }
    }

    fn matmul_pass(
        self,
        parallel: &dyn Parallel,
        acts: Acts<'_>,
        products: &mut [Product<'_, '_>],
    ) {
        let takes = |p: &Product<'_, '_>| {
            p.weights.ty().activation() == acts.kind() && p.weights.n_cols() == acts.n_cols()
        };
        let total: usize = products.iter().filter(|p| takes(p)).map(|p| p.weights.n_rows()).sum();
        let row_bytes = products.iter().map(|p| p.weights.row_bytes()).max().unwrap_or(0);
        let (rows, multiple) = match (n_workers(parallel), acts.n_rows()) {
            (1, _) => (total, 1),
            // As many tasks for each worker.
            (workers, 1) => {
                let bytes = total.saturating_mul(row_bytes);
                let rounds = bytes.div_ceil(workers.saturating_mul(TASK_BYTES).max(1)).max(1);
                (total.div_ceil(workers.saturating_mul(rounds).max(1)), ONE_TOKEN_ROWS)
            }
            (workers, _) => (total.div_ceil((workers * TASKS_PER_WORKER).max(1)), MANY_TOKENS_ROWS),
        };
        let chunk = rows.next_multiple_of(multiple).max(multiple);
        let (mut parts, mut total) = ([const { None }; PRODUCTS], 0);
        for (part, p) in parts.iter_mut().zip(products) {
            let n_tasks = if takes(p) { p.weights.n_rows().div_ceil(chunk.max(1)) } else { 0 };
            total += n_tasks;
            let (weights, out, stride) = (p.weights, Shared::new(&mut *p.out), p.stride);
            *part = Some(Part { weights, out, stride, n_tasks });
        }
        let run = |_: usize, mut task: usize| {
            for Part { weights, out, stride, n_tasks } in parts.iter().flatten() {
                if task < *n_tasks {
                    let first = task * chunk;
                    let n = chunk.min(weights.n_rows() - first);
                    if let Some(m) = MatmulRows::new(weights, first, n, acts, out, *stride, 0) {
                        // SAFETY: `Parallel` runs each task number once, and a task owns the
                        // outputs of its rows: no other task writes or reads them meanwhile.
                        unsafe { self.matmul_rows(&m) };
                    }
                    return;
                }
                task -= n_tasks;
            }
        };
        if total == 1 { run(0, 0) } else { parallel.run(total, &run) }
    }
}
