//! Text to tokens and back, from a model file's own metadata, without a heap.
//!
//! Two algorithms cover the supported families: byte-level BPE (`tokenizer.ggml.model` is
//! `gpt2`), with the pre-tokenizer that `tokenizer.ggml.pre` names, and SentencePiece's BPE
//! (`llama`). Token ids are llama.cpp's; `fixtures/tokens` holds its answers for thousands of
//! lines.
//!
//! The vocabulary stays in the file. [`Tokenizer::plan`] says how much memory an index over it
//! takes, [`Tokenizer::new_in`] builds it in memory the caller lends, and encoding works in
//! scratch the caller lends. Time is bounded by `n log n` in the text, whatever it says, and
//! building is bounded whatever the file says.
//!
//! ```text
//! text ── special tokens cut out ── words ── merges ── tokens
//!         (special.rs)              (pretokenize)  (merge.rs, by bpe.rs or spm.rs)
//! ```
//!
//! Hints to inline are for 64-bit hosts alone: a microcontroller has less flash than time for this.
//!
//! # Where it differs from llama.cpp
//! - Equally long special tokens that overlap in a text are taken from left to right; llama.cpp
//!   leaves their order to an unstable sort.
//! - A token without text is never found and writes nothing; llama.cpp names it `[EMPTY_n]`.
//! - A character that a byte-level vocabulary cannot spell is written as it is; llama.cpp writes
//!   `[UNK_BYTE_0x…]`.
//! - Text is never tidied: spaces before punctuation stay ([`Tokenizer::clean_spaces`] tells of
//!   models whose authors drop them).
//! - Two tokens of one text, and scores that are not numbers, are errors. A special token that
//!   is not UTF-8 is never found in a text.
//! - The old keys `prefix_token_id`, `suffix_token_id` and `middle_token_id` are not read.

mod attr;
mod bpe;
mod decode;
mod error;
mod hash;
mod known;
mod merge;
mod meta;
mod output;
mod pretokenize;
mod special;
mod spelling;
mod spm;
mod strings;
mod table;
mod texts;
mod unicode;
mod vocab;

pub use decode::{Detokenizer, TokenBytes};
pub use error::TokenizerError;
pub use meta::TokenizerPlan;
pub use unicode::UNICODE_VERSION;

use crate::Token;
use crate::arena::{ALIGN, Arena, ArenaError};
use crate::gguf::Gguf;

use attr::Attr;
use bpe::Merges;
use error::{Fault, Stop};
use known::role;
use merge::Workspace;
use meta::{
    ADD_BOS, ADD_EOS, ADD_SPACE_PREFIX, ENDS, LENGTH_WORDS, Meta, OVERRIDES, boolean, scratch_for,
};
use output::Output;
use pretokenize::{Pre, Words};
use special::{Fragment, Fragments, Specials};
use spm::Stretches;
use texts::Room;
use vocab::Vocab;

/// How to encode a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncodeOptions {
    /// Put the tokens around the text that the model was trained with (often a beginning of
    /// text). For the start of a prompt.
    pub add_special: bool,
    /// Read `<|im_end|>` and the like in the text as the tokens they name. Never for text from
    /// outside: it could end a turn and begin another.
    pub parse_special: bool,
}

/// A vocabulary with its index: encodes text, and knows what each token is.
#[derive(Debug, Clone, Copy)]
pub struct Tokenizer<'m, 'b> {
    vocab: Vocab<'m, 'b>,
    specials: Specials<'b>,
    /// Present for byte-level BPE, absent for SentencePiece.
    merges: Option<Merges<'m, 'b>>,
    pre: Pre,
    add_space_prefix: bool,
    add_bos: bool,
    add_eos: bool,
    /// Most tokens that a byte of text gives.
    tokens_per_byte: usize,
}

