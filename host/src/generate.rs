//! From tokens to text: prompts that reuse what the context already holds, and answers that
//! arrive piece by piece.

use std::time::{Duration, Instant};

use bantam_core::Token;
use bantam_core::engine::{Engine, EngineError, Step};
use bantam_core::sampler::{Candidate, Sampler, SamplerOptions};
use bantam_core::schema::Schema;
use bantam_core::tokenizer::{Detokenizer, Tokenizer};

use crate::error::Error;
use crate::interrupt;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    End,
    /// It has as many tokens as were asked for.
    Limit,
    /// The context holds no further token.
    ContextFull,
    /// Ctrl-C.
    Interrupted,
}

/// What a prompt and its answer took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Those of them that the context did not hold already.
    pub prefilled: usize,
    /// How long these took.
    pub prefill_time: Duration,
    /// Tokens of the answer, its end included.
    pub generated: usize,
    /// How long the ones after the first took.
    pub decode_time: Duration,
}

impl Stats {
    /// Prompt tokens in a second, if any were worked on.
    pub fn prefill_speed(&self) -> Option<f64> {
        speed(self.prefilled, self.prefill_time)
    }

    /// Answer tokens in a second, if there were at least two: the first one comes with the
    /// prompt.
    pub fn decode_speed(&self) -> Option<f64> {
        speed(self.generated.saturating_sub(1), self.decode_time)
    }
}

fn speed(count: usize, time: Duration) -> Option<f64> {
    (count > 0 && !time.is_zero()).then(|| count as f64 / time.as_secs_f64())
}

/// An engine with a tokenizer and a sampler.
pub struct Generator<'g, 'm, 'b, 't, 'u> {
    engine: &'g mut Engine<'m, 'b>,
    tokenizer: &'g Tokenizer<'t, 'u>,
    sampler: Sampler,
    candidates: Vec<Candidate>,
    schema: Option<Schema<'g>>,
    stats: Stats,
}

impl<'g, 'm, 'b, 't, 'u> Generator<'g, 'm, 'b, 't, 'u> {
    /// Returns a generator at the start of its sequence of draws.
    pub fn new(
        engine: &'g mut Engine<'m, 'b>,
        tokenizer: &'g Tokenizer<'t, 'u>,
        options: SamplerOptions,
    ) -> Self {
        let n_vocab = engine.config().n_vocab;
        let n_candidates = match options.top_k {
            0 => n_vocab,
            k => k.min(n_vocab),
        };
        Self {
            engine,
            tokenizer,
            sampler: Sampler::new(options),
            candidates: vec![Candidate::default(); n_candidates],
            schema: None,
            stats: Stats::default(),
        }
    }

    /// From now on holds answers to `schema`, of which each is the likeliest, if there is one.
    pub fn hold_to(&mut self, schema: Option<Schema<'g>>) {
        self.schema = schema;
    }

