//! Where each tensor of a layer belongs, and the table of them.

use super::config::ModelConfig;
use super::error::ModelError;
use super::family::MAX_LAYERS;
use crate::gguf::{Name, TensorInfo};
use crate::quant::GgmlType;
use crate::tensor::TensorView;

/// A place for a tensor in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[allow(missing_docs)] // the names are those of the tensors
pub enum Slot {
    AttnNorm,
    AttnQ,
    AttnK,
    AttnV,
    AttnQBias,
    AttnKBias,
    AttnVBias,
    AttnQNorm,
    AttnKNorm,
    AttnOutput,
    PostAttnNorm,
    FfnNorm,
    FfnGate,
    FfnUp,
    FfnDown,
    PostFfnNorm,
}

/// Number of places in a layer.
pub const N_SLOTS: usize = 16;

impl Slot {
    /// Every place.
    pub const ALL: [Slot; N_SLOTS] = [
        Slot::AttnNorm,
        Slot::AttnQ,
        Slot::AttnK,
        Slot::AttnV,
        Slot::AttnQBias,
        Slot::AttnKBias,
        Slot::AttnVBias,
        Slot::AttnQNorm,
        Slot::AttnKNorm,
        Slot::AttnOutput,
        Slot::PostAttnNorm,
        Slot::FfnNorm,
        Slot::FfnGate,
        Slot::FfnUp,
        Slot::FfnDown,
        Slot::PostFfnNorm,
    ];

    /// The tensor's name behind `blk.N.`.
    pub const fn name(self) -> &'static str {
        match self {
            Slot::AttnNorm => "attn_norm.weight",
            Slot::AttnQ => "attn_q.weight",
            Slot::AttnK => "attn_k.weight",
            Slot::AttnV => "attn_v.weight",
            Slot::AttnQBias => "attn_q.bias",
            Slot::AttnKBias => "attn_k.bias",
            Slot::AttnVBias => "attn_v.bias",
            Slot::AttnQNorm => "attn_q_norm.weight",
            Slot::AttnKNorm => "attn_k_norm.weight",
            Slot::AttnOutput => "attn_output.weight",
            Slot::PostAttnNorm => "post_attention_norm.weight",
            Slot::FfnNorm => "ffn_norm.weight",
            Slot::FfnGate => "ffn_gate.weight",
            Slot::FfnUp => "ffn_up.weight",
            Slot::FfnDown => "ffn_down.weight",
            Slot::PostFfnNorm => "post_ffw_norm.weight",
        }
    }

    /// Columns and rows that the tensor must have; one row for norms and biases, which are F32.
    pub const fn shape(self, c: &ModelConfig) -> [usize; 2] {
        match self {
            Slot::AttnNorm | Slot::PostAttnNorm | Slot::FfnNorm | Slot::PostFfnNorm => {
                [c.n_embd, 1]
            }
            Slot::AttnQNorm | Slot::AttnKNorm => [c.head_dim, 1],
            Slot::AttnQBias => [c.q_dim(), 1],
            Slot::AttnKBias | Slot::AttnVBias => [c.kv_dim(), 1],
            Slot::AttnQ => [c.n_embd, c.q_dim()],
            Slot::AttnK | Slot::AttnV => [c.n_embd, c.kv_dim()],
            Slot::AttnOutput => [c.q_dim(), c.n_embd],
            Slot::FfnGate | Slot::FfnUp => [c.n_embd, c.n_ff],
            Slot::FfnDown => [c.n_ff, c.n_embd],
        }
    }

    /// Whether a model that this build can run may have it.
    pub const fn is_built_in(self) -> bool {
        match self {
            Slot::AttnQBias | Slot::AttnKBias | Slot::AttnVBias => cfg!(feature = "qwen2"),
            Slot::AttnQNorm | Slot::AttnKNorm => cfg!(any(feature = "gemma3", feature = "qwen3")),
            Slot::PostAttnNorm | Slot::PostFfnNorm => cfg!(feature = "gemma3"),
            _ => true,
        }
    }

    /// Whether the tensor is a vector that is read as F32 where it lies.
    pub const fn is_vector(self) -> bool {
        !matches!(
            self,
            Slot::AttnQ
                | Slot::AttnK
                | Slot::AttnV
                | Slot::AttnOutput
                | Slot::FfnGate
                | Slot::FfnUp
                | Slot::FfnDown
        )
    }
}

/// The tensors of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerWeights<'m> {
    slots: [Option<TensorView<'m>>; N_SLOTS],
}

impl<'m> LayerWeights<'m> {
    /// The tensor in a place, if the model has one there.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<TensorView<'m>> {
        self.slots.get(slot as usize).copied().flatten()
    }

    pub(super) fn set(&mut self, slot: Slot, view: TensorView<'m>) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(view);
        }
    }
}

/// Tensors outside of layers, by what [`Place::Global`] numbers them; the first
/// [`N_REQUIRED`] must be there.
pub(super) const GLOBALS: [&str; 4] =
    ["token_embd.weight", "output_norm.weight", "output.weight", "rope_freqs.weight"];
pub(super) const N_REQUIRED: usize = 2;
pub(super) const TOKEN_EMBD: usize = 0;
pub(super) const OUTPUT_NORM: usize = 1;
pub(super) const OUTPUT: usize = 2;
pub(super) const ROPE_FREQS: usize = 3;

/// What a tensor's name says about where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One of [`GLOBALS`].
    Global(usize),
    /// A place in a layer.
    Layer(usize, Slot),
}

impl Place {
    /// The place that a name means, if any; layers are numbered without leading zeros.
    #[inline(never)]
    pub(super) fn of(name: &str) -> Option<Place> {
        let is = |other: &&str| *other == name;
        if let Some(global) = GLOBALS.iter().position(is) {
            return Some(Place::Global(global));
        }
        let mut rest = name.strip_prefix("blk.")?.as_bytes();
        let mut layer = 0;
        let digits = rest;
        while let [digit @ b'0'..=b'9', behind @ ..] = rest {
            layer = layer * 10 + usize::from(digit - b'0');
            // Of its numbers a layer has the shortest, so that no two names mean one place.
            if layer >= MAX_LAYERS || (layer == 0 && behind.first() != Some(&b'.')) {
                return None;
            }
            rest = behind;
        }
        if digits.len() == rest.len() {
            return None;
        }
        let rest = rest.strip_prefix(b".")?;
        let slot = Slot::ALL.into_iter().find(|slot| slot.name().as_bytes() == rest)?;
        Some(Place::Layer(layer, slot))
    }
}

/// Checks that a tensor is `n_cols` × `n_rows` (vectors: one dimension, F32).
#[inline(never)]
pub(super) fn check_shape(
    tensor: &TensorInfo<'_>,
    [n_cols, n_rows]: [usize; 2],
    vector: bool,
) -> Result<(), ModelError> {
    let name = || Name::new(tensor.name);
    let (n_cols, n_rows) = (n_cols as u64, n_rows as u64);
    if tensor.dims != [n_cols, n_rows, 1, 1] {
        let found = [tensor.view.n_cols() as u64, tensor.view.n_rows() as u64];
        return Err(ModelError::TensorShape(name(), [n_cols, n_rows], found));
    }
    if !tensor.ty.is_built_in() {
        return Err(ModelError::FormatLeftOut(name(), tensor.ty));
    }
    if vector && tensor.ty != GgmlType::F32 {
        return Err(ModelError::TensorType(name(), tensor.ty, "F32"));
    }
    Ok(())
}
