//! The metadata a tokenizer is made from, checked, before anything is indexed.

use crate::arena::{ALIGN, bytes_for};
use crate::gguf::{Array, Gguf, Name, ValueType, keys};

use super::attr::Attr;
use super::known::KNOWN;
use super::merge::Workspace;
use super::pretokenize::{Family, Pre};
use super::spelling::Spelling;
use super::{TokenizerError, special, strings, table};

/// Attributes kept for tokens whose text decides them; each known text gives at most one.
pub(super) const OVERRIDES: usize = KNOWN.len();

/// Tokens that end a generation: the known texts, three gap-filling ones, three that the file
/// names.
pub(super) const ENDS: usize = KNOWN.len() + 6;

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
    #[inline]
    pub(super) fn get(&self, token: u32) -> f32 {
        match word(self.bytes, token) {
            Some(raw) if self.integer => i32::from_le_bytes(raw) as f32,
            Some(raw) => f32::from_le_bytes(raw),
            None => 0.0,
        }
    }
}

/// Four bytes of an array of four-byte elements.
#[inline]
fn word(bytes: &[u8], at: u32) -> Option<[u8; 4]> {
    bytes.get(4 * at as usize..)?.first_chunk().copied()
}

/// The tokens' types, where they lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Types<'m>(&'m [u8]);

