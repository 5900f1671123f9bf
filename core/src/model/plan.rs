//! How much memory a model needs, exactly, before any is touched.

use super::config::ModelConfig;
use super::error::ModelError;
use super::weights::LayerWeights;
use crate::Token;
use crate::arena::bytes_for;
use crate::cache::{CacheShape, CacheType};
use crate::kernels::ActGroup;

/// Largest context: positions stay exact in f32 and RoPE angles in the range of `sin_cos`.
pub const MAX_CTX: usize = 1 << 20;

/// What to plan for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Tokens of context.
    pub n_ctx: usize,
    /// Tokens of a prompt that are worked on together; capped by `n_ctx`.
    pub n_batch: usize,
    /// Positions whose logits are worked on together where all are asked for.
    pub n_logits: usize,
    /// How keys and values are stored.
    pub cache: CacheType,
}

impl PlanOptions {
    /// The usual choice for a context: batches of 512, one position's logits, half floats.
    pub const fn new(n_ctx: usize) -> Self {
        PlanOptions { n_ctx, n_batch: 512, n_logits: 1, cache: CacheType::F16 }
    }
}

/// The exact memory of an engine, by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The options, capped and checked.
    pub options: PlanOptions,
    /// The table of tensors and RoPE's frequencies.
    pub layers_bytes: usize,
    /// Keys, values, and the tokens they stand for.
    pub kv_bytes: usize,
    /// Activations and logits.
    pub scratch_bytes: usize,
    pub(crate) sizes: Sizes,
}

/// Sizes of every buffer, in elements, in the order in which the engine takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub n_layer: usize,
    /// Frequencies of one base.
    pub freqs: usize,
    /// RoPE bases: 2 where windowed layers have their own.
    pub bases: usize,
    pub tokens: usize,
    pub cache: CacheShape,
    /// Cosines (and as many sines) of a batch, per base.
    pub angles: usize,
    /// The residual stream of a batch.
    pub stream: usize,
    /// Queries, keys, values and attention results, or gate and up, of a batch.
    pub wide: usize,
    /// Quantized activations of a batch.
    pub acts: usize,
    pub logits: usize,
}

impl Sizes {
    fn new(c: &ModelConfig, o: &PlanOptions) -> Option<Self> {
        let freqs = c.rope_dim / 2;
        let attention = c.q_dim().checked_mul(2)?.checked_add(c.kv_dim().checked_mul(2)?)?;
        let wide = attention.max(c.n_ff.checked_mul(2)?);
        Some(Sizes {
            n_layer: c.n_layer,
            freqs,
            bases: if c.rope == c.rope_local { 1 } else { 2 },
            tokens: o.n_ctx,
            cache: CacheShape {
                ty: o.cache,
                n_layer: c.n_layer,
                n_head_kv: c.n_head_kv,
                head_dim: c.head_dim,
                n_ctx: o.n_ctx,
            },
            angles: freqs.checked_mul(o.n_batch)?,
            stream: c.n_embd.checked_mul(o.n_batch)?,
            wide: wide.checked_mul(o.n_batch)?,
            acts: c.n_embd.max(c.q_dim()).max(c.n_ff).checked_mul(o.n_batch)?,
            logits: c.n_vocab.checked_mul(o.n_logits)?,
        })
    }
}

impl MemoryPlan {
    /// The plan for a model and some options.
    ///
    /// # Errors
    /// [`ModelError::Context`] if the context is 0, longer than [`MAX_CTX`], or more than this
    /// machine can address; [`ModelError::ZeroOption`] for a zero elsewhere.
    pub fn new(config: &ModelConfig, options: &PlanOptions) -> Result<Self, ModelError> {
        let mut options = *options;
        if options.n_ctx == 0 || options.n_ctx > MAX_CTX {
            return Err(ModelError::Context(options.n_ctx));
        }
        if options.n_batch == 0 {
            return Err(ModelError::ZeroOption("n_batch"));
        }
        if options.n_logits == 0 {
            return Err(ModelError::ZeroOption("n_logits"));
        }
        options.n_batch = options.n_batch.min(options.n_ctx);
        options.n_logits = options.n_logits.min(options.n_batch);
        let too_large = ModelError::Context(options.n_ctx);
        let sizes = Sizes::new(config, &options).ok_or(too_large)?;
        let cache_bytes = sizes.cache.bytes().ok_or(too_large)?;
        let floats = [sizes.stream, sizes.stream, sizes.wide, sizes.logits];
        let floats = floats.iter().fold(0usize, |sum, &n| sum.saturating_add(bytes_for::<f32>(n)));
        let angles = bytes_for::<f32>(sizes.angles).saturating_mul(2 * sizes.bases);
        let acts = bytes_for::<i8>(sizes.acts)
            .saturating_add(bytes_for::<ActGroup>(sizes.acts / ActGroup::LEN));
        let plan = MemoryPlan {
            options,
            layers_bytes: bytes_for::<LayerWeights<'_>>(sizes.n_layer)
                .saturating_add(bytes_for::<f32>(sizes.freqs).saturating_mul(sizes.bases)),
            kv_bytes: cache_bytes.saturating_add(bytes_for::<Token>(sizes.tokens)),
            scratch_bytes: floats.saturating_add(angles).saturating_add(acts),
            sizes,
        };
        if plan.bytes() > isize::MAX as usize { Err(too_large) } else { Ok(plan) }
    }

    /// Bytes in all, for memory that begins at a multiple of [`crate::arena::ALIGN`].
    pub const fn bytes(&self) -> usize {
        self.layers_bytes.saturating_add(self.kv_bytes).saturating_add(self.scratch_bytes)
    }
}
