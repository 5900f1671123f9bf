//! What is written: each tensor's name, shape and type, where it comes from and what is done to it.

use std::collections::BTreeMap;

use bantam_core::model::Slot;
use bantam_core::quant::GgmlType;
use safetensors::Dtype;

use super::config::{Config, Family};
use super::weights::{Source, Weights};
use super::{OutputType, refusal, some_of};
use crate::error::{Error, OneLine};
use crate::gguf_writer::TensorSpec;

/// What happens to the values of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Rows of each head, of so many: from two halves to pairs, which is how GGUF files have them.
    Pair {
        head_dim: usize,
    },
    /// Gemma stores what its norms' weights differ from 1 by.
    AddOne,
}

/// Where values come from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Source(Source, Change),
    Values(Vec<f32>),
}

/// A tensor of the output.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) spec: TensorSpec,
    pub(super) origin: Origin,
}

/// All tensors of the output, in order.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) tensors: Vec<Tensor>,
    /// Tensors of the folder that are left out.
    pub(super) unused: usize,
}

/// What the folder must have.
struct Wanted {
    name: String,
    /// Rows and columns, or elements.
    shape: Vec<usize>,
    change: Change,
}

/// The output head, as the folder has it.
const HEAD: &str = "lm_head.weight";
const EMBEDDINGS: &str = "model.embed_tokens.weight";

impl Layout {
    /// Finds a place for every tensor of the folder.
    ///
    /// # Errors
    /// [`Error::Model`] if a tensor is missing, has no place, or is of another shape or type than
    /// the configuration says.
    pub(super) fn new(config: &Config, weights: &Weights, ty: OutputType) -> Result<Self, Error> {
        let mut wanted = wanted(config);
        let mut layout = Self { tensors: Vec::new(), unused: 0 };
        if let Some(factors) = config.rope.factors(config.head_dim) {
            let dims = vec![factors.len() as u64];
            let spec = TensorSpec { name: "rope_freqs.weight".into(), dims, ty: GgmlType::F32 };
            layout.tensors.push(Tensor { spec, origin: Origin::Values(factors) });
        }
        let mut head = None;
        let mut embeddings = None;
        for source in &weights.sources {
            let fail = |what: String| refusal(weights.path(source), what);
            let Some(name) = text_name(config.family, &source.name) else {
                layout.unused += 1;
                continue;
            };
            if name == HEAD && config.tied {
                head = Some(source);
                continue;
            }
            let Some(wanted) = wanted.remove(&name) else {
                return Err(fail(format!(
                    "tensor {} has no place in this model family, or is there twice",
                    OneLine(&source.name)
                )));
            };
            if name == EMBEDDINGS {
                embeddings = Some(source);
            }
            check(source, &wanted.shape).map_err(fail)?;
            layout.tensors.push(Tensor {
                spec: spec(&wanted, ty),
                origin: Origin::Source(source.clone(), wanted.change),
            });
        }
        if !wanted.is_empty() {
            let names = some_of(wanted.keys().map(String::as_str));
            let what = format!("asks for tensors that no file has: {names}");
            return Err(refusal(config.path(), what));
        }
        if let (Some(head), Some(embeddings)) = (head, embeddings) {
            if !same(weights, head, embeddings)? {
                return Err(refusal(
                    config.path(),
                    "tie_word_embeddings is true, but lm_head.weight is not the embeddings",
                ));
            }
            layout.unused += 1;
        }
        Ok(layout)
    }

    /// Names of the matrices that are stored in a type.
    pub(super) fn named_as(&self, ty: GgmlType) -> Vec<String> {
        let found = self.tensors.iter().filter(|tensor| tensor.spec.ty == ty);
        found.map(|tensor| tensor.spec.name.clone()).collect()
    }
}

/// Vectors are always F32; they are read where they lie.
fn spec(wanted: &Wanted, ty: OutputType) -> TensorSpec {
    let dims: Vec<u64> = wanted.shape.iter().rev().map(|&n| n as u64).collect();
    let ty = match dims[..] {
        [n_cols, _] => ty.of_row(n_cols),
        _ => GgmlType::F32,
    };
    TensorSpec { name: wanted.name.clone(), dims, ty }
}

/// A tensor's name in a model of text alone; `None` if it is of no use there.
fn text_name(family: Family, name: &str) -> Option<String> {
    // Frequencies that old files carry though they follow from the configuration.
    if name.ends_with(".rotary_emb.inv_freq") {
        return None;
    }
    if family != Family::Gemma3 {
        return Some(name.into());
    }
    let sees = ["vision_tower.", "multi_modal_projector."];
    let inner = name.strip_prefix("model.").unwrap_or(name);
    if sees.iter().any(|part| inner.starts_with(part)) {
        return None;
    }
    Some(name.replacen("language_model.", "", 1))
}

