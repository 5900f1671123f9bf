//! From a folder as Hugging Face publishes models to a GGUF file.
//!
//! Names, order, permutation, types and metadata are those of llama.cpp's converter, so that the
//! file runs there as it does here; `fixtures/convert` holds what that converter makes of small
//! folders. A model that would compute something else than its configuration says is refused.
//!
//! ```text
//! config.json ─── config.rs ── metadata ─────────────────┐
//! tokenizer.json, .model ── tokenizer/ ── metadata ──────┼── GgufWriter ── checked ── OUT.gguf
//! *.safetensors ── weights.rs ── layout.rs ── encode.rs ─┘
//! ```
//!
//! # Where it differs from llama.cpp's converter
//! - The window of a Mistral model that has one is written (`llama.attention.sliding_window`),
//!   as is a pattern of Gemma's windows that is not the usual one. llama.cpp reads the latter only.
//! - 1 is added to the weights of Gemma's norms in single floats, as models are run; the converter
//!   adds it in half floats where the weights are such, and loses three digits.
//! - The divisors of Llama 3's rotation may differ in their last bits.
//! - Weights that become infinite in the type asked for are an error.
//! - Of what describes a model to people, only its name, the folder's, is written.
//! - A head that is a copy of the embeddings, though the configuration ties them, is left out.
//! - Special tokens are looked up in the whole vocabulary, not only among those that
//!   tokenizer.json adds, and `special_tokens_map.json` is read where `tokenizer_config.json` is
//!   silent.
//! - Pre-tokenizers are told apart by their structure in tokenizer.json, not by a hash of what a
//!   known vocabulary makes of a text.
//! - A SentencePiece tokenizer without its tokenizer.model gets its merges' order as scores, and so
//!   cuts texts as it should; the converter gives all tokens one score.
//! - tokenizer.model is believed when it says that no space goes before a text.
//! - CodeLlama's tokens for filling gaps are not written, nor that a llama of 49152 tokens has no
//!   beginning token: its pre-tokenizer's name says so.

mod config;
mod encode;
mod json;
mod layout;
mod rope;
mod tokenizer;
mod weights;

use std::fs;
use std::path::{Path, PathBuf};

use bantam_core::gguf::{Value, keys};
use bantam_core::model::Model;
use bantam_core::quant::GgmlType;

use crate::error::{Error, OneLine, Shown};
use crate::gguf_writer::{GgufWriter, Metadata};
use crate::load;
use crate::model_file::ModelFile;
use config::Config;
use json::Document;
use layout::Layout;
use tokenizer::Vocabulary;
use weights::Weights;

/// What matrices are stored as. Vectors are always F32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputType {
    /// Single floats.
    F32,
    /// Half floats.
    F16,
    /// The upper halves of single floats.
    Bf16,
    /// Blocks of 32; rows that are not made of whole ones are stored as half floats.
    Q8_0,
}

impl OutputType {
    /// The storage format of a matrix whose rows have `n_cols` elements.
    fn of_row(self, n_cols: u64) -> GgmlType {
        match self {
            Self::F32 => GgmlType::F32,
            Self::F16 => GgmlType::F16,
            Self::Bf16 => GgmlType::BF16,
            Self::Q8_0 if n_cols.is_multiple_of(32) => GgmlType::Q8_0,
            Self::Q8_0 => GgmlType::F16,
        }
    }

