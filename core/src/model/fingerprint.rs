//! A 64-bit number that tells models apart, so that saved state is not given to another one.
//!
//! Not a cryptographic hash: it guards against mistakes, not against forgery.

use crate::gguf::Gguf;

/// Bytes taken from the start and from the end of every tensor.
const SAMPLE: usize = 64;

/// The fingerprint of a file: all of its header, samples of its tensors, and its length.
pub(super) fn of(gguf: &Gguf<'_>) -> u64 {
    let mut hash = Hash::new(gguf.bytes().len() as u64);
    hash.update(gguf.header_bytes());
    for tensor in gguf.tensors() {
        let bytes = tensor.view.bytes();
        let n = bytes.len().min(SAMPLE);
        hash.update(bytes.get(..n).unwrap_or(&[]));
        hash.update(bytes.get(bytes.len() - n..).unwrap_or(&[]));
    }
    hash.finish()
}

/// A multiply-fold hash over words of eight bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) const fn new(seed: u64) -> Self {
        Hash(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for &word in words {
            self.word(u64::from_le_bytes(word));
        }
        let mut last = [0; 8];
        for (last, &byte) in last.iter_mut().zip(rest) {
            *last = byte;
        }
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    pub(crate) const fn finish(self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    const fn word(&mut self, word: u64) {
        let product = (self.0 ^ word) as u128 * 0xA076_1D64_78BD_642F_u128;
        let folded = product as u64 ^ (product >> 64) as u64;
        // A factor of zero must not swallow what follows.
        self.0 = folded.rotate_left(23).wrapping_add(0xE703_7ED1_A0B4_28DB);
    }
}
