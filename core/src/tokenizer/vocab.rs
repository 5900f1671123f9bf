//! The vocabulary: texts, attributes and special tokens, and the index from text to token.

use crate::Token;
use crate::gguf::{Gguf, keys};

use super::attr::Attr;
use super::error::Fault;
use super::hash::hash_bytes;
use super::known::{KNOWN, SINGLE_ROLES, names, role};
use super::meta::{Key, Meta, Scores, Types, optional};
use super::spelling::{SPACE_MARK, Spelling};
use super::strings::Strings;
use super::texts::{Kind, Room, Texts};

/// Bits of an override that hold the token; the rest hold its attributes.
const TOKEN_BITS: u32 = 24;
const TOKEN_MASK: u32 = (1 << TOKEN_BITS) - 1;

/// Parts that a file gives to tokens: places in [`Roles`], behind the single roles.
const BOS: usize = SINGLE_ROLES;
const EOS: usize = BOS + 1;
const UNKNOWN: usize = EOS + 1;
const PADDING: usize = UNKNOWN + 1;
const N_ROLES: usize = PADDING + 1;

const fn token_key(name: &'static str) -> Key {
    Key { name, expected: "a token number" }
}

/// The keys that name tokens, in the order of [`Roles`].
static ROLE_KEYS: [Key; N_ROLES] = [
    token_key(keys::TOKENIZER_EOT_TOKEN_ID),
    token_key(keys::TOKENIZER_EOM_TOKEN_ID),
    token_key(keys::TOKENIZER_FIM_PRE_TOKEN_ID),
    token_key(keys::TOKENIZER_FIM_SUF_TOKEN_ID),
    token_key(keys::TOKENIZER_FIM_MID_TOKEN_ID),
    token_key(keys::TOKENIZER_FIM_PAD_TOKEN_ID),
    token_key(keys::TOKENIZER_FIM_REP_TOKEN_ID),
    token_key(keys::TOKENIZER_FIM_SEP_TOKEN_ID),
    token_key(keys::TOKENIZER_BOS_TOKEN_ID),
    token_key(keys::TOKENIZER_EOS_TOKEN_ID),
    token_key(keys::TOKENIZER_UNKNOWN_TOKEN_ID),
    token_key(keys::TOKENIZER_PADDING_TOKEN_ID),
];

/// The tokens that have a part: the single roles in the order of the bits of [`role`], then those
/// that only a file gives.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Roles([Option<Token>; N_ROLES]);

impl Roles {
    /// Reads the parts that the file gives, of a vocabulary of `n` tokens.
    fn read(gguf: &Gguf<'_>, spelling: Spelling, n: usize) -> Result<Self, Fault> {
        let mut roles = Self::default();
        let [.., bos, eos, unknown, _] = &mut roles.0;
        match spelling.marks_spaces() {
            true => (*bos, *eos, *unknown) = (Some(1), Some(2), Some(0)),
            false => (*bos, *eos) = (Some(11), Some(11)),
        }
        for (role, key) in roles.0.iter_mut().zip(&ROLE_KEYS) {
            // Some writers store -1 for "none"; llama.cpp, like this, leaves out what is out of
            // range.
            let id = optional(gguf, key, |value| value.as_i64())?;
            let id = id.and_then(|id| u32::try_from(id).ok());
            let known = |&id: &Token| (id as usize) < n;
            *role = id.filter(known).or(role.filter(known));
        }
        Ok(roles)
    }

    /// Returns the token that has one of the single roles.
    pub(super) fn single(&self, role: u16) -> Option<Token> {
        *self.0.get(role.trailing_zeros() as usize)?
    }

    pub(super) const fn bos(&self) -> Option<Token> {
        self.0[BOS]
    }

    pub(super) const fn eos(&self) -> Option<Token> {
        self.0[EOS]
    }

    pub(super) const fn unknown(&self) -> Option<Token> {
        self.0[UNKNOWN]
    }

