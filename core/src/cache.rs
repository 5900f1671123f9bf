//! Keys and values of every position seen, in memory that the caller lent.

use crate::arena::{Arena, ArenaError};
use crate::kernels::{CacheRef, KernelSet};
use crate::par::{Parallel, for_each_part};

/// How the cache stores keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheType {
    /// Half floats.
    #[default]
    F16,
    /// Single floats: twice the memory, for tests and references.
    F32,
}

impl CacheType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            CacheType::F16 => 2,
            CacheType::F32 => 4,
        }
    }
}

/// The cache: for each layer its keys, then its values, each head by head, position by position.
#[derive(Debug)]
pub struct KvCache<'b> {
    store: Store<'b>,
    n_ctx: usize,
    n_head_kv: usize,
    head_dim: usize,
}

#[derive(Debug)]
enum Store<'b> {
    F16(&'b mut [u16]),
    F32(&'b mut [f32]),
}

/// Keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Keys = 0,
    Values = 1,
}

impl<'b> KvCache<'b> {
    pub(crate) fn new(
        ty: CacheType,
        elements: usize,
        [n_ctx, n_head_kv, head_dim]: [usize; 3],
        arena: &mut Arena<'b>,
    ) -> Result<Self, ArenaError> {
        // Every position is written before it is read, so a long context costs memory only as it
        // fills.
        let store = match ty {
            CacheType::F16 => Store::F16(arena.take_unzeroed(elements)?),
            CacheType::F32 => Store::F32(arena.take_unzeroed(elements)?),
        };
        Ok(KvCache { store, n_ctx, n_head_kv, head_dim })
    }

    /// How elements are stored.
    pub const fn cache_type(&self) -> CacheType {
        match self.store {
            Store::F16(_) => CacheType::F16,
            Store::F32(_) => CacheType::F32,
        }
    }

    /// Elements of one head over the whole context.
    const fn head_len(&self) -> usize {
        self.n_ctx * self.head_dim
    }

    /// Where the heads of one layer's keys or values lie.
    const fn heads(&self, layer: usize, half: Half) -> core::ops::Range<usize> {
        let len = self.head_len() * self.n_head_kv;
        let start = (layer * 2 + half as usize) * len;
        start..start + len
    }

    /// One head's keys or values, position by position.
    pub(crate) fn head(&self, layer: usize, half: Half, head: usize) -> CacheRef<'_> {
        let start = self.heads(layer, half).start + head * self.head_len();
        let range = start..start + self.head_len();
        match &self.store {
            Store::F16(store) => CacheRef::F16(store.get(range).unwrap_or(&[])),
            Store::F32(store) => CacheRef::F32(store.get(range).unwrap_or(&[])),
        }
    }

    /// Stores the keys or values of positions from `first_pos` on: `rows` holds, per position,
    /// all heads.
    pub(crate) fn write(
        &mut self,
        layer: usize,
        half: Half,
        first_pos: usize,
        rows: &[f32],
        kernels: KernelSet,
        parallel: &dyn Parallel,
    ) {
        let (range, head_len, head_dim) = (self.heads(layer, half), self.head_len(), self.head_dim);
        let row_len = self.n_head_kv * head_dim;
        let head_of = |row: &'_ [f32], head: usize| -> core::ops::Range<usize> {
            let start = head * head_dim;
            start.min(row.len())..(start + head_dim).min(row.len())
        };
        match &mut self.store {
            Store::F16(store) => {
                let Some(heads) = store.get_mut(range) else { return };
                for_each_part(parallel, heads, head_len, &|_, head, part: &mut [u16]| {
                    let places = part.chunks_exact_mut(head_dim).skip(first_pos);
                    for (place, row) in places.zip(rows.chunks_exact(row_len)) {
                        kernels.store_f16(row.get(head_of(row, head)).unwrap_or(&[]), place);
                    }
                });
            }
            Store::F32(store) => {
                let Some(heads) = store.get_mut(range) else { return };
                for_each_part(parallel, heads, head_len, &|_, head, part: &mut [f32]| {
                    let places = part.chunks_exact_mut(head_dim).skip(first_pos);
                    for (place, row) in places.zip(rows.chunks_exact(row_len)) {
                        place.copy_from_slice(row.get(head_of(row, head)).unwrap_or(&[]));
                    }
                });
            }
        }
    }

    /// Bytes that `n` positions take when saved.
    pub(crate) fn saved_bytes(&self, n_layer: usize, n: usize) -> usize {
        n_layer * 2 * self.n_head_kv * n * self.head_dim * self.cache_type().bytes()
    }

    /// Writes the first `n` positions of every head, little-endian; `out` has `saved_bytes`.
    pub(crate) fn save(&self, n: usize, out: &mut [u8]) {
        let (head_len, len) = (self.head_len().max(1), n * self.head_dim);
        match &self.store {
            Store::F16(store) => {
                let values = store.chunks_exact(head_len).flat_map(|head| head.iter().take(len));
                for (out, v) in out.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                    *out = v.to_le_bytes();
                }
            }
            Store::F32(store) => {
                let values = store.chunks_exact(head_len).flat_map(|head| head.iter().take(len));
                for (out, v) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                    *out = v.to_le_bytes();
                }
            }
        }
    }

    /// Reads back what [`KvCache::save`] wrote for `n` positions.
    pub(crate) fn restore(&mut self, n: usize, bytes: &[u8]) {
        let (head_len, len) = (self.head_len().max(1), n * self.head_dim);
        match &mut self.store {
            Store::F16(store) => {
                let places = store.chunks_exact_mut(head_len).flat_map(|h| h.iter_mut().take(len));
                for (place, &v) in places.zip(bytes.as_chunks::<2>().0) {
                    *place = u16::from_le_bytes(v);
                }
            }
            Store::F32(store) => {
                let places = store.chunks_exact_mut(head_len).flat_map(|h| h.iter_mut().take(len));
                for (place, &v) in places.zip(bytes.as_chunks::<4>().0) {
                    *place = f32::from_le_bytes(v);
                }
            }
        }
    }
}
