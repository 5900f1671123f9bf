//! The metadata a tokenizer is made from, checked, before anything is indexed.

use crate::arena::{ALIGN, bytes_for};
use crate::gguf::{Array, Gguf, Value, ValueType, keys};

use super::attr::Attr;
use super::error::Fault;
use super::known::{KNOWN, N_KNOWN, names};
use super::merge::Workspace;
use super::pretokenize::{Family, Pre};
use super::spelling::Spelling;
use super::{special, strings, table};

/// A metadata key, and what its value must be.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) expected: &'static str,
}

const fn key(name: &'static str, expected: &'static str) -> Key {
    Key { name, expected }
}

pub(super) static MODEL: Key = key(keys::TOKENIZER_MODEL, "a string");
pub(super) static PRE: Key = key(keys::TOKENIZER_PRE, "a string");
pub(super) static TOKENS: Key = key(keys::TOKENIZER_TOKENS, "an array of strings");
pub(super) static MERGES: Key = key(keys::TOKENIZER_MERGES, "an array of strings");
static TYPES: Key = key(keys::TOKENIZER_TOKEN_TYPE, "an array of 32-bit integers");
static SCORES: Key = key(keys::TOKENIZER_SCORES, "an array of numbers");
pub(super) static ADD_SPACE_PREFIX: Key = key(keys::TOKENIZER_ADD_SPACE_PREFIX, "a boolean");
pub(super) static ADD_BOS: Key = key(keys::TOKENIZER_ADD_BOS_TOKEN, "a boolean");
pub(super) static ADD_EOS: Key = key(keys::TOKENIZER_ADD_EOS_TOKEN, "a boolean");

/// Attributes kept for tokens whose text decides them; each known text gives at most one.
pub(super) const OVERRIDES: usize = N_KNOWN;

/// Tokens that end a generation: the known texts, three gap-filling ones, three that the file
/// names.
pub(super) const ENDS: usize = N_KNOWN + 6;

/// Special tokens are shorter than this many bytes.
pub(super) const SPECIAL_BYTES: usize = 1024;

/// Words kept for each length that special tokens have: the length, and 256 bits that say how
/// such tokens start.
pub(super) const LENGTH_WORDS: usize = 9;

/// What [`Tokenizer::new_in`](super::Tokenizer::new_in) will need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenizerPlan {
    /// Bytes of memory to lend, at any alignment.
    pub bytes: usize,
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// Merge rules; 0 for SentencePiece.
    pub n_merges: usize,
    /// Lengths in bytes that special tokens have, counting an upper bound of those that are
    /// special by their text.
    pub n_special_lengths: usize,
}

impl TokenizerPlan {
    /// Returns the bytes of scratch that are enough to encode any text of `text_len` bytes: at
    /// least what [`Tokenizer::encode_scratch`](super::Tokenizer::encode_scratch) will say.
    pub fn encode_scratch(&self, text_len: usize) -> usize {
        let frames = special::frame_words(self.n_special_lengths);
        scratch_for(self.n_merges == 0, frames, text_len.saturating_add(1))
    }
}

/// Bytes of scratch for sequences of `n` bytes.
pub(super) fn scratch_for(has_key: bool, frame_words: usize, n: usize) -> usize {
    let key = if has_key { bytes_for::<u8>(n) } else { 0 };
    (ALIGN - 1)
        .saturating_add(bytes_for::<u32>(frame_words))
        .saturating_add(key)
        .saturating_add(Workspace::bytes(n))
}

/// The scores of a vocabulary, where they lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scores<'m> {
    bytes: &'m [u8],
    integer: bool,
}

impl Scores<'_> {
    /// Returns the score of a token, 0 where there is none.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn get(&self, token: u32) -> f32 {
        match word(self.bytes, token) {
            Some(raw) if self.integer => i32::from_le_bytes(raw) as f32,
            Some(raw) => f32::from_le_bytes(raw),
            None => 0.0,
        }
    }
}

/// Four bytes of an array of four-byte elements.
#[cfg_attr(target_pointer_width = "64", inline)]
fn word(bytes: &[u8], at: u32) -> Option<[u8; 4]> {
    bytes.get(4 * at as usize..)?.first_chunk().copied()
}

/// The tokens' types, where they lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Types<'m>(&'m [u8]);

impl Types<'_> {
    /// Returns the attribute that a token's type gives it.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn get(&self, token: u32) -> Attr {
        // A file without types has normal tokens only.
        word(self.0, token).map_or(Attr::NORMAL, |raw| Attr::from_type(i32::from_le_bytes(raw)))
    }
}

/// Everything read from the metadata.
#[derive(Debug)]
pub(super) struct Meta<'m> {
    pub(super) spelling: Spelling,
    pub(super) pre: Pre,
    pub(super) tokens: Array<'m>,
    pub(super) merges: Option<Array<'m>>,
    pub(super) types: Types<'m>,
    pub(super) scores: Scores<'m>,
}