    /// What answers are held to.
    pub fn schema(&self) -> Option<&Schema<'g>> {
        self.schema.as_ref()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &'g Tokenizer<'t, 'u> {
        self.tokenizer
    }

    /// Tokens that the context can hold.
    pub fn n_ctx(&self) -> usize {
        self.engine.n_ctx()
    }

    /// Tokens that the context holds.
    pub fn n_held(&self) -> usize {
        self.engine.pos()
    }

    /// What the last prompt and its answer took so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Makes the context hold exactly `tokens`, and the engine ready to answer. Only what differs
    /// from what the context holds already is worked on. `progress` is called now and then with
    /// the number of tokens worked on so far, and the number to work on.
    ///
    /// # Errors
    /// [`Error::ContextFull`] if `tokens` leave no room for an answer, [`Error::Interrupted`] on
    /// Ctrl-C; the context then holds a part of what was asked.
    pub fn prompt(
        &mut self,
        tokens: &[Token],
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(), Error> {
        let n_ctx = self.engine.n_ctx();
        if tokens.len() >= n_ctx {
            return Err(Error::ContextFull(format!(
                "the prompt takes {} tokens, the context holds {n_ctx} with the answer; shorten \
                 the prompt, or pass --ctx {}",
                tokens.len(),
                (tokens.len() + 256).next_multiple_of(256),
            )));
        }
        let start = Instant::now();
        let same = self.engine.tokens().iter().zip(tokens).take_while(|(a, b)| a == b).count();
        // Logits are not kept: the last token is worked on again if all are there.
        let keep = same.min(tokens.len().saturating_sub(1));
        self.stats =
            Stats { prompt: tokens.len(), prefilled: tokens.len() - keep, ..Stats::default() };
        self.engine.truncate(keep).map_err(engine_error)?;
        self.engine.start(tokens.get(keep..).unwrap_or_default()).map_err(engine_error)?;
        // A batch goes through the layers step by step and is counted when it is through; in
        // between, each step counts for its share.
        let new = tokens.len() - keep;
        let steps_per_batch = self.engine.config().n_layer + 2;
        let (mut through, mut steps) = (0, 0);
        while self.engine.step() == Step::Working {
            steps += 1;
            let now = self.engine.pos() - keep;
            if now != through {
                (through, steps) = (now, 0);
            }
            let batch = self.engine.plan().options.n_batch.min(new - through);
            progress(through + batch * steps.min(steps_per_batch) / steps_per_batch, new);
            if interrupt::pressed() {
                let pos = self.engine.pos();
                self.engine.truncate(pos).map_err(engine_error)?;
                return Err(Error::Interrupted);
            }
        }
        self.stats.prefill_time = start.elapsed();
        Ok(())
    }

    /// Answers in at most `limit` tokens, and calls `emit` with each piece of text: whole
    /// characters only, as soon as they are whole.
    ///
    /// # Errors
    /// Whatever `emit` returns to stop.
    pub fn answer(
        &mut self,
        limit: usize,
        mut emit: impl FnMut(&str) -> Result<(), Error>,
    ) -> Result<Finish, Error> {
        let mut text = Detokenizer::mid_text();
        let mut held = self.schema.map(|schema| (schema, schema.start()));
        let mut first = None;
        let finish = loop {
            if self.stats.generated == limit {
                break Finish::Limit;
            }
            if interrupt::pressed() {
                break Finish::Interrupted;
            }
            let logits = self.engine.logits();
            let token = match &mut held {
                Some((schema, state)) => {
                    let chosen = schema.choose(*state, self.tokenizer, logits);
                    let (token, next) = chosen.ok_or_else(no_token)?;
                    *state = next;
                    token
                }
                None => self.sampler.sample(logits, self.engine.tokens(), &mut self.candidates),
            };
            self.stats.generated += 1;
            let first = *first.get_or_insert_with(Instant::now);
            self.stats.decode_time = first.elapsed();
            // What is held to a schema ends with it, whatever token a file says ends a text.
            if held.is_none() && self.tokenizer.is_end(token) {
                break Finish::End;
            }
            let mut outcome = Ok(());
            text.push(self.tokenizer, token, false, |piece| {
                if outcome.is_ok() {
                    outcome = emit(piece);
                }
            });
            outcome?;
            // The last token of an answer need not be taken in.
            if held.is_some_and(|(_, state)| state.is_whole()) {
                break Finish::End;
            }
            if self.stats.generated == limit {
                break Finish::Limit;
            }
            match self.engine.decode(token) {
                Ok(_) => {}
                Err(EngineError::ContextFull(..)) => break Finish::ContextFull,
                Err(error) => return Err(engine_error(error)),
            }
        };
        let mut outcome = Ok(());
        text.finish(|piece| outcome = emit(piece));
        outcome.map(|()| finish)
    }
}

/// Vocabularies are checked before; this is for models whose vocabulary is larger than their head.
fn no_token() -> Error {
    Error::Engine("the model has no token that goes on with an answer of its schema".into())
}

/// Everything an engine can refuse is checked before; this is for what was overlooked.
pub(crate) fn engine_error(error: EngineError) -> Error {
    Error::Engine(error.to_string())
}
