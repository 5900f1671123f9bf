//! Saving what an engine has taken in, and taking it up again.
//!
//! ```text
//! offset  0   8   magic "BANTAM\x03\n", its seventh byte the version
//!         8   8   fingerprint of the model
//!        16   4   cache type: 0 f16, 1 f32, 2 q8_0
//!        20   4   n: positions
//!        24   4n  tokens
//!       ...       keys and values: per layer, keys then values, head by head, n rows each
//!                 (of q8_0 all integers, then all scales)
//!       end-8     checksum of everything before
//! ```
//! All numbers are little-endian.

use super::{Engine, EngineError};
use crate::Token;
use crate::cache::CacheType;
use crate::model::fingerprint::Hash;

const MAGIC: [u8; 8] = *b"BANTAM\x03\n";
const HEADER: usize = 24;
const CHECKSUM: usize = 8;

impl Engine<'_, '_> {
    /// Bytes that [`Engine::save`] writes now.
    pub fn state_bytes(&self) -> usize {
        HEADER + self.body_bytes(self.pos) + CHECKSUM
    }

    fn body_bytes(&self, n: usize) -> usize {
        n * size_of::<Token>() + self.cache.saved_bytes(n)
    }

    /// Writes the tokens taken in, their keys and their values to `out`; returns how many bytes.
    ///
    /// # Errors
    /// [`EngineError::StateSize`] if `out` is shorter than [`Engine::state_bytes`];
    /// [`EngineError::Busy`] while tokens are pending.
    pub fn save(&self, out: &mut [u8]) -> Result<usize, EngineError> {
        if self.end != self.pos {
            return Err(EngineError::Busy);
        }
        let needed = self.state_bytes();
        let too_small = EngineError::StateSize(needed, out.len());
        let out = out.get_mut(..needed).ok_or(too_small)?;
        let (content, checksum) = out.split_last_chunk_mut::<CHECKSUM>().ok_or(too_small)?;
        let (header, body) = content.split_first_chunk_mut::<HEADER>().ok_or(too_small)?;
        let cache_type = cache_number(self.cache.cache_type());
        let words = [
            u64::from_le_bytes(MAGIC),
            self.model.fingerprint(),
            u64::from(cache_type) | (self.pos as u64) << 32,
        ];
        for (place, word) in header.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        let (tokens, cache) = body.split_at_mut(self.pos * size_of::<Token>());
        for (place, token) in tokens.as_chunks_mut::<4>().0.iter_mut().zip(self.tokens()) {
            *place = token.to_le_bytes();
        }
        self.cache.save(self.pos, cache);
        *checksum = checksum_of(content).to_le_bytes();
        Ok(needed)
    }

    /// Takes up what [`Engine::save`] wrote; whatever was taken in before is forgotten. Logits are
    /// not part of it: give the next token to get some.
    ///
    /// # Errors
    /// [`EngineError::NotState`], [`EngineError::StateModel`], [`EngineError::StateCache`],
    /// [`EngineError::ContextFull`], [`EngineError::StateSize`] or [`EngineError::StateDamaged`];
    /// the engine is then as it was.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        let (header, _) = bytes.split_first_chunk::<HEADER>().ok_or(EngineError::NotState)?;
        let words = header.as_chunks::<8>().0;
        let [magic, fingerprint, sizes] = words else { return Err(EngineError::NotState) };
        if *magic != MAGIC {
            return Err(EngineError::NotState);
        }
        let (theirs, ours) = (u64::from_le_bytes(*fingerprint), self.model.fingerprint());
        if theirs != ours {
            return Err(EngineError::StateModel(theirs, ours));
        }
        let sizes = u64::from_le_bytes(*sizes);
        let (cache, n) = (sizes as u32, (sizes >> 32) as usize);
        let theirs = match cache {
            0 => CacheType::F16,
            1 => CacheType::F32,
            2 => CacheType::Q8_0,
            _ => return Err(EngineError::NotState),
        };
        if theirs != self.cache.cache_type() {
            return Err(EngineError::StateCache(theirs, self.cache.cache_type()));
        }
        if n > self.n_ctx() {
            return Err(EngineError::ContextFull(0, n, self.n_ctx()));
        }
        let wrong_size =
            EngineError::StateSize(HEADER + self.body_bytes(n) + CHECKSUM, bytes.len());
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(wrong_size)?;
        let body = content.get(HEADER..).ok_or(wrong_size)?;
        if body.len() != self.body_bytes(n) {
            return Err(wrong_size);
        }
        if checksum_of(content) != u64::from_le_bytes(*checksum) {
            return Err(EngineError::StateDamaged);
        }
        let (tokens, cache) = body.split_at_checked(n * size_of::<Token>()).ok_or(wrong_size)?;
        let tokens = tokens.as_chunks::<4>().0.iter().map(|&b| Token::from_le_bytes(b));
        let n_vocab = self.config().n_vocab;
        if tokens.clone().any(|token| token as usize >= n_vocab) {
            return Err(EngineError::StateDamaged);
        }
        for (place, token) in self.tokens.iter_mut().zip(tokens) {
            *place = token;
        }
        self.cache.restore(n, cache);
        self.pos = n;
        self.truncate(n)
    }
}

const fn cache_number(ty: CacheType) -> u32 {
    match ty {
        CacheType::F16 => 0,
        CacheType::F32 => 1,
        CacheType::Q8_0 => 2,
    }
}

fn checksum_of(content: &[u8]) -> u64 {
    let mut hash = Hash::new(0);
    hash.update(content);
    hash.finish()
}
