//! Whether a model fits on a board, and how fast it can be expected to be there.

use bantam_core::model::{MAX_CTX, MemoryPlan, Model, ModelConfig, PlanOptions};
use bantam_core::quant::GgmlType;
use bantam_core::tokenizer::Tokenizer;
use serde::Serialize;

use super::predict::{self, Limit, Speed, Work};
use super::profile::{Os, Profile};
use super::shape::{SHAPES, Shape};
use crate::error::Error;
use crate::model_file::ModelFile;
use crate::quantize::Preset;

/// A model, as far as memory and speed depend on it.
pub struct Subject {
    /// What it is called.
    pub name: String,
    /// The format of most of its weights.
    pub ty: &'static str,
    weights_bytes: u64,
    read_bytes: u64,
    prompt_macs: u64,
    tokenizer_bytes: u64,
    is_float: bool,
    planner: Planner,
}

/// Who says how much working memory a context takes.
enum Planner {
    /// The plan that an engine would have.
    Exact(Box<ModelConfig>),
    /// An estimate.
    Typical(Shape),
}

/// Working memory for a context, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Keys and values.
    pub kv: u64,
    /// Everything else.
    pub scratch: u64,
}

/// Bytes that a tokenizer's index takes for each token of the vocabulary: 13 for SmolLM2's, 6.5 for
/// Gemma 3's.
const TOKENIZER_BYTES: u64 = 13;

/// Tokens of a prompt that firmware works on together, as its memory is small.
const FIRMWARE_BATCH: usize = 8;

impl Subject {
    /// Returns a model that is not here: of that shape, in that preset's formats.
    pub fn typical(shape: Shape, preset: Preset) -> Self {
        let weights = shape.weights(preset);
        let billions = shape.n_params() as f64 / 1e9;
        let is_whole = SHAPES.contains(&shape);
        let scaled = || format!("{billions:.3} G parameters, like a scaled {}", shape.like);
        Subject {
            name: if is_whole { shape.like.into() } else { scaled() },
            ty: preset.name(),
            weights_bytes: weights.bytes,
            read_bytes: weights.read_bytes,
            prompt_macs: shape.prompt_macs(),
            tokenizer_bytes: TOKENIZER_BYTES * shape.n_vocab as u64,
            is_float: is_float(preset.base()),
            planner: Planner::Typical(shape),
        }
    }

    /// Returns the model of a file.
    ///
    /// # Errors
    /// [`Error::Parse`], [`Error::Model`] if it is none that can be run.
    pub fn of_file(file: &ModelFile) -> Result<Self, Error> {
        let gguf = file.gguf()?;
        let model = Model::new(&gguf).map_err(|error| file.model_error(error))?;
        let tokenizer = Tokenizer::plan(&gguf).map_err(|error| file.model_error(error))?;
        let config = model.config();
        let (mut read_bytes, mut prompt_macs) = (0, 0);
        let mut formats: Vec<(GgmlType, u64)> = Vec::new();
        for tensor in gguf.tensors() {
            let bytes = tensor.view.bytes().len() as u64;
            if tensor.name != "token_embd.weight" || config.tied_head {
                read_bytes += bytes;
            }
            if tensor.name.starts_with("blk.") {
                prompt_macs += tensor.dims.iter().fold(1u64, |n, &dim| n.saturating_mul(dim));
            }
            match formats.iter_mut().find(|(ty, _)| *ty == tensor.ty) {
                Some((_, sum)) => *sum += bytes,
                None => formats.push((tensor.ty, bytes)),
            }
        }
        let ty =
            formats.iter().max_by_key(|(_, bytes)| *bytes).map_or(GgmlType::F32, |&(ty, _)| ty);
        let name = file.path().file_name().unwrap_or(file.path().as_os_str());
        Ok(Subject {
            name: name.to_string_lossy().into_owned(),
            ty: ty.name(),
            weights_bytes: file.bytes().len() as u64,
            read_bytes,
            prompt_macs,
            tokenizer_bytes: tokenizer.bytes as u64,
            is_float: is_float(ty),
            planner: Planner::Exact(Box::new(*config)),
        })
    }