    pub(super) const fn padding(&self) -> Option<Token> {
        self.0[PADDING]
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Vocab<'m, 'b> {
    pub(super) spelling: Spelling,
    pub(super) roles: Roles,
    texts: Texts<'m, 'b>,
    types: Types<'m>,
    scores: Scores<'m>,
    /// Attributes that differ from the types: `attributes << 24 | token`, in no order.
    overrides: &'b [u32],
    /// Tokens that end a generation.
    ends: &'b [u32],
    before_space: ByteSet,
}

/// A set of bytes.
#[derive(Debug, Clone, Copy, Default)]
struct ByteSet([u32; 8]);

impl ByteSet {
    #[cfg_attr(target_pointer_width = "64", inline)]
    const fn has(&self, byte: u8) -> bool {
        self.0[byte as usize / 32] >> (byte % 32) & 1 == 1
    }

    #[cfg_attr(target_pointer_width = "64", inline)]
    const fn add(&mut self, byte: u8) {
        self.0[byte as usize / 32] |= 1 << (byte % 32);
    }
}

impl<'m, 'b> Vocab<'m, 'b> {
    /// Indexes the tokens in `room`. `overrides` and `ends` are as long as [`OVERRIDES`] and
    /// [`ENDS`] say.
    ///
    /// [`OVERRIDES`]: super::meta::OVERRIDES
    /// [`ENDS`]: super::meta::ENDS
    pub(super) fn new(
        gguf: &Gguf<'m>,
        meta: &Meta<'m>,
        room: Room<'b>,
        overrides: &'b mut [u32],
        ends: &'b mut [u32],
    ) -> Result<Self, Fault> {
        let spelling = meta.spelling;
        let texts = Texts::new(Kind::Tokens(spelling), &meta.tokens, room)?;
        check_scores(meta)?;
        let mut vocab = Self {
            spelling,
            roles: Roles::read(gguf, spelling, texts.strings.len())?,
            texts,
            types: meta.types,
            scores: meta.scores,
            overrides: &[],
            ends: &[],
            before_space: before_space(&texts.strings, spelling),
        };
        vocab.find_known(overrides, ends);
        Ok(vocab)
    }

    /// Gives the tokens of known texts their parts, as llama.cpp does.
    fn find_known(&mut self, overrides: &'b mut [u32], ends: &'b mut [u32]) {
        let mut overrides = List::new(overrides);
        let mut ends = List::new(ends);
        for (list, roles) in &KNOWN {
            for text in names(list) {
                let Some(token) = self.find_stored(text) else { continue };
                let mut special = roles & role::END != 0;
                if special {
                    ends.add(token);
                }
                for (at, single) in self.roles.0.iter_mut().take(SINGLE_ROLES).enumerate() {
                    if roles >> at & 1 == 1 && single.is_none() {
                        *single = Some(token);
                        special = true;
                    }
                }
                let attr = self.types.get(token);
                let attr = if roles & role::SHOWN != 0 {
                    Attr::USER
                } else if special && !attr.any(Attr::CONTROL) {
                    attr.or(Attr::CONTROL)
                } else {
                    continue;
                };
                overrides.set_attr(token, attr);
            }
        }
        let [eot, eom, _, _, _, fim_pad, fim_rep, fim_sep, _, eos, ..] = self.roles.0;
        for token in [eos, eot, eom, fim_pad, fim_rep, fim_sep].into_iter().flatten() {
            ends.add(token);
        }

        // Two texts end a generation in some families and not in others; the company they keep
        // tells which.
        let calls = self.ends_with(&ends, b"<|call|>").or(self.ends_with(&ends, b"<|calls|>"));
        let returns = self.ends_with(&ends, b"<|return|>").or(self.ends_with(&ends, b"<|flush|>"));
        if calls.and(returns).is_some()
            && let Some(token) = self.ends_with(&ends, b"<|end|>")
        {
            ends.remove(token);
            overrides.set_attr(token, Attr::USER);
        }
        let others = self.ends_with(&ends, b"<|tool_response>");
        if others.or(self.ends_with(&ends, b"<|plamo:eos|>")).is_some()
            && let Some(token) = self.ends_with(&ends, b"</s>")
        {
            ends.remove(token);
            overrides.set_attr(token, Attr::NORMAL);
        }
        self.overrides = overrides.finish();
        self.ends = ends.finish();
    }

    /// Returns the token of this text if it is among those that end a generation.
    fn ends_with(&self, ends: &List<'_>, text: &[u8]) -> Option<Token> {
        self.find_stored(text).filter(|token| ends.as_slice().contains(token))
    }

    /// Returns the number of tokens.
    pub(super) const fn len(&self) -> usize {
        self.texts.strings.len()
    }

    /// Returns a token's text as stored; empty for a number out of range.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn text(&self, token: Token) -> &'m [u8] {
        self.texts.get(token).unwrap_or_default()
    }

    /// Returns the tokens that are found in text as they are written.
    pub(super) fn specials(&self) -> impl Iterator<Item = Token> {
        (0..self.len() as u32).filter(|&token| self.attr(token).any(Attr::SPECIAL))
    }

    /// True if some token's key has `byte` right before a space, so that a merge may join them.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) const fn joins_before_space(&self, byte: u8) -> bool {
        self.before_space.has(byte)
    }

    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn attr(&self, token: Token) -> Attr {
        let found = self.overrides.iter().find(|&&word| word & TOKEN_MASK == token);
        match found {
            Some(&word) => Attr((word >> TOKEN_BITS) as u8),
            None => self.types.get(token),
        }
    }

    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn score(&self, token: Token) -> f32 {
        self.scores.get(token)
    }

