//! Joins neighbouring symbols in order of rank: the loop that byte-level BPE and
//! SentencePiece's BPE share.
//!
//! The result is that of "find the best pair of the whole sequence, leftmost among equals, join
//! it, repeat", which is quadratic as it stands. Words are short, and are done just so; longer
//! runs use a queue with outdated entries left in it, for `n log n` on any input.
//!
//! A symbol is named by the position of its first byte. Its neighbour to the right starts where
//! it ends, so a queue entry needs no more than its rank and its position: entries whose rank
//! is not the one the position has now are outdated.

use core::mem;

use crate::arena::{Arena, ArenaError, bytes_for};

/// The rank of a pair that never joins; lower ranks join first.
pub(super) const NEVER: u32 = u32::MAX;

/// Sequences up to this many bytes are searched end to end for each join.
const SHORT: usize = 28;

/// Working memory for sequences of up to [`Workspace::capacity`] bytes.
#[derive(Debug)]
pub(super) struct Workspace<'s> {
    /// Bytes of the symbol that starts here; 0 where none does.
    len: &'s mut [u32],
    /// Start of the symbol before the one that starts here.
    prev: &'s mut [u32],
    /// Rank of joining the symbol that starts here with the next one.
    rank: &'s mut [u32],
    queue: &'s mut [u64],
}

/// Queue entries for `n` bytes: one for each pair, and room for outdated ones, so that sweeping
/// them out is paid for by the entries that filled it.
const fn queue_len(n: usize) -> usize {
    n.saturating_add(n / 4).saturating_add(8)
}

impl<'s> Workspace<'s> {
    /// Returns the bytes that [`Workspace::new`] carves for `n`.
    pub(super) const fn bytes(n: usize) -> usize {
        bytes_for::<u32>(n).saturating_mul(3).saturating_add(bytes_for::<u64>(queue_len(n)))
    }

    pub(super) fn new(arena: &mut Arena<'s>, n: usize) -> Result<Self, ArenaError> {
        Ok(Self {
            len: arena.take(n)?,
            prev: arena.take(n)?,
            rank: arena.take(n)?,
            queue: arena.take(queue_len(n))?,
        })
    }

    /// Returns the longest sequence this memory is enough for, in bytes.
    pub(super) const fn capacity(&self) -> usize {
        self.len.len()
    }

    /// Joins the symbols of `bytes` and returns them in order.
    ///
    /// `first_len` gives the bytes of the symbol that starts with a byte; `rank` that of
    /// joining `pair[..left]` with `pair[left..]`, called as `rank(pair, left)`. At most
    /// [`Self::capacity`] bytes.
    pub(super) fn merge<'t>(
        &mut self,
        bytes: &'t [u8],
        first_len: impl Fn(u8) -> usize,
        rank: impl Fn(&[u8], usize) -> u32,
    ) -> Symbols<'_, 't> {
        let n = bytes.len().min(self.capacity());
        debug_assert_eq!(n, bytes.len());
        if let (Some(len), Some(prev), Some(ranks)) =
            (self.len.get_mut(..n), self.prev.get_mut(..n), self.rank.get_mut(..n))
        {
            let mut chain = Chain { bytes, len, prev, rank: ranks };
            chain.lay(first_len, &rank);
            if n <= SHORT {
                chain.join_by_search(&rank);
            } else {
                chain.join_by_queue(self.queue, &rank);
            }
        }
        Symbols { bytes, len: self.len.get(..n).unwrap_or_default(), at: 0 }
    }
}

/// The symbols of one sequence; all slices are as long as `bytes`.
struct Chain<'w, 't> {
    bytes: &'t [u8],
    len: &'w mut [u32],
    prev: &'w mut [u32],
    rank: &'w mut [u32],
}

impl Chain<'_, '_> {
    fn lay(&mut self, first_len: impl Fn(u8) -> usize, rank: &impl Fn(&[u8], usize) -> u32) {
        self.len.fill(0);
        let (mut at, mut before) = (0, 0);
        while let Some(&lead) = self.bytes.get(at) {
            let len = first_len(lead).clamp(1, self.bytes.len() - at);
            set(self.len, at, len as u32);
            set(self.prev, at, before as u32);
            before = at;
            at += len;
        }
        at = 0;
        while at < self.bytes.len() {
            self.update(at, rank);
            at += self.step(at);
        }
    }

