//! Gemma 3, text: sliding windows but for every sixth layer, two RoPE bases, normalized queries and
//! keys, norms behind attention and feed-forward too, scaled embeddings.
//!
//! The converter has already added 1 to the norms' weights.

use super::{Act, Family, RopeBase, Slot};
use crate::gguf::keys;
use crate::math::sqrt;
use crate::model::config::Window;

/// Gemma 3 27B alone scales scores by its width per head, which no key says.
const N_LAYER_27B: usize = 62;

pub(super) static FAMILY: Family = Family {
    name: "gemma3",
    required: &[Slot::AttnQNorm, Slot::AttnKNorm, Slot::PostAttnNorm, Slot::PostFfnNorm],
    keys: &[
        keys::ATTENTION_SLIDING_WINDOW,
        keys::ATTENTION_SLIDING_WINDOW_PATTERN,
        keys::ROPE_FREQ_BASE_SWA,
        keys::FINAL_LOGIT_SOFTCAPPING,
        keys::ATTN_LOGIT_SOFTCAPPING,
    ],
    describe: |keys, config| {
        config.act = Act::Gelu;
        config.embd_scale = Some(sqrt(config.n_embd as f32));
        config.attn_soft_cap = keys.optional_cap(keys::ATTN_LOGIT_SOFTCAPPING);
        config.final_soft_cap = keys.optional_cap(keys::FINAL_LOGIT_SOFTCAPPING);
        if config.n_layer == N_LAYER_27B && keys.positive(keys::ATTENTION_SCALE).is_none() {
            config.attn_scale = 1.0 / sqrt((config.n_embd / config.n_head.max(1)) as f32);
        }
        let pattern = keys.u32(keys::ATTENTION_SLIDING_WINDOW_PATTERN).unwrap_or(6);
        let size = keys.u32(keys::ATTENTION_SLIDING_WINDOW).filter(|&size| size != 0);
        config.window = size.map(|size| Window { size, global_every: pattern });
        config.rope_local = RopeBase {
            freq_base: keys.positive(keys::ROPE_FREQ_BASE_SWA).unwrap_or(10_000.0),
            factor: 1.0,
            use_freqs: false,
        };
    },
};
