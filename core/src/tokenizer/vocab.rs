//! The vocabulary: texts, attributes and special tokens, and the index from text to token.

use crate::Token;
use crate::arena::Arena;
use crate::gguf::{Gguf, keys};

use super::TokenizerError;
use super::attr::Attr;
use super::hash::hash_bytes;
use super::known::{KNOWN, SINGLE_ROLES, role};
use super::meta::token_id;
use super::meta::{ENDS, Meta, OVERRIDES, Scores, TokenizerPlan, Types};
use super::spelling::{SPACE_MARK, Spelling};
use super::strings::{Strings, checkpoints_for};
use super::table::{Insert, Table, TableBuilder, slots_for};

/// Bits of an override that hold the token; the rest hold its attributes.
const TOKEN_BITS: u32 = 24;
const TOKEN_MASK: u32 = (1 << TOKEN_BITS) - 1;

/// Tokens that a file gives a part to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Roles {
    pub(super) bos: Option<Token>,
    pub(super) eos: Option<Token>,
    pub(super) unknown: Option<Token>,
    pub(super) padding: Option<Token>,
    /// In the order of the bits of [`role`]: end of turn, end of message, gap filling.
    pub(super) single: [Option<Token>; SINGLE_ROLES],
}

impl Roles {
    /// Returns the token that has one of the single roles.
    pub(super) fn single(&self, role: u16) -> Option<Token> {
        *self.single.get(role.trailing_zeros() as usize)?
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Vocab<'m, 'b> {
    pub(super) spelling: Spelling,
    pub(super) roles: Roles,
    strings: Strings<'m, 'b>,
    index: Table<'b>,
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
    #[inline]
    const fn has(&self, byte: u8) -> bool {
        self.0[byte as usize / 32] >> (byte % 32) & 1 == 1
    }

    #[inline]
    const fn add(&mut self, byte: u8) {
        self.0[byte as usize / 32] |= 1 << (byte % 32);
    }
}

impl<'m, 'b> Vocab<'m, 'b> {
    pub(super) fn new(
        gguf: &Gguf<'m>,
        meta: &Meta<'m>,
        plan: &TokenizerPlan,
        arena: &mut Arena<'b>,
    ) -> Result<Self, TokenizerError> {
        let given = arena.left();
        let small = |_| TokenizerError::MemoryTooSmall { needed: plan.bytes, given };
        let n = plan.n_vocab;
        let checkpoints = arena.take(checkpoints_for(n)).map_err(small)?;
        let slots = arena.take(slots_for(n)).map_err(small)?;
        let overrides = arena.take(OVERRIDES).map_err(small)?;
        let ends = arena.take(ENDS).map_err(small)?;

        let strings = Strings::new(keys::TOKENIZER_TOKENS, &meta.tokens, checkpoints)?;
        let index = index(&strings, meta.spelling, TableBuilder::new(slots, n))?;
        check_scores(meta, n)?;
        let mut vocab = Self {
            spelling: meta.spelling,
            roles: Roles::default(),
            strings,
            index,
            types: meta.types,
            scores: meta.scores,
            overrides: &[],
            ends: &[],
            before_space: before_space(&strings, meta.spelling),
        };
        vocab.roles = vocab.roles_in_file(gguf)?;
        vocab.find_known(overrides, ends);
        Ok(vocab)
    }

    fn roles_in_file(&self, gguf: &Gguf<'_>) -> Result<Roles, TokenizerError> {
        let n = self.len();
        let read = |key, default: Option<Token>| {
            let default = default.filter(|&id| (id as usize) < n);
            token_id(gguf, key, n).map(|id| id.or(default))
        };
        let (bos, eos, unknown) = match self.spelling {
            Spelling::ByteLevel => (Some(11), Some(11), None),
            Spelling::SpaceMark => (Some(1), Some(2), Some(0)),
        };
        Ok(Roles {
            bos: read(keys::TOKENIZER_BOS_TOKEN_ID, bos)?,
            eos: read(keys::TOKENIZER_EOS_TOKEN_ID, eos)?,
            unknown: read(keys::TOKENIZER_UNKNOWN_TOKEN_ID, unknown)?,
            padding: read(keys::TOKENIZER_PADDING_TOKEN_ID, None)?,
            single: [
                read(keys::TOKENIZER_EOT_TOKEN_ID, None)?,
                read(keys::TOKENIZER_EOM_TOKEN_ID, None)?,
                read(keys::TOKENIZER_FIM_PRE_TOKEN_ID, None)?,
                read(keys::TOKENIZER_FIM_SUF_TOKEN_ID, None)?,
                read(keys::TOKENIZER_FIM_MID_TOKEN_ID, None)?,
                read(keys::TOKENIZER_FIM_PAD_TOKEN_ID, None)?,
                read(keys::TOKENIZER_FIM_REP_TOKEN_ID, None)?,
                read(keys::TOKENIZER_FIM_SEP_TOKEN_ID, None)?,
            ],
        })
    }

    /// Gives the tokens of known texts their parts, as llama.cpp does.
    fn find_known(&mut self, overrides: &'b mut [u32], ends: &'b mut [u32]) {
        let mut overrides = List::new(overrides);
        let mut ends = List::new(ends);
        for known in &KNOWN {
            let Some(token) = self.find_stored(known.text.as_bytes()) else { continue };
            let mut special = known.roles & role::END != 0;
            if special {
                ends.add(token);
            }
            for (at, single) in self.roles.single.iter_mut().enumerate() {
                if known.roles >> at & 1 == 1 && single.is_none() {
                    *single = Some(token);
                    special = true;
                }
            }
            let attr = self.types.get(token);
            let attr = if known.roles & role::SHOWN != 0 {
                Attr::USER
            } else if special && !attr.any(Attr::CONTROL) {
                attr.or(Attr::CONTROL)
            } else {
                continue;
            };
            overrides.set_attr(token, attr);
        }
        let [eot, eom, _, _, _, fim_pad, fim_rep, fim_sep] = self.roles.single;
        for token in [self.roles.eos, eot, eom, fim_pad, fim_rep, fim_sep].into_iter().flatten() {
            ends.add(token);
        }

        // Two texts end a generation in some families and not in others; the company they keep
        // tells which.
        let among = |ends: &List<'_>, text: &[u8]| {
            ends.as_slice().iter().copied().find(|&token| self.text(token) == text)
        };
        let has = |ends: &List<'_>, text: &[u8]| among(ends, text).is_some();
        let calls = has(&ends, b"<|call|>") || has(&ends, b"<|calls|>");
        if calls
            && (has(&ends, b"<|return|>") || has(&ends, b"<|flush|>"))
            && let Some(token) = among(&ends, b"<|end|>")
        {
            ends.remove(token);
            overrides.set_attr(token, Attr::USER);
        }
        if (has(&ends, b"<|tool_response>") || has(&ends, b"<|plamo:eos|>"))
            && let Some(token) = among(&ends, b"</s>")
        {
            ends.remove(token);
            overrides.set_attr(token, Attr::NORMAL);
        }
        self.overrides = overrides.finish();
        self.ends = ends.finish();
    }

    /// Returns the number of tokens.
    pub(super) const fn len(&self) -> usize {
        self.strings.len()
    }

    /// Returns a token's text as stored; empty for a number out of range.
    #[inline]
    pub(super) fn text(&self, token: Token) -> &'m [u8] {
        self.strings.get(token).unwrap_or_default()
    }

