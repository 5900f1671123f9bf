//! The engine: a model at work in one slice of lent memory.
//!
//! A prompt goes in with [`Engine::prefill`], tokens one by one with [`Engine::decode`]; both are
//! loops over [`Engine::step`], which returns after a bounded piece of work, so that a firmware
//! loop can feed its watchdog in between. After [`Engine::new`] nothing is allocated.

mod error;
mod forward;
mod state;

pub use error::EngineError;
pub use forward::Stage;

use crate::Token;
use crate::arena::Arena;
use crate::cache::KvCache;
use crate::kernels::{ActGroup, KernelSet};
use crate::model::{LayerWeights, MemoryPlan, Model, ModelConfig};
use crate::ops::{ActsBuffer, Runner, fill_freqs};
use crate::par::{Parallel, Serial};

/// Rows of the output head that one step computes per worker.
const HEAD_ROWS_PER_STEP: usize = 4096;

/// What runs an engine.
#[derive(Clone, Copy)]
pub struct EngineOptions<'b> {
    /// The kernels; all sets give the same bits.
    pub kernels: KernelSet,
    /// The workers; any number gives the same bits.
    pub parallel: &'b dyn Parallel,
}

impl Default for EngineOptions<'_> {
    /// The best kernels of this CPU on the calling thread.
    fn default() -> Self {
        EngineOptions { kernels: KernelSet::best(), parallel: &Serial }
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call [`Engine::step`] again.
    Working,
    /// All tokens given are done; [`Engine::logits`] has the last one's.
    Done,
}

/// Receives intermediate tensors: what they are, and rows × columns of values.
pub type Observer<'o> = dyn FnMut(Stage, &[f32]) + 'o;

/// A model, its memory, and where it stands.
pub struct Engine<'m, 'b> {
    model: &'b Model<'m>,
    plan: MemoryPlan,
    options: EngineOptions<'b>,
    layers: &'b [LayerWeights<'m>],
    /// Frequencies of the global base, then of the local one if it differs.
    freqs: [&'b [f32]; 2],
    cache: KvCache<'b>,
    /// Tokens of every position given so far.
    tokens: &'b mut [Token],
    buffers: Buffers<'b>,
    /// Positions whose keys and values are in the cache.
    pos: usize,
    /// Positions whose tokens were given; more than `pos` while a prompt is worked on.
    end: usize,
    /// Whether logits of every position are wanted, or of the last one only.
    each: bool,
    phase: Phase,
}

/// Working memory of a batch.
struct Buffers<'b> {
    cos: &'b mut [f32],
    sin: &'b mut [f32],
    cos_local: &'b mut [f32],
    sin_local: &'b mut [f32],
    /// The residual stream.
    x: &'b mut [f32],
    /// Normed stream, or a block's output.
    y: &'b mut [f32],
    wide: &'b mut [f32],
    acts: ActsBuffer<'b>,
    logits: &'b mut [f32],
}

/// What the next step does with the current batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing: no tokens are pending.
    Idle,
    /// Embeds the batch.
    Embed,
    /// Runs a layer.
    Layer(usize),
    /// Norms `rows` tokens of the batch from `first`, to begin their logits.
    HeadNorm { first: usize, rows: usize },
    /// Computes rows of the output head from `vocab` on for those tokens.
    Head { first: usize, rows: usize, vocab: usize },
}

/// What a step has brought.
enum Progress {
    Working,
    /// Logits of `rows` tokens, the first of which stands at this position.
    Logits {
        first_pos: usize,
        rows: usize,
        last: bool,
    },
}

impl<'m, 'b> Engine<'m, 'b> {
    /// An engine in `memory`, which the plan says the size of.
    ///
    /// # Errors
    /// [`EngineError::Memory`] if the memory is too small, [`EngineError::PlanMismatch`] if the
    /// plan was made for a model of another shape.
    pub fn new(
        model: &'b Model<'m>,
        plan: &MemoryPlan,
        memory: &'b mut [u8],
        options: EngineOptions<'b>,
    ) -> Result<Self, EngineError> {
        let c = model.config();
        let Some(s) = plan.sizes().filter(|_| plan.shape == c.shape()) else {
            return Err(EngineError::PlanMismatch);
        };
        let mut arena = Arena::new(memory);
        let layers = arena.take_with(s.n_layer, |_| LayerWeights::default())?;
        model.fill_layers(layers);
        let freqs = arena.take(s.freqs)?;
        fill_freqs(c.rope.freq_base, c.rope.factor, divisors(model, c.rope.use_freqs), freqs);
        let freqs_local = match s.bases {
            1 => &mut [][..],
            _ => arena.take(s.freqs)?,
        };
        let local = c.rope_local;
        fill_freqs(local.freq_base, local.factor, divisors(model, local.use_freqs), freqs_local);
        let cache = KvCache::new(s.cache, &mut arena)?;
        let tokens = arena.take(s.tokens)?;
        let local_angles = if s.bases == 1 { 0 } else { s.angles };
        // Every batch writes what it reads, so that a short prompt costs no more of a batch's
        // memory than it fills. Logits can be asked for before there are any.
        let buffers = Buffers {
            cos: arena.take_unzeroed(s.angles)?,
            sin: arena.take_unzeroed(s.angles)?,
            cos_local: arena.take_unzeroed(local_angles)?,
            sin_local: arena.take_unzeroed(local_angles)?,
            x: arena.take_unzeroed(s.stream)?,
            y: arena.take_unzeroed(s.stream)?,
            wide: arena.take_unzeroed(s.wide)?,
            acts: ActsBuffer {
                qs: arena.take_unzeroed(s.acts)?,
                groups: arena.take_with(s.acts / ActGroup::LEN, |_| ActGroup::default())?,
            },
            logits: arena.take(s.logits)?,
        };
        Ok(Engine {
            model,
            plan: *plan,
            options,
            layers,
            freqs: [freqs, freqs_local],
            cache,
            tokens,
            buffers,
            pos: 0,
            end: 0,
            each: false,
            phase: Phase::Idle,
        })
    }