impl<'m, 'b> Tokenizer<'m, 'b> {
    /// Returns how much memory the tokenizer of this file takes.
    ///
    /// # Errors
    /// [`TokenizerError`] for metadata that make no tokenizer.
    pub fn plan(gguf: &Gguf<'m>) -> Result<TokenizerPlan, TokenizerError> {
        let plan = Meta::read(gguf).and_then(|meta| meta.plan());
        plan.map_err(|fault| fault.told(gguf, 0))
    }

    /// Returns the tokenizer of this file, with its index in `memory`.
    ///
    /// # Errors
    /// [`TokenizerError::MemoryTooSmall`] if `memory` has fewer than [`TokenizerPlan::bytes`];
    /// another [`TokenizerError`] for metadata that make no tokenizer.
    pub fn new_in(gguf: &Gguf<'m>, memory: &'b mut [u8]) -> Result<Self, TokenizerError> {
        let given = memory.len();
        Self::build(gguf, memory).map_err(|fault| fault.told(gguf, given))
    }

    fn build(gguf: &Gguf<'m>, memory: &'b mut [u8]) -> Result<Self, Fault> {
        let meta = Meta::read(gguf)?;
        let plan = meta.plan()?;
        let small = Fault::MemoryTooSmall { needed: plan.bytes };
        if memory.len() < plan.bytes {
            return Err(small);
        }
        let memory = IndexMemory::new(&mut Arena::new(memory), &plan).map_err(|_| small)?;
        let vocab = Vocab::new(gguf, &meta, memory.tokens, memory.overrides, memory.ends)?;
        let specials = Specials::new(gguf, &vocab, memory.lengths);
        let merges = match &meta.merges {
            Some(array) => Some(Merges::new(array, memory.merges)?),
            None => None,
        };
        let is_spm = meta.spelling.marks_spaces();
        Ok(Self {
            add_space_prefix: boolean(gguf, &ADD_SPACE_PREFIX, is_spm)?,
            add_bos: boolean(gguf, &ADD_BOS, meta.pre.add_bos)?,
            add_eos: boolean(gguf, &ADD_EOS, false)?,
            // A vocabulary without the mark for spaces writes each as that mark's three bytes.
            tokens_per_byte: if is_spm && vocab.find_key(b" ").is_none() { 3 } else { 1 },
            vocab,
            specials,
            merges,
            pre: meta.pre,
        })
    }

    /// Returns the number of tokens.
    pub const fn n_vocab(&self) -> usize {
        self.vocab.len()
    }

    /// Returns the token that begins a text, if the vocabulary has one.
    pub const fn bos(&self) -> Option<Token> {
        self.vocab.roles.bos()
    }

    /// Returns the token that ends a text.
    pub const fn eos(&self) -> Option<Token> {
        self.vocab.roles.eos()
    }

    /// Returns the token that ends a turn of a chat.
    pub fn eot(&self) -> Option<Token> {
        self.vocab.roles.single(role::EOT)
    }

    /// Returns the token that ends a message which asks for a tool.
    pub fn eom(&self) -> Option<Token> {
        self.vocab.roles.single(role::EOM)
    }

    /// Returns the token for what has no token.
    pub const fn unknown(&self) -> Option<Token> {
        self.vocab.roles.unknown()
    }

    /// Returns the token that fills up a batch.
    pub const fn padding(&self) -> Option<Token> {
        self.vocab.roles.padding()
    }

    /// Returns whether [`EncodeOptions::add_special`] puts [`Self::bos`] before a text.
    pub const fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Returns whether [`EncodeOptions::add_special`] puts [`Self::eos`] after a text.
    pub const fn add_eos(&self) -> bool {
        self.add_eos
    }

    /// Returns whether a space is put before each stretch of text that begins a text or follows
    /// a special token; SentencePiece only.
    pub const fn add_space_prefix(&self) -> bool {
        self.add_space_prefix
    }

    /// Returns whether the model's authors drop spaces before punctuation from text that was
    /// put together from tokens. [`Detokenizer`] never does, so that what was encoded comes
    /// back.
    pub const fn clean_spaces(&self) -> bool {
        self.pre.clean_spaces
    }