/// A tensor must be floats of the shape that the configuration gives it.
fn check(source: &Source, shape: &[usize]) -> Result<(), String> {
    let name = OneLine(&source.name);
    if !matches!(source.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Err(format!(
            "tensor {name} has type {}, which is not supported (supported: F32, F16, BF16)",
            source.dtype
        ));
    }
    if source.shape != shape {
        return Err(format!(
            "tensor {name} has shape {:?}, expected {shape:?} by config.json",
            source.shape
        ));
    }
    Ok(())
}

/// Whether two tensors hold the same bytes.
fn same(weights: &Weights, a: &Source, b: &Source) -> Result<bool, Error> {
    const PIECE: u64 = 1 << 20;
    if a.dtype != b.dtype || a.shape != b.shape {
        return Ok(false);
    }
    let bytes = a.bytes();
    let mut start = 0;
    while start < bytes {
        let n = PIECE.min(bytes - start) as usize;
        let (mut one, mut other) = (vec![0; n], vec![0; n]);
        weights.read(a, start, &mut one)?;
        weights.read(b, start, &mut other)?;
        if one != other {
            return Ok(false);
        }
        start += n as u64;
    }
    Ok(true)
}

/// A layer's tensors: the name behind `model.layers.N.`, and the place in GGUF files.
fn layer_names(family: Family) -> Vec<(&'static str, Slot)> {
    let mut names = vec![
        ("input_layernorm.weight", Slot::AttnNorm),
        ("self_attn.q_proj.weight", Slot::AttnQ),
        ("self_attn.k_proj.weight", Slot::AttnK),
        ("self_attn.v_proj.weight", Slot::AttnV),
        ("self_attn.o_proj.weight", Slot::AttnOutput),
        ("mlp.gate_proj.weight", Slot::FfnGate),
        ("mlp.up_proj.weight", Slot::FfnUp),
        ("mlp.down_proj.weight", Slot::FfnDown),
    ];
    match family {
        Family::Gemma3 => names.extend([
            ("post_attention_layernorm.weight", Slot::PostAttnNorm),
            ("pre_feedforward_layernorm.weight", Slot::FfnNorm),
            ("post_feedforward_layernorm.weight", Slot::PostFfnNorm),
        ]),
        _ => names.push(("post_attention_layernorm.weight", Slot::FfnNorm)),
    }
    if matches!(family, Family::Qwen3 | Family::Gemma3) {
        names.push(("self_attn.q_norm.weight", Slot::AttnQNorm));
        names.push(("self_attn.k_norm.weight", Slot::AttnKNorm));
    }
    if family == Family::Qwen2 {
        names.push(("self_attn.q_proj.bias", Slot::AttnQBias));
        names.push(("self_attn.k_proj.bias", Slot::AttnKBias));
        names.push(("self_attn.v_proj.bias", Slot::AttnVBias));
    }
    names
}

/// Everything that the folder must have, by its name there.
fn wanted(c: &Config) -> BTreeMap<String, Wanted> {
    let (q_dim, kv_dim) = (c.n_head * c.head_dim, c.n_head_kv * c.head_dim);
    let shape = |slot| match slot {
        Slot::AttnNorm | Slot::PostAttnNorm | Slot::FfnNorm | Slot::PostFfnNorm => vec![c.n_embd],
        Slot::AttnQNorm | Slot::AttnKNorm => vec![c.head_dim],
        Slot::AttnQBias => vec![q_dim],
        Slot::AttnKBias | Slot::AttnVBias => vec![kv_dim],
        Slot::AttnQ => vec![q_dim, c.n_embd],
        Slot::AttnK | Slot::AttnV => vec![kv_dim, c.n_embd],
        Slot::AttnOutput => vec![c.n_embd, q_dim],
        Slot::FfnGate | Slot::FfnUp => vec![c.n_ff, c.n_embd],
        Slot::FfnDown => vec![c.n_embd, c.n_ff],
    };
    let norm = match c.family {
        Family::Gemma3 => Change::AddOne,
        _ => Change::None,
    };
    let change = |slot| match slot {
        Slot::AttnNorm
        | Slot::PostAttnNorm
        | Slot::FfnNorm
        | Slot::PostFfnNorm
        | Slot::AttnQNorm
        | Slot::AttnKNorm => norm,
        Slot::AttnQ | Slot::AttnK if c.family.permutes() => Change::Pair { head_dim: c.head_dim },
        _ => Change::None,
    };
    let mut wanted = BTreeMap::new();
    let mut want = |name: String, gguf: String, shape, change| {
        wanted.insert(name, Wanted { name: gguf, shape, change });
    };
    let matrix = vec![c.n_vocab, c.n_embd];
    want(EMBEDDINGS.into(), "token_embd.weight".into(), matrix.clone(), Change::None);
    want("model.norm.weight".into(), "output_norm.weight".into(), vec![c.n_embd], norm);
    if !c.tied {
        want(HEAD.into(), "output.weight".into(), matrix, Change::None);
    }
    let names = layer_names(c.family);
    for layer in 0..c.n_layer {
        for &(name, slot) in &names {
            let gguf = format!("blk.{layer}.{}", slot.name());
            want(format!("model.layers.{layer}.{name}"), gguf, shape(slot), change(slot));
        }
    }
    wanted
}
