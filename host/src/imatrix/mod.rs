//! How much each column of a weight matrix matters: the mean square of what it was multiplied with
//! while a model read some text.
//!
//! Files are GGUF, laid out as `llama-imatrix` lays them out: for a matrix `NAME` the sums of
//! squares, `NAME.in_sum2`, and how many rows of activations were summed, `NAME.counts`, both F32,
//! the second one per expert. [`Importance`] reads them, [`Statistics`] collects and writes them.

mod collect;

pub use collect::{Chunks, Statistics};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bantam_core::gguf::{Gguf, TensorInfo, keys};
use bantam_core::quant::{self, GgmlType};

use crate::error::{Error, OneLine};
use crate::model_file::ModelFile;

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";
const TYPE: &str = "imatrix";
const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";

/// The importance of columns, by the names of matrices.
#[derive(Debug)]
pub struct Importance {
    path: PathBuf,
    entries: BTreeMap<String, Vec<f32>>,
    datasets: Vec<String>,
    n_chunks: u32,
}

impl Importance {
    /// Reads a file of statistics.
    ///
    /// # Errors
    /// As [`ModelFile::open`], and [`Error::Model`] if it is no such file or has numbers that
    /// cannot be.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = ModelFile::open(path)?;
        let gguf = file.gguf()?;
        let string = |key: &str| gguf.get(key).and_then(|value| value.as_str());
        if string(keys::GENERAL_TYPE) != Some(TYPE) {
            return Err(file.model_error(
                "it holds no activation statistics; make them with `bantam imatrix`",
            ));
        }
        let datasets = gguf.get(DATASETS).and_then(|value| value.as_array()?.strings());
        let mut entries = BTreeMap::new();
        for sums in gguf.tensors() {
            if let Some(name) = sums.name.strip_suffix(SUMS) {
                let means = means(&gguf, &sums, name).map_err(|what| {
                    file.model_error(format_args!("the statistics of {}: {what}", OneLine(name)))
                })?;
                entries.insert(name.to_owned(), means);
            }
        }
        if entries.is_empty() {
            return Err(file.model_error("it holds no statistics of any matrix"));
        }
        file.check_unchanged()?;
        Ok(Self {
            path: path.into(),
            entries,
            datasets: datasets
                .into_iter()
                .flatten()
                .map(|name| String::from_utf8_lossy(name).into())
                .collect(),
            n_chunks: gguf.get(CHUNK_COUNT).and_then(|value| value.as_u32()).unwrap_or(0),
        })
    }

    /// Returns the importance of a matrix's columns, or of those of each expert's in turn.
    pub fn of(&self, name: &str) -> Option<&[f32]> {
        self.entries.get(name).map(Vec::as_slice)
    }

    /// Returns how many matrices it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the texts it was collected from.
    pub fn datasets(&self) -> &[String] {
        &self.datasets
    }

    /// Returns how many chunks of text it was collected from; 0 if the file does not say.
    pub fn n_chunks(&self) -> u32 {
        self.n_chunks
    }

    /// Says whether this is of the model that `tensors` belong to.
    ///
    /// # Errors
    /// [`Error::File`] if a tensor has another shape, or none is known.
    pub(crate) fn check<'t, 'm: 't>(
        &self,
        tensors: impl Iterator<Item = &'t TensorInfo<'m>>,
    ) -> Result<(), Error> {
        let (mut n_tensors, mut n_known) = (0, 0);
        for tensor in tensors {
            n_tensors += 1;
            let Some(importance) = self.of(tensor.name) else { continue };
            n_known += 1;
            let [n_cols, _, n_experts, _] = tensor.dims;
            let needed = n_cols.saturating_mul(n_experts);
            // Embeddings are looked up, not multiplied: what is said of them may be anything.
            if importance.len() as u64 != needed && !tensor.name.starts_with("token_embd") {
                return Err(self.foreign(format_args!(
                    "it has {} columns of {}, and the model's has {needed}",
                    importance.len(),
                    OneLine(tensor.name)
                )));
            }
        }
        if n_known == 0 && n_tensors > 0 {
            return Err(self.foreign("it knows none of the model's tensors"));
        }
        Ok(())
    }

    fn foreign(&self, what: impl std::fmt::Display) -> Error {
        Error::File {
            path: self.path.clone(),
            what: format!("not the statistics of this model: {what}"),
        }
    }
}

/// The mean squares of one matrix's columns.
fn means(gguf: &Gguf<'_>, sums: &TensorInfo<'_>, name: &str) -> Result<Vec<f32>, String> {
    let counts = gguf.tensor(&format!("{name}{COUNTS}")).ok_or("their counts are missing")?;
    let (mut means, counts) = (floats(sums)?, floats(&counts)?);
    if counts.is_empty() || !means.len().is_multiple_of(counts.len()) || means.is_empty() {
        return Err(format!("{} sums do not go with {} counts", means.len(), counts.len()));
    }
    let n_cols = means.len() / counts.len();
    for (means, &count) in means.chunks_exact_mut(n_cols).zip(&counts) {
        let count = count.round();
        if !(count >= 0.0 && means.iter().all(|mean| *mean >= 0.0 && mean.is_finite())) {
            return Err("there are numbers that no squares add up to; make the file anew".into());
        }
        for mean in means {
            // An expert that was never chosen: nothing is known of it.
            *mean = if count > 0.0 { *mean / count } else { 1.0 };
        }
    }
    Ok(means)
}

fn floats(tensor: &TensorInfo<'_>) -> Result<Vec<f32>, String> {
    if tensor.ty != GgmlType::F32 {
        return Err(format!("they are {} and not F32", tensor.ty));
    }
    let mut floats = vec![0.0; tensor.view.n_cols() * tensor.view.n_rows()];
    quant::dequantize_row(tensor.ty, tensor.view.bytes(), &mut floats)
        .map_err(|error| error.to_string())?;
    Ok(floats)
}
