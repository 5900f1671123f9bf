//! config.json: what the model is, checked to be something that is computed as it says.
//!
//! Defaults are those of `transformers`, which leaves out what equals them.

use std::path::Path;

use bantam_core::gguf::{Value, keys};
use serde_json::Value as Json;

use super::json::{Document, shown};
use super::rope::{Rope, Scaling};
use super::{OutputType, required};
use crate::error::{Error, OneLine};
use crate::gguf_writer::Metadata;

/// The file.
const CONFIG: &str = "config.json";

/// Numbers beyond these are no model's.
const MAX_LAYERS: usize = 512;
const MAX_HEADS: usize = 4096;
const MAX_WIDTH: usize = 1 << 20;
const MAX_VOCAB: usize = 1 << 22;
const MAX_TOKENS: usize = u32::MAX as usize;

/// Every `n`-th layer of Gemma 3 sees everything, unless something else is said.
const GEMMA_PATTERN: usize = 6;

/// Gemma 3 with as many layers scales its attention by another rule.
const N_LAYER_27B: usize = 62;

/// A kind of model as `transformers` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma3,
}

/// What `architectures` may say.
const ARCHITECTURES: [(&str, Family); 6] = [
    ("LlamaForCausalLM", Family::Llama),
    ("MistralForCausalLM", Family::Mistral),
    ("Qwen2ForCausalLM", Family::Qwen2),
    ("Qwen3ForCausalLM", Family::Qwen3),
    ("Gemma3ForCausalLM", Family::Gemma3),
    ("Gemma3ForConditionalGeneration", Family::Gemma3),
];

impl Family {
    /// `general.architecture`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Llama | Self::Mistral => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 => "gemma3",
        }
    }

    /// Whether GGUF files keep the rows of Q and K in pairs.
    pub(super) const fn permutes(self) -> bool {
        matches!(self, Self::Llama | Self::Mistral)
    }
}

/// A model's configuration.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) family: Family,
    document: Document,
    pub(super) n_layer: usize,
    pub(super) n_embd: usize,
    pub(super) n_ff: usize,
    pub(super) n_head: usize,
    pub(super) n_head_kv: usize,
    pub(super) head_dim: usize,
    pub(super) n_vocab: usize,
    /// Whether the output head is the embeddings.
    pub(super) tied: bool,
    pub(super) rope: Rope,
    n_ctx: usize,
    rms_eps: f64,
    /// Positions that layers with a window see, and that every `n`-th layer has none; 0: all have.
    window: Option<(usize, usize)>,
    final_soft_cap: Option<f64>,
}

impl Config {
    /// Reads a folder's config.json.
    ///
    /// # Errors
    /// [`Error::File`] if there is none, [`Error::Model`] if it is broken or asks for something
    /// that is not supported.
    pub(super) fn read(folder: &Path) -> Result<Self, Error> {
        let path = required(folder, CONFIG, "name the folder of a Hugging Face model")?;
        let mut document = Document::read(&path)?;
        let family = family(&document)?;
        // A model that also sees has its text part's configuration inside.
        if family == Family::Gemma3
            && let Some(Json::Object(text)) = document.get("text_config").cloned()
            && let Json::Object(root) = document.root_mut()
        {
            root.extend(text);
        }
        let d = &document;
        refuse_what_changes_results(d, family)?;

        let count = |key: &str, max, default: Option<usize>| match d.count(key, max)?.or(default) {
            Some(count) => Ok(count),
            None => Err(d.refuse(format!("{key} is missing"))),
        };
        let gemma = family == Family::Gemma3;
        let n_embd = count("hidden_size", MAX_WIDTH, None)?;
        let n_layer = count("num_hidden_layers", MAX_LAYERS, None)?;
        let n_head = count("num_attention_heads", MAX_HEADS, gemma.then_some(8))?;
        let default_kv = match family {
            Family::Llama => Some(n_head),
            Family::Mistral => Some(8),
            Family::Gemma3 => Some(4),
            Family::Qwen2 | Family::Qwen3 => None,
        };
        let default_head_dim = match family {
            Family::Gemma3 => Some(256),
            Family::Qwen3 => Some(128),
            _ => n_embd.is_multiple_of(n_head).then_some(n_embd / n_head),
        };
        let default_ctx = match family {
            Family::Llama => 2048,
            Family::Mistral | Family::Gemma3 => 131_072,
            Family::Qwen2 | Family::Qwen3 => 32_768,
        };
        let n_head_kv = count("num_key_value_heads", MAX_HEADS, default_kv)?;
        let head_dim = count("head_dim", MAX_HEADS, default_head_dim)?;
        if !head_dim.is_multiple_of(2) {
            return Err(d.refuse(format!("head_dim is {head_dim}, which has no halves to rotate")));
        }
        let mut config = Self {
            family,
            n_layer,
            n_embd,
            n_ff: count("intermediate_size", MAX_WIDTH, None)?,
            n_head,
            n_head_kv,
            head_dim,
            n_vocab: count("vocab_size", MAX_VOCAB, gemma.then_some(262_208))?,
            tied: d.boolean("tie_word_embeddings")?.unwrap_or(gemma),
            rope: Rope::read(d, family)?,
            n_ctx: count("max_position_embeddings", MAX_TOKENS, Some(default_ctx))?,
            rms_eps: d.positive("rms_norm_eps")?.unwrap_or(1e-6),
            window: None,
            final_soft_cap: d.positive("final_logit_softcapping")?,
            document,
        };
        config.window = config.read_window()?;
        config.check_attention_scale()?;
        Ok(config)
    }

