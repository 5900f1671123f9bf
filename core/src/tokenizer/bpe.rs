//! Byte-level BPE: words are bytes, joined by the ranked merge rules of the file.

use crate::gguf::Array;

use super::error::{Fault, Stop};
use super::merge::{NEVER, Workspace};
use super::output::Output;
use super::spelling::{Merge, pair_hash};
use super::texts::{Kind, Room, Texts};
use super::vocab::Vocab;

/// The merge rules and the index from a pair to its rule; a rule's number is its rank.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merges<'m, 'b> {
    rules: Texts<'m, 'b>,
    /// No rule joins to more bytes than this.
    longest: usize,
}

impl<'m, 'b> Merges<'m, 'b> {
    /// Indexes the rules.
    pub(super) fn new(array: &Array<'m>, room: Room<'b>) -> Result<Self, Fault> {
        let rules = Texts::new(Kind::Merges, array, room)?;
        let longest = rules.strings.iter().map(<[u8]>::len).max().unwrap_or(0);
        Ok(Self { rules, longest })
    }

    /// Returns the rank of joining `pair[..left]` and `pair[left..]`, [`NEVER`] if no rule does.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn rank(&self, pair: &[u8], left: usize) -> u32 {
        if pair.len() >= self.longest {
            return NEVER;
        }
        let hash = pair_hash(pair, left, self.rules.index.seed);
        let joins = |rule| self.rules.get(rule).is_some_and(|text| Merge(text).joins(pair, left));
        self.rules.index.find(hash, joins).unwrap_or(NEVER)
    }
}

/// Encodes one word; one that is a token and `whole` as that token, whatever its merges give.
pub(super) fn encode_word(
    vocab: &Vocab<'_, '_>,
    merges: &Merges<'_, '_>,
    whole: bool,
    word: &[u8],
    work: &mut Workspace<'_>,
    out: &mut Output<'_>,
) -> Result<(), Stop> {
    if word.len() > work.capacity() {
        return Err(Stop::ScratchTooSmall);
    }
    if whole && let Some(token) = vocab.find_key(word) {
        return out.push(token);
    }
    for symbol in work.merge(word, |_| 1, |pair, left| merges.rank(pair, left)) {
        match vocab.find_key(symbol) {
            Some(token) => out.push(token)?,
            None => encode_unknown(vocab, symbol, out)?,
        }
    }
    Ok(())
}

/// Encodes a symbol that is no token. Vocabularies that can say everything have none; of
/// others, llama.cpp keeps the printable ASCII that is a token by itself, and drops the rest.
fn encode_unknown(vocab: &Vocab<'_, '_>, symbol: &[u8], out: &mut Output<'_>) -> Result<(), Stop> {
    for byte in symbol.iter().filter(|byte| byte.is_ascii_graphic()) {
        if let Some(token) = vocab.find_key(core::slice::from_ref(byte)) {
            out.push(token)?;
        }
    }
    Ok(())
}