    /// Returns whether memory is an estimate.
    pub fn is_typical(&self) -> bool {
        matches!(self.planner, Planner::Typical(_))
    }

    /// Returns the context that the model was trained for.
    pub fn n_ctx_train(&self) -> usize {
        match &self.planner {
            Planner::Exact(config) => config.n_ctx_train,
            Planner::Typical(shape) => shape.n_ctx_train,
        }
    }

    /// Returns the working memory for a context, or `None` if no machine could have it.
    pub fn plan(&self, n_ctx: usize, n_batch: usize) -> Option<Planned> {
        match &self.planner {
            Planner::Exact(config) => {
                let options = PlanOptions { n_batch, ..PlanOptions::new(n_ctx) };
                let plan = MemoryPlan::new(config, &options).ok()?;
                let scratch = (plan.scratch_bytes + plan.layers_bytes) as u64;
                Some(Planned { kv: plan.kv_bytes as u64, scratch: scratch + self.tokenizer_bytes })
            }
            Planner::Typical(shape) => Some(Planned {
                kv: shape.kv_bytes_per_position() * n_ctx as u64,
                scratch: shape.scratch_bytes(n_batch.min(n_ctx)) + self.tokenizer_bytes,
            }),
        }
    }

    /// Returns what a token costs when so many are in the context.
    pub fn work(&self, depth: usize) -> Work {
        let (n_layer, head_macs) = match &self.planner {
            Planner::Exact(config) => (config.n_layer, config.n_embd * config.n_vocab),
            Planner::Typical(shape) => (shape.n_layer, shape.n_embd * shape.n_vocab),
        };
        let kv_bytes: u64 = match &self.planner {
            // Layers with a window read no more than that.
            Planner::Exact(config) => (0..config.n_layer)
                .map(|layer| config.window_of(layer).map_or(depth, |window| window.min(depth)))
                .map(|n| 4 * (n * config.kv_dim()) as u64)
                .sum(),
            Planner::Typical(shape) => shape.kv_bytes_per_position() * depth as u64,
        };
        Work {
            read_bytes: (self.read_bytes + kv_bytes) as f64,
            prompt_macs: self.prompt_macs as f64,
            generation_macs: (self.prompt_macs + head_macs as u64) as f64,
            n_layer,
            is_float: self.is_float,
        }
    }
}

fn is_float(ty: GgmlType) -> bool {
    ty.block_elems() == 1
}

/// What a model needs and does on a board.
#[derive(Debug, Serialize)]
pub struct Fit {
    /// The model.
    pub model: String,
    /// The format of most of its weights.
    pub r#type: &'static str,
    /// Whether memory is an estimate by a typical shape.
    pub is_estimate: bool,
    /// Tokens of context that this is for.
    pub n_ctx: usize,
    /// The whole file.
    pub weights_bytes: u64,
    /// Keys and values.
    pub kv_bytes: u64,
    /// Activations, logits, tables and the tokenizer's index.
    pub scratch_bytes: u64,
    /// What has to fit into memory: firmware reads weights from flash, elsewhere they are in it.
    pub needed_bytes: u64,
    /// Firmware: whether the weights fit into flash; `None` elsewhere, and if it is unknown.
    pub fits_in_flash: Option<bool>,
    /// Each size of memory that the board is sold with.
    pub memory: Vec<InMemory>,
    /// Whether it fits into the largest; `None` if that is unknown.
    pub fits: Option<bool>,
    /// Each of the board's processors.
    pub speeds: Vec<OnProcessor>,
}

/// A model in one size of memory.
#[derive(Debug, Serialize)]
pub struct InMemory {
    /// That size.
    pub total_bytes: u64,
    /// What the system leaves of it.
    pub usable_bytes: u64,
    /// Whether the model fits.
    pub fits: bool,
    /// The largest context that fits, at most what the model was trained for; `None` if none does.
    pub largest_ctx: Option<usize>,
}