    /// The type of the weights, as the file calls it.
    pub(super) fn dtype(&self) -> Option<&str> {
        let dtype = self.document.get("torch_dtype").or_else(|| self.document.get("dtype"));
        dtype.and_then(|dtype| dtype.as_str())
    }

    /// A number that names a token, if it is there and is one.
    pub(super) fn token_id(&self, key: &str) -> Option<u32> {
        self.document.get(key)?.as_u64()?.try_into().ok()
    }

    pub(super) fn path(&self) -> &Path {
        self.document.path()
    }

    /// Writes the keys of the architecture.
    pub(super) fn describe(&self, ty: OutputType, metadata: &mut Metadata) {
        let arch = self.family.name();
        let mut set = |key: &str, value| metadata.set(&format!("{arch}.{key}"), value);
        let count = |n: usize| Value::U32(n as u32);
        let float = |x: f64| Value::F32(x as f32);
        set(keys::BLOCK_COUNT, count(self.n_layer));
        set(keys::CONTEXT_LENGTH, count(self.n_ctx));
        set(keys::EMBEDDING_LENGTH, count(self.n_embd));
        set(keys::FEED_FORWARD_LENGTH, count(self.n_ff));
        set(keys::ATTENTION_HEAD_COUNT, count(self.n_head));
        set(keys::ATTENTION_HEAD_COUNT_KV, count(self.n_head_kv));
        // Llama 3's scaling is a tensor.
        if let Scaling::Linear(factor) = self.rope.scaling {
            set(keys::ROPE_SCALING_TYPE, Value::Str("linear"));
            set(keys::ROPE_SCALING_FACTOR, float(factor));
        }
        set(keys::ROPE_FREQ_BASE, float(self.rope.theta));
        if let Some(theta) = self.rope.theta_local {
            set(keys::ROPE_FREQ_BASE_SWA, float(theta));
        }
        set(keys::ATTENTION_LAYER_NORM_RMS_EPSILON, float(self.rms_eps));
        // Qwen 2 has no width of its own for heads, unless its file says so.
        if self.family != Family::Qwen2 || self.document.get("head_dim").is_some() {
            set(keys::ATTENTION_KEY_LENGTH, count(self.head_dim));
            set(keys::ATTENTION_VALUE_LENGTH, count(self.head_dim));
        }
        metadata.set(keys::GENERAL_FILE_TYPE, Value::U32(ty.file_type()));
        let mut set = |key: &str, value| metadata.set(&format!("{arch}.{key}"), value);
        if self.family.permutes() {
            set(keys::VOCAB_SIZE, count(self.n_vocab));
            set(keys::ROPE_DIMENSION_COUNT, count(self.head_dim));
        }
        if let Some(cap) = self.final_soft_cap {
            set(keys::FINAL_LOGIT_SOFTCAPPING, float(cap));
        }
        if let Some((size, pattern)) = self.window {
            set(keys::ATTENTION_SLIDING_WINDOW, count(size));
            if self.family == Family::Gemma3 && pattern != GEMMA_PATTERN {
                set(keys::ATTENTION_SLIDING_WINDOW_PATTERN, count(pattern));
            }
        }
    }

    /// The window of layers that do not see everything.
    fn read_window(&self) -> Result<Option<(usize, usize)>, Error> {
        let d = &self.document;
        let size = || d.count("sliding_window", MAX_TOKENS);
        match self.family {
            Family::Llama | Family::Qwen2 | Family::Qwen3 => Ok(None),
            Family::Mistral => {
                // Absent is not null: absent is the default.
                let absent = d.root().get("sliding_window").is_none();
                let size = if absent { Some(4096) } else { size()? };
                Ok(size.filter(|&size| size < self.n_ctx).map(|size| (size, 0)))
            }
            Family::Gemma3 => {
                let size = size()?.unwrap_or(4096);
                Ok(self.read_pattern()?.map(|pattern| (size, pattern)))
            }
        }
    }

