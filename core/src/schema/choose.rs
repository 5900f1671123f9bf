//! The choice of tokens that keep an answer to its schema.

use crate::Token;
use crate::tokenizer::Tokenizer;

use super::{Schema, State};

impl Schema<'_> {
    /// Returns the token with the greatest logit among those whose text goes on from `state`, and
    /// the state behind it.
    ///
    /// NaN counts as −∞, ties go to the smaller token. Tokens without text, such as those that end
    /// a generation, are never chosen: it is over where [`State::is_whole`] says so. The time is
    /// bounded by the vocabulary: the greatest of all is tried first, and if it is refused, only
    /// those are tried that are greater than the best so far.
    ///
    /// `None` if the answer is whole, or if the vocabulary lacks the bytes to go on, which
    /// [`Self::unsayable`] tells beforehand.
    pub fn choose(
        &self,
        state: State,
        tokenizer: &Tokenizer<'_, '_>,
        logits: &[f32],
    ) -> Option<(Token, State)> {
        let logits = || {
            let logits = logits.iter().map(|&x| if x.is_nan() { f32::NEG_INFINITY } else { x });
            (0..).zip(logits)
        };
        let (likeliest, _) = logits().reduce(|best, x| if x.1 > best.1 { x } else { best })?;
        if let Some(next) = self.allows(state, tokenizer.bytes(likeliest)) {
            return Some((likeliest, next));
        }
        // Most tokens fail with their first byte, which is found out once for each.
        let mut firsts = [None; 256];
        let mut best: Option<(f32, Token, State)> = None;
        for (token, logit) in logits() {
            if best.is_some_and(|(greatest, ..)| logit <= greatest) {
                continue;
            }
            let bytes = tokenizer.bytes(token);
            let Some(first) = bytes.clone().next() else { continue };
            let may_begin =
                firsts[usize::from(first)].get_or_insert_with(|| self.step(state, first).is_some());
            if *may_begin && let Some(next) = self.allows(state, bytes) {
                best = Some((logit, token, next));
            }
        }
        best.map(|(_, token, next)| (token, next))
    }

    /// Returns a byte that answers may need and that no token of the vocabulary says by itself, or
    /// `None` if every answer can be said. Looks at every token once.
    pub fn unsayable(&self, tokenizer: &Tokenizer<'_, '_>) -> Option<u8> {
        let mut said = [false; 256];
        for token in 0..tokenizer.n_vocab() as Token {
            let mut bytes = tokenizer.bytes(token);
            if let (Some(byte), None) = (bytes.next(), bytes.next()) {
                said[usize::from(byte)] = true;
            }
        }
        // Names, numbers and marks are ASCII. No character need be begun, but each can be ended.
        (b' '..=b'~').chain(0x80..=0xbf).find(|&byte| !said[usize::from(byte)])
    }
}