    /// Returns whether generation ends with this token.
    pub fn is_end(&self, token: Token) -> bool {
        self.vocab.ends().contains(&token)
    }

    /// Returns the tokens that end a generation, in no order.
    pub const fn ends(&self) -> &'b [Token] {
        self.vocab.ends()
    }

    /// Returns whether this token stands for something other than text: a control token, or the
    /// unknown one. Such tokens are hidden where special tokens are not shown.
    pub fn is_special(&self, token: Token) -> bool {
        self.vocab.attr(token).any(Attr::HIDDEN)
    }

    /// Returns whether this is a control token, such as the end of a turn.
    pub fn is_control(&self, token: Token) -> bool {
        self.vocab.attr(token).any(Attr::CONTROL)
    }

    /// Returns the bytes of a token's text as the file has them, spelled for the vocabulary
    /// (`Ġ` or `▁` for a space); empty for a number out of range. [`Detokenizer`] gives text.
    pub fn piece(&self, token: Token) -> &'m [u8] {
        self.vocab.text(token)
    }

    /// Returns the bytes that a token adds to a text. A token can end inside a character; control
    /// tokens and the unknown one add none.
    pub fn bytes(&self, token: Token) -> TokenBytes<'m> {
        TokenBytes::new(&self.vocab, token, false)
    }

    /// Returns the token whose text the file has exactly so.
    pub fn token(&self, text: &[u8]) -> Option<Token> {
        self.vocab.find_stored(text)
    }

    /// Returns a number of tokens that no text of `text_len` bytes exceeds.
    pub const fn max_tokens(&self, text_len: usize) -> usize {
        // Each stretch that gets a space of its own follows a special token, which took a byte
        // at least, or is the first, and has a byte itself.
        let prefixes = if self.add_space_prefix { text_len / 2 + 1 } else { 0 };
        text_len.saturating_add(prefixes).saturating_mul(self.tokens_per_byte).saturating_add(2)
    }

    /// Returns the bytes of scratch that are enough to encode any text of `text_len` bytes.
    ///
    /// That is for a text without a single break. Encoding goes word by word, and needs 23 bytes
    /// for each byte of the longest word only, and a few hundred more; lending less than this
    /// function says is no mistake, and [`TokenizerError::ScratchTooSmall`] tells when it was not
    /// enough.
    pub fn encode_scratch(&self, text_len: usize) -> usize {
        self.scratch_for(text_len.saturating_add(1))
    }

    fn scratch_for(&self, n: usize) -> usize {
        scratch_for(self.is_spm(), self.specials.frame_words(), n)
    }

    /// Returns the longest sequence that `scratch` bytes are enough for, at most `n`.
    fn longest_in(&self, scratch: usize, n: usize) -> usize {
        if self.scratch_for(n) <= scratch {
            return n;
        }
        // Bytes per byte, and what rounding each slice up to a cache line can add.
        let per_byte = 3 * size_of::<u32>() + size_of::<u64>() + size_of::<u64>() / 4 + 1;
        let fixed = self.scratch_for(0) + 6 * ALIGN;
        (scratch.saturating_sub(fixed) / per_byte).min(n)
    }

    /// Encodes `text` into `out` and returns the number of tokens.
    ///
    /// [`Self::max_tokens`] and [`Self::encode_scratch`] say how long `out` and `scratch` must
    /// be at most.
    ///
    /// # Errors
    /// [`TokenizerError::OutputFull`] and [`TokenizerError::ScratchTooSmall`] if they are too
    /// short; [`TokenizerError::MissingSpecial`] and [`TokenizerError::MissingByte`] if the
    /// vocabulary lacks a token that this text needs; [`TokenizerError::TextTooLong`].
    pub fn encode(
        &self,
        text: &str,
        options: EncodeOptions,
        scratch: &mut [u8],
        out: &mut [Token],
    ) -> Result<usize, TokenizerError> {
        if text.len() >= u32::MAX as usize {
            return Err(TokenizerError::TextTooLong { bytes: text.len() });
        }
        let given = scratch.len();
        let mut out = Output::new(out);
        match self.encode_into(text, options, scratch, &mut out) {
            Ok(()) => Ok(out.len()),
            Err(stop) => Err(match stop {
                Stop::OutputFull => TokenizerError::OutputFull { needed_at_least: out.len() + 1 },
                Stop::ScratchTooSmall => {
                    let needed = self.encode_scratch(text.len());
                    TokenizerError::ScratchTooSmall { needed, given }
                }
                Stop::MissingBos => TokenizerError::MissingSpecial { which: "bos" },
                Stop::MissingEos => TokenizerError::MissingSpecial { which: "eos" },
                Stop::MissingByte(byte) => TokenizerError::MissingByte { byte },
            }),
        }
    }

    fn encode_into(
        &self,
        text: &str,
        options: EncodeOptions,
        scratch: &mut [u8],
        out: &mut Output<'_>,
    ) -> Result<(), Stop> {
        let small = |_| Stop::ScratchTooSmall;
        let longest = self.longest_in(scratch.len(), text.len() + 1);
        let mut arena = Arena::new(scratch);
        let frames = arena.take(self.specials.frame_words()).map_err(small)?;
        let key_room = if self.is_spm() { longest } else { 0 };
        let key_room = arena.take::<u8>(key_room).map_err(small)?;
        let mut work = Workspace::new(&mut arena, longest).map_err(small)?;

        if options.add_special && self.add_bos {
            out.push(self.bos().ok_or(Stop::MissingBos)?)?;
        }
        let mut after_special = true;
        let fragments =
            Fragments::new(&self.vocab, &self.specials, text, options.parse_special, frames);
        for fragment in fragments {
            let text = match fragment {
                Fragment::Special(token) => {
                    out.push(token)?;
                    after_special = true;
                    continue;
                }
                Fragment::Text(text) => text,
            };
            match &self.merges {
                Some(merges) if cfg!(feature = "bpe") => {
                    for word in Words::new(self.pre.family, text) {
                        let word = word.as_bytes();
                        let whole = self.pre.ignore_merges;
                        bpe::encode_word(&self.vocab, merges, whole, word, &mut work, out)?;
                    }
                }
                None if cfg!(feature = "spm") => {
                    let mut prefix = self.add_space_prefix && after_special;
                    for stretch in Stretches::new(&self.vocab, text) {
                        let key = spm::write_key(stretch, prefix, key_room)
                            .ok_or(Stop::ScratchTooSmall)?;
                        spm::encode_key(&self.vocab, key, &mut work, out)?;
                        prefix = false;
                    }
                }
                // No tokenizer is made of a vocabulary that this build has no code for.
                _ => {}
            }
            after_special = false;
        }
        if options.add_special && self.add_eos {
            out.push(self.eos().ok_or(Stop::MissingEos)?)?;
        }
        Ok(())
    }

    const fn is_spm(&self) -> bool {
        self.vocab.spelling.marks_spaces()
    }
}

/// Lent memory, cut up as [`TokenizerPlan::bytes`] adds it up.
struct IndexMemory<'b> {
    tokens: Room<'b>,
    merges: Room<'b>,
    overrides: &'b mut [u32],
    ends: &'b mut [u32],
    lengths: &'b mut [u32],
}

impl<'b> IndexMemory<'b> {
    fn new(arena: &mut Arena<'b>, plan: &TokenizerPlan) -> Result<Self, ArenaError> {
        Ok(Self {
            tokens: Room::new(arena, plan.n_vocab)?,
            merges: Room::new(arena, plan.n_merges)?,
            overrides: arena.take(OVERRIDES)?,
            ends: arena.take(ENDS)?,
            lengths: arena.take(LENGTH_WORDS * plan.n_special_lengths)?,
        })
    }
}
