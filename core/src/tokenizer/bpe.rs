//! Byte-level BPE: words are bytes, joined by the ranked merge rules of the file.

use crate::arena::Arena;
use crate::gguf::{Array, keys};

use super::TokenizerError;
use super::merge::{NEVER, Workspace};
use super::output::Output;
use super::spelling::{Merge, pair_hash};
use super::strings::{Strings, checkpoints_for};
use super::table::{Insert, Table, TableBuilder, slots_for};
use super::vocab::Vocab;

/// The merge rules and the index from a pair to its rule; a rule's number is its rank.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merges<'m, 'b> {
    strings: Strings<'m, 'b>,
    index: Table<'b>,
    /// No rule joins to more bytes than this.
    longest: usize,
}

impl<'m, 'b> Merges<'m, 'b> {
    /// Indexes the rules in memory of the plan's size.
    pub(super) fn new(
        array: &Array<'m>,
        arena: &mut Arena<'b>,
        needed: usize,
    ) -> Result<Self, TokenizerError> {
        let given = arena.left();
        let small = |_| TokenizerError::MemoryTooSmall { needed, given };
        let n = array.len();
        let checkpoints = arena.take(checkpoints_for(n)).map_err(small)?;
        let slots = arena.take(slots_for(n)).map_err(small)?;
        let strings = Strings::new(keys::TOKENIZER_MERGES, array, checkpoints)?;
        let longest = strings.iter().map(<[u8]>::len).max().unwrap_or(0);
        let index = index(&strings, TableBuilder::new(slots, n))?;
        Ok(Self { strings, index, longest })
    }

    /// Returns the rank of joining `pair[..left]` and `pair[left..]`, [`NEVER`] if no rule does.
    #[inline]
    fn rank(&self, pair: &[u8], left: usize) -> u32 {
        if pair.len() >= self.longest {
            return NEVER;
        }
        let hash = pair_hash(pair, left, self.index.seed);
        let joins = |rule| self.strings.get(rule).is_some_and(|text| Merge(text).joins(pair, left));
        self.index.find(hash, joins).unwrap_or(NEVER)
    }
}

/// Enters every rule that a text can use; of equal ones the first, which ranks lower.
fn index<'b>(
    strings: &Strings<'_, '_>,
    mut table: TableBuilder<'b>,
) -> Result<Table<'b>, TokenizerError> {
    'seeds: loop {
        for (rule, text) in (0..).zip(strings.iter()) {
            let Some(hash) = Merge(text).hash(table.seed) else { continue };
            match table.insert(hash, rule, |other| strings.get(other) == Some(text)) {
                Insert::Done | Insert::Present(_) => {}
                Insert::Clustered if table.next_seed() => continue 'seeds,
                Insert::Clustered => {
                    return Err(TokenizerError::Clustered { key: keys::TOKENIZER_MERGES });
                }
            }
        }
        return Ok(table.finish());
    }
}

/// Encodes one word.
pub(super) fn encode_word(
    vocab: &Vocab<'_, '_>,
    merges: &Merges<'_, '_>,
    ignore_merges: bool,
    word: &[u8],
    work: &mut Workspace<'_>,
    out: &mut Output<'_>,
) -> Result<(), TokenizerError> {
    if ignore_merges && let Some(token) = vocab.find_key(word) {
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
fn encode_unknown(
    vocab: &Vocab<'_, '_>,
    symbol: &[u8],
    out: &mut Output<'_>,
) -> Result<(), TokenizerError> {
    for byte in symbol.iter().filter(|byte| byte.is_ascii_graphic()) {
        if let Some(token) = vocab.find_key(core::slice::from_ref(byte)) {
            out.push(token)?;
        }
    }
    Ok(())
}
