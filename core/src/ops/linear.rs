//! Matrices times activations: quantize once per form that is needed, then multiply.

use super::Runner;
use crate::kernels::{Acts, Product};
use crate::par::for_each_part3;
use crate::quant::Activation;

/// Room for a batch of activations in either quantized form.
#[derive(Debug)]
pub struct ActsBuffer<'b> {
    /// Integers, one per value.
    pub qs: &'b mut [i8],
    /// Scales, at least one per 32 values.
    pub d: &'b mut [f32],
    /// Sums, one per 16 values.
    pub sums: &'b mut [i16],
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
        let Some(group) = kind.group() else { return Acts::floats(x, n_rows, n_cols) };
        let lens = [n_cols, n_cols / group, n_cols / 16];
        let outputs = (
            self.qs.get_mut(..n_rows * lens[0])?,
            self.d.get_mut(..n_rows * lens[1])?,
            self.sums.get_mut(..n_rows * lens[2])?,
        );
        for_each_part3(run.parallel, outputs, lens, &|t, qs, d, sums| {
            let row = x.get(t * n_cols..(t + 1) * n_cols).unwrap_or(&[]);
            match kind {
                Activation::Q8x256 => run.kernels.quantize_q8x256(row, qs, d, sums),
                _ => run.kernels.quantize_q8x32(row, qs, d, sums),
            }
        });
        Acts::quantized(kind, self.qs, self.d, self.sums, n_rows, n_cols)
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
    for kind in [Activation::Q8x32, Activation::Q8x256, Activation::F32] {
        let user = products.iter().find(|p| p.weights().ty().activation() == kind);
        let Some(n_cols) = user.map(|p| p.weights().n_cols()) else { continue };
        if let Some(acts) = acts.fill(run, kind, x, n_rows, n_cols) {
            run.kernels.matmul(run.parallel, acts, &mut products);
        }
    }
}
