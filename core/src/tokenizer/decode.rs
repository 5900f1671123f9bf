//! Tokens to text, one at a time, in whole characters.

use crate::Token;

use super::Tokenizer;
use super::attr::Attr;

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
        let vocab = &tokenizer.vocab;
        let attr = vocab.attr(token);
        let mut strip = core::mem::take(&mut self.at_start);
        if attr.any(Attr::HIDDEN) && !special {
            return;
        }
        let text = vocab.text(token);
        if attr.any(Attr::SPECIAL) {
            let text = if strip { text.strip_prefix(b" ").unwrap_or(text) } else { text };
            return self.take(text, &mut write);
        }
        if attr.any(Attr::BYTE) {
            return self.take(&[byte_named(text)], &mut write);
        }
        if !attr.any(Attr::NORMAL) {
            return;
        }
        let mut chunk = [0; CHUNK];
        let mut len = 0;
        let mut rest = text;
        while !rest.is_empty() {
            // A text that spells no key there is taken as it stands.
            let (byte, after) = match vocab.spelling.split(rest) {
                Some(split) => split,
                None => match rest.split_first() {
                    Some((&byte, after)) => (byte, after),
                    None => break,
                },
            };
            rest = after;
            if core::mem::take(&mut strip) && byte == b' ' {
                continue;
            }
            if let Some(place) = chunk.get_mut(len) {
                *place = byte;
                len += 1;
            }
            if len == CHUNK {
                self.take(&chunk, &mut write);
                len = 0;
            }
        }
        self.take(chunk.get(..len).unwrap_or_default(), &mut write);
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

const REPLACEMENT: &str = "\u{fffd}";

/// Reads the byte in a text like `<0x0A>`, 0 where there is none.
fn byte_named(text: &[u8]) -> u8 {
    let digits = text.get(3..5).and_then(|digits| core::str::from_utf8(digits).ok());
    digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or(0)
}
