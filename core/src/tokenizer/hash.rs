//! A 64-bit hash of short byte strings that gives the same result fed by slice or by byte.
//!
//! Texts of the file are hashed while they are being decoded, one byte at a time; text being
//! encoded is hashed by slices, eight bytes at a time. Both see little-endian words, the last
//! one padded with zeros, and mix the length in at the end.

/// A finished hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash(u64);

impl Hash {
    #[cfg(test)]
    pub(super) const fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the slot of a table of `slots` where the search starts.
    #[inline]
    pub(super) const fn slot(self, slots: usize) -> usize {
        // The low half as a fraction of the table: no division, any table size.
        (((self.0 & 0xffff_ffff) * slots as u64) >> 32) as usize
    }

    /// Returns the half of the bits that [`Self::slot`] does not use.
    #[inline]
    pub(super) const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Returns the hash of the pair of what was hashed and `extra`.
    #[inline]
    pub(super) const fn with(self, extra: u32) -> Self {
        Self(fold(self.0 ^ extra as u64, MIX_LEN))
    }
}

// Odd numbers with well spread bits: the fractional parts of the golden ratio and of the
// square roots of 2 and 3.
const MIX_WORD: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX_LEN: u64 = 0x6a09_e667_f3bc_c909;
const MIX_SEED: u64 = 0xbb67_ae85_84ca_a73b;

/// The two halves of a 128-bit product, xored.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

#[inline]
const fn start(seed: u64) -> u64 {
    fold(seed ^ MIX_LEN, MIX_SEED)
}

/// Returns the hash of `bytes`.
#[inline]
pub(super) fn hash_bytes(bytes: &[u8], seed: u64) -> Hash {
    let mut state = start(seed);
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        state = fold(state ^ u64::from_le_bytes(*word), MIX_WORD);
        rest = after;
    }
    if !rest.is_empty() {
        state = fold(state ^ short_word(rest), MIX_WORD);
    }
    finish(state, bytes.len() as u64)
}

/// Up to seven bytes as a little-endian word padded with zeros.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // The two may overlap; the shared bytes fall on themselves.
        let shift = 8 * (bytes.len() as u32 - 4);
        u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << shift
    } else {
        bytes.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b))
    }
}

#[inline]
const fn finish(state: u64, len: u64) -> Hash {
    Hash(fold(state ^ len, MIX_LEN))
}

/// The same hash, fed one byte at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hasher {
    state: u64,
    word: u64,
    len: u64,
}

impl Hasher {
    #[inline]
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: start(seed), word: 0, len: 0 }
    }

    #[inline]
    pub(super) const fn push(&mut self, byte: u8) {
        self.word |= (byte as u64) << (8 * (self.len & 7));
        self.len += 1;
        if self.len & 7 == 0 {
            self.state = fold(self.state ^ self.word, MIX_WORD);
            self.word = 0;
        }
    }

    /// Returns how many bytes were fed.
    #[inline]
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    #[inline]
    pub(super) const fn finish(self) -> Hash {
        let state =
            if self.len & 7 == 0 { self.state } else { fold(self.state ^ self.word, MIX_WORD) };
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
