//! Finds special tokens in text, before it is split into words.
//!
//! llama.cpp searches the whole text for the longest special token first, then what is left for
//! the next, and so on, which takes as many passes as there are special tokens (Gemma 3 has
//! 6,414). Here a pass is for all tokens of one length, by looking the text up in the index, and
//! only for the lengths that occur at all: the same cut, in a few passes. Equally long
//! tokens that overlap are taken from left to right; llama.cpp leaves their order open.

use crate::Token;
use crate::gguf::{Gguf, keys};

use super::attr::Attr;
use super::meta::{LENGTH_WORDS, Lengths};
use super::vocab::Vocab;

/// Words of a frame of [`Fragments`].
const FRAME_WORDS: usize = 4;

/// A length that special tokens have, and a set of how such tokens start.
type Level = [u32; LENGTH_WORDS];

/// How special tokens are found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Specials<'b> {
    /// The lengths, longest first.
    levels: &'b [Level],
    /// Whether some are found in text that is not to be parsed for special tokens.
    has_user_defined: bool,
    /// White space after a special token is dropped (Phi-3), except after `shy` ones.
    strip_after: bool,
    shy: [Option<Token>; 3],
}

impl<'b> Specials<'b> {
    /// Lists the special tokens' lengths in `words`, zeroed, of [`LENGTH_WORDS`] for each. All are
    /// below [`SPECIAL_BYTES`](super::meta::SPECIAL_BYTES), as the plan has checked.
    pub(super) fn new(gguf: &Gguf<'_>, vocab: &Vocab<'_, '_>, words: &'b mut [u32]) -> Self {
        let (levels, _) = words.as_chunks_mut::<LENGTH_WORDS>();
        let mut lengths = Lengths::default();
        let mut has_user_defined = false;
        for token in vocab.specials() {
            lengths.insert(vocab.text(token).len());
            has_user_defined |= !vocab.attr(token).any(Attr::HIDDEN);
        }
        let mut used = 0;
        for ([level, ..], len) in levels.iter_mut().zip(lengths.descending()) {
            *level = len as u32;
            used += 1;
        }
        for token in vocab.specials() {
            let text = vocab.text(token);
            let place = levels.iter_mut().find(|level| level[0] as usize == text.len());
            if let Some([_, starts @ ..]) = place {
                let start = beginning(text);
                starts[usize::from(start / 32)] |= 1 << (start % 32);
            }
        }
        let levels: &'b [Level] = levels;
        let name = gguf.get(keys::GENERAL_NAME).and_then(|name| name.as_str());
        let strip_after = name.is_some_and(|name| names_phi3(name.as_bytes()));
        Self {
            levels: levels.get(..used).unwrap_or_default(),
            has_user_defined,
            strip_after,
            shy: [&b"<unk>"[..], b"<s>", b"<|endoftext|>"].map(|text| vocab.find_stored(text)),
        }
    }

    /// Returns the words of memory that [`Fragments`] needs.
    pub(super) const fn frame_words(&self) -> usize {
        frame_words(self.levels.len())
    }
}

/// The words of memory that [`Fragments`] needs with special tokens of so many lengths.
pub(super) const fn frame_words(levels: usize) -> usize {
    // A frame is left behind only on the way to a shorter length.
    (levels + 1) * FRAME_WORDS
}

/// A byte made of the first two bytes of a text, to tell most texts from special tokens.
#[cfg_attr(target_pointer_width = "64", inline)]
fn beginning(text: &[u8]) -> u8 {
    match *text {
        [first, second, ..] => first ^ second.rotate_left(3),
        [only] => only,
        [] => 0,
    }
}

/// True if a model's name says Phi-3, in any case.
fn names_phi3(name: &[u8]) -> bool {
    let is = |part: &[u8]| name.windows(part.len()).any(|w| w.eq_ignore_ascii_case(part));
    is(b"phi-3") || is(b"phi3")
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    Text(&'t str),
    Special(Token),
}

/// The fragments of a text, in order.
///
/// A depth-first walk: the range at hand is searched for tokens of one length; what lies before
/// a match is searched for shorter ones first, while a frame remembers the match and what
/// follows it.
#[derive(Debug)]
pub(super) struct Fragments<'v, 'm, 'b, 't, 's> {
    vocab: &'v Vocab<'m, 'b>,
    specials: &'v Specials<'b>,
    text: &'t str,
    parse_special: bool,
    /// Which lengths occur in the text at all.
    occurs: Lengths,
    /// Frames of the matches that the walk is left of: token, where its rest starts and ends,
    /// level.
    frames: &'s mut [[u32; FRAME_WORDS]],
    depth: usize,
    start: usize,
    end: usize,
    level: usize,
    done: bool,
}