impl Types<'_> {
    /// Returns the attribute that a token's type gives it.
    #[inline]
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
    pub(super) fn read(gguf: &Gguf<'m>) -> Result<Self, TokenizerError> {
        let model = string(gguf, keys::TOKENIZER_MODEL)?
            .ok_or(TokenizerError::MissingKey { key: keys::TOKENIZER_MODEL })?;
        let spelling = match model {
            "gpt2" if cfg!(feature = "bpe") => Spelling::ByteLevel,
            "llama" if cfg!(feature = "spm") => Spelling::SpaceMark,
            other => return Err(TokenizerError::UnknownModel { model: Name::new(other) }),
        };
        let pre = match spelling {
            Spelling::ByteLevel => {
                let name = string(gguf, keys::TOKENIZER_PRE)?.unwrap_or_default();
                Pre::from_name(name)
                    .ok_or_else(|| TokenizerError::UnknownPre { pre: Name::new(name) })?
            }
            // SentencePiece does not split words, whatever the key says.
            Spelling::SpaceMark => Pre {
                family: Family::Default,
                ignore_merges: false,
                add_bos: true,
                clean_spaces: false,
            },
        };

        let tokens = strings_of(gguf, keys::TOKENIZER_TOKENS)?;
        if tokens.is_empty() {
            return Err(TokenizerError::EmptyVocab);
        }
        let merges = match spelling {
            Spelling::ByteLevel => Some(strings_of(gguf, keys::TOKENIZER_MERGES)?),
            Spelling::SpaceMark => None,
        };
        let types = numbers(
            gguf,
            keys::TOKENIZER_TOKEN_TYPE,
            &tokens,
            "an array of 32-bit integers",
            |ty| ty == ValueType::I32,
        )?;
        let scores = numbers(gguf, keys::TOKENIZER_SCORES, &tokens, "an array of numbers", |ty| {
            matches!(ty, ValueType::F32 | ValueType::I32)
        })?;
        Ok(Self {
            spelling,
            pre,
            tokens,
            merges,
            types: Types(types.map_or(&[], |array| array.bytes())),
            scores: Scores {
                bytes: scores.map_or(&[], |array| array.bytes()),
                integer: scores.is_some_and(|array| array.ty() == ValueType::I32),
            },
        })
    }

    /// Adds up what an index of this vocabulary takes.
    pub(super) fn plan(&self) -> Result<TokenizerPlan, TokenizerError> {
        let n_vocab = self.tokens.len();
        let n_merges = self.merges.as_ref().map_or(0, Array::len);
        let mut lengths = Lengths::default();
        for (token, text) in (0u32..).zip(self.tokens.strings().into_iter().flatten()) {
            if self.types.get(token).any(Attr::SPECIAL) {
                lengths.add(token, text)?;
            }
        }
        // Whether the vocabulary has them is known only once it is indexed.
        for known in &KNOWN {
            lengths.add(0, known.text.as_bytes())?;
        }
        let n_special_lengths = lengths.count();

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
#[derive(Debug)]
pub(super) struct Lengths([u64; SPECIAL_BYTES / 64]);

impl Default for Lengths {
    fn default() -> Self {
        Self([0; SPECIAL_BYTES / 64])
    }
}

impl Lengths {
    /// Adds the length of a special token's text.
    pub(super) fn add(&mut self, token: u32, text: &[u8]) -> Result<(), TokenizerError> {
        let len = text.len();
        if len >= SPECIAL_BYTES {
            return Err(TokenizerError::SpecialTooLong { token, bytes: len as u64 });
        }
        self.insert(len);
        Ok(())
    }

    pub(super) fn insert(&mut self, len: usize) {
        // Nothing is found by an empty text.
        if let (1.., Some(word)) = (len, self.0.get_mut(len / 64)) {
            *word |= 1 << (len % 64);
        }
    }

    pub(super) fn has(&self, len: usize) -> bool {
        self.0.get(len / 64).is_some_and(|word| word >> (len % 64) & 1 == 1)
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns the lengths, longest first.
    pub(super) fn descending(&self) -> impl Iterator<Item = usize> {
        (0..SPECIAL_BYTES).rev().filter(|&len| self.has(len))
    }
}

/// A string value, or `None` if the key is absent.
fn string<'m>(gguf: &Gguf<'m>, key: &'static str) -> Result<Option<&'m str>, TokenizerError> {
    let Some(value) = gguf.get(key) else { return Ok(None) };
    value.as_str().map(Some).ok_or(TokenizerError::WrongType { key, expected: "a string" })
}

/// A boolean value, or `None` if the key is absent.
pub(super) fn boolean(gguf: &Gguf<'_>, key: &'static str) -> Result<Option<bool>, TokenizerError> {
    let Some(value) = gguf.get(key) else { return Ok(None) };
    value.as_bool().map(Some).ok_or(TokenizerError::WrongType { key, expected: "a boolean" })
}

/// A token number, or `None` if the key is absent or out of the vocabulary's range.
pub(super) fn token_id(
    gguf: &Gguf<'_>,
    key: &'static str,
    n_vocab: usize,
) -> Result<Option<u32>, TokenizerError> {
    let Some(value) = gguf.get(key) else { return Ok(None) };
    let wrong = TokenizerError::WrongType { key, expected: "a token number" };
    // Some writers store -1 for "none"; llama.cpp, like this, leaves out what is out of range.
    let id = value.as_i64().ok_or(wrong)?;
    Ok(u32::try_from(id).ok().filter(|&id| (id as usize) < n_vocab))
}

/// A required array of strings, of a size that an index can number.
fn strings_of<'m>(gguf: &Gguf<'m>, key: &'static str) -> Result<Array<'m>, TokenizerError> {
    let value = gguf.get(key).ok_or(TokenizerError::MissingKey { key })?;
    let array = value
        .as_array()
        .filter(|array| array.ty() == ValueType::Str || array.is_empty())
        .ok_or(TokenizerError::WrongType { key, expected: "an array of strings" })?;
    if array.len() > table::MAX_ENTRIES {
        return Err(TokenizerError::TooLarge { key, len: array.len() as u64 });
    }
    Ok(array)
}

/// An optional array with an element for each token.
fn numbers<'m>(
    gguf: &Gguf<'m>,
    key: &'static str,
    tokens: &Array<'m>,
    expected: &'static str,
    allowed: impl Fn(ValueType) -> bool,
) -> Result<Option<Array<'m>>, TokenizerError> {
    let Some(value) = gguf.get(key) else { return Ok(None) };
    let array = value
        .as_array()
        .filter(|array| allowed(array.ty()))
        .ok_or(TokenizerError::WrongType { key, expected })?;
    if array.len() < tokens.len() {
        let (len, tokens) = (array.len() as u64, tokens.len() as u64);
        return Err(TokenizerError::TooShort { key, len, tokens });
    }
    Ok(Some(array))
}
