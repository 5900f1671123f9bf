//! From a file to something that runs: each step lends to the next, so they nest.

use bantam_core::Token;
use bantam_core::cache::CacheType;
use bantam_core::engine::{Engine, EngineOptions};
use bantam_core::gguf::{Gguf, keys};
use bantam_core::kernels::KernelSet;
use bantam_core::model::{MemoryPlan, Model, PlanOptions};
use bantam_core::schema::Schema;
use bantam_core::tokenizer::{Detokenizer, EncodeOptions, Tokenizer};

use crate::error::Error;
use crate::memory::Memory;
use crate::model_file::ModelFile;
use crate::pool::Pool;

/// Tokens of context unless told otherwise, if the model was trained for as many.
pub const DEFAULT_CTX: usize = 4096;

/// How to set an engine up.
#[derive(Clone)]
pub struct LoadOptions {
    /// Tokens of context; `None` is what the model was trained for, at most [`DEFAULT_CTX`].
    pub ctx: Option<usize>,
    /// Tokens of a prompt that are worked on together.
    pub batch: usize,
    /// Positions whose logits are worked on together, where all are asked for.
    pub n_logits: usize,
    /// How keys and values are stored.
    pub cache: CacheType,
    /// Threads, the caller's included.
    pub threads: usize,
    /// Who multiplies.
    pub kernels: KernelSet,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            ctx: None,
            batch: 512,
            n_logits: 1,
            cache: CacheType::F16,
            threads: crate::cpu::default_threads(),
            kernels: KernelSet::best(),
        }
    }
}

/// Returns the exact memory that an engine for `model` needs.
///
/// # Errors
/// [`Error::Model`] if the options do not fit the model.
pub fn plan(
    file: &ModelFile,
    model: &Model<'_>,
    options: &LoadOptions,
) -> Result<MemoryPlan, Error> {
    let n_ctx = options.ctx.unwrap_or_else(|| model.config().n_ctx_train.min(DEFAULT_CTX));
    model
        .plan(&PlanOptions {
            n_ctx,
            n_batch: options.batch.min(n_ctx),
            n_logits: options.n_logits,
            cache: options.cache,
        })
        .map_err(|error| file.model_error(error))
}

/// Calls `then` with an engine for `model`, and returns what it returns.
///
/// # Errors
/// [`Error::Memory`], [`Error::Threads`], and whatever `then` returns.
pub fn with_engine<R>(
    file: &ModelFile,
    model: &Model<'_>,
    options: &LoadOptions,
    then: impl FnOnce(&mut Engine<'_, '_>) -> Result<R, Error>,
) -> Result<R, Error> {
    with_engine_and_pool(file, model, options, |engine, _| then(engine))
}

/// As [`with_engine`]; `then` is lent the engine's threads as well, for work of its own.
///
/// # Errors
/// As [`with_engine`].
pub fn with_engine_and_pool<R>(
    file: &ModelFile,
    model: &Model<'_>,
    options: &LoadOptions,
    then: impl FnOnce(&mut Engine<'_, '_>, &Pool) -> Result<R, Error>,
) -> Result<R, Error> {
    let plan = plan(file, model, options)?;
    let mut memory = Memory::new(plan.bytes(), "the context", "try a smaller --ctx or --batch")?;
    let pool =
        Pool::new(options.threads).map_err(|error| Error::Threads(options.threads, error))?;
    let engine_options = EngineOptions { kernels: options.kernels, parallel: &pool };
    let mut engine = Engine::new(model, &plan, memory.bytes_mut(), engine_options)
        .map_err(|error| Error::Engine(error.to_string()))?;
    then(&mut engine, &pool)
}

/// Calls `then` with the model's tokenizer, and returns what it returns.
///
/// # Errors
/// [`Error::Model`] if the file holds no tokenizer that is understood; [`Error::Memory`]; and
/// whatever `then` returns.
pub fn with_tokenizer<R>(
    file: &ModelFile,
    gguf: &Gguf<'_>,
    then: impl FnOnce(&Tokenizer<'_, '_>) -> Result<R, Error>,
) -> Result<R, Error> {
    let plan = Tokenizer::plan(gguf).map_err(|error| file.model_error(error))?;
    let mut memory = Memory::new(plan.bytes, "the tokenizer", "free some")?;
    let tokenizer =
        Tokenizer::new_in(gguf, memory.bytes_mut()).map_err(|error| file.model_error(error))?;
    then(&tokenizer)
}

/// Returns the tokens of `text`.
///
/// # Errors
/// [`Error::Model`] if the tokenizer refuses the text.
pub fn encode(
    file: &ModelFile,
    tokenizer: &Tokenizer<'_, '_>,
    text: &str,
    add_special: bool,
    parse_special: bool,
) -> Result<Vec<Token>, Error> {
    let mut scratch =
        Memory::new(tokenizer.encode_scratch(text.len()), "a text of this length", "shorten it")?;
    let mut tokens = vec![0; tokenizer.max_tokens(text.len())];
    let options = EncodeOptions { add_special, parse_special };
    let n_tokens = tokenizer
        .encode(text, options, scratch.bytes_mut(), &mut tokens)
        .map_err(|error| file.model_error(error))?;
    tokens.truncate(n_tokens);
    Ok(tokens)
}

/// Returns the tokens of text that does not end here: a tokenizer may want to end every text.
///
/// # Errors
/// As [`encode`].
pub fn encode_open(
    file: &ModelFile,
    tokenizer: &Tokenizer<'_, '_>,
    text: &str,
    add_special: bool,
) -> Result<Vec<Token>, Error> {
    let mut tokens = encode(file, tokenizer, text, add_special, true)?;
    if tokens.last().is_some_and(|&last| tokenizer.add_eos() && Some(last) == tokenizer.eos()) {
        tokens.pop();
    }
    Ok(tokens)
}

/// Returns the schema that the model's answers are held to, or `None` if it has none.
///
/// # Errors
/// [`Error::Model`] if it is no schema, or if the vocabulary cannot say all of its answers.
pub fn schema<'m>(
    file: &ModelFile,
    gguf: &Gguf<'m>,
    tokenizer: &Tokenizer<'_, '_>,
) -> Result<Option<Schema<'m>>, Error> {
    let key = keys::BANTAM_SCHEMA;
    let Some(value) = gguf.get(key) else { return Ok(None) };
    let Some(text) = value.as_str() else {
        return Err(file.model_error(format_args!("{key} is no string")));
    };
    let schema =
        Schema::parse(text).map_err(|error| file.model_error(format_args!("{key}: {error}")))?;
    match schema.unsayable(tokenizer) {
        None => Ok(Some(schema)),
        Some(byte) => Err(file.model_error(format_args!(
            "{key}: its answers need the byte {byte:#04x}, for which the vocabulary has no token"
        ))),
    }
}

/// Returns the text that a token stands for, special tokens by their names; bytes that are no
/// whole character show as U+FFFD.
pub fn piece(tokenizer: &Tokenizer<'_, '_>, token: Token) -> String {
    let mut text = String::new();
    let mut detokenizer = Detokenizer::mid_text();
    detokenizer.push(tokenizer, token, true, |piece| text.push_str(piece));
    detokenizer.finish(|piece| text.push_str(piece));
    text
}
