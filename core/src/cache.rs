//! Keys and values of every position seen, in memory that the caller lent.

use crate::arena::{Arena, ArenaError, Plain, bytes_for};
use crate::kernels::{CacheRef, KernelSet};
use crate::par::{Parallel, Serial, for_each_part};

/// How the cache stores keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheType {
    /// Half floats.
    #[default]
    F16,
    /// Single floats: twice the memory, for tests and references.
    F32,
    /// Integers of 8 bits with a half float's scale for each 32: 0.53 of the memory.
    ///
    /// Mean KL divergence from the logits with `F32`, over the ten prompts of
    /// `fixtures/reference/prompts`: 5.4e-3 nats on SmolLM2-135M Q4_1 and 5.3e-3 on Gemma 3 270M
    /// Q4_K_M, where `F16` has 3.8e-3 and 3.7e-3. Most of either is chance: any difference,
    /// however small, soon rounds other activations to 8 bits differently.
    Q8_0,
}

impl CacheType {
    /// Whether this build has code for it: the cargo features `cache_f16`, `cache_f32` and
    /// `cache_q8_0`.
    pub const fn is_built_in(self) -> bool {
        match self {
            CacheType::F16 => cfg!(feature = "cache_f16"),
            CacheType::F32 => cfg!(feature = "cache_f32"),
            CacheType::Q8_0 => cfg!(feature = "cache_q8_0"),
        }
    }
}

const LANES: usize = CacheRef::LANES;
const GROUP: usize = CacheRef::GROUP;
const WORD: usize = CacheRef::WORD;
/// Values converted at a time, on the stack.
const PART: usize = 64;
/// Values of a batch below which the workers are not woken.
const MIN_VALUES: usize = 1 << 12;

/// The cache's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheShape {
    pub ty: CacheType,
    pub n_layer: usize,
    pub n_head_kv: usize,
    pub head_dim: usize,
    pub n_ctx: usize,
}

impl CacheShape {
    /// Bytes that a cache of this shape takes in an arena; saturates instead of overflowing.
    pub(crate) const fn bytes(&self) -> usize {
        match self.ty {
            CacheType::F16 => bytes_for::<u16>(self.len(self.head_dim)),
            CacheType::F32 => bytes_for::<f32>(self.len(self.head_dim)),
            CacheType::Q8_0 => {
                bytes_for::<i8>(self.len(self.words()))
                    .saturating_add(bytes_for::<u16>(self.len(self.groups())))
            }
        }
    }

    /// Integers of one key or value, in whole words.
    const fn words(&self) -> usize {
        self.head_dim.next_multiple_of(WORD)
    }

    /// Scales of one key or value.
    const fn groups(&self) -> usize {
        self.head_dim.div_ceil(GROUP)
    }

    /// Positions that there is room for: whole blocks of keys.
    const fn rows(&self) -> usize {
        self.n_ctx.next_multiple_of(LANES)
    }

    /// Values in all, of `width` per position and head.
    #[inline(never)]
    const fn len(&self, width: usize) -> usize {
        let per_layer = self.rows().saturating_mul(self.n_head_kv).saturating_mul(width);
        per_layer.saturating_mul(2).saturating_mul(self.n_layer)
    }
}

/// The cache: for each layer its keys, then its values, each head by head.
#[derive(Debug)]
pub struct KvCache<'b> {
    shape: CacheShape,
    store: Store<'b>,
}

#[derive(Debug)]
enum Store<'b> {
    F16(Plane<'b, u16>),
    F32(Plane<'b, f32>),
    Q8_0 { qs: Plane<'b, i8>, d: Plane<'b, u16> },
}

/// Keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Keys = 0,
    Values = 1,
}

impl<'b> KvCache<'b> {
    pub(crate) fn new(shape: CacheShape, arena: &mut Arena<'b>) -> Result<Self, ArenaError> {
        let store = match shape.ty {
            CacheType::F16 => Store::F16(Plane::of_elements(&shape, arena)?),
            CacheType::F32 => Store::F32(Plane::of_elements(&shape, arena)?),
            CacheType::Q8_0 => Store::Q8_0 {
                qs: Plane::of_integers(&shape, arena)?,
                d: Plane::of_scales(&shape, arena)?,
            },
        };
        Ok(KvCache { shape, store })
    }

    /// How elements are stored.
    pub const fn cache_type(&self) -> CacheType {
        self.shape.ty
    }

