//! Tensor data from one format to another, a piece at a time.

use bantam_core::half::{bf16_to_f32, f16_to_f32};
use bantam_core::quant::{GgmlType, quantize_row};
use safetensors::Dtype;

use super::layout::{Change, Layout, Origin, Tensor};
use super::weights::{Source, Weights};
use crate::error::Error;
use crate::gguf_writer::GgufWriter;

/// Elements that are worked on together, at least a row of them.
const PIECE: usize = 1 << 19;

/// Writes the data of all tensors; `progress` is called with the bytes done and their total.
///
/// # Errors
/// [`Error::File`] if the weights cannot be read, [`Error::Write`], and whatever `progress`
/// returns to stop.
pub(super) fn write_all(
    layout: &Layout,
    weights: &Weights,
    writer: &mut GgufWriter,
    progress: &mut dyn FnMut(u64, u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let total = layout.tensors.iter().filter_map(|tensor| tensor.spec.bytes()).sum();
    let mut done = 0;
    let mut write = |bytes: &[u8]| {
        writer.write(bytes)?;
        done += bytes.len() as u64;
        progress(done, total)
    };
    for tensor in &layout.tensors {
        match &tensor.origin {
            Origin::Values(values) => write(&encode(values, tensor.spec.ty)?)?,
            Origin::Source(source, change) => copy(weights, source, *change, tensor, &mut write)?,
        }
    }
    Ok(())
}

/// Writes a tensor's data from where they lie.
fn copy(
    weights: &Weights,
    source: &Source,
    change: Change,
    tensor: &Tensor,
    write: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let n_cols = source.shape.last().copied().unwrap_or(0).max(1);
    // Whole heads, so that none is permuted across pieces.
    let step = match change {
        Change::Pair { head_dim } => head_dim,
        Change::None | Change::AddOne => 1,
    };
    let width = source.width();
    let bytes = source.bytes();
    let piece = (PIECE / (step * n_cols)).max(1) * step * n_cols * width;
    let as_it_is = change == Change::None && same_format(source.dtype, tensor.spec.ty);
    let mut start = 0;
    while start < bytes {
        let n = (piece as u64).min(bytes - start);
        let mut data = vec![0; n as usize];
        weights.read(source, start, &mut data)?;
        if as_it_is {
            write(&data)?;
        } else {
            let mut values = decode(&data, source.dtype);
            drop(data);
            match change {
                Change::None => {}
                Change::AddOne => values.iter_mut().for_each(|value| *value += 1.0),
                Change::Pair { head_dim } => values = pair(&values, head_dim, n_cols),
            }
            write(&encode(&values, tensor.spec.ty)?)?;
        }
        start += n;
    }
    Ok(())
}

fn same_format(dtype: Dtype, ty: GgmlType) -> bool {
    matches!(
        (dtype, ty),
        (Dtype::F32, GgmlType::F32) | (Dtype::F16, GgmlType::F16) | (Dtype::BF16, GgmlType::BF16)
    )
}

/// The values of little-endian floats.
fn decode(data: &[u8], dtype: Dtype) -> Vec<f32> {
    let (pairs, _) = data.as_chunks::<2>();
    match dtype {
        Dtype::F16 => pairs.iter().map(|&b| f16_to_f32(u16::from_le_bytes(b))).collect(),
        Dtype::BF16 => pairs.iter().map(|&b| bf16_to_f32(u16::from_le_bytes(b))).collect(),
        _ => data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
    }
}

/// Rows `i` and `i + head_dim / 2` of each head become neighbours.
fn pair(values: &[f32], head_dim: usize, n_cols: usize) -> Vec<f32> {
    let mut paired = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_dim * n_cols) {
        let (upper, lower) = head.split_at(head_dim / 2 * n_cols);
        for (a, b) in upper.chunks_exact(n_cols).zip(lower.chunks_exact(n_cols)) {
            paired.extend_from_slice(a);
            paired.extend_from_slice(b);
        }
    }
    paired
}

/// The bytes of whole rows.
fn encode(values: &[f32], ty: GgmlType) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; ty.row_bytes(values.len()).unwrap_or(0)];
    quantize_row(ty, values, &mut bytes).map_err(|error| Error::Engine(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_heads_become_pairs() {
        let values: Vec<f32> = (0u8..16).map(f32::from).collect();
        // Two heads of four rows of two columns.
        let expected =
            [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15].map(|n: u8| f32::from(n));
        assert_eq!(pair(&values, 4, 2), expected);
    }
}
