//! Matrices times activations: prepare and quantize rows, then multiply.

use super::Runner;
use crate::kernels::{ActGroup, Acts, Product};
use crate::par::for_each_row3;
use crate::quant::Activation;

/// Room for a batch of quantized activations.
#[derive(Debug)]
pub struct ActsBuffer<'b> {
    /// Integers, one per value.
    pub qs: &'b mut [i8],
    /// What goes with them, one per 32 values.
    pub groups: &'b mut [ActGroup],
}

/// Has `prepare` fill or change each row of `x` (`n_rows` tokens), and multiplies the rows with
/// every product's matrix; all have the same columns.
///
/// What is prepared is rounded while it is near: a row at a time, by whoever prepared it.
// One for any number of products, as for microcontrollers each costs flash.
pub fn linear(
    run: Runner<'_>,
    acts: &mut ActsBuffer<'_>,
    x: &mut [f32],
    n_rows: usize,
    prepare: &(dyn Fn(usize, &mut [f32]) + Sync),
    products: &mut [Product<'_, '_>],
) {
    let Some(n_cols) = products.first().map(|p| p.weights().n_cols()) else { return };
    let n_groups = n_cols / ActGroup::LEN;
    let takes = |kind| products.iter().any(|p| p.weights().ty().activation() == kind);
    let (takes_q8, takes_f32) = (takes(Activation::Q8), takes(Activation::F32));
    let Some(x) = x.get_mut(..n_rows * n_cols) else { return };
    if takes_q8 {
        let qs = acts.qs.get_mut(..n_rows * n_cols);
        let groups = acts.groups.get_mut(..n_rows * n_groups);
        let (Some(qs), Some(groups)) = (qs, groups) else { return };
        let rows = (&mut *x, &mut *qs, &mut *groups);
        for_each_row3(run.parallel, rows, [n_cols, n_cols, n_groups], &|t, x, qs, groups| {
            prepare(t, x);
            run.kernels.quantize(x, qs, groups);
        });
        if let Some(acts) = Acts::quantized(qs, groups, n_rows, n_cols) {
            run.kernels.matmul(run.parallel, acts, products);
        }
    } else {
        run.rows(x, n_cols, prepare);
    }
    if takes_f32 && let Some(acts) = Acts::floats(x, n_rows, n_cols) {
        run.kernels.matmul(run.parallel, acts, products);
    }
}
