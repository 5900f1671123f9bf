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

/// The numbers of a model that its memory depends on, named as in [`ModelConfig`].
///
/// Firmware writes them down, or has its build script read them from the model with
/// [`ModelConfig::shape`]; an engine for a model of another shape is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in `ModelConfig`
pub struct ModelShape {
    pub n_layer: usize,
    pub n_embd: usize,
    pub n_ff: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim: usize,
    pub n_vocab: usize,
    pub rope_dim: usize,
    /// 2 where layers with a sliding window rotate differently from the others, 1 elsewhere.
    pub rope_bases: usize,
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
    pub(crate) shape: ModelShape,
}

/// Sizes of every buffer, in elements, in the order in which the engine takes them.
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
    /// The sizes for a model and some checked options; what no machine can address saturates.
    #[inline(never)]
    const fn new(m: &ModelShape, o: &PlanOptions) -> Self {
        let freqs = m.rope_dim / 2;
        let q_dim = m.n_head.saturating_mul(m.head_dim);
        let kv_dim = m.n_head_kv.saturating_mul(m.head_dim);
        let attention = q_dim.saturating_mul(2).saturating_add(kv_dim.saturating_mul(2));
        let wide = larger(attention, m.n_ff.saturating_mul(2));
        Sizes {
            n_layer: m.n_layer,
            freqs,
            bases: m.rope_bases,
            tokens: o.n_ctx,
            cache: CacheShape {
                ty: o.cache,
                n_layer: m.n_layer,
                n_head_kv: m.n_head_kv,
                head_dim: m.head_dim,
                n_ctx: o.n_ctx,
            },
            angles: freqs.saturating_mul(o.n_batch),
            stream: m.n_embd.saturating_mul(o.n_batch),
            wide: wide.saturating_mul(o.n_batch),
            acts: larger(larger(m.n_embd, q_dim), m.n_ff).saturating_mul(o.n_batch),
            logits: m.n_vocab.saturating_mul(o.n_logits),
        }
    }
}

impl MemoryPlan {
    /// The plan for a model and some options.
    ///
    /// # Errors
    /// [`ModelError::Context`] if the context is 0, longer than [`MAX_CTX`], or more than this
    /// machine can address; [`ModelError::ZeroOption`] for a zero elsewhere;
    /// [`ModelError::CacheLeftOut`] for a cache that this build has no code for.
    pub const fn new(config: &ModelConfig, options: &PlanOptions) -> Result<Self, ModelError> {
        Self::of_shape(&config.shape(), options)
    }

    /// The plan for a model of this shape: as [`MemoryPlan::new`], for firmware that sizes its
    /// static memory while it is built.
    ///
    /// ```
    /// use bantam_core::arena::ALIGN;
    /// use bantam_core::model::{MemoryPlan, ModelShape, PlanOptions};
    ///
    /// const SHAPE: ModelShape = ModelShape {
    ///     n_layer: 3,
    ///     n_embd: 256,
    ///     n_ff: 512,
    ///     n_head: 4,
    ///     n_head_kv: 2,
    ///     head_dim: 64,
    ///     n_vocab: 1021,
    ///     rope_dim: 64,
    ///     rope_bases: 1,
    /// };
    /// const PLAN: MemoryPlan = match MemoryPlan::of_shape(&SHAPE, &PlanOptions::new(192)) {
    ///     Ok(plan) => plan,
    ///     Err(_) => panic!("no such context"),
    /// };
    /// #[repr(align(64))]
    /// struct Memory([u8; PLAN.bytes()]);
    /// static MEMORY: Memory = Memory([0; PLAN.bytes()]);
    /// assert_eq!(MEMORY.0.as_ptr() as usize % ALIGN, 0);
    /// ```
    ///
    /// # Errors
    /// As [`MemoryPlan::new`].
    pub const fn of_shape(shape: &ModelShape, options: &PlanOptions) -> Result<Self, ModelError> {
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
        if !options.cache.is_built_in() {
            return Err(ModelError::CacheLeftOut(options.cache));
        }
        options.n_batch = smaller(options.n_batch, options.n_ctx);
        options.n_logits = smaller(options.n_logits, options.n_batch);
        let sizes = Sizes::new(shape, &options);
        let floats = bytes_for::<f32>(sizes.stream)
            .saturating_mul(2)
            .saturating_add(bytes_for::<f32>(sizes.wide))
            .saturating_add(bytes_for::<f32>(sizes.logits));
        let angles = bytes_for::<f32>(sizes.angles).saturating_mul(2).saturating_mul(sizes.bases);
        let acts = bytes_for::<i8>(sizes.acts)
            .saturating_add(bytes_for::<ActGroup>(sizes.acts / ActGroup::LEN));
        let plan = MemoryPlan {
            options,
            layers_bytes: bytes_for::<LayerWeights<'_>>(sizes.n_layer)
                .saturating_add(bytes_for::<f32>(sizes.freqs).saturating_mul(sizes.bases)),
            kv_bytes: sizes.cache.bytes().saturating_add(bytes_for::<Token>(sizes.tokens)),
            scratch_bytes: floats.saturating_add(angles).saturating_add(acts),
            shape: *shape,
        };
        match plan.bytes() > isize::MAX as usize {
            true => Err(ModelError::Context(options.n_ctx)),
            false => Ok(plan),
        }
    }

    /// The sizes of every buffer, if options and shape make a plan.
    pub(crate) fn sizes(&self) -> Option<Sizes> {
        // The options are open to changes since the plan was made.
        Self::of_shape(&self.shape, &self.options).ok()?;
        Some(Sizes::new(&self.shape, &self.options))
    }

    /// Bytes in all, for memory that begins at a multiple of [`crate::arena::ALIGN`].
    pub const fn bytes(&self) -> usize {
        self.layers_bytes.saturating_add(self.kv_bytes).saturating_add(self.scratch_bytes)
    }
}

// `Ord` has no const methods.
const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

const fn smaller(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}
