//! A sentence to a device command: what firmware with a microphone does once it has the words.

use crate::hash::Fnv;
use crate::memory::{MAX_ANSWER, MAX_PROMPT, MAX_SENTENCE, Memory, PLAN};
use crate::{Board, Failure};
use bantam_core::Token;
use bantam_core::engine::{Engine, EngineOptions, Step};
use bantam_core::gguf::{Gguf, keys};
use bantam_core::model::Model;
use bantam_core::schema::Schema;
use bantam_core::tokenizer::{EncodeOptions, Tokenizer};
use heapless::{String, Vec};

/// A model that is ready to answer sentences.
pub struct Commander<'m, 'b> {
    engine: Engine<'m, 'b>,
    tokenizer: Tokenizer<'m, 'b>,
    schema: Schema<'m>,
    encode: &'b mut [u8],
}

/// An answer, and what it took.
pub struct Answer {
    /// The device command.
    pub text: Vec<u8, MAX_ANSWER>,
    /// Hash of all logits that it was chosen by.
    pub hash: u64,
    /// Its tokens that the engine took in: all but the last.
    pub n_tokens: u64,
    /// Instructions that these took.
    pub instructions: u64,
}

/// What goes on beside an answer while it is worked out.
pub(crate) trait Listener {
    /// As [`Board::instructions`].
    fn instructions(&mut self) -> u64;

    /// Called after each bounded step.
    ///
    /// # Errors
    /// When the answer is wanted no more.
    fn step(&mut self) -> Result<(), Failure>;

    /// Called with each token's bytes, as soon as it is chosen.
    fn said(&mut self, bytes: &[u8]);
}

/// Tokens go to the log.
impl Listener for dyn Board + '_ {
    fn instructions(&mut self) -> u64 {
        Board::instructions(self)
    }

    fn step(&mut self) -> Result<(), Failure> {
        self.feed_watchdog();
        Ok(())
    }

    fn said(&mut self, bytes: &[u8]) {
        defmt::debug!("{=[u8]:a}", bytes);
    }
}

impl<'m, 'b> Commander<'m, 'b> {
    /// Returns a model at work in `memory`.
    ///
    /// # Errors
    /// When the file is no model that gives commands, or one of another shape than the memory was
    /// planned for.
    pub fn new(
        gguf: &Gguf<'m>,
        model: &'b Model<'m>,
        memory: &'b mut Memory,
    ) -> Result<Self, Failure> {
        let schema = gguf.get(keys::BANTAM_SCHEMA).and_then(|value| value.as_str());
        let schema = Schema::parse(schema.ok_or(Failure::NoSchema)?)?;
        let options = EngineOptions::default();
        Ok(Commander {
            engine: Engine::new(model, &PLAN, &mut memory.engine, options)?,
            tokenizer: Tokenizer::new_in(gguf, &mut memory.index)?,
            schema,
            encode: &mut memory.encode,
        })
    }

    /// Returns the command that a sentence asks for. Each token is logged as soon as it is chosen.
    ///
    /// # Errors
    /// When the sentence is too long.
    pub fn answer(&mut self, board: &mut dyn Board, sentence: &str) -> Result<Answer, Failure> {
        self.answer_to(board, sentence)
    }

    /// Returns the command that a sentence asks for, and tells a listener of each token.
    ///
    /// # Errors
    /// When the sentence is too long, and what the listener fails with.
    pub(crate) fn answer_to<L: Listener + ?Sized>(
        &mut self,
        listener: &mut L,
        sentence: &str,
    ) -> Result<Answer, Failure> {
        let prompt = self.encode(sentence)?;
        self.engine.truncate(0)?;
        let mut hash = Fnv::new();
        let mut answer = Answer { text: Vec::new(), hash: 0, n_tokens: 0, instructions: 0 };
        self.take_in(listener, &prompt)?;
        let mut state = self.schema.start();
        loop {
            hash.add(self.engine.logits());
            let chosen = self.schema.choose(state, &self.tokenizer, self.engine.logits());
            let (token, next) = chosen.ok_or(Failure::NoSchema)?;
            let before = answer.text.len();
            for byte in self.tokenizer.bytes(token) {
                answer.text.push(byte).map_err(|_| Failure::NoSchema)?;
            }
            listener.said(answer.text.get(before..).unwrap_or_default());
            state = next;
            if state.is_whole() {
                answer.hash = hash.get();
                return Ok(answer);
            }
            answer.instructions += self.take_in(listener, &[token])?;
            answer.n_tokens += 1;
        }
    }

    /// Returns a sentence's tokens, as the model's chat template has it: without white space
    /// around it, in lower case, and with a line feed behind it.
    fn encode(&mut self, sentence: &str) -> Result<Vec<Token, MAX_PROMPT>, Failure> {
        let mut text = String::<MAX_SENTENCE>::new();
        text.push_str(sentence.trim()).map_err(|_| Failure::SentenceTooLong)?;
        text.push('\n').map_err(|_| Failure::SentenceTooLong)?;
        text.make_ascii_lowercase();
        let mut tokens = Vec::new();
        tokens.resize_default(MAX_PROMPT).map_err(|_| Failure::SentenceTooLong)?;
        // What is said is never read as the names of special tokens.
        let options = EncodeOptions::default();
        let n = self.tokenizer.encode(&text, options, self.encode, &mut tokens)?;
        tokens.truncate(n);
        Ok(tokens)
    }

    /// Has the engine take in some tokens, step by step; returns the instructions that it took.
    fn take_in<L: Listener + ?Sized>(
        &mut self,
        listener: &mut L,
        tokens: &[Token],
    ) -> Result<u64, Failure> {
        let before = listener.instructions();
        self.engine.start(tokens)?;
        loop {
            let step = self.engine.step();
            // Often enough for a counter that goes round.
            let after = listener.instructions();
            listener.step()?;
            if step == Step::Done {
                return Ok(after - before);
            }
        }
    }
}