impl<'v, 'm, 'b, 't, 's> Fragments<'v, 'm, 'b, 't, 's> {
    /// `frames` are [`Specials::frame_words`] long.
    pub(super) fn new(
        vocab: &'v Vocab<'m, 'b>,
        specials: &'v Specials<'b>,
        text: &'t str,
        parse_special: bool,
        frames: &'s mut [u32],
    ) -> Self {
        let search = parse_special || specials.has_user_defined;
        let mut fragments = Self {
            vocab,
            specials,
            text,
            parse_special,
            occurs: Lengths::default(),
            frames: frames.as_chunks_mut().0,
            depth: 0,
            start: 0,
            end: text.len(),
            level: if search { 0 } else { specials.levels.len() },
            done: text.is_empty(),
        };
        if search {
            fragments.find_lengths();
        }
        fragments
    }

    /// Finds the lengths that occur, each until its first match.
    fn find_lengths(&mut self) {
        for level in self.specials.levels {
            if self.search(level, 0, self.text.len()).is_some() {
                self.occurs.insert(level[0] as usize);
            }
        }
    }

    /// Returns the first match of a length within a range: where, and the token.
    fn search(
        &self,
        &[len, ref starts @ ..]: &Level,
        start: usize,
        end: usize,
    ) -> Option<(usize, Token)> {
        // No length is 0; a window must not be.
        let len = len.max(1) as usize;
        let last = end.checked_sub(len)?;
        let bytes = self.text.as_bytes().get(..end)?;
        let mut at = start;
        while at <= last {
            let may_start = |text: &[u8]| {
                let start = beginning(text);
                starts[usize::from(start / 32)] >> (start % 32) & 1 == 1
            };
            at += bytes.get(at..)?.windows(len).position(may_start)?;
            // A special token that is not UTF-8 is never found in text that is.
            let found = bytes.get(at..at + len).and_then(|text| self.vocab.find_stored(text));
            if let Some(token) = found.filter(|&token| self.allows(token)) {
                return Some((at, token));
            }
            at += 1;
        }
        None
    }

    fn allows(&self, token: Token) -> bool {
        let attr = self.vocab.attr(token);
        attr.any(Attr::SPECIAL) && (self.parse_special || !attr.any(Attr::HIDDEN))
    }

    /// Moves `at` past the white space that a special token swallows.
    fn after(&self, token: Token, at: usize, end: usize) -> usize {
        if !self.specials.strip_after || self.specials.shy.contains(&Some(token)) {
            return at;
        }
        let rest = self.text.as_bytes().get(at..end).unwrap_or_default();
        let space = |b: &u8| matches!(b, b' ' | 0x09..=0x0d);
        at + rest.iter().take_while(|b| space(b)).count()
    }

    fn push(&mut self, frame: [u32; FRAME_WORDS]) -> Option<()> {
        *self.frames.get_mut(self.depth)? = frame;
        self.depth += 1;
        Some(())
    }

    fn pop(&mut self) -> Option<[u32; FRAME_WORDS]> {
        self.depth = self.depth.checked_sub(1)?;
        self.frames.get(self.depth).copied()
    }

    /// Leaves the range at hand for the match to its right.
    fn leave(&mut self) -> Option<Fragment<'t>> {
        match self.pop() {
            Some([token, start, end, level]) => {
                (self.start, self.end) = (start as usize, end as usize);
                self.level = level as usize;
                Some(Fragment::Special(token))
            }
            None => {
                self.done = true;
                None
            }
        }
    }
}

impl<'t> Iterator for Fragments<'_, '_, '_, 't, '_> {
    type Item = Fragment<'t>;

    fn next(&mut self) -> Option<Fragment<'t>> {
        if self.done {
            return None;
        }
        loop {
            if self.start >= self.end {
                return self.leave();
            }
            let Some(level) = self.specials.levels.get(self.level) else {
                // Nothing special is left in here; the match that follows is next.
                let text = self.text.get(self.start..self.end)?;
                self.start = self.end;
                return Some(Fragment::Text(text));
            };
            let len = level[0] as usize;
            let found = match self.occurs.has(len) {
                true => self.search(level, self.start, self.end),
                false => None,
            };
            if let Some((at, token)) = found {
                let rest = self.after(token, at + len, self.end);
                self.push([token, rest as u32, self.end as u32, self.level as u32])?;
                self.end = at;
            }
            self.level += 1;
        }
    }
}