    /// `general.file_type`.
    const fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Bf16 => 32,
        }
    }

    /// The name, as formats are named.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8_0 => "Q8_0",
        }
    }
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Report {
    /// `general.architecture`.
    pub family: &'static str,
    /// `tokenizer.ggml.model` and `tokenizer.ggml.pre`.
    pub tokenizer: (&'static str, &'static str),
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// The type of matrices.
    pub ty: OutputType,
    /// Why it is that.
    pub ty_reason: String,
    /// Tensors written.
    pub n_tensors: usize,
    /// Those of them that had to be stored as half floats.
    pub as_f16: Vec<String>,
    /// Tensors of the folder that a text model has no use for.
    pub unused: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Makes `out` from the model in `folder`; `progress` is called with the bytes done and their
/// total. Without a type it is that of the weights: bf16, or else f16.
///
/// # Errors
/// [`Error::File`] for what is missing or cannot be read, [`Error::Model`] for what is wrong or
/// not supported, [`Error::Changed`] if the weights change meanwhile, [`Error::Usage`] if the output
/// would replace the input, [`Error::Write`], and whatever `progress` returns to stop. There is then no new file, and what was there is as it was.
pub fn convert(
    folder: &Path,
    out: &Path,
    ty: Option<OutputType>,
    progress: &mut dyn FnMut(u64, u64) -> Result<(), Error>,
) -> Result<Report, Error> {
    check_paths(folder, out)?;
    let config = Config::read(folder)?;
    let weights = Weights::open(folder)?;
    let (ty, ty_reason) = match (ty, config.dtype()) {
        (Some(ty), _) => (ty, "asked for".into()),
        (None, Some("bfloat16")) => (OutputType::Bf16, "config.json says bfloat16".into()),
        (None, Some(dtype)) => (OutputType::F16, format!("config.json says {}", OneLine(dtype))),
        (None, None) => (OutputType::F16, "config.json does not say".into()),
    };
    let layout = Layout::new(&config, &weights, ty)?;
    let vocabulary = Vocabulary::read(folder, &config)?;

    let mut metadata = Metadata::default();
    metadata.set(keys::GENERAL_ARCHITECTURE, Value::Str(config.family.name()));
    metadata.set(keys::GENERAL_TYPE, Value::Str("model"));
    sampling(folder, &mut metadata)?;
    metadata.set(keys::GENERAL_NAME, Value::Str(&name_of(folder)));
    config.describe(ty, &mut metadata);
    metadata.set(keys::GENERAL_QUANTIZATION_VERSION, Value::U32(2));
    vocabulary.describe(&config, &mut metadata);

    let specs: Vec<_> = layout.tensors.iter().map(|tensor| tensor.spec.clone()).collect();
    let mut writer = GgufWriter::create(out, &metadata, &specs)?;
    encode::write_all(&layout, &weights, &mut writer, progress)?;
    weights.check_unchanged()?;
    let mut bytes = 0;
    writer.finish_checked(|path| {
        bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
        check(path).map_err(|what| refusal(out, format!("what was written cannot be run: {what}")))
    })?;
    Ok(Report {
        family: config.family.name(),
        tokenizer: (vocabulary.model, vocabulary.pre),
        n_vocab: config.n_vocab,
        ty,
        ty_reason,
        n_tensors: specs.len(),
        as_f16: match ty {
            OutputType::Q8_0 => layout.named_as(GgmlType::F16),
            _ => Vec::new(),
        },
        unused: layout.unused,
        bytes,
    })
}

/// The output must not be, or stand in the place of, something that is read.
fn check_paths(folder: &Path, out: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(folder).map_err(|source| Error::file(folder, &source))?;
    if !metadata.is_dir() {
        return Err(Error::File {
            path: folder.into(),
            what: "not a folder; name the one that holds config.json and the weights".into(),
        });
    }
    let (Ok(folder), Ok(found)) = (fs::canonicalize(folder), fs::canonicalize(out)) else {
        return Ok(());
    };
    let is_input = found.parent() == Some(&folder) && found.extension() != Some("gguf".as_ref());
    if found == folder || is_input {
        return Err(Error::Usage(format!(
            "{}: the output would replace the model that is converted; name another file",
            Shown(out)
        )));
    }
    Ok(())
}

/// The error for something wrong with, or not supported in, a file of the folder.
fn refusal(path: &Path, what: impl Into<String>) -> Error {
    Error::Model { path: path.into(), what: what.into() }
}

/// The folder's name.
fn name_of(folder: &Path) -> String {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
    folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Keys of generation_config.json and what they are called in GGUF files.
const SAMPLING: [(&str, &str, bool); 5] = [
    ("top_k", "general.sampling.top_k", true),
    ("top_p", "general.sampling.top_p", false),
    ("min_p", "general.sampling.min_p", false),
    ("temperature", "general.sampling.temp", false),
    ("repetition_penalty", "general.sampling.penalty_repeat", false),
];

/// What the model's authors sample with.
fn sampling(folder: &Path, metadata: &mut Metadata) -> Result<(), Error> {
    let Some(document) = Document::read_optional(&folder.join("generation_config.json"))? else {
        return Ok(());
    };
    for (name, key, whole) in SAMPLING {
        let Some(value) = document.root().get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        let value = match (whole, value.as_i64(), value.as_f64()) {
            (true, Some(value), _) => i32::try_from(value).ok().map(Value::I32),
            (false, _, Some(value)) => Some(Value::F32(value as f32)),
            _ => None,
        };
        let value = value.ok_or_else(|| document.wrong(name, "a number"))?;
        metadata.set(key, value);
    }
    Ok(())
}

/// Reads what was written as the commands that run it do; or says what they would.
fn check(path: &Path) -> Result<(), String> {
    let what = |error: Error| match error {
        Error::Model { what, .. } => what,
        Error::Parse { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    let file = ModelFile::open(path).map_err(what)?;
    let gguf = file.gguf().map_err(what)?;
    let model = Model::new(&gguf).map_err(|error| error.to_string())?;
    load::with_tokenizer(&file, &gguf, |_| Ok(())).map_err(what)?;
    let n_tokens = gguf.get(keys::TOKENIZER_TOKENS).and_then(|v| v.as_array()).map(|a| a.len());
    match n_tokens {
        Some(n) if n == model.config().n_vocab => Ok(()),
        n => Err(format!(
            "{} tokens for {} rows of embeddings",
            n.unwrap_or_default(),
            model.config().n_vocab
        )),
    }
}

/// A file of the folder that must be there.
fn required(folder: &Path, name: &str, why: &str) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::File { path, what: format!("no such file; {why}") })
}

/// Names for an error, the first few of them.
fn some_of<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    const SHOWN: usize = 3;
    let mut names = names.into_iter();
    let mut text = String::new();
    for name in names.by_ref().take(SHOWN) {
        let comma = if text.is_empty() { "" } else { ", " };
        text += &format!("{comma}{}", OneLine(name));
    }
    match names.count() {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}
