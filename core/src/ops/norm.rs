//! RMS norm of rows and of heads.

use super::Runner;
use crate::tensor::TensorView;

/// `out = rms_norm(x) · w`, row by row; rows are as wide as `w`.
pub fn norm_rows(run: Runner<'_>, x: &[f32], w: TensorView<'_>, eps: f32, out: &mut [f32]) {
    let n = w.n_cols();
    run.rows(out, n, &|t, row| {
        run.kernels.rms_norm(x.get(t * n..(t + 1) * n).unwrap_or(&[]), w.bytes(), eps, row);
    });
}

/// `x = rms_norm(x) · w`, row by row.
pub fn norm_rows_in_place(run: Runner<'_>, x: &mut [f32], w: TensorView<'_>, eps: f32) {
    run.rows(x, w.n_cols(), &|_, row| run.kernels.rms_norm_in_place(row, w.bytes(), eps));
}

/// Norms every head of every row of `x`, whose rows are `row_len` long; a head is as wide as `w`.
pub fn norm_heads(run: Runner<'_>, x: &mut [f32], row_len: usize, w: TensorView<'_>, eps: f32) {
    run.rows(x, row_len, &|_, row| {
        for head in row.chunks_exact_mut(w.n_cols().max(1)) {
            run.kernels.rms_norm_in_place(head, w.bytes(), eps);
        }
    });
}
