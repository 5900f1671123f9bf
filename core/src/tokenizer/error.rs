use core::fmt;

use crate::gguf::{Gguf, Name};

use super::meta::{self, Key};

/// Why a tokenizer could not be built or could not encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A metadata key is absent.
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A metadata value has a type this key cannot have.
    WrongType {
        /// The key.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// `tokenizer.ggml.model` names an algorithm this crate does not have.
    UnknownModel {
        /// Its value.
        model: Name,
    },
    /// `tokenizer.ggml.pre` names a pre-tokenizer this crate does not have.
    UnknownPre {
        /// Its value.
        pre: Name,
    },
    /// The vocabulary has no tokens.
    EmptyVocab,
    /// An array has more elements, or more bytes, than an index can number.
    TooLarge {
        /// The key.
        key: &'static str,
        /// Elements of the array.
        len: u64,
    },
    /// An array beside the vocabulary is shorter than it.
    TooShort {
        /// The key.
        key: &'static str,
        /// Elements of the array.
        len: u64,
        /// Tokens of the vocabulary.
        tokens: u64,
    },
    /// Two tokens have the same text.
    DuplicateToken {
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
    },
    /// A score is not a number.
    ScoreNotANumber {
        /// The token it belongs to.
        token: u32,
    },
    /// A special token's text is too long to look for.
    SpecialTooLong {
        /// The token.
        token: u32,
        /// Bytes of its text.
        bytes: u64,
    },
    /// The texts were made to collide in the index; no honest vocabulary does.
    Clustered {
        /// The key of the array.
        key: &'static str,
    },
    /// The lent index memory is too small.
    MemoryTooSmall {
        /// Bytes asked for, as the plan says.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
    /// The lent scratch is too small for this text.
    ScratchTooSmall {
        /// Bytes that would have been enough.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
    /// The output slice is full.
    OutputFull {
        /// A lower bound of the tokens that this text gives.
        needed_at_least: usize,
    },
    /// The text is longer than positions can number.
    TextTooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// The model asks for a token around each text that its vocabulary does not have.
    MissingSpecial {
        /// `"bos"` or `"eos"`.
        which: &'static str,
    },
    /// A byte has no token, neither `<0xXX>` nor itself.
    MissingByte {
        /// The byte.
        byte: u8,
    },
}

impl fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MissingKey { key } => write!(f, "tokenizer: metadata key {key} is missing"),
            Self::WrongType { key, expected } => {
                write!(f, "tokenizer: metadata key {key} is not {expected}")
            }
            Self::UnknownModel { model } => {
                write!(f, "tokenizer: model \"{model}\" is not supported by this build")
            }
            Self::UnknownPre { pre } => {
                write!(f, "tokenizer: pre-tokenizer \"{pre}\" is not supported by this build")
            }
            Self::EmptyVocab => write!(f, "tokenizer: the vocabulary is empty"),
            Self::TooLarge { key, len } => {
                write!(f, "tokenizer: {key} is too large ({len} elements)")
            }
            Self::TooShort { key, len, tokens } => {
                write!(f, "tokenizer: {key} has {len} elements for {tokens} tokens")
            }
            Self::DuplicateToken { first, second } => {
                write!(f, "tokenizer: tokens {first} and {second} have the same text")
            }
            Self::ScoreNotANumber { token } => {
                write!(f, "tokenizer: the score of token {token} is not a number")
            }
            Self::SpecialTooLong { token, bytes } => {
                write!(f, "tokenizer: special token {token} has {bytes} bytes of text")
            }
            Self::Clustered { key } => {
                write!(f, "tokenizer: {key} holds texts made to collide")
            }
            Self::MemoryTooSmall { needed, given } => {
                write!(f, "tokenizer: the index needs {needed} bytes, {given} given")
            }
            Self::ScratchTooSmall { needed, given } => {
                write!(f, "tokenizer: encoding needs {needed} bytes of scratch, {given} given")
            }
            Self::OutputFull { needed_at_least } => {
                write!(
                    f,
                    "tokenizer: the text gives at least {needed_at_least} tokens, more than fit"
                )
            }
            Self::TextTooLong { bytes } => {
                write!(f, "tokenizer: a text of {bytes} bytes is too long")
            }
            Self::MissingSpecial { which } => {
                write!(f, "tokenizer: the model adds a {which} token but has none")
            }
            Self::MissingByte { byte } => {
                write!(f, "tokenizer: byte {byte:#04x} has no token")
            }
        }
    }
}

impl core::error::Error for TokenizerError {}

/// A [`TokenizerError`] of building, in a few words of memory: every step hands it on, and copies of
/// names and texts at each would be more code than the steps.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    MissingKey(&'static Key),
    WrongType(&'static Key),
    UnknownModel,
    UnknownPre,
    EmptyVocab,
    TooLarge { key: &'static Key, len: usize },
    TooShort { key: &'static Key, len: usize, tokens: usize },
    DuplicateToken { first: u32, second: u32 },
    ScoreNotANumber { token: u32 },
    SpecialTooLong { token: u32, bytes: usize },
    Clustered(&'static Key),
    MemoryTooSmall { needed: usize },
}

impl Fault {
    /// Returns the error, with what the file says and how much memory was lent.
    pub(super) fn told(self, gguf: &Gguf<'_>, given: usize) -> TokenizerError {
        let name = |key: &Key| {
            let value = gguf.get(key.name).and_then(|value| value.as_str());
            Name::new(value.unwrap_or_default())
        };
        match self {
            Self::MissingKey(key) => TokenizerError::MissingKey { key: key.name },
            Self::WrongType(key) => {
                TokenizerError::WrongType { key: key.name, expected: key.expected }
            }
            Self::UnknownModel => TokenizerError::UnknownModel { model: name(&meta::MODEL) },
            Self::UnknownPre => TokenizerError::UnknownPre { pre: name(&meta::PRE) },
            Self::EmptyVocab => TokenizerError::EmptyVocab,
            Self::TooLarge { key, len } => {
                TokenizerError::TooLarge { key: key.name, len: len as u64 }
            }
            Self::TooShort { key, len, tokens } => {
                let (key, len, tokens) = (key.name, len as u64, tokens as u64);
                TokenizerError::TooShort { key, len, tokens }
            }
            Self::DuplicateToken { first, second } => {
                TokenizerError::DuplicateToken { first, second }
            }
            Self::ScoreNotANumber { token } => TokenizerError::ScoreNotANumber { token },
            Self::SpecialTooLong { token, bytes } => {
                TokenizerError::SpecialTooLong { token, bytes: bytes as u64 }
            }
            Self::Clustered(key) => TokenizerError::Clustered { key: key.name },
            Self::MemoryTooSmall { needed } => TokenizerError::MemoryTooSmall { needed, given },
        }
    }
}

/// Why encoding stopped in the middle of a text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    OutputFull,
    ScratchTooSmall,
    MissingBos,
    MissingEos,
    MissingByte(u8),
}