    /// Bytes of the symbol at `at`, never 0 so that a walk always moves on.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn step(&self, at: usize) -> usize {
        self.len.get(at).map_or(1, |&len| len.max(1) as usize)
    }

    /// Looks up the rank of the pair that starts at `at`, and returns it.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn update(&mut self, at: usize, rank: &impl Fn(&[u8], usize) -> u32) -> u32 {
        let left = self.step(at);
        let next = at + left;
        let found = match self.len.get(next) {
            Some(&right) => match self.bytes.get(at..next + right as usize) {
                Some(pair) => rank(pair, left),
                None => NEVER,
            },
            None => NEVER,
        };
        set(self.rank, at, found);
        found
    }

    /// Joins the pair that starts at `at`. The ranks of the pairs it is part of are left to do.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn join(&mut self, at: usize) {
        let next = at + self.step(at);
        let joined = self.step(at) + self.step(next);
        set(self.len, at, joined as u32);
        set(self.len, next, 0);
        set(self.prev, at + joined, at as u32);
    }

    /// The start of the symbol before `at`.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn before(&self, at: usize) -> Option<usize> {
        if at == 0 { None } else { self.prev.get(at).map(|&before| before as usize) }
    }

    fn join_by_search(&mut self, rank: &impl Fn(&[u8], usize) -> u32) {
        loop {
            let (mut best, mut best_at, mut at) = (NEVER, 0, 0);
            while let Some(&here) = self.rank.get(at) {
                if here < best {
                    (best, best_at) = (here, at);
                }
                at += self.step(at);
            }
            if best == NEVER {
                return;
            }
            self.join(best_at);
            self.update(best_at, rank);
            if let Some(before) = self.before(best_at) {
                self.update(before, rank);
            }
        }
    }

    fn join_by_queue(&mut self, memory: &mut [u64], rank: &impl Fn(&[u8], usize) -> u32) {
        let mut queue = Queue { memory, len: 0 };
        self.fill(&mut queue);
        while let Some((best, at)) = queue.pop() {
            // Only one pair at a position ever has a given rank at a given time, so an entry
            // is worth what the position says now, whichever pair it was made for.
            let alive = self.len.get(at).is_some_and(|&len| len > 0);
            if !alive || self.rank.get(at) != Some(&best) {
                continue;
            }
            self.join(at);
            let here = self.update(at, rank);
            self.enter(&mut queue, here, at);
            if let Some(before) = self.before(at) {
                let there = self.update(before, rank);
                self.enter(&mut queue, there, before);
            }
        }
    }

    /// Enters a pair; a full queue is made anew from the pairs there are, which are fewer than
    /// four fifths of it.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn enter(&self, queue: &mut Queue<'_>, rank: u32, at: usize) {
        if rank != NEVER && !queue.push(rank, at) {
            self.fill(queue);
        }
    }

    /// Empties the queue and enters every pair there is.
    fn fill(&self, queue: &mut Queue<'_>) {
        queue.len = 0;
        let mut at = 0;
        while let Some(&rank) = self.rank.get(at) {
            if rank != NEVER {
                queue.append(rank, at);
            }
            at += self.step(at);
        }
        queue.order();
    }
}

#[cfg_attr(target_pointer_width = "64", inline)]
fn set(slice: &mut [u32], at: usize, value: u32) {
    if let Some(place) = slice.get_mut(at) {
        *place = value;
    }
}

/// Children of a node of [`Queue`]: four are half a cache line, and the tree is half as deep.
const ARITY: usize = 4;

/// A heap of `rank << 32 | position`, least first: lowest rank, then leftmost.
struct Queue<'w> {
    memory: &'w mut [u64],
    len: usize,
}