    /// One head's keys or values.
    pub(crate) fn head(&self, layer: usize, half: Half, head: usize) -> CacheRef<'_> {
        match &self.store {
            Store::F16(plane) => CacheRef::F16(plane.head(layer, half, head)),
            Store::F32(plane) => CacheRef::F32(plane.head(layer, half, head)),
            Store::Q8_0 { qs, d } => {
                CacheRef::Q8_0 { qs: qs.head(layer, half, head), d: d.head(layer, half, head) }
            }
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
        let CacheShape { n_head_kv, head_dim, .. } = self.shape;
        let parallel = if rows.len() < MIN_VALUES { &Serial } else { parallel };
        let row_len = (n_head_kv * head_dim).max(1);
        let head_row = |row: usize, head: usize| {
            let start = row * row_len + head * head_dim;
            rows.get(start..start + head_dim).unwrap_or(&[])
        };
        let positions = 0..rows.len() / row_len;
        // What is not built in has no code here, which the compiler cannot see by itself.
        match &mut self.store {
            Store::F16(plane) if cfg!(feature = "cache_f16") => {
                plane.each_head(layer, half, parallel, &|head, places| {
                    for row in positions.clone() {
                        let mut half_floats = [0; PART];
                        for (i, x) in head_row(row, head).chunks(PART).enumerate() {
                            let part = half_floats.split_at_mut(x.len()).0;
                            kernels.store_f16(x, part);
                            places.put(first_pos + row, i * PART, part);
                        }
                    }
                });
            }
            Store::F32(plane) if cfg!(feature = "cache_f32") => {
                plane.each_head(layer, half, parallel, &|head, places| {
                    for row in positions.clone() {
                        places.put(first_pos + row, 0, head_row(row, head));
                    }
                });
            }
            Store::Q8_0 { qs, d } if cfg!(feature = "cache_q8_0") => {
                for head in 0..n_head_kv {
                    let (mut qs, mut d) =
                        (qs.head_mut(layer, half, head), d.head_mut(layer, half, head));
                    for row in positions.clone() {
                        let (mut integers, mut scales) = ([0; PART], [0; PART / GROUP]);
                        for (i, x) in head_row(row, head).chunks(PART).enumerate() {
                            let integers = integers.split_at_mut(x.len()).0;
                            let scales = scales.split_at_mut(x.len().div_ceil(GROUP)).0;
                            kernels.store_q8_0(x, integers, scales);
                            qs.put(first_pos + row, i * PART, integers);
                            d.put(first_pos + row, i * (PART / GROUP), scales);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Bytes that `n` positions take when saved.
    pub(crate) fn saved_bytes(&self, n: usize) -> usize {
        match &self.store {
            Store::F16(plane) => plane.saved_bytes(n),
            Store::F32(plane) => plane.saved_bytes(n),
            Store::Q8_0 { qs, d } => qs.saved_bytes(n) + d.saved_bytes(n),
        }
    }

    /// Writes the first `n` positions of every head, little-endian; `out` has `saved_bytes`.
    pub(crate) fn save(&self, n: usize, out: &mut [u8]) {
        match &self.store {
            Store::F16(plane) => plane.save(n, out),
            Store::F32(plane) => plane.save(n, out),
            Store::Q8_0 { qs, d } => {
                let (out_qs, out_d) = out.split_at_mut(qs.saved_bytes(n).min(out.len()));
                qs.save(n, out_qs);
                d.save(n, out_d);
            }
        }
    }

    /// Reads back what [`KvCache::save`] wrote for `n` positions.
    pub(crate) fn restore(&mut self, n: usize, bytes: &[u8]) {
        match &mut self.store {
            Store::F16(plane) => plane.restore(n, bytes),
            Store::F32(plane) => plane.restore(n, bytes),
            Store::Q8_0 { qs, d } => {
                let (bytes_qs, bytes_d) = bytes.split_at(qs.saved_bytes(n).min(bytes.len()));
                qs.restore(n, bytes_qs);
                d.restore(n, bytes_d);
            }
        }
    }
}

/// Something stored by position: elements, or the scales of quantized ones.
trait Stored: Plain {
    const BYTES: usize;
    fn to_bytes(self, out: &mut [u8]);
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! stored {
    ($($t:ty),*) => {$(
        impl Stored for $t {
            const BYTES: usize = size_of::<$t>();
            fn to_bytes(self, out: &mut [u8]) {
                if let Some(out) = out.first_chunk_mut() {
                    *out = self.to_le_bytes();
                }
            }
            fn from_bytes(bytes: &[u8]) -> Self {
                bytes.first_chunk().map_or(Self::default(), |&bytes| Self::from_le_bytes(bytes))
            }
        }
    )*};
}
stored!(i8, u16, f32);

/// `width` stored values for each layer, half, head and position, laid out as [`CacheRef`] says.
#[derive(Debug)]
struct Plane<'b, T> {
    values: &'b mut [T],
    order: [Order; 2],
    width: usize,
    /// Values that a position has room for.
    room: usize,
    rows: usize,
    n_head_kv: usize,
}

/// How positions lie in a head.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// One after another.
    Rows,
    /// Sixteen side by side.
    Lanes,
    /// Words of four elements of sixteen side by side.
    Words,
}

impl Order {
    /// Where element `i` of a position lies in a head of rows of `width`.
    const fn index(self, width: usize, pos: usize, i: usize) -> usize {
        match self {
            Order::Rows => pos * width + i,
            Order::Lanes => (pos / LANES * width + i) * LANES + pos % LANES,
            Order::Words => {
                let word = pos / LANES * width.div_ceil(WORD) + i / WORD;
                (word * LANES + pos % LANES) * WORD + i % WORD
            }
        }
    }
}

/// One head's part of a plane, to be written.
struct Places<'p, T> {
    values: &'p mut [T],
    order: Order,
    width: usize,
}

impl<'b, T: Stored + Default + Send> Plane<'b, T> {
    fn of_elements(shape: &CacheShape, arena: &mut Arena<'b>) -> Result<Self, ArenaError> {
        Self::new(shape, [shape.head_dim; 2], [Order::Lanes, Order::Rows], arena)
    }

    fn of_integers(shape: &CacheShape, arena: &mut Arena<'b>) -> Result<Self, ArenaError> {
        let widths = [shape.head_dim, shape.words()];
        Self::new(shape, widths, [Order::Words, Order::Rows], arena)
    }

    fn of_scales(shape: &CacheShape, arena: &mut Arena<'b>) -> Result<Self, ArenaError> {
        Self::new(shape, [shape.groups(); 2], [Order::Lanes; 2], arena)
    }

    fn new(
        shape: &CacheShape,
        [width, room]: [usize; 2],
        order: [Order; 2],
        arena: &mut Arena<'b>,
    ) -> Result<Self, ArenaError> {
        // Every position counts only once it was written, so a long context costs memory only as
        // it fills.
        let values = arena.take_unzeroed(shape.len(room))?;
        Ok(Plane { values, order, width, room, rows: shape.rows(), n_head_kv: shape.n_head_kv })
    }

    const fn head_len(&self) -> usize {
        self.rows * self.room
    }

    /// Where one head's keys or values begin.
    const fn start(&self, layer: usize, half: Half, head: usize) -> usize {
        ((layer * 2 + half as usize) * self.n_head_kv + head) * self.head_len()
    }

    fn head(&self, layer: usize, half: Half, head: usize) -> &[T] {
        let start = self.start(layer, half, head);
        self.values.get(start..start + self.head_len()).unwrap_or(&[])
    }

    fn head_mut(&mut self, layer: usize, half: Half, head: usize) -> Places<'_, T> {
        let (start, len, width) = (self.start(layer, half, head), self.head_len(), self.width);
        let values = self.values.get_mut(start..start + len).unwrap_or_default();
        Places { values, order: self.order[half as usize], width }
    }

    /// Calls `f` for each head of one layer's keys or values.
    fn each_head(
        &mut self,
        layer: usize,
        half: Half,
        parallel: &dyn Parallel,
        f: &(dyn Fn(usize, &mut Places<'_, T>) + Sync),
    ) {
        let (start, len, width) = (self.start(layer, half, 0), self.head_len(), self.width);
        let order = self.order[half as usize];
        let heads = self.values.get_mut(start..start + self.n_head_kv * len).unwrap_or_default();
        for_each_part(parallel, heads, len, &|_, head, values: &mut [T]| {
            f(head, &mut Places { values, order, width });
        });
    }

    fn saved_bytes(&self, n: usize) -> usize {
        self.values.len() / self.head_len().max(1) * n * self.width * T::BYTES
    }

    /// Half, and index in the plane, of every value of the first `n` positions in saving order: row
    /// by row in both halves.
    fn saved_order(&self, n: usize) -> impl Iterator<Item = usize> + use<T> {
        let (order, width) = (self.order, self.width);
        let (head_len, n_head_kv) = (self.head_len(), self.n_head_kv);
        let n_heads = self.values.len() / head_len.max(1);
        (0..n_heads).flat_map(move |head| {
            let order = order[head / n_head_kv.max(1) % 2];
            (0..n).flat_map(move |pos| {
                (0..width).map(move |i| head * head_len + order.index(width, pos, i))
            })
        })
    }

    fn save(&self, n: usize, out: &mut [u8]) {
        for (out, i) in out.chunks_exact_mut(T::BYTES).zip(self.saved_order(n)) {
            self.values.get(i).copied().unwrap_or_default().to_bytes(out);
        }
    }

    fn restore(&mut self, n: usize, bytes: &[u8]) {
        for (bytes, i) in bytes.chunks_exact(T::BYTES).zip(self.saved_order(n)) {
            if let Some(place) = self.values.get_mut(i) {
                *place = T::from_bytes(bytes);
            }
        }
    }
}

impl<T: Copy> Places<'_, T> {
    /// Stores elements of a position from `i` on, with which a word begins.
    fn put(&mut self, pos: usize, i: usize, values: &[T]) {
        let first = self.order.index(self.width, pos, i);
        let places = self.values.get_mut(first..).unwrap_or_default();
        match self.order {
            Order::Rows => {
                if let Some(places) = places.get_mut(..values.len()) {
                    places.copy_from_slice(values);
                }
            }
            Order::Lanes => {
                for (place, &value) in places.iter_mut().step_by(LANES).zip(values) {
                    *place = value;
                }
            }
            Order::Words => {
                for (word, values) in places.chunks_mut(LANES * WORD).zip(values.chunks(WORD)) {
                    for (place, &value) in word.iter_mut().zip(values) {
                        *place = value;
                    }
                }
            }
        }
    }
}