    /// The model's description.
    pub fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// The plan that the engine was made with.
    pub const fn plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// Positions that are in the cache.
    pub const fn pos(&self) -> usize {
        self.pos
    }

    /// Positions that fit.
    pub const fn n_ctx(&self) -> usize {
        self.plan.options.n_ctx
    }

    /// The tokens of every position in the cache.
    pub fn tokens(&self) -> &[Token] {
        self.tokens.get(..self.pos).unwrap_or(&[])
    }

    /// Takes in a prompt and returns the logits behind its last token, one per vocabulary entry.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn prefill(&mut self, tokens: &[Token]) -> Result<&[f32], EngineError> {
        self.start(tokens)?;
        while self.step() == Step::Working {}
        Ok(self.logits())
    }

    /// Takes in one token and returns the logits behind it.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn decode(&mut self, token: Token) -> Result<&[f32], EngineError> {
        self.prefill(&[token])
    }

    /// Takes in a prompt and gives `sink` the logits behind every token, with its index.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn prefill_each(
        &mut self,
        tokens: &[Token],
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        self.run_each(tokens, sink, None)
    }

    /// As [`Engine::prefill_each`], and gives `observer` every intermediate tensor, batch by batch.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn prefill_observed(
        &mut self,
        tokens: &[Token],
        sink: &mut dyn FnMut(usize, &[f32]),
        observer: &mut Observer<'_>,
    ) -> Result<(), EngineError> {
        self.run_each(tokens, sink, Some(observer))
    }

    /// Hands over tokens to be taken in by [`Engine::step`].
    ///
    /// # Errors
    /// [`EngineError::NoTokens`], [`EngineError::Token`], [`EngineError::ContextFull`], or
    /// [`EngineError::Busy`] while earlier tokens are pending. Nothing is taken in then.
    pub fn start(&mut self, tokens: &[Token]) -> Result<(), EngineError> {
        if self.phase != Phase::Idle {
            return Err(EngineError::Busy);
        }
        if tokens.is_empty() {
            return Err(EngineError::NoTokens);
        }
        let n_vocab = self.config().n_vocab;
        if let Some(i) = tokens.iter().position(|&token| token as usize >= n_vocab) {
            let token = tokens.get(i).copied().unwrap_or_default();
            return Err(EngineError::Token(i, token, n_vocab));
        }
        let full = EngineError::ContextFull(self.pos, tokens.len(), self.n_ctx());
        let end = self.pos.checked_add(tokens.len()).ok_or(full)?;
        self.tokens.get_mut(self.pos..end).ok_or(full)?.copy_from_slice(tokens);
        self.end = end;
        self.each = false;
        self.phase = Phase::Embed;
        Ok(())
    }

    /// Does a bounded piece of the pending work: a layer for one batch, or some rows of the output
    /// head.
    pub fn step(&mut self) -> Step {
        step_of(&self.advance(&mut None))
    }

    /// As [`Engine::step`], and gives `observer` every intermediate tensor of it. Logits are those
    /// of each batch's last token.
    pub fn step_observed(&mut self, observer: &mut Observer<'_>) -> Step {
        step_of(&self.advance(&mut Some(observer)))
    }

    /// The logits behind the last token, one per vocabulary entry; all zero before the first.
    pub fn logits(&self) -> &[f32] {
        self.buffers.logits.get(..self.config().n_vocab).unwrap_or(&[])
    }

    /// Forgets every position from `pos` on, and any pending work.
    ///
    /// # Errors
    /// [`EngineError::Ahead`] if fewer positions are filled.
    pub fn truncate(&mut self, pos: usize) -> Result<(), EngineError> {
        if pos > self.pos {
            return Err(EngineError::Ahead(pos, self.pos));
        }
        (self.pos, self.end, self.phase) = (pos, pos, Phase::Idle);
        Ok(())
    }

    fn run_each(
        &mut self,
        tokens: &[Token],
        sink: &mut dyn FnMut(usize, &[f32]),
        mut observer: Option<&mut Observer<'_>>,
    ) -> Result<(), EngineError> {
        let start = self.pos;
        self.start(tokens)?;
        self.each = true;
        let n_vocab = self.config().n_vocab;
        loop {
            let Progress::Logits { first_pos, rows, last } = self.advance(&mut observer) else {
                continue;
            };
            let logits = self.buffers.logits.chunks_exact(n_vocab.max(1)).take(rows);
            for (i, logits) in logits.enumerate() {
                sink(first_pos - start + i, logits);
            }
            if last {
                return Ok(());
            }
        }
    }

    fn runner(&self) -> Runner<'b> {
        Runner { kernels: self.options.kernels, parallel: self.options.parallel }
    }
}

const fn step_of(progress: &Progress) -> Step {
    match progress {
        Progress::Logits { last: false, .. } | Progress::Working => Step::Working,
        Progress::Logits { last: true, .. } => Step::Done,
    }
}

/// The tensor that divides a base's frequencies, if the model has it and the base uses it.
fn divisors<'m>(model: &Model<'m>, used: bool) -> Option<crate::tensor::TensorView<'m>> {
    model.rope_freqs().filter(|_| used)
}
