//! SentencePiece's BPE: a whole text, spaces included, joined by the scores of the tokens that
//! joining gives.

use super::error::Stop;
use super::merge::{NEVER, Workspace};
use super::output::Output;
use super::spelling::SPACE_MARK;
use super::vocab::Vocab;

/// The stretches of a text that merges can be kept within, in order; joined they are the text.
///
/// A merge gives a token. Where no token has a byte and a space next to each other, no merge
/// joins what lies on either side, and the text can be cut there: for most vocabularies,
/// between words.
#[derive(Debug, Clone)]
pub(super) struct Stretches<'v, 'm, 'b, 't> {
    vocab: &'v Vocab<'m, 'b>,
    rest: &'t str,
}

impl<'v, 'm, 'b, 't> Stretches<'v, 'm, 'b, 't> {
    pub(super) const fn new(vocab: &'v Vocab<'m, 'b>, text: &'t str) -> Self {
        Self { vocab, rest: text }
    }
}

impl<'t> Iterator for Stretches<'_, '_, '_, 't> {
    type Item = &'t str;

    #[cfg_attr(target_pointer_width = "64", inline)]
    fn next(&mut self) -> Option<&'t str> {
        let bytes = self.rest.as_bytes();
        if bytes.is_empty() {
            return None;
        }
        let may_cut = |&(at, &byte): &(usize, &u8)| {
            byte == b' ' && key_end(bytes, at).is_some_and(|b| !self.vocab.joins_before_space(b))
        };
        let end = bytes.iter().enumerate().find(may_cut).map_or(bytes.len(), |(end, _)| end);
        let (stretch, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(stretch)
    }
}

/// Returns the last byte of the key of `text[..end]`.
fn key_end(text: &[u8], end: usize) -> Option<u8> {
    let before = text.get(..end)?;
    if before.ends_with(SPACE_MARK) { Some(b' ') } else { before.last().copied() }
}

/// Copies `text` as a key into `room`, after a space if `prefix`; `None` if it does not fit.
///
/// The mark that stands for a space means a space in text too: llama.cpp turns every space into
/// it and tells them apart no more.
pub(super) fn write_key<'s>(text: &str, prefix: bool, room: &'s mut [u8]) -> Option<&'s [u8]> {
    let mut len = 0;
    let mut put = |bytes: &[u8]| -> Option<()> {
        room.get_mut(len..len + bytes.len())?.copy_from_slice(bytes);
        len += bytes.len();
        Some(())
    };
    if prefix {
        put(b" ")?;
    }
    let mut first = true;
    for part in text.split('\u{2581}') {
        if !first {
            put(b" ")?;
        }
        first = false;
        put(part.as_bytes())?;
    }
    room.get(..len)
}

/// Encodes one fragment, written as a key.
pub(super) fn encode_key(
    vocab: &Vocab<'_, '_>,
    key: &[u8],
    work: &mut Workspace<'_>,
    out: &mut Output<'_>,
) -> Result<(), Stop> {
    let rank = |pair: &[u8], _| match vocab.find_key(pair) {
        Some(token) => rank_of_score(vocab.score(token)),
        None => NEVER,
    };
    for symbol in work.merge(key, utf8_len, rank) {
        match vocab.find_key(symbol) {
            Some(token) => out.push(token)?,
            // Only a character that no merge took in can be no token.
            None if symbol == b" " => encode_bytes(vocab, SPACE_MARK, out)?,
            None => encode_bytes(vocab, symbol, out)?,
        }
    }
    Ok(())
}

/// Returns a rank that is lower for a higher score, and never [`NEVER`].
fn rank_of_score(score: f32) -> u32 {
    // Zero has two signs and one rank.
    let bits = (score + 0.0).to_bits();
    // As unsigned numbers, the bits of positive floats rise with them and those of negative
    // ones fall.
    let rising = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    !rising
}

/// Bytes of the character that starts with `lead`.
fn utf8_len(lead: u8) -> usize {
    match lead {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

fn encode_bytes(vocab: &Vocab<'_, '_>, bytes: &[u8], out: &mut Output<'_>) -> Result<(), Stop> {
    for &byte in bytes {
        out.push(byte_token(vocab, byte).ok_or(Stop::MissingByte(byte))?)?;
    }
    Ok(())
}

/// Returns the token `<0xXX>` of a byte, or the one whose text is that byte.
fn byte_token(vocab: &Vocab<'_, '_>, byte: u8) -> Option<crate::Token> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
    let name = [b'<', b'0', b'x', digit(byte >> 4), digit(byte & 15), b'>'];
    vocab.find_stored(&name).or_else(|| vocab.find_stored(&[byte]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_rank_lower() {
        let scores = [f32::INFINITY, 3.5, 1e-40, 0.0, -1e-40, -2.0, -1e30, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|w| rank_of_score(w[0]) < rank_of_score(w[1])));
        assert!(scores.iter().all(|&score| rank_of_score(score) != NEVER));
        assert_eq!(rank_of_score(0.0), rank_of_score(-0.0));
    }

    #[test]
    fn keys_have_spaces_for_marks() {
        let mut room = [0; 8];
        assert_eq!(write_key("a▁ b", true, &mut room), Some(&b" a  b"[..]));
        assert_eq!(write_key("▁", false, &mut room), Some(&b" "[..]));
        assert_eq!(write_key("12345678", true, &mut room), None);
        assert_eq!(write_key("", false, &mut room), Some(&b""[..]));
    }
}
