//! Token embeddings.

use super::Runner;
use crate::Token;
use crate::quant::dequantize_row;
use crate::tensor::TensorView;

/// Writes the embedding rows of `tokens`, dequantized and scaled, to `out` (tokens × `n_embd`).
pub fn embed(
    run: Runner<'_>,
    table: TensorView<'_>,
    tokens: &[Token],
    scale: Option<f32>,
    out: &mut [f32],
) {
    run.rows(out, table.n_cols(), &|t, row| {
        let bytes = tokens.get(t).and_then(|&token| table.row(token as usize)).unwrap_or(&[]);
        // Ids were checked against the vocabulary, and a view's rows have whole blocks.
        if dequantize_row(table.ty(), bytes, row).is_err() {
            row.fill(0.0);
        }
        if let Some(scale) = scale {
            run.kernels.scale(row, scale);
        }
    });
}
