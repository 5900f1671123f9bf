//! An array of texts, searched by what they stand for: the vocabulary's tokens, or merge rules.

use crate::arena::{Arena, ArenaError};
use crate::gguf::Array;

use super::error::Fault;
use super::hash::Hash;
use super::meta::{MERGES, TOKENS};
use super::spelling::{Merge, Spelling};
use super::strings::{Strings, checkpoints_for};
use super::table::{Insert, Table, TableBuilder, slots_for};

/// What the texts are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Tokens(Spelling),
    Merges,
}

impl Kind {
    /// Returns the hash to enter a text under; `None` for one that no text can use.
    fn hash(self, text: &[u8], seed: u32) -> Option<Hash> {
        match self {
            Self::Tokens(_) if text.is_empty() => None,
            Self::Tokens(spelling) => Some(spelling.hash_stored(text, seed)),
            Self::Merges => Merge(text).hash(seed),
        }
    }
}

/// Texts by number, and numbers by hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts<'m, 'b> {
    pub(super) strings: Strings<'m, 'b>,
    pub(super) index: Table<'b>,
}

/// Memory for [`Texts`].
#[derive(Debug)]
pub(super) struct Room<'b> {
    checkpoints: &'b mut [u32],
    slots: &'b mut [u32],
}

impl<'b> Room<'b> {
    /// Takes memory for `n` texts.
    pub(super) fn new(arena: &mut Arena<'b>, n: usize) -> Result<Self, ArenaError> {
        let checkpoints = arena.take(checkpoints_for(n))?;
        Ok(Self { checkpoints, slots: arena.take(slots_for(n))? })
    }
}

impl<'m, 'b> Texts<'m, 'b> {
    /// Indexes every text that another can use. Of equal merge rules that is the first, which ranks
    /// lower; tokens must differ.
    pub(super) fn new(kind: Kind, array: &Array<'m>, room: Room<'b>) -> Result<Self, Fault> {
        let key = match kind {
            Kind::Tokens(_) => &TOKENS,
            Kind::Merges => &MERGES,
        };
        let strings = Strings::new(key, array, room.checkpoints)?;
        let mut table = TableBuilder::new(room.slots, strings.len());
        'seeds: loop {
            for (number, text) in (0..).zip(strings.iter()) {
                let Some(hash) = kind.hash(text, table.seed) else { continue };
                match table.insert(hash, number, |other| strings.get(other) == Some(text)) {
                    Insert::Present(first) if matches!(kind, Kind::Tokens(_)) => {
                        return Err(Fault::DuplicateToken { first, second: number });
                    }
                    Insert::Done | Insert::Present(_) => {}
                    Insert::Clustered if table.next_seed() => continue 'seeds,
                    Insert::Clustered => return Err(Fault::Clustered(key)),
                }
            }
            return Ok(Self { strings, index: table.finish() });
        }
    }

    /// Returns the text of a number.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn get(&self, number: u32) -> Option<&'m [u8]> {
        self.strings.get(number)
    }
}