impl Queue<'_> {
    /// Adds an entry without keeping order.
    fn append(&mut self, rank: u32, at: usize) -> bool {
        let Some(place) = self.memory.get_mut(self.len) else { return false };
        *place = u64::from(rank) << 32 | at as u64;
        self.len += 1;
        true
    }

    /// Makes a heap of appended entries.
    fn order(&mut self) {
        for at in (0..self.len.div_ceil(ARITY)).rev() {
            self.sink(at);
        }
    }

    /// Adds an entry; false if there is no room.
    fn push(&mut self, rank: u32, at: usize) -> bool {
        if !self.append(rank, at) {
            return false;
        }
        let Some(heap) = self.memory.get_mut(..self.len) else { return false };
        let mut child = heap.len() - 1;
        while child > 0 {
            let parent = (child - 1) / ARITY;
            match heap.get_disjoint_mut([parent, child]) {
                Ok([above, below]) if *below < *above => mem::swap(above, below),
                _ => break,
            }
            child = parent;
        }
        true
    }

    fn pop(&mut self) -> Option<(u32, usize)> {
        let last = self.len.checked_sub(1)?;
        let least = *self.memory.first()?;
        let moved = *self.memory.get(last)?;
        if let Some(first) = self.memory.first_mut() {
            *first = moved;
        }
        self.len = last;
        self.sink(0);
        Some(((least >> 32) as u32, least as u32 as usize))
    }

    fn sink(&mut self, mut parent: usize) {
        let Some(heap) = self.memory.get_mut(..self.len) else { return };
        let Some(&entry) = heap.get(parent) else { return };
        loop {
            let first = ARITY * parent + 1;
            let children = heap.get(first..heap.len().min(first + ARITY)).unwrap_or_default();
            let least = (first..).zip(children.iter().copied()).min_by_key(|&(_, child)| child);
            match (least, heap.get_mut(parent)) {
                (Some((at, child)), Some(place)) if child < entry => {
                    *place = child;
                    parent = at;
                }
                (_, place) => {
                    if let Some(place) = place {
                        *place = entry;
                    }
                    return;
                }
            }
        }
    }
}

/// The symbols left when nothing joins any more.
#[derive(Debug)]
pub(super) struct Symbols<'w, 't> {
    bytes: &'t [u8],
    len: &'w [u32],
    at: usize,
}

impl<'t> Iterator for Symbols<'_, 't> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        let len = self.len.get(self.at)?.max(&1);
        let symbol = self.bytes.get(self.at..self.at + *len as usize)?;
        self.at += symbol.len();
        Some(symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn merged(bytes: &[u8], rank: impl Fn(&[u8], usize) -> u32) -> Vec<Vec<u8>> {
        let mut memory = vec![0; Workspace::bytes(bytes.len()) + 64];
        let mut work = Workspace::new(&mut Arena::new(&mut memory), bytes.len()).unwrap();
        work.merge(bytes, |_| 1, rank).map(<[u8]>::to_vec).collect()
    }

    /// The definition: best pair, leftmost among equals, again and again.
    fn naive(bytes: &[u8], rank: impl Fn(&[u8], usize) -> u32) -> Vec<Vec<u8>> {
        let mut symbols: Vec<Vec<u8>> = bytes.iter().map(|&b| vec![b]).collect();
        loop {
            let best = (1..symbols.len())
                .map(|i| (rank(&symbols[i - 1..=i].concat(), symbols[i - 1].len()), i))
                .min();
            match best {
                Some((best, i)) if best != NEVER => {
                    let right = symbols.remove(i);
                    symbols[i - 1].extend(right);
                }
                _ => return symbols,
            }
        }
    }

    #[test]
    fn equals_the_definition_on_random_ranks() {
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u32
        };
        for round in 0..400 {
            let n = 1 + random() as usize % 150;
            let letters = 1 + random() % 4;
            let bytes: Vec<u8> = (0..n).map(|_| b'a' + (random() % letters) as u8).collect();
            let limit = 2 + round as usize % 12;
            let salt = random();
            // Few distinct ranks, so that ties are common; a bound on length, so that they end.
            let rank = |pair: &[u8], left: usize| {
                let sum = pair
                    .iter()
                    .fold(salt ^ left as u32, |h, &b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
                if pair.len() > limit || sum % 3 == 0 { NEVER } else { sum % 7 }
            };
            assert_eq!(merged(&bytes, rank), naive(&bytes, rank), "{bytes:?}");
        }
    }

    #[test]
    fn a_full_queue_is_swept_and_nothing_is_lost() {
        // Every join gives two new pairs, and all pairs rank alike.
        let bytes = vec![b'a'; 5000];
        let rank = |pair: &[u8], _: usize| if pair.len() <= 64 { 7 } else { NEVER };
        assert_eq!(merged(&bytes, rank), naive(&bytes, rank));
    }

    #[test]
    fn nothing_and_one_symbol() {
        assert!(merged(b"", |_, _| 0).is_empty());
        assert_eq!(merged(b"a", |_, _| 0), [b"a"]);
    }
}
