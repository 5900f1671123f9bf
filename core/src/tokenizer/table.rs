//! An open-addressing index from text to number, over lent memory, that keeps no text itself.
//!
//! A slot is one `u32`: the number plus one in its low bits, so that zeroed memory is an empty
//! table, and bits of the hash in the rest, so that a probe meets a wrong text about once in
//! 2^14 slots of a 262,144-token vocabulary. Texts stay where they are in the file; the caller
//! compares them.
//!
//! A file can be made so that its texts collide. Every probe is therefore bounded: a text that
//! would lie further than [`MAX_PROBES`] from its place makes the build start again with the
//! next seed, and after [`SEEDS`] the file is refused.

use super::hash::Hash;

/// Furthest distance of an entry from its place. At the load factor used here (two thirds) an
/// honest vocabulary of 2^18 texts stays under 200.
const MAX_PROBES: usize = 1024;

/// Seeds tried before a build gives up.
pub(super) const SEEDS: u32 = 8;

/// Numbers are below this, so that at least eight bits of a slot are left for the hash.
pub(super) const MAX_ENTRIES: usize = 1 << 24;

/// What an insertion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insert {
    Done,
    /// An equal text is there already, under this number.
    Present(u32),
    /// No place within reach: build again with another seed.
    Clustered,
}

/// Returns how many slots a table of `n` entries takes.
pub(super) const fn slots_for(n: usize) -> usize {
    n + n / 2 + 1
}

/// The finished index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'b> {
    slots: &'b [u32],
    number_mask: u32,
    reach: usize,
    pub(super) seed: u32,
}

/// The index while it is filled.
#[derive(Debug)]
pub(super) struct TableBuilder<'b> {
    slots: &'b mut [u32],
    number_mask: u32,
    reach: usize,
    pub(super) seed: u32,
}

impl<'b> TableBuilder<'b> {
    /// A table for numbers below `n`; `slots` are [`slots_for`] of the entries, zeroed.
    pub(super) fn new(slots: &'b mut [u32], n: usize) -> Self {
        debug_assert!(n <= MAX_ENTRIES);
        // The largest stored value is n itself.
        let bits = usize::BITS - n.leading_zeros();
        let number_mask = 1u32.checked_shl(bits).map_or(u32::MAX, |v| v - 1);
        Self { slots, number_mask, reach: 0, seed: 0 }
    }

    /// Empties the table and moves to the next seed; false after the last one.
    pub(super) fn next_seed(&mut self) -> bool {
        self.slots.fill(0);
        self.reach = 0;
        self.seed += 1;
        self.seed < SEEDS
    }

    /// Enters `number` under `hash`, unless `same` finds an equal text on the way.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn insert(
        &mut self,
        hash: Hash,
        number: u32,
        mut same: impl FnMut(u32) -> bool,
    ) -> Insert {
        let tag = hash.tag() & !self.number_mask;
        let mut at = hash.slot(self.slots.len());
        for distance in 0..MAX_PROBES.min(self.slots.len()) {
            let Some(slot) = self.slots.get_mut(at) else { break };
            if *slot == 0 {
                *slot = tag | (number + 1);
                self.reach = self.reach.max(distance + 1);
                return Insert::Done;
            }
            if *slot & !self.number_mask == tag {
                let found = (*slot & self.number_mask).wrapping_sub(1);
                if same(found) {
                    return Insert::Present(found);
                }
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
        Insert::Clustered
    }

    pub(super) fn finish(self) -> Table<'b> {
        let Self { slots, number_mask, reach, seed } = self;
        Table { slots, number_mask, reach, seed }
    }
}

impl Table<'_> {
    /// Returns the number under `hash` whose text `same` accepts.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn find(&self, hash: Hash, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = hash.tag() & !self.number_mask;
        let mut at = hash.slot(self.slots.len());
        for _ in 0..self.reach {
            let slot = *self.slots.get(at)?;
            if slot == 0 {
                return None;
            }
            if slot & !self.number_mask == tag {
                let found = (slot & self.number_mask).wrapping_sub(1);
                if same(found) {
                    return Some(found);
                }
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::{Hash, hash_bytes};
    use super::*;
    use std::vec;

    #[test]
    fn finds_what_was_entered_and_nothing_else() {
        let n = 5000usize;
        let mut slots = vec![0; slots_for(n)];
        let mut table = TableBuilder::new(&mut slots, n);
        let text = |i: u32| (u64::from(i) * 77).to_le_bytes();
        for i in 0..n as u32 {
            let hash = hash_bytes(&text(i), table.seed);
            assert_eq!(table.insert(hash, i, |j| text(j) == text(i)), Insert::Done);
        }
        let again = hash_bytes(&text(17), table.seed);
        assert_eq!(table.insert(again, 9, |j| text(j) == text(17)), Insert::Present(17));
        let table = table.finish();
        for i in 0..2 * n as u32 {
            let found = table.find(hash_bytes(&text(i), table.seed), |j| text(j) == text(i));
            assert_eq!(found, (i < n as u32).then_some(i));
        }
    }

    #[test]
    fn colliding_texts_are_refused_in_bounded_time() {
        let n = 20_000;
        let mut slots = vec![0; slots_for(n)];
        let mut table = TableBuilder::new(&mut slots, n);
        let mut tries = 0;
        loop {
            tries += 1;
            let stuck = (0..n as u32)
                .any(|i| table.insert(Hash::from_u64(42), i, |_| false) == Insert::Clustered);
            assert!(stuck);
            if !table.next_seed() {
                break;
            }
        }
        assert_eq!(tries, SEEDS);
    }

    #[test]
    fn a_full_table_and_a_tiny_one_terminate() {
        let mut slots = vec![0; 1];
        let mut table = TableBuilder::new(&mut slots, 1);
        assert_eq!(table.insert(Hash::from_u64(1), 0, |_| false), Insert::Done);
        assert_eq!(table.insert(Hash::from_u64(2), 0, |_| false), Insert::Clustered);
        assert_eq!(table.finish().find(Hash::from_u64(3), |_| false), None);
    }
}