    pub(super) const fn ends(&self) -> &'b [u32] {
        self.ends
    }

    /// Returns the token stored exactly so.
    pub(super) fn find_stored(&self, text: &[u8]) -> Option<Token> {
        let hash = self.spelling.hash_stored(text, self.texts.index.seed);
        self.texts.index.find(hash, |token| self.text(token) == text)
    }

    /// Returns the token that spells `key`.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn find_key(&self, key: &[u8]) -> Option<Token> {
        let hash = hash_bytes(key, self.texts.index.seed);
        self.texts.index.find(hash, |token| self.spelling.spells(self.text(token), key))
    }
}

/// Returns the bytes that some key of SentencePiece has right before a space.
fn before_space(strings: &Strings<'_, '_>, spelling: Spelling) -> ByteSet {
    let mut set = ByteSet::default();
    if spelling.marks_spaces() {
        for text in strings.iter() {
            // Most texts have the mark in front, if at all.
            if !text.iter().skip(1).any(|&b| SPACE_MARK.first() == Some(&b)) {
                continue;
            }
            let mut last = None;
            let mut rest = text;
            while let Some((byte, after)) = spelling.split(rest) {
                if byte == b' '
                    && let Some(last) = last
                {
                    set.add(last);
                }
                (last, rest) = (Some(byte), after);
            }
        }
    }
    set
}

/// Scores rank merges, and what is not a number has no rank.
fn check_scores(meta: &Meta<'_>) -> Result<(), Fault> {
    if !meta.spelling.marks_spaces() {
        return Ok(());
    }
    match (0..meta.tokens.len() as u32).find(|&token| meta.scores.get(token).is_nan()) {
        Some(token) => Err(Fault::ScoreNotANumber { token }),
        None => Ok(()),
    }
}

/// A list of distinct numbers in lent memory; what does not fit is left out.
struct List<'b> {
    memory: &'b mut [u32],
    len: usize,
}

impl<'b> List<'b> {
    const fn new(memory: &'b mut [u32]) -> Self {
        Self { memory, len: 0 }
    }

    fn as_slice(&self) -> &[u32] {
        self.memory.get(..self.len).unwrap_or_default()
    }

    fn add(&mut self, value: u32) {
        if self.as_slice().contains(&value) {
            return;
        }
        if let Some(place) = self.memory.get_mut(self.len) {
            *place = value;
            self.len += 1;
        }
    }

    fn remove(&mut self, value: u32) {
        if let Some(at) = self.as_slice().iter().position(|&v| v == value) {
            self.len -= 1;
            let last = self.memory.get(self.len).copied();
            if let (Some(place), Some(last)) = (self.memory.get_mut(at), last) {
                *place = last;
            }
        }
    }

    /// Sets the attribute of a token in a list of overrides.
    fn set_attr(&mut self, token: Token, attr: Attr) {
        let at = self.as_slice().iter().position(|&word| word & TOKEN_MASK == token);
        let word = u32::from(attr.0) << TOKEN_BITS | token;
        match at.and_then(|at| self.memory.get_mut(at)) {
            Some(place) => *place = word,
            None => self.add(word),
        }
    }

    fn finish(self) -> &'b [u32] {
        let memory: &'b [u32] = self.memory;
        memory.get(..self.len).unwrap_or_default()
    }
}
