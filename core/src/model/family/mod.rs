//! Families: how each one's metadata becomes a [`ModelConfig`].
//!
//! To add a family, write a file like these, with its keys and tensors, and list it in
//! [`FAMILIES`]. The forward pass is one for all; a family that needs a new step adds it there, as
//! data of the config.

#[cfg(feature = "gemma3")]
mod gemma3;
#[cfg(feature = "llama")]
mod llama;
#[cfg(feature = "qwen2")]
mod qwen2;
#[cfg(feature = "qwen3")]
mod qwen3;

use super::config::{Act, ModelConfig, RopeBase};
use super::error::ModelError;
use super::weights::Slot;
use crate::gguf::{Gguf, Name, keys};
use crate::kernels::RopePairs;
use crate::math::sqrt;

/// Every family that this build has, by `general.architecture`.
pub static FAMILIES: &[&Family] = &[
    #[cfg(feature = "llama")]
    &llama::FAMILY,
    #[cfg(feature = "qwen2")]
    &qwen2::FAMILY,
    #[cfg(feature = "qwen3")]
    &qwen3::FAMILY,
    #[cfg(feature = "gemma3")]
    &gemma3::FAMILY,
];

/// A family as data.
pub struct Family {
    /// `general.architecture`.
    pub name: &'static str,
    /// Tensors that every layer must have beyond [`COMMON_SLOTS`].
    pub(super) required: &'static [Slot],
    /// Keys understood beyond the common ones, without the architecture.
    pub(super) keys: &'static [&'static str],
    /// Turns what the common keys said into this family's description.
    pub(super) describe: fn(&Keys<'_, '_>, &mut ModelConfig) -> Result<(), ModelError>,
}

/// Tensors that a layer of any family must have.
pub(super) const COMMON_SLOTS: &[Slot] = &[
    Slot::AttnNorm,
    Slot::AttnQ,
    Slot::AttnK,
    Slot::AttnV,
    Slot::AttnOutput,
    Slot::FfnNorm,
    Slot::FfnGate,
    Slot::FfnUp,
    Slot::FfnDown,
];

/// Keys that every family reads, or that say nothing about results.
const COMMON_KEYS: &[&str] = &[
    keys::BLOCK_COUNT,
    keys::EMBEDDING_LENGTH,
    keys::FEED_FORWARD_LENGTH,
    keys::ATTENTION_HEAD_COUNT,
    keys::ATTENTION_HEAD_COUNT_KV,
    keys::ATTENTION_KEY_LENGTH,
    keys::ATTENTION_VALUE_LENGTH,
    keys::CONTEXT_LENGTH,
    keys::ATTENTION_LAYER_NORM_RMS_EPSILON,
    keys::ROPE_DIMENSION_COUNT,
    keys::ROPE_FREQ_BASE,
    keys::ROPE_SCALE_LINEAR,
    keys::ROPE_SCALING_TYPE,
    keys::ROPE_SCALING_FACTOR,
    keys::ROPE_SCALING_ORIGINAL_CONTEXT_LENGTH,
    keys::ROPE_SCALING_FINETUNED,
    keys::VOCAB_SIZE,
    keys::ATTENTION_SCALE,
    keys::EXPERT_COUNT,
    keys::EXPERT_USED_COUNT,
    keys::TENSOR_DATA_LAYOUT,
    keys::ATTENTION_CAUSAL,
];

/// Largest layer count: of every dense model so far, and the size of a stack bit set.
pub(super) const MAX_LAYERS: usize = 512;

/// The metadata of one architecture.
pub(super) struct Keys<'g, 'm> {
    gguf: &'g Gguf<'m>,
    family: &'static Family,
}

