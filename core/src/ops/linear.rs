//! Matrices times activations: quantize once per form that is needed, then multiply.

use super::Runner;
use crate::kernels::{ActGroup, Acts, Product};
use crate::par::for_each_part2;
use crate::quant::Activation;

/// Room for a batch of quantized activations.
#[derive(Debug)]
pub struct ActsBuffer<'b> {
    /// Integers, one per value.
    pub qs: &'b mut [i8],
    /// What goes with them, one per 32 values.
    pub groups: &'b mut [ActGroup],
}

impl ActsBuffer<'_> {
    /// `x` in the form that some weights need, or `None` if it does not fit: `n_rows` tokens of
    /// `n_cols` values.
    fn fill<'s>(
        &'s mut self,
        run: Runner<'_>,
        kind: Activation,
        x: &'s [f32],
        n_rows: usize,
        n_cols: usize,
    ) -> Option<Acts<'s>> {
        if kind == Activation::F32 {
            return Acts::floats(x, n_rows, n_cols);
        }
        let n_groups = n_cols / ActGroup::LEN;
        let outputs =
            (self.qs.get_mut(..n_rows * n_cols)?, self.groups.get_mut(..n_rows * n_groups)?);
        for_each_part2(run.parallel, outputs, [n_cols, n_groups], &|t, qs, groups| {
            let row = x.get(t * n_cols..(t + 1) * n_cols).unwrap_or(&[]);
            run.kernels.quantize(row, qs, groups);
        });
        Acts::quantized(self.qs, self.groups, n_rows, n_cols)
    }
}

/// Multiplies `x` (`n_rows` tokens) with every product's matrix; all have the same columns.
pub fn linear<const N: usize>(
    run: Runner<'_>,
    acts: &mut ActsBuffer<'_>,
    x: &[f32],
    n_rows: usize,
    mut products: [Product<'_, '_>; N],
) {
    for kind in [Activation::Q8, Activation::F32] {
        let user = products.iter().find(|p| p.weights().ty().activation() == kind);
        let Some(n_cols) = user.map(|p| p.weights().n_cols()) else { continue };
        if let Some(acts) = acts.fill(run, kind, x, n_rows, n_cols) {
            run.kernels.matmul(run.parallel, acts, &mut products);
        }
    }
}
