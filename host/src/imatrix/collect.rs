//! Collecting statistics from an engine at work.

use std::path::Path;

use bantam_core::engine::Stage;
use bantam_core::gguf::{Gguf, Value, keys};
use bantam_core::model::{Model, Slot};
use bantam_core::quant::GgmlType;

use super::{CHUNK_COUNT, CHUNK_SIZE, COUNTS, DATASETS, SUMS, TYPE};
use crate::error::Error;
use crate::gguf_writer::{GgufWriter, Metadata, TensorSpec};

/// Intermediate tensors that matrices are multiplied with, and the matrices.
const INPUTS: [(&str, &[Slot]); 4] = [
    ("attn_norm", &[Slot::AttnQ, Slot::AttnK, Slot::AttnV]),
    ("attn", &[Slot::AttnOutput]),
    ("ffn_norm", &[Slot::FfnGate, Slot::FfnUp]),
    ("ffn_act", &[Slot::FfnDown]),
];

/// Sums of squares of what the matrices of each layer were multiplied with.
#[derive(Debug)]
pub struct Statistics {
    /// By layer and input.
    sums: Vec<[Sums; INPUTS.len()]>,
}

#[derive(Clone, Debug, Default)]
struct Sums {
    /// One for each column.
    squares: Vec<f64>,
    /// Rows that were added.
    n_rows: u64,
}

impl Statistics {
    /// Returns statistics of nothing yet.
    pub fn new(model: &Model<'_>) -> Self {
        Self { sums: vec![Default::default(); model.config().n_layer] }
    }

    /// Takes in an intermediate tensor, if it is one that a matrix is multiplied with.
    pub fn observe(&mut self, stage: Stage, values: &[f32]) {
        let Some(input) = INPUTS.iter().position(|(name, _)| *name == stage.name) else { return };
        let Some(layer) = stage.layer.and_then(|layer| self.sums.get_mut(layer)) else { return };
        let Some(sums) = layer.get_mut(input) else { return };
        sums.squares.resize(stage.n_cols, 0.0);
        sums.n_rows += stage.n_rows as u64;
        for row in values.chunks_exact(stage.n_cols.max(1)) {
            for (sum, &x) in sums.squares.iter_mut().zip(row) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
    }

    /// Returns whether every sum is a number, which it is not if the model's weights or
    /// activations are not.
    pub fn are_finite(&self) -> bool {
        let mut sums = self.sums.iter().flatten().flat_map(|sums| &sums.squares);
        sums.all(|sum| (*sum as f32).is_finite())
    }

    /// Returns how many matrices of the model they tell of.
    pub fn n_matrices(&self, gguf: &Gguf<'_>) -> usize {
        self.by_name(gguf).len()
    }

    /// Writes them as the file that is to be `path`; `dataset` tells where the text came from.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(
        &self,
        path: &Path,
        gguf: &Gguf<'_>,
        dataset: &str,
        chunks: Chunks,
    ) -> Result<(), Error> {
        let mut metadata = Metadata::default();
        metadata.set(keys::GENERAL_TYPE, Value::Str(TYPE));
        metadata.set_array(DATASETS, [dataset]);
        metadata.set(CHUNK_COUNT, Value::U32(chunks.n as u32));
        metadata.set(CHUNK_SIZE, Value::U32(chunks.size as u32));
        let matrices = self.by_name(gguf);
        let mut specs = Vec::with_capacity(2 * matrices.len());
        for (name, sums) in &matrices {
            let mut add = |suffix, n| {
                let name = format!("{name}{suffix}");
                specs.push(TensorSpec { name, dims: vec![n], ty: GgmlType::F32 });
            };
            add(SUMS, sums.squares.len() as u64);
            add(COUNTS, 1);
        }
        let mut writer = GgufWriter::create(path, &metadata, &specs)?;
        for (_, sums) in &matrices {
            let squares = sums.squares.iter().flat_map(|&sum| (sum as f32).to_le_bytes());
            writer.write(&squares.collect::<Vec<u8>>())?;
            writer.write(&(sums.n_rows as f32).to_le_bytes())?;
        }
        writer.finish()
    }

    /// The matrices that the model has, and their inputs, in the order of their names.
    fn by_name(&self, gguf: &Gguf<'_>) -> Vec<(String, &Sums)> {
        let mut matrices = Vec::new();
        for (i, layer) in self.sums.iter().enumerate() {
            for (sums, (_, slots)) in layer.iter().zip(INPUTS) {
                let names = slots.iter().map(|slot| format!("blk.{i}.{}", slot.name()));
                matrices.extend(names.map(|name| (name, sums)));
            }
        }
        matrices.retain(|(name, sums)| sums.n_rows > 0 && gguf.tensor(name).is_some());
        matrices.sort_by(|(a, _), (b, _)| a.cmp(b));
        matrices
    }
}

/// The pieces of text that were read one by one.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    /// How many.
    pub n: usize,
    /// Tokens of each.
    pub size: usize,
}
