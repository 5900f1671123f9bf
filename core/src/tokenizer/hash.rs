//! A 64-bit hash of short byte strings that gives the same result fed by slice or by byte.
//!
//! Texts of the file are hashed while they are being decoded, one byte at a time; text being
//! encoded is hashed by slices, four bytes at a time. Both see little-endian words, the last
//! one padded with zeros, and mix the length in at the end. A word takes one product of 32 by 32
//! bits, which microcontrollers have an instruction for.

/// A finished hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash(u64);

impl Hash {
    #[cfg(test)]
    pub(super) const fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the slot of a table of `slots` where the search starts.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) const fn slot(self, slots: usize) -> usize {
        // The low half as a fraction of the table: no division, any table size.
        (((self.0 & 0xffff_ffff) * slots as u64) >> 32) as usize
    }

    /// Returns the half of the bits that [`Self::slot`] does not use.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Returns the hash of the pair of what was hashed and `extra`.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) const fn with(self, extra: u32) -> Self {
        Self(mix(self.0, extra))
    }
}

// Numbers with well spread bits: the fractional parts of the square root of 2 and of the golden
// ratio.
const START: u64 = 0x6a09_e667_f3bc_c909;
const MIX: u32 = 0x9e37_79b9;

/// Takes a word in: the low half times [`MIX`], plus the high half, which never overflows.
#[cfg_attr(target_pointer_width = "64", inline)]
const fn mix(state: u64, word: u32) -> u64 {
    (state as u32 ^ word) as u64 * MIX as u64 + (state >> 32)
}

/// Returns the hash of `bytes`.
#[cfg_attr(target_pointer_width = "64", inline)]
pub(super) fn hash_bytes(bytes: &[u8], seed: u32) -> Hash {
    let mut state = mix(START, seed);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        state = mix(state, u32::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        state = mix(
            state,
            match bytes.last_chunk::<4>() {
                Some(last) => u32::from_le_bytes(*last) >> (32 - 8 * rest.len()),
                None => rest.iter().rev().fold(0, |word, &b| word << 8 | u32::from(b)),
            },
        );
    }
    finish(state, bytes.len())
}

#[cfg_attr(target_pointer_width = "64", inline)]
const fn finish(state: u64, len: usize) -> Hash {
    Hash(mix(state, len as u32))
}

/// The same hash, fed one byte at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hasher {
    state: u64,
    word: u32,
    len: usize,
}

impl Hasher {
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) const fn new(seed: u32) -> Self {
        Self { state: mix(START, seed), word: 0, len: 0 }
    }

    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) const fn push(&mut self, byte: u8) {
        self.word |= (byte as u32) << (8 * (self.len & 3));
        self.len += 1;
        if self.len & 3 == 0 {
            self.state = mix(self.state, self.word);
            self.word = 0;
        }
    }

    /// Returns how many bytes were fed.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) const fn finish(self) -> Hash {
        let state = if self.len & 3 == 0 { self.state } else { mix(self.state, self.word) };
        finish(state, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::vec::Vec;

    #[test]
    fn bytes_and_slices_agree() {
        let bytes: Vec<u8> = (0..70u8).map(|i| i.wrapping_mul(37)).collect();
        for len in 0..bytes.len() {
            let mut hasher = Hasher::new(3);
            bytes[..len].iter().for_each(|&b| hasher.push(b));
            assert_eq!(hasher.finish(), hash_bytes(&bytes[..len], 3), "length {len}");
        }
    }

    #[test]
    fn short_texts_do_not_collide() {
        let mut seen = HashSet::new();
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                assert!(seen.insert(hash_bytes(&[a, b], 0).0));
                assert!(seen.insert(hash_bytes(&[a, b, 0], 0).0));
            }
        }
        assert_ne!(hash_bytes(b"ab", 0), hash_bytes(b"ab", 1));
        assert_ne!(hash_bytes(b"ab", 0).with(1), hash_bytes(b"ab", 0).with(2));
    }
}
