//! Keys and values as the cache types hold them.

use super::scores::{self, QuantizedQuery};
use super::{GROUP, QueryState};
use crate::half::f16_to_f32;
use crate::kernels::args::CacheRef;
use crate::kernels::dots::KeyWords;
use crate::kernels::isa::Isa;
use crate::kernels::lanes::Lanes;
use crate::math::LANES;
use core::ops::Range;

/// One head's keys or values in some cache type.
pub(in crate::kernels) trait Cached: Copy {
    /// A query in the form that these keys are multiplied with.
    type Query<'q>;
    type Element: Element;

    /// Whether elements are integers, of which a group has a scale.
    const SCALED: bool;

    fn query(q: &[f32]) -> Self::Query<'_>;
    /// Writes to each state's `e` the unscaled scores of the `blocks` of a chunk, whose first block
    /// is `chunk`.
    fn score<I: Isa, const N: usize>(
        self,
        q: &mut [Self::Query<'_>; N],
        head_dim: usize,
        chunk: usize,
        blocks: Range<usize>,
        states: &mut [QueryState<'_>; N],
    ) -> Option<()>;
    /// Scales of a group of elements of the values of sixteen positions.
    fn value_scales<L: Lanes>(self, head_dim: usize, block: usize, group: usize) -> Option<L>;
    /// The values of some positions, row by row, not scaled.
    fn rows(&self, head_dim: usize, positions: Range<usize>) -> Option<&[Self::Element]>;
    /// Where position `t` is, or would be, give or take the fifteen that it is interleaved with.
    fn address(&self, head_dim: usize, t: usize) -> *const u8;
}

/// Block `block` of interleaved rows of `width`.
#[inline(always)]
fn block_of<T>(all: &[T], block: usize, width: usize) -> Option<&[[T; LANES]]> {
    let start = block * width * LANES;
    Some(all.get(start..start + width * LANES)?.as_chunks().0)
}

/// Something that is converted to a float by itself.
pub(in crate::kernels) trait Element: Copy {
    fn load<L: Lanes>(from: &[Self; LANES]) -> L;
    fn load_one(self) -> f32;
    /// `sums[i] = factor·from[i] + sums[i]`
    #[inline(always)]
    fn add<L: Lanes>(factor: f32, from: &[Self; LANES], sums: &mut L) {
        *sums = L::splat(factor).fma(Self::load(from), *sums);
    }
}

impl Element for u16 {
    #[inline(always)]
    fn load<L: Lanes>(from: &[u16; LANES]) -> L {
        L::load_f16(from)
    }
    #[inline(always)]
    fn load_one(self) -> f32 {
        f16_to_f32(self)
    }
    #[inline(always)]
    fn add<L: Lanes>(factor: f32, from: &[u16; LANES], sums: &mut L) {
        L::add_f16(factor, from, sums);
    }
}

impl Element for f32 {
    #[inline(always)]
    fn load<L: Lanes>(from: &[f32; LANES]) -> L {
        L::load(from)
    }
    #[inline(always)]
    fn load_one(self) -> f32 {
        self
    }
}

impl Element for i8 {
    #[inline(always)]
    fn load<L: Lanes>(from: &[i8; LANES]) -> L {
        L::load_i8(from)
    }
    #[inline(always)]
    fn load_one(self) -> f32 {
        f32::from(self)
    }
}

/// Element `i` of sixteen keys at `[i]`.
#[inline(always)]
pub(super) fn key_block<E: Element>(
    all: &[E],
    block: usize,
    head_dim: usize,
) -> Option<&[[E; LANES]]> {
    block_of(all, block, head_dim)
}

impl<E: Element> Cached for &[E] {
    type Query<'q> = &'q [f32];
    type Element = E;
    const SCALED: bool = false;

    #[inline(always)]
    fn query(q: &[f32]) -> &[f32] {
        q
    }
    #[inline(always)]
    fn score<I: Isa, const N: usize>(
        self,
        q: &mut [&[f32]; N],
        head_dim: usize,
        chunk: usize,
        blocks: Range<usize>,
        states: &mut [QueryState<'_>; N],
    ) -> Option<()> {
        scores::of_floats::<I, E, N>(q, self, head_dim, chunk, blocks, states)
    }
    #[inline(always)]
    fn value_scales<L: Lanes>(self, _: usize, _: usize, _: usize) -> Option<L> {
        Some(L::splat(1.0))
    }
    #[inline(always)]
    fn rows(&self, head_dim: usize, positions: Range<usize>) -> Option<&[E]> {
        self.get(positions.start * head_dim..positions.end * head_dim)
    }
    #[inline(always)]
    fn address(&self, head_dim: usize, t: usize) -> *const u8 {
        self.as_ptr().wrapping_add(t * head_dim).cast()
    }
}

/// Integers and their scales.
#[derive(Clone, Copy)]
pub(super) struct Q8<'a> {
    pub(super) qs: &'a [i8],
    pub(super) d: &'a [u16],
}

impl<'a> Q8<'a> {
    /// Words of four elements of sixteen keys, and the scales of their groups.
    #[inline(always)]
    pub(super) fn key_block(
        self,
        block: usize,
        head_dim: usize,
    ) -> Option<(&'a [KeyWords], &'a [[u16; LANES]])> {
        let width = head_dim.next_multiple_of(CacheRef::WORD) * LANES;
        let words = self.qs.get(block * width..(block + 1) * width)?.as_chunks().0.as_chunks().0;
        Some((words, block_of(self.d, block, head_dim.div_ceil(GROUP))?))
    }
}

impl Cached for Q8<'_> {
    type Query<'q> = QuantizedQuery<'q>;
    type Element = i8;
    const SCALED: bool = true;

    #[inline(always)]
    fn query(q: &[f32]) -> QuantizedQuery<'_> {
        QuantizedQuery::new(q)
    }
    #[inline(always)]
    fn score<I: Isa, const N: usize>(
        self,
        q: &mut [QuantizedQuery<'_>; N],
        head_dim: usize,
        chunk: usize,
        blocks: Range<usize>,
        states: &mut [QueryState<'_>; N],
    ) -> Option<()> {
        scores::of_integers::<I, N>(q, self, head_dim, chunk, blocks, states)
    }
    #[inline(always)]
    fn value_scales<L: Lanes>(self, head_dim: usize, block: usize, group: usize) -> Option<L> {
        Some(L::load_f16(block_of(self.d, block, head_dim.div_ceil(GROUP))?.get(group)?))
    }
    #[inline(always)]
    fn rows(&self, head_dim: usize, positions: Range<usize>) -> Option<&[i8]> {
        self.qs.get(positions.start * head_dim..positions.end * head_dim)
    }
    #[inline(always)]
    fn address(&self, head_dim: usize, t: usize) -> *const u8 {
        self.qs.as_ptr().wrapping_add(t * head_dim).cast()
    }
}