/// A model on one of the processors.
#[derive(Debug, Serialize)]
pub struct OnProcessor {
    /// `cpu`, or what else it is called.
    pub processor: String,
    /// Whether Bantam runs there.
    pub runs_bantam: bool,
    /// Generation with the context half full; `None` if nothing is known to predict it by, or if
    /// the model does not fit.
    pub generation: Option<Speed>,
    /// Reading a prompt; likewise.
    pub prompt: Option<Speed>,
    /// What binds it: memory if it does not fit, else what generation is bound by.
    pub limit: Option<Limit>,
    /// Where it is from what engines reach there when they generate.
    pub reach_source: Option<String>,
}

/// Returns how a model does on a board.
///
/// # Errors
/// [`Error::Usage`] if no machine could have so long a context.
pub fn assess(profile: &Profile, subject: &Subject, n_ctx: usize) -> Result<Fit, Error> {
    let n_batch = if profile.os == Os::None { FIRMWARE_BATCH } else { 512 };
    let planned = subject.plan(n_ctx, n_batch).ok_or_else(|| {
        Error::Usage(format!("--ctx {n_ctx}: no machine has memory for so much; take less"))
    })?;
    let is_firmware = profile.os == Os::None;
    let in_memory = if is_firmware { 0 } else { subject.weights_bytes };
    let needed = |planned: Planned| in_memory + planned.kv + planned.scratch;
    let fits_in_flash = flash(profile).map(|flash| subject.weights_bytes <= flash);
    let memory: Vec<_> = profile
        .usable()
        .into_iter()
        .map(|(total, usable)| {
            let fits = |n_ctx| {
                subject.plan(n_ctx, n_batch).is_some_and(|planned| needed(planned) <= usable.0)
            };
            let largest = largest(subject.n_ctx_train().min(MAX_CTX), fits);
            InMemory {
                total_bytes: total.0,
                usable_bytes: usable.0,
                fits: needed(planned) <= usable.0,
                largest_ctx: largest.filter(|_| fits_in_flash != Some(false)),
            }
        })
        .collect();
    let fits = memory.last().map(|memory| memory.fits && fits_in_flash != Some(false));
    let work = subject.work(n_ctx / 2);
    let speeds = profile
        .processors
        .iter()
        .map(|processor| {
            // Read from storage, weights would come at a speed that no profile knows.
            let is_held = |_: &Speed| fits != Some(false);
            let generation = predict::generation(profile, processor, &work).filter(is_held);
            let limit = if fits == Some(false) { Some(Limit::Memory) } else { None };
            OnProcessor {
                processor: processor.name.clone(),
                runs_bantam: processor.runs_bantam,
                generation,
                prompt: predict::prompt(profile, processor, &work).filter(is_held),
                limit: limit.or(generation.map(|speed| speed.limit)),
                reach_source: processor.reach.source().map(str::to_owned),
            }
        })
        .collect();
    Ok(Fit {
        model: subject.name.clone(),
        r#type: subject.ty,
        is_estimate: subject.is_typical(),
        n_ctx,
        weights_bytes: subject.weights_bytes,
        kv_bytes: planned.kv,
        scratch_bytes: planned.scratch,
        needed_bytes: needed(planned),
        fits_in_flash,
        memory,
        fits,
        speeds,
    })
}

/// What the program leaves of a firmware board's flash.
fn flash(profile: &Profile) -> Option<u64> {
    let flash = profile.memory.flash.as_ref()?.value()?;
    let reserved = profile.memory.flash_reserved.as_ref()?.value()?;
    Some(flash.0.saturating_sub(reserved.0))
}

/// The largest number from 1 to `most` for which `fits` holds, which holds below it too.
fn largest(most: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(low).filter(|&n| n > 0)
}
