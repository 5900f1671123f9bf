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

use super::config::ModelConfig;
#[cfg(feature = "gemma3")]
use super::config::{Act, RopeBase};
use super::error::ModelError;
use super::weights::Slot;
use crate::gguf::{Gguf, Name, Value, keys};
#[cfg(feature = "llama")]
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
    pub(super) describe: fn(&mut Keys<'_, '_>, &mut ModelConfig),
}

impl Family {
    /// Tensors that every layer has.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        COMMON_SLOTS.iter().chain(self.required).copied()
    }

    pub(super) fn has(&self, slot: Slot) -> bool {
        self.slots().any(|other| other == slot)
    }
}

/// Tensors that a layer of any family must have.
const COMMON_SLOTS: &[Slot] = &[
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

/// Largest layer count, of every dense model so far.
pub(super) const MAX_LAYERS: usize = 512;

/// What a count may be at most, and how to say so.
struct Bound(usize, &'static str);

const LAYERS: &Bound = &Bound(MAX_LAYERS, "1 to 512");
/// Bounds keep every product of two widths far inside 64 bits and f32 sums meaningful.
const WIDTH: &Bound = &Bound(1 << 20, "1 to 1048576");
const HEADS: &Bound = &Bound(4096, "1 to 4096");
const ANY: &Bound = &Bound(usize::MAX, "at least 1");

/// The metadata of one architecture.
///
/// What is missing or wrong is noted, the first such thing, and stands as absent or 1; so a
/// description is read as if everything were right, and refused at its end.
pub(super) struct Keys<'g, 'm> {
    gguf: &'g Gguf<'m>,
    family: &'static Family,
    refused: Option<ModelError>,
}

impl<'g, 'm> Keys<'g, 'm> {
    /// Reads what the file says to `config`, and returns the family that it names.
    // Not a pair of both: hundreds of bytes of code would move them about.
    #[inline(never)]
    pub(super) fn read(
        gguf: &'g Gguf<'m>,
        config: &mut ModelConfig,
    ) -> Result<&'static Family, ModelError> {
        let name = gguf.architecture().ok_or(ModelError::NoArchitecture)?;
        let family = FAMILIES.iter().find(|family| family.name == name);
        let family = *family.ok_or_else(|| ModelError::UnknownArchitecture(Name::new(name)))?;
        let mut keys = Keys { gguf, family, refused: None };
        keys.common(config);
        (family.describe)(&mut keys, config);
        match keys.refused {
            None => Ok(family),
            Some(refused) => Err(refused),
        }
    }

    /// Notes an error, unless there was one before.
    #[cold]
    #[inline(never)]
    fn refuse(&mut self, error: ModelError) {
        self.refused.get_or_insert(error);
    }

    fn get(&self, key: &'static str) -> Option<Value<'m>> {
        self.gguf.get_arch(self.family.name, key)
    }

    /// A key's non-negative integer.
    pub(super) fn u32(&mut self, key: &'static str) -> Option<usize> {
        let value = self.get(key)?;
        if value.as_u32().is_none() {
            self.refuse(ModelError::KeyType(key, "a u32", value.type_name()));
        }
        Some(value.as_u32()? as usize)
    }

    /// A key's integer in `1..=max`, if there is one.
    #[inline(never)]
    fn optional_count(&mut self, key: &'static str, &Bound(max, allowed): &Bound) -> Option<usize> {
        let n = self.u32(key)?;
        if n == 0 || n > max {
            self.refuse(ModelError::KeyRange(key, n as u64, allowed));
            return None;
        }
        Some(n)
    }

    /// A key's integer in `1..=max`.
    #[inline(never)]
    fn count(&mut self, key: &'static str, bound: &Bound) -> usize {
        self.optional_count(key, bound).unwrap_or_else(|| {
            self.refuse(ModelError::MissingKey(key));
            1
        })
    }

    /// A key's positive finite float.
    #[inline(never)]
    pub(super) fn positive(&mut self, key: &'static str) -> Option<f32> {
        let value = self.get(key)?;
        match value.as_f32() {
            Some(v) if v > 0.0 && v.is_finite() => return Some(v),
            Some(v) => self.refuse(ModelError::KeyFloat(key, v, "a positive number")),
            None => self.refuse(ModelError::KeyType(key, "an f32", value.type_name())),
        }
        None
    }

    /// A key's positive float; absent or 0 means that it is off.
    #[cfg(feature = "gemma3")]
    pub(super) fn optional_cap(&mut self, key: &'static str) -> Option<f32> {
        match self.get(key).and_then(|v| v.as_f32()) {
            Some(0.0) => None,
            _ => self.positive(key),
        }
    }

    /// What the keys say, before the family adds its own.
    fn common(&mut self, config: &mut ModelConfig) {
        self.check_known();
        let n_expert = self.u32(keys::EXPERT_COUNT).unwrap_or(0);
        self.require(n_expert == 0, keys::EXPERT_COUNT, n_expert, "0: experts are not supported");
        let causal = self.get(keys::ATTENTION_CAUSAL);
        if causal.is_some_and(|value| value.as_bool() != Some(true)) {
            self.refuse(ModelError::Unsupported(keys::ATTENTION_CAUSAL, Name::new("false")));
        }
        config.family = self.family.name;
        config.n_layer = self.count(keys::BLOCK_COUNT, LAYERS);
        let n_embd = self.count(keys::EMBEDDING_LENGTH, WIDTH);
        config.n_embd = n_embd;
        config.n_ff = self.count(keys::FEED_FORWARD_LENGTH, WIDTH);
        config.n_ctx_train = self.count(keys::CONTEXT_LENGTH, ANY);
        let n_head = self.count(keys::ATTENTION_HEAD_COUNT, HEADS);
        config.n_head = n_head;

        let key = keys::ATTENTION_HEAD_COUNT_KV;
        let n_head_kv = self.optional_count(key, HEADS).unwrap_or(n_head);
        config.n_head_kv = n_head_kv;
        self.require(n_head.is_multiple_of(n_head_kv), key, n_head_kv, "a divisor of head_count");

        let key = keys::ATTENTION_KEY_LENGTH;
        let head_dim = self.optional_count(key, HEADS).unwrap_or_else(|| {
            if !n_embd.is_multiple_of(n_head) {
                self.refuse(ModelError::MissingKey(key));
            }
            (n_embd / n_head.max(1)).min(HEADS.0)
        });
        config.head_dim = head_dim;

        let key = keys::ATTENTION_VALUE_LENGTH;
        let value_dim = self.optional_count(key, HEADS).unwrap_or(head_dim);
        self.require(value_dim == head_dim, key, value_dim, "key_length");

        let key = keys::ROPE_DIMENSION_COUNT;
        let rope_dim = self.optional_count(key, HEADS).unwrap_or(head_dim);
        config.rope_dim = rope_dim;
        let fits = rope_dim <= head_dim && rope_dim.is_multiple_of(2);
        self.require(fits, key, rope_dim, "even, at most key_length");

        let key = keys::ATTENTION_LAYER_NORM_RMS_EPSILON;
        config.rms_eps = self.positive(key).unwrap_or_else(|| {
            self.refuse(ModelError::MissingKey(key));
            1.0
        });
        config.attn_scale = match self.positive(keys::ATTENTION_SCALE) {
            Some(scale) => scale,
            None => 1.0 / sqrt(head_dim as f32),
        };
        if let Some(freq_base) = self.positive(keys::ROPE_FREQ_BASE) {
            config.rope.freq_base = freq_base;
        }
        config.rope.factor = self.rope_factor();
        config.rope_local = config.rope;
    }

    /// Refuses a key's value that is not as it must be.
    #[inline(never)]
    fn require(&mut self, holds: bool, key: &'static str, value: usize, allowed: &'static str) {
        if !holds {
            self.refuse(ModelError::KeyRange(key, value as u64, allowed));
        }
    }

    /// The linear factor of positions; other kinds of scaling are refused by name.
    fn rope_factor(&mut self) -> f32 {
        let key = keys::ROPE_SCALING_TYPE;
        if let Some(value) = self.get(key) {
            match value.as_str() {
                Some("none") => return 1.0,
                Some("linear") => {}
                Some(other) => self.refuse(ModelError::Unsupported(key, Name::new(other))),
                None => self.refuse(ModelError::KeyType(key, "a string", value.type_name())),
            }
        }
        let factor = self.positive(keys::ROPE_SCALING_FACTOR);
        factor.or_else(|| self.positive(keys::ROPE_SCALE_LINEAR)).unwrap_or(1.0)
    }

    /// Refuses keys of this architecture that nobody here reads.
    fn check_known(&mut self) {
        for key in (0..self.gguf.n_metadata()).map(|index| self.gguf.key(index)) {
            let suffix = key.strip_prefix(self.family.name).and_then(|rest| rest.strip_prefix('.'));
            let Some(suffix) = suffix else { continue };
            let known = [COMMON_KEYS, self.family.keys];
            if !known.iter().any(|keys| keys.contains(&suffix)) {
                self.refuse(ModelError::UnknownKey(Name::new(key)));
            }
        }
    }
}
