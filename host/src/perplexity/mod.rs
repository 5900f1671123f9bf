//! How well a model predicts a text, by itself and beside another model.
//!
//! A text is cut into windows, each of which the model reads from an empty context; the tokens of
//! a window's second half are scored, as they have some context to be predicted from. All this is
//! as `llama-perplexity` has it, so that figures can be compared.

mod base;
mod distribution;
mod stats;

use bantam_core::Token;
use bantam_core::engine::{Engine, Step};
use bantam_core::par::Parallel;

pub use base::{BaseReader, BaseWriter};
pub use stats::{Comparison, Spread, Summary};

use crate::error::Error;
use crate::generate::engine_error;
use crate::interrupt;
use distribution::Summer;

/// A text's tokens, cut into windows of equal length; what is left over is dropped.
#[derive(Clone, Debug)]
pub struct Windows {
    tokens: Vec<Token>,
    n_ctx: usize,
    bos: Option<Token>,
}

impl Windows {
    /// A shorter window has nothing to score.
    pub const LEAST_CTX: usize = 3;

    /// Cuts `tokens` into windows of `n_ctx` tokens, at most `most` of them. Where the tokenizer
    /// begins texts with a token, `bos` takes the place of each window's first.
    pub fn new(mut tokens: Vec<Token>, n_ctx: usize, most: usize, bos: Option<Token>) -> Self {
        let n_ctx = n_ctx.max(Self::LEAST_CTX);
        let n_windows = (tokens.len() / n_ctx).min(most);
        tokens.truncate(n_windows * n_ctx);
        Windows { tokens, n_ctx, bos }
    }

    /// Windows.
    pub fn len(&self) -> usize {
        self.tokens.len() / self.n_ctx
    }

    /// Whether the text is shorter than a window.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens in a window.
    pub const fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// The text's tokens, up to the last window's end.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Tokens of a window that nothing is scored of, but its predictions from the last one on.
    const fn unscored(n_ctx: usize) -> usize {
        n_ctx / 2
    }

    /// Predictions that are scored in a window of `n_ctx` tokens.
    const fn scored_of(n_ctx: usize) -> usize {
        n_ctx - 1 - Self::unscored(n_ctx)
    }

    /// Predictions that are scored in all windows.
    pub fn scored(&self) -> usize {
        self.len() * Self::scored_of(self.n_ctx)
    }
}

/// One prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// −ln p of the token that came.
    pub nll: f64,
    /// What the base said.
    pub base: Option<BaseScore>,
}

/// A base's prediction at the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BaseScore {
    /// −ln p of the token that came.
    pub nll: f64,
    /// KL(base ‖ model), in nats.
    pub kl: f64,
    /// Whether both find the same token the likeliest.
    pub same_top: bool,
}

/// What else to do with every prediction.
pub enum Base {
    /// Nothing.
    None,
    /// Keep it, as a base for others.
    Save(BaseWriter),
    /// Compare it with a base's.
    Compare(BaseReader),
}

/// Scores all windows, on an engine whose context holds one and whose vocabulary is the base's.
///
/// `progress` hears how many tokens have been read and what has been scored so far.
///
/// # Errors
/// [`Error::Engine`] where a logit is no finite number; [`Error::Interrupted`]; the base's errors.
pub fn score(
    engine: &mut Engine<'_, '_>,
    parallel: &dyn Parallel,
    windows: &Windows,
    base: &mut Base,
    mut progress: impl FnMut(usize, &[Score]),
) -> Result<Vec<Score>, Error> {
    let batch = engine.plan().options.n_batch;
    let mut scorer = Scorer {
        summer: Summer::new(parallel, engine.config().n_vocab),
        base,
        scores: Vec::with_capacity(windows.scored()),
    };
    let mut window = Vec::with_capacity(windows.n_ctx);
    for (number, tokens) in windows.tokens.chunks_exact(windows.n_ctx).enumerate() {
        let n_before = number * windows.n_ctx;
        window.clear();
        window.extend(windows.bos);
        window.extend(tokens.iter().skip(window.len()));
        engine.truncate(0).map_err(engine_error)?;
        let (unscored, scored) = window.split_at(Windows::unscored(windows.n_ctx));
        engine.start(unscored).map_err(engine_error)?;
        while engine.step() == Step::Working {
            interrupt::check()?;
            progress(n_before + engine.pos(), &scorer.scores);
        }
        // The last token predicts what is in the next window.
        let (_, scored) = scored.split_last().unwrap_or((&0, scored));
        let targets = tokens.get(unscored.len() + 1..).unwrap_or_default();
        for (scored, targets) in scored.chunks(batch).zip(targets.chunks(batch)) {
            let n_before = n_before + engine.pos();
            let mut outcome = Ok(());
            let result = engine.prefill_each(scored, &mut |index, logits| {
                if outcome.is_ok() {
                    let target = targets.get(index).copied().unwrap_or_default();
                    outcome = interrupt::check().and_then(|()| scorer.score(logits, target));
                    progress(n_before + index + 1, &scorer.scores);
                }
            });
            result.map_err(engine_error)?;
            outcome?;
        }
    }
    Ok(scorer.scores)
}

struct Scorer<'s> {
    summer: Summer<'s>,
    base: &'s mut Base,
    scores: Vec<Score>,
}

impl Scorer<'_> {
    /// Scores the prediction of `target`.
    fn score(&mut self, logits: &[f32], target: Token) -> Result<(), Error> {
        let Some(found) = self.summer.distribution(logits) else {
            return Err(no_number(logits, self.scores.len()));
        };
        let base = match &mut *self.base {
            Base::None => None,
            Base::Save(writer) => {
                writer.write(&self.summer, logits, &found)?;
                None
            }
            Base::Compare(reader) => {
                let row = reader.next()?;
                let (kl, top) = self.summer.divergence(logits, &found, &row);
                let nll = -row.log_p(target).unwrap_or(f64::NAN);
                Some(BaseScore { nll, kl, same_top: top == found.top })
            }
        };
        let logit = logits.get(target as usize).copied().unwrap_or(f32::NAN);
        self.scores.push(Score { nll: -found.log_p(logit), base });
        Ok(())
    }
}

/// The error for logits some of which are no finite numbers.
fn no_number(logits: &[f32], n_scored: usize) -> Error {
    let index = logits.iter().position(|logit| !logit.is_finite()).unwrap_or_default();
    Error::Engine(format!(
        "after {n_scored} predictions the logit of token {index} is {}; the model or this program \
         is broken",
        logits.get(index).copied().unwrap_or(f32::NAN),
    ))
}