impl<'g, 'm> Keys<'g, 'm> {
    /// The family that the file names, and its keys.
    pub(super) fn new(gguf: &'g Gguf<'m>) -> Result<Self, ModelError> {
        let name = gguf.architecture().ok_or(ModelError::NoArchitecture)?;
        let family = FAMILIES.iter().find(|family| family.name == name);
        let family = family.ok_or(ModelError::UnknownArchitecture(Name::new(name)))?;
        Ok(Keys { gguf, family })
    }

    pub(super) const fn family(&self) -> &'static Family {
        self.family
    }

    /// A key's non-negative integer.
    pub(super) fn u32(&self, key: &'static str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.gguf.get_arch(self.family.name, key) else { return Ok(None) };
        match value.as_u32() {
            Some(v) => Ok(Some(v as usize)),
            None => Err(ModelError::KeyType(key, "a u32", value.type_name())),
        }
    }

    /// A key's integer in `1..=max`.
    fn count(
        &self,
        key: &'static str,
        max: usize,
        allowed: &'static str,
    ) -> Result<usize, ModelError> {
        self.optional_count(key, max, allowed)?.ok_or(ModelError::MissingKey(key))
    }

    fn optional_count(
        &self,
        key: &'static str,
        max: usize,
        allowed: &'static str,
    ) -> Result<Option<usize>, ModelError> {
        match self.u32(key)? {
            Some(v) if v == 0 || v > max => Err(ModelError::KeyRange(key, v as u64, allowed)),
            v => Ok(v),
        }
    }

    /// A key's positive finite float.
    pub(super) fn positive(&self, key: &'static str) -> Result<Option<f32>, ModelError> {
        let Some(value) = self.gguf.get_arch(self.family.name, key) else { return Ok(None) };
        match value.as_f32() {
            Some(v) if v > 0.0 && v.is_finite() => Ok(Some(v)),
            Some(v) => Err(ModelError::KeyFloat(key, v, "a positive number")),
            None => Err(ModelError::KeyType(key, "an f32", value.type_name())),
        }
    }

    /// A key's positive float; absent or 0 means that it is off.
    #[cfg(feature = "gemma3")]
    pub(super) fn optional_cap(&self, key: &'static str) -> Result<Option<f32>, ModelError> {
        match self.gguf.get_arch(self.family.name, key).and_then(|v| v.as_f32()) {
            Some(0.0) => Ok(None),
            _ => self.positive(key),
        }
    }

    /// What the keys say, before the family adds its own.
    pub(super) fn config(&self) -> Result<ModelConfig, ModelError> {
        self.check_known()?;
        if let Some(n) = self.u32(keys::EXPERT_COUNT)?.filter(|&n| n != 0) {
            return Err(ModelError::KeyRange(
                keys::EXPERT_COUNT,
                n as u64,
                "0: experts are not supported",
            ));
        }
        let causal = self.gguf.get_arch(self.family.name, keys::ATTENTION_CAUSAL);
        if causal.is_some_and(|value| value.as_bool() != Some(true)) {
            return Err(ModelError::Unsupported(keys::ATTENTION_CAUSAL, Name::new("false")));
        }
        // Bounds keep every product of two widths far inside 64 bits and f32 sums meaningful.
        const WIDTH: usize = 1 << 20;
        const WIDTH_TEXT: &str = "1 to 1048576";
        let n_layer = self.count(keys::BLOCK_COUNT, MAX_LAYERS, "1 to 512")?;
        let n_embd = self.count(keys::EMBEDDING_LENGTH, WIDTH, WIDTH_TEXT)?;
        let n_ff = self.count(keys::FEED_FORWARD_LENGTH, WIDTH, WIDTH_TEXT)?;
        let n_head = self.count(keys::ATTENTION_HEAD_COUNT, 4096, "1 to 4096")?;
        let n_head_kv = self
            .optional_count(keys::ATTENTION_HEAD_COUNT_KV, 4096, "1 to 4096")?
            .unwrap_or(n_head);
        if !n_head.is_multiple_of(n_head_kv) {
            return Err(ModelError::KeyRange(
                keys::ATTENTION_HEAD_COUNT_KV,
                n_head_kv as u64,
                "a divisor of head_count",
            ));
        }
        let head_dim = match self.optional_count(keys::ATTENTION_KEY_LENGTH, 4096, "1 to 4096")? {
            Some(head_dim) => head_dim,
            None if n_embd.is_multiple_of(n_head) => (n_embd / n_head.max(1)).min(4096),
            None => return Err(ModelError::MissingKey(keys::ATTENTION_KEY_LENGTH)),
        };
        let value_dim = self
            .optional_count(keys::ATTENTION_VALUE_LENGTH, 4096, "1 to 4096")?
            .unwrap_or(head_dim);
        if value_dim != head_dim {
            return Err(ModelError::KeyRange(
                keys::ATTENTION_VALUE_LENGTH,
                value_dim as u64,
                "key_length",
            ));
        }
        let rope_dim =
            self.optional_count(keys::ROPE_DIMENSION_COUNT, 4096, "1 to 4096")?.unwrap_or(head_dim);
        if rope_dim > head_dim || rope_dim % 2 != 0 {
            return Err(ModelError::KeyRange(
                keys::ROPE_DIMENSION_COUNT,
                rope_dim as u64,
                "even, at most key_length",
            ));
        }
        let rope = RopeBase {
            freq_base: self.positive(keys::ROPE_FREQ_BASE)?.unwrap_or(10_000.0),
            factor: self.rope_factor()?,
            use_freqs: true,
        };
        Ok(ModelConfig {
            family: self.family.name,
            n_layer,
            n_embd,
            n_ff,
            n_head,
            n_head_kv,
            head_dim,
            n_vocab: 0,
            n_ctx_train: self.count(keys::CONTEXT_LENGTH, usize::MAX, "at least 1")?,
            rms_eps: self
                .positive(keys::ATTENTION_LAYER_NORM_RMS_EPSILON)?
                .ok_or(ModelError::MissingKey(keys::ATTENTION_LAYER_NORM_RMS_EPSILON))?,
            rope_dim,
            rope_pairs: RopePairs::NeoX,
            rope,
            rope_local: rope,
            window: None,
            attn_scale: match self.positive(keys::ATTENTION_SCALE)? {
                Some(scale) => scale,
                None => 1.0 / sqrt(head_dim as f32),
            },
            attn_soft_cap: None,
            act: Act::Silu,
            embd_scale: None,
            final_soft_cap: None,
            tied_head: true,
        })
    }

    /// The linear factor of positions; other kinds of scaling are refused by name.
    fn rope_factor(&self) -> Result<f32, ModelError> {
        let kind = match self.gguf.get_arch(self.family.name, keys::ROPE_SCALING_TYPE) {
            None => "linear",
            Some(value) => value.as_str().ok_or(ModelError::KeyType(
                keys::ROPE_SCALING_TYPE,
                "a string",
                value.type_name(),
            ))?,
        };
        match kind {
            "none" => Ok(1.0),
            "linear" => {
                let factor = match self.positive(keys::ROPE_SCALING_FACTOR)? {
                    None => self.positive(keys::ROPE_SCALE_LINEAR)?,
                    factor => factor,
                };
                Ok(factor.unwrap_or(1.0))
            }
            other => Err(ModelError::Unsupported(keys::ROPE_SCALING_TYPE, Name::new(other))),
        }
    }

    /// Refuses keys of this architecture that nobody here reads.
    fn check_known(&self) -> Result<(), ModelError> {
        for (key, _) in self.gguf.metadata() {
            let suffix = key.strip_prefix(self.family.name).and_then(|rest| rest.strip_prefix('.'));
            let Some(suffix) = suffix else { continue };
            if !COMMON_KEYS.contains(&suffix) && !self.family.keys.contains(&suffix) {
                return Err(ModelError::UnknownKey(Name::new(key)));
            }
        }
        Ok(())
    }
}