    /// Which layers see everything: every `n`-th, or all, which is `None`.
    fn read_pattern(&self) -> Result<Option<usize>, Error> {
        let d = &self.document;
        let Some(types) = d.get("layer_types") else {
            let pattern = match d.count("sliding_window_pattern", MAX_LAYERS)? {
                None => d.count("_sliding_window_pattern", MAX_LAYERS)?,
                pattern => pattern,
            };
            return Ok(Some(pattern.unwrap_or(GEMMA_PATTERN)).filter(|&pattern| pattern != 1));
        };
        let types: Vec<_> = types.as_array().into_iter().flatten().map(Json::as_str).collect();
        let fits = |pattern: usize| {
            types.len() == self.n_layer
                && types.iter().enumerate().all(|(layer, ty)| match (layer + 1) % pattern {
                    0 => *ty == Some("full_attention"),
                    _ => *ty == Some("sliding_attention"),
                })
        };
        let mut patterns = std::iter::once(GEMMA_PATTERN).chain(1..=self.n_layer + 1);
        match patterns.find(|&pattern| fits(pattern)) {
            Some(pattern) => Ok(Some(pattern).filter(|&pattern| pattern != 1)),
            None => Err(d.refuse(
                "layer_types is not one type for each layer with full_attention in every n-th, \
                 which is not supported",
            )),
        }
    }

    /// Gemma says what it divides attention scores by; readers of GGUF files know a rule.
    fn check_attention_scale(&self) -> Result<(), Error> {
        if self.family != Family::Gemma3 {
            return Ok(());
        }
        let d = &self.document;
        let scalar = d.positive("query_pre_attn_scalar")?.unwrap_or(256.0);
        let known =
            if self.n_layer == N_LAYER_27B { self.n_embd / self.n_head } else { self.head_dim };
        if scalar != known as f64 {
            return Err(d.refuse(format!(
                "query_pre_attn_scalar is {scalar}, which is not supported for this size, only \
                 {known}"
            )));
        }
        Ok(())
    }
}

/// The first architecture that the file names.
fn family(document: &Document) -> Result<Family, Error> {
    let names = document.get("architectures").and_then(|names| names.get(0));
    let name = names.and_then(|name| name.as_str());
    let name = name.ok_or_else(|| document.refuse("architectures names no architecture"))?;
    match ARCHITECTURES.iter().find(|(known, _)| *known == name) {
        Some((_, family)) => Ok(*family),
        None => {
            let known: Vec<_> = ARCHITECTURES.iter().map(|(known, _)| *known).collect();
            Err(document.refuse(format!(
                "{} is not supported (supported: {})",
                OneLine(name),
                known.join(", ")
            )))
        }
    }
}

/// Refuses what would be computed otherwise than the file says.
fn refuse_what_changes_results(d: &Document, family: Family) -> Result<(), Error> {
    let unsupported = |key: &str, value: &Json| {
        d.refuse(format!("{key} is {}, which is not supported", shown(value)))
    };
    // Each must be absent, null or one of these.
    let off = [Json::Bool(false), Json::from(0), Json::from(0.0)];
    let on = [Json::Bool(true), Json::from(1), Json::from(1.0)];
    let silu = [Json::from("silu"), Json::from("swish")];
    let gelu = [Json::from("gelu_pytorch_tanh")];
    let none: [Json; 0] = [];
    let mut rules: Vec<(&str, &[Json])> = vec![
        ("quantization_config", &none),
        ("num_local_experts", &off),
        ("num_experts", &off),
        ("use_bidirectional_attention", &off),
        ("attn_logit_softcapping", &off),
        ("is_causal", &on),
        ("partial_rotary_factor", &on),
    ];
    match family {
        Family::Gemma3 => rules.extend([("hidden_activation", &gelu[..])]),
        _ => rules.extend([("hidden_act", &silu[..]), ("final_logit_softcapping", &off)]),
    }
    // Of the others, attention has biases always or never, whatever is said.
    if matches!(family, Family::Llama | Family::Qwen3 | Family::Gemma3) {
        rules.push(("attention_bias", &off));
    }
    if family == Family::Llama {
        rules.push(("mlp_bias", &off));
    }
    for (key, allowed) in rules {
        if let Some(value) = d.get(key).filter(|value| !allowed.contains(value)) {
            return Err(unsupported(key, value));
        }
    }
    if family != Family::Gemma3 {
        refuse_windows(d, family)?;
    }
    Ok(())
}

/// Qwen's windows, and layers of several kinds, have no place in GGUF files of these families.
fn refuse_windows(d: &Document, family: Family) -> Result<(), Error> {
    let qwen = matches!(family, Family::Qwen2 | Family::Qwen3);
    if qwen && d.boolean("use_sliding_window")? == Some(true) && d.get("sliding_window").is_some() {
        let first = d.get("max_window_layers").and_then(|value| value.as_u64());
        let n_layer = d.get("num_hidden_layers").and_then(|value| value.as_u64());
        if first < n_layer || first.is_none() {
            return Err(d.refuse("use_sliding_window is true, which is not supported"));
        }
    }
    let types = d.get("layer_types").and_then(|types| types.as_array());
    let other = types.into_iter().flatten().find(|ty| ty.as_str() != Some("full_attention"));
    match other {
        Some(ty) => {
            Err(d.refuse(format!("layer_types has {}, which is not supported here", shown(ty))))
        }
        None => Ok(()),
    }
}