    /// Returns the tokens that are found in text as they are written.
    pub(super) fn specials(&self) -> impl Iterator<Item = Token> {
        let by_type = |&token: &Token| self.types.get(token).any(Attr::SPECIAL);
        let overridden = self.overrides.iter().map(|word| word & TOKEN_MASK);
        (0..self.len() as u32)
            .filter(by_type)
            .chain(overridden.filter(move |token| !by_type(token)))
            .filter(|&token| self.attr(token).any(Attr::SPECIAL))
    }

    /// True if some token's key has `byte` right before a space, so that a merge may join them.
    #[inline]
    pub(super) const fn joins_before_space(&self, byte: u8) -> bool {
        self.before_space.has(byte)
    }

    #[inline]
    pub(super) fn attr(&self, token: Token) -> Attr {
        let found = self.overrides.iter().find(|&&word| word & TOKEN_MASK == token);
        match found {
            Some(&word) => Attr((word >> TOKEN_BITS) as u8),
            None => self.types.get(token),
        }
    }

    #[inline]
    pub(super) fn score(&self, token: Token) -> f32 {
        self.scores.get(token)
    }

    pub(super) const fn ends(&self) -> &'b [u32] {
        self.ends
    }

    /// Returns the token stored exactly so.
    pub(super) fn find_stored(&self, text: &[u8]) -> Option<Token> {
        let hash = self.spelling.hash_stored(text, self.index.seed);
        self.index.find(hash, |token| self.text(token) == text)
    }

    /// Returns the token that spells `key`.
    #[inline]
    pub(super) fn find_key(&self, key: &[u8]) -> Option<Token> {
        let hash = hash_bytes(key, self.index.seed);
        self.index.find(hash, |token| self.spelling.spells(self.text(token), key))
    }
}

/// Enters every text under the key it spells.
fn index<'b>(
    strings: &Strings<'_, '_>,
    spelling: Spelling,
    mut table: TableBuilder<'b>,
) -> Result<Table<'b>, TokenizerError> {
    'seeds: loop {
        for (token, text) in (0..).zip(strings.iter()) {
            // An empty text is a token that no text is encoded to.
            if text.is_empty() {
                continue;
            }
            let hash = spelling.hash_stored(text, table.seed);
            match table.insert(hash, token, |other| strings.get(other) == Some(text)) {
                Insert::Done => {}
                Insert::Present(first) => {
                    return Err(TokenizerError::DuplicateToken { first, second: token });
                }
                Insert::Clustered if table.next_seed() => continue 'seeds,
                Insert::Clustered => {
                    return Err(TokenizerError::Clustered { key: keys::TOKENIZER_TOKENS });
                }
            }
        }
        return Ok(table.finish());
    }
}

/// Returns the bytes that some key of SentencePiece has right before a space.
fn before_space(strings: &Strings<'_, '_>, spelling: Spelling) -> ByteSet {
    let mut set = ByteSet::default();
    if spelling == Spelling::SpaceMark {
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
fn check_scores(meta: &Meta<'_>, n: usize) -> Result<(), TokenizerError> {
    if meta.spelling == Spelling::ByteLevel {
        return Ok(());
    }
    match (0..n as u32).find(|&token| meta.scores.get(token).is_nan()) {
        Some(token) => Err(TokenizerError::ScoreNotANumber { token }),
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
