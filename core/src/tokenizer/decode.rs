//! Tokens to text, one at a time, in whole characters.

use crate::Token;

use super::Tokenizer;
use super::attr::Attr;
use super::spelling::Spelling;
use super::vocab::Vocab;

/// Bytes of key gathered before they are checked for whole characters.
const CHUNK: usize = 64;

/// Writes the text of tokens as they come, never half a character.
///
/// A token can end inside a character, and the next one go on there. The unfinished bytes, three
/// at most, wait here; bytes that no character can contain come out as U+FFFD, as
/// `String::from_utf8_lossy` has it.
#[derive(Debug, Clone, Copy)]
pub struct Detokenizer {
    waiting: [u8; 4],
    n_waiting: usize,
    /// The next token loses a leading space.
    at_start: bool,
}

impl Detokenizer {
    /// Returns a detokenizer for a text from its beginning: a space that the tokenizer put
    /// there is dropped, unless a special token comes first.
    pub const fn new(tokenizer: &Tokenizer<'_, '_>) -> Self {
        Self { at_start: tokenizer.add_space_prefix(), ..Self::mid_text() }
    }

    /// Returns a detokenizer for tokens that go on from others, such as an answer to a prompt:
    /// every space is kept.
    pub const fn mid_text() -> Self {
        Self { waiting: [0; 4], n_waiting: 0, at_start: false }
    }

    /// Takes a token and calls `write` with the text that is whole now, in pieces.
    ///
    /// Control tokens and the unknown token are written as the vocabulary has them if
    /// `special`, else not at all. A number that is no token writes nothing.
    pub fn push(
        &mut self,
        tokenizer: &Tokenizer<'_, '_>,
        token: Token,
        special: bool,
        mut write: impl FnMut(&str),
    ) {
        let mut bytes = TokenBytes::new(&tokenizer.vocab, token, special);
        // A byte's own token is no space that the tokenizer put there.
        let mut strip = core::mem::take(&mut self.at_start) && bytes.how != How::Named;
        let mut chunk = [0; CHUNK];
        loop {
            let mut len = 0;
            for (place, byte) in chunk.iter_mut().zip(&mut bytes) {
                *place = byte;
                len += 1;
            }
            let mut piece = chunk.get(..len).unwrap_or_default();
            if core::mem::take(&mut strip) {
                piece = piece.strip_prefix(b" ").unwrap_or(piece);
            }
            self.take(piece, &mut write);
            if len < CHUNK {
                return;
            }
        }
    }

    /// Ends the text: writes U+FFFD if bytes of a character are still waiting.
    pub fn finish(&mut self, mut write: impl FnMut(&str)) {
        if core::mem::take(&mut self.n_waiting) > 0 {
            write(REPLACEMENT);
        }
    }

    /// Writes what is whole of the waiting bytes and `bytes`.
    fn take(&mut self, mut bytes: &[u8], write: &mut impl FnMut(&str)) {
        // Complete the waiting character byte by byte.
        while self.n_waiting > 0 {
            let Some((&next, after)) = bytes.split_first() else { return };
            let Some(place) = self.waiting.get_mut(self.n_waiting) else { break };
            *place = next;
            let now = self.waiting.get(..=self.n_waiting).unwrap_or_default();
            match core::str::from_utf8(now) {
                Ok(whole) => {
                    write(whole);
                    self.n_waiting = 0;
                    bytes = after;
                }
                Err(error) if error.error_len().is_none() => {
                    self.n_waiting += 1;
                    bytes = after;
                }
                Err(_) => {
                    // The new byte cannot go on here; it is looked at again on its own.
                    write(REPLACEMENT);
                    self.n_waiting = 0;
                }
            }
        }
        for chunk in bytes.utf8_chunks() {
            if !chunk.valid().is_empty() {
                write(chunk.valid());
            }
            let broken = chunk.invalid();
            if broken.is_empty() {
                continue;
            }
            let unfinished =
                core::str::from_utf8(broken).is_err_and(|error| error.error_len().is_none());
            match self.waiting.get_mut(..broken.len()) {
                Some(waiting) if unfinished => {
                    waiting.copy_from_slice(broken);
                    self.n_waiting = broken.len();
                }
                _ => write(REPLACEMENT),
            }
        }
    }
}

/// The bytes of a token's text, in order. [`Tokenizer::bytes`] gives them.
#[derive(Debug, Clone)]
pub struct TokenBytes<'m> {
    /// What is left of the text as the file has it.
    rest: &'m [u8],
    how: How,
}

/// How a file's text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// As it stands.
    Stored,
    Spelled(Spelling),
    /// As the name of a byte.
    Named,
}

impl<'m> TokenBytes<'m> {
    /// The bytes of hidden tokens, those of their names, only if `special`.
    pub(super) fn new(vocab: &Vocab<'m, '_>, token: Token, special: bool) -> Self {
        let attr = vocab.attr(token);
        let how = if attr.any(Attr::SPECIAL) {
            How::Stored
        } else if attr.any(Attr::BYTE) {
            How::Named
        } else {
            How::Spelled(vocab.spelling)
        };
        let shown = if attr.any(Attr::HIDDEN) {
            special
        } else {
            attr.any(Attr::SPECIAL.or(Attr::BYTE).or(Attr::NORMAL))
        };
        Self { rest: if shown { vocab.text(token) } else { &[] }, how }
    }
}

impl Iterator for TokenBytes<'_> {
    type Item = u8;

    #[cfg_attr(target_pointer_width = "64", inline)]
    fn next(&mut self) -> Option<u8> {
        let (&first, after) = self.rest.split_first()?;
        let (byte, rest) = match self.how {
            How::Stored => (first, after),
            // A text that spells no key there is taken as it stands.
            How::Spelled(spelling) => spelling.split(self.rest).unwrap_or((first, after)),
            How::Named => (byte_named(self.rest), &[][..]),
        };
        self.rest = rest;
        Some(byte)
    }
}

const REPLACEMENT: &str = "\u{fffd}";

/// Reads the byte in a text like `<0x0A>`, 0 where there is none.
fn byte_named(text: &[u8]) -> u8 {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    digit(3).zip(digit(4)).map_or(0, |(high, low)| (high << 4 | low) as u8)
}
