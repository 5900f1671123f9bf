//! Tensor data from one format to another, a piece at a time.

use bantam_core::half::{bf16_to_f32, f16_to_f32};
use bantam_core::quant::{GgmlType, quantize_row};
use safetensors::Dtype;

use super::layout::{Change, Layout, Origin, Tensor};
use super::refusal;
use super::weights::{Source, Weights};
use crate::error::{Error, OneLine};
use crate::gguf_writer::GgufWriter;

/// Elements that are worked on together, at least a row of them.
const PIECE: usize = 1 << 19;

/// Writes the data of all tensors; `progress` is called with the bytes done and their total.
///
/// # Errors
/// [`Error::File`] if the weights cannot be read, [`Error::Model`] if the type cannot hold one,
/// [`Error::Write`], and whatever `progress` returns to stop.
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
    let row = n_cols as u64 * source.width() as u64;
    let n_rows = source.bytes() / row;
    let step = (PIECE / n_cols).max(1) as u64;
    let read = |first: u64, n_rows: u64| {
        let mut data = vec![0; (n_rows * row) as usize];
        weights.read(source, first * row, &mut data).map(|()| data)
    };
    let encode = |values: &[f32]| {
        let ty = tensor.spec.ty;
        match values.iter().find(|&&value| overflows(value, ty)) {
            None => encode(values, ty),
            Some(value) => Err(refusal(
                weights.path(source),
                format!(
                    "tensor {} has the value {value}, which {ty} cannot hold; choose another --type",
                    OneLine(&source.name)
                ),
            )),
        }
    };
    if let Change::Pair { head_dim } = change {
        let half = head_dim as u64 / 2;
        for head in (0..n_rows).step_by(head_dim) {
            for i in (0..half).step_by(step as usize) {
                let n = step.min(half - i);
                let a = decode(&read(head + i, n)?, source.dtype);
                let b = decode(&read(head + half + i, n)?, source.dtype);
                write(&encode(&pair(&a, &b, n_cols))?)?;
            }
        }
        return Ok(());
    }
    let as_it_is = change == Change::None && same_format(source.dtype, tensor.spec.ty);
    for first in (0..n_rows).step_by(step as usize) {
        let data = read(first, step.min(n_rows - first))?;
        if as_it_is {
            write(&data)?;
            continue;
        }
        let mut values = decode(&data, source.dtype);
        if change == Change::AddOne {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        write(&encode(&values)?)?;
    }
    Ok(())
}

fn same_format(dtype: Dtype, ty: GgmlType) -> bool {
    matches!(
        (dtype, ty),
        (Dtype::F32, GgmlType::F32) | (Dtype::F16, GgmlType::F16) | (Dtype::BF16, GgmlType::BF16)
    )
}

/// Whether a number would be none any more.
fn overflows(value: f32, ty: GgmlType) -> bool {
    // Halfway from the largest half float to what would be the next; a block has one as its scale.
    const LIMIT: f32 = 65_520.0;
    match ty {
        GgmlType::F16 => value.is_finite() && value.abs() >= LIMIT,
        GgmlType::Q8_0 => !value.is_finite() || value.abs() >= 127.0 * LIMIT,
        _ => false,
    }
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

/// Rows of two halves of a head in turn, as they are neighbours in GGUF files.
fn pair(upper: &[f32], lower: &[f32], n_cols: usize) -> Vec<f32> {
    let pairs = upper.chunks_exact(n_cols).zip(lower.chunks_exact(n_cols));
    pairs.flat_map(|(a, b)| a.iter().chain(b)).copied().collect()
}

/// The bytes of whole rows.
fn encode(values: &[f32], ty: GgmlType) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; ty.row_bytes(values.len()).unwrap_or(0)];
    quantize_row(ty, values, &mut bytes).map_err(|error| Error::Engine(error.to_string()))?;
    Ok(bytes)
}
