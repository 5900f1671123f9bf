//! What a model is, as data: one decoder runs every family from this description.

use super::plan::ModelShape;
use crate::kernels::RopePairs;

/// Shapes and choices of one model, every field checked when it was read.
///
/// Each field names the GGUF key that it comes from, without the architecture.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// `general.architecture`.
    pub family: &'static str,
    /// Layers; `block_count`.
    pub n_layer: usize,
    /// Width of the residual stream; `embedding_length`.
    pub n_embd: usize,
    /// Width of the feed-forward; `feed_forward_length`.
    pub n_ff: usize,
    /// Query heads; `attention.head_count`.
    pub n_head: usize,
    /// Key and value heads; `attention.head_count_kv`, `n_head` if absent.
    pub n_head_kv: usize,
    /// Width of a head; `attention.key_length`, `n_embd / n_head` if absent.
    pub head_dim: usize,
    /// Rows of the token embedding.
    pub n_vocab: usize,
    /// Context that the model was trained for; `context_length`.
    pub n_ctx_train: usize,
    /// Added to the mean of squares; `attention.layer_norm_rms_epsilon`.
    pub rms_eps: f32,
    /// Elements of a head that are rotated; `rope.dimension_count`, `head_dim` if absent.
    pub rope_dim: usize,
    /// Which elements form pairs; by family.
    pub rope_pairs: RopePairs,
    /// Rotation of layers that see the whole context.
    pub rope: RopeBase,
    /// Rotation of layers with a sliding window.
    pub rope_local: RopeBase,
    /// Sliding window; `attention.sliding_window`.
    pub window: Option<Window>,
    /// Factor of attention scores; `attention.scale`, or `1 / √head_dim`.
    pub attn_scale: f32,
    /// Soft cap of attention scores; `attn_logit_softcapping`.
    pub attn_soft_cap: Option<f32>,
    /// Activation of the feed-forward; by family.
    pub act: Act,
    /// Factor of embeddings; by family.
    pub embd_scale: Option<f32>,
    /// Soft cap of the logits; `final_logit_softcapping`.
    pub final_soft_cap: Option<f32>,
    /// Whether the output head is the token embedding (no `output.weight`).
    pub tied_head: bool,
}

/// Frequencies of a rotation: `base^(−2i/rope_dim) / factor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeBase {
    /// `rope.freq_base`.
    pub freq_base: f32,
    /// `rope.scaling.factor` of linear scaling, otherwise 1.
    pub factor: f32,
    /// Whether `rope_freqs.weight`, if there is one, divides the frequencies further.
    pub use_freqs: bool,
}

impl RopeBase {
    /// Whether both rotate alike: `==`, which is not const.
    const fn is(&self, other: &Self) -> bool {
        self.freq_base == other.freq_base
            && self.factor == other.factor
            && self.use_freqs == other.use_freqs
    }
}

/// Layers that see only the last positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Positions seen, the query's own included.
    pub size: usize,
    /// Every `global_every`-th layer sees everything; 0: none does.
    pub global_every: usize,
}

/// Activation function of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `x·σ(x)`.
    Silu,
    /// The tanh form of GELU.
    Gelu,
}

impl ModelConfig {
    /// What stands where the keys say nothing else.
    pub(super) const DEFAULT: Self = {
        let rope = RopeBase { freq_base: 10_000.0, factor: 1.0, use_freqs: true };
        ModelConfig {
            family: "",
            n_layer: 0,
            n_embd: 0,
            n_ff: 0,
            n_head: 0,
            n_head_kv: 0,
            head_dim: 0,
            n_vocab: 0,
            n_ctx_train: 0,
            rms_eps: 0.0,
            rope_dim: 0,
            rope_pairs: RopePairs::NeoX,
            rope,
            rope_local: rope,
            window: None,
            attn_scale: 1.0,
            attn_soft_cap: None,
            act: Act::Silu,
            embd_scale: None,
            final_soft_cap: None,
            tied_head: true,
        }
    };

    /// Width of all query heads together.
    pub const fn q_dim(&self) -> usize {
        self.n_head * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub const fn kv_dim(&self) -> usize {
        self.n_head_kv * self.head_dim
    }

    /// The numbers that the model's memory depends on.
    pub const fn shape(&self) -> ModelShape {
        ModelShape {
            n_layer: self.n_layer,
            n_embd: self.n_embd,
            n_ff: self.n_ff,
            n_head: self.n_head,
            n_head_kv: self.n_head_kv,
            head_dim: self.head_dim,
            n_vocab: self.n_vocab,
            rope_dim: self.rope_dim,
            rope_bases: if self.rope.is(&self.rope_local) { 1 } else { 2 },
        }
    }

    /// Positions that a layer sees, the query's own included, or `None` for all.
    pub const fn window_of(&self, layer: usize) -> Option<usize> {
        match self.window {
            Some(Window { size, global_every }) => {
                let global = global_every != 0 && layer % global_every == global_every - 1;
                if global { None } else { Some(size) }
            }
            None => None,
        }
    }
}