impl<'m> Meta<'m> {
    pub(super) fn read(gguf: &Gguf<'m>) -> Result<Self, Fault> {
        let as_str = |value: Value<'m>| value.as_str();
        let model = optional(gguf, &MODEL, as_str)?.ok_or(Fault::MissingKey(&MODEL))?;
        let spelling = match model {
            "gpt2" if cfg!(feature = "bpe") => Spelling::ByteLevel,
            "llama" if cfg!(feature = "spm") => Spelling::SpaceMark,
            _ => return Err(Fault::UnknownModel),
        };
        let pre = if spelling.marks_spaces() {
            // SentencePiece does not split words, whatever the key says.
            Pre {
                family: Family::Default,
                ignore_merges: false,
                add_bos: true,
                clean_spaces: false,
            }
        } else {
            let name = optional(gguf, &PRE, as_str)?.unwrap_or_default();
            Pre::from_name(name).ok_or(Fault::UnknownPre)?
        };

        let tokens = strings_of(gguf, &TOKENS)?;
        if tokens.is_empty() {
            return Err(Fault::EmptyVocab);
        }
        let merges = match spelling.marks_spaces() {
            false => Some(strings_of(gguf, &MERGES)?),
            true => None,
        };
        let (types, _) = numbers(gguf, &TYPES, tokens.len(), false)?;
        let (scores, integer) = numbers(gguf, &SCORES, tokens.len(), true)?;
        let (types, scores) = (Types(types), Scores { bytes: scores, integer });
        Ok(Self { spelling, pre, tokens, merges, types, scores })
    }

    /// Adds up what an index of this vocabulary takes.
    pub(super) fn plan(&self) -> Result<TokenizerPlan, Fault> {
        let n_vocab = self.tokens.len();
        let n_merges = self.merges.as_ref().map_or(0, Array::len);
        let mut lengths = Lengths::default();
        for (token, text) in (0u32..).zip(self.tokens.strings().into_iter().flatten()) {
            if self.types.get(token).any(Attr::SPECIAL) {
                if text.len() >= SPECIAL_BYTES {
                    return Err(Fault::SpecialTooLong { token, bytes: text.len() });
                }
                lengths.insert(text.len());
            }
        }
        // Whether the vocabulary has them is known only once it is indexed.
        for text in KNOWN.iter().flat_map(|(list, _)| names(list)) {
            lengths.insert(text.len());
        }
        let n_special_lengths = lengths.descending().count();

        let words = [
            strings::checkpoints_for(n_vocab),
            table::slots_for(n_vocab),
            strings::checkpoints_for(n_merges),
            table::slots_for(n_merges),
            OVERRIDES,
            ENDS,
            LENGTH_WORDS * n_special_lengths,
        ];
        let bytes = words.iter().fold(ALIGN - 1, |sum, &n| sum.saturating_add(bytes_for::<u32>(n)));
        Ok(TokenizerPlan { bytes, n_vocab, n_merges, n_special_lengths })
    }
}

/// The set of lengths that special tokens have.
#[derive(Debug, Default)]
pub(super) struct Lengths([u32; SPECIAL_BYTES / 32]);

impl Lengths {
    pub(super) fn insert(&mut self, len: usize) {
        // Nothing is found by an empty text.
        if let (1.., Some(word)) = (len, self.0.get_mut(len / 32)) {
            *word |= 1 << (len % 32);
        }
    }

    pub(super) fn has(&self, len: usize) -> bool {
        self.0.get(len / 32).is_some_and(|word| word >> (len % 32) & 1 == 1)
    }

    /// Returns the lengths, longest first.
    pub(super) fn descending(&self) -> impl Iterator<Item = usize> {
        (0..SPECIAL_BYTES).rev().filter(|&len| self.has(len))
    }
}

/// What `read` makes of a value, or `None` if the key is absent.
#[cfg_attr(target_pointer_width = "64", inline)]
pub(super) fn optional<'m, T>(
    gguf: &Gguf<'m>,
    key: &'static Key,
    read: impl FnOnce(Value<'m>) -> Option<T>,
) -> Result<Option<T>, Fault> {
    match gguf.get(key.name) {
        Some(value) => read(value).map(Some).ok_or(Fault::WrongType(key)),
        None => Ok(None),
    }
}

/// A boolean value, or `default` if the key is absent.
pub(super) fn boolean(gguf: &Gguf<'_>, key: &'static Key, default: bool) -> Result<bool, Fault> {
    Ok(optional(gguf, key, |value| value.as_bool())?.unwrap_or(default))
}

/// A required array of strings, of a size that an index can number.
fn strings_of<'m>(gguf: &Gguf<'m>, key: &'static Key) -> Result<Array<'m>, Fault> {
    let array = optional(gguf, key, |value| {
        value.as_array().filter(|array| array.ty() == ValueType::Str || array.is_empty())
    })?;
    let array = array.ok_or(Fault::MissingKey(key))?;
    match array.len() {
        0..=table::MAX_ENTRIES => Ok(array),
        len => Err(Fault::TooLarge { key, len }),
    }
}

/// The bytes of an optional array with 32 bits for each token, and whether they are integers, which
/// they must be unless they `may_be_float`.
fn numbers<'m>(
    gguf: &Gguf<'m>,
    key: &'static Key,
    tokens: usize,
    may_be_float: bool,
) -> Result<(&'m [u8], bool), Fault> {
    let array = optional(gguf, key, |value| {
        value.as_array().filter(|array| match array.ty() {
            ValueType::I32 => true,
            ValueType::F32 => may_be_float,
            _ => false,
        })
    })?;
    match array {
        Some(array) if array.len() < tokens => {
            Err(Fault::TooShort { key, len: array.len(), tokens })
        }
        Some(array) => Ok((array.bytes(), array.ty() == ValueType::I32)),
        None => Ok((&[], false)),
    }
}
