//! Attention of queries over one head's keys and values (numerics, section 8).
//!
//! A lane is a position where scores are made and an element where values are added up, so that
//! nothing is folded per score. Up to [`Isa::QUERIES`] queries go through the positions together, and
//! each key and value is loaded and converted once for all of them; their arithmetic does not meet.

use core::ops::Range;

use crate::half::f16_to_f32;
use crate::kernels::args::{Attend, CacheRef};
use crate::kernels::isa::{Isa, Outlined};
use crate::kernels::lanes::Lanes;
use crate::math::{Float, LANES, canonical, exp, fma, fold_lanes, soft_cap};

const GROUP: usize = CacheRef::GROUP;
/// Positions per chunk; chunks begin at its multiples.
const CHUNK: usize = 64;
/// Sixteen positions each, as keys are interleaved.
const BLOCKS: usize = CHUNK / LANES;

/// One query's scores of a chunk, then their exponentials.
type Scores = [[f32; LANES]; BLOCKS];

/// One head's keys or values in some cache type.
pub(in crate::kernels) trait Cached: Copy {
    /// Keys of sixteen positions, `head_dim` times sixteen lanes.
    type Block: Copy;

    /// Whether elements are integers, of which a group has a scale.
    const SCALED: bool;

    fn block(self, block: usize, head_dim: usize) -> Option<Self::Block>;
    /// Element `i` of each key, not scaled.
    fn key<L: Lanes>(block: Self::Block, i: usize) -> L;
    /// Scales of a group of elements of the keys, or of values, of sixteen positions.
    fn key_scales<L: Lanes>(block: Self::Block, group: usize) -> L;
    fn value_scales<L: Lanes>(self, head_dim: usize, block: usize, group: usize) -> Option<L>;
    /// Elements from `i` on of the value of position `t`, not scaled; `i` is a multiple of `P`
    /// times sixteen.
    #[inline(always)]
    fn value<L: Lanes, const P: usize>(
        self,
        head_dim: usize,
        t: usize,
        i: usize,
    ) -> Option<[L; P]> {
        let at = t * head_dim + i;
        if at + P * LANES > self.n_values() {
            return None;
        }
        // SAFETY: they are there.
        Some(unsafe { self.value_at(at) })
    }
    /// As [`Cached::value`], `at` being the place among the elements of all values.
    ///
    /// # Safety
    /// The elements must be there.
    unsafe fn value_at<L: Lanes, const P: usize>(self, at: usize) -> [L; P];
    /// How many elements all values have.
    fn n_values(self) -> usize;
    /// Element `i` of the value of position `t`, not scaled.
    fn value_of(self, head_dim: usize, t: usize, i: usize) -> Option<f32>;
    /// Asks for as many bytes as the key of position `t` has, about where it lies: interleaved,
    /// sixteen of these are those of sixteen keys.
    fn prefetch_key<I: Isa>(self, head_dim: usize, t: usize);
}

/// Asks for row `t` of rows of `width`, if it is there.
#[inline(always)]
fn prefetch_row<I: Isa, T>(all: &[T], width: usize, t: usize) {
    const LINE: usize = 64;
    if let Some(row) = all.get(t * width..(t + 1) * width) {
        for byte in (0..size_of_val(row)).step_by(LINE) {
            I::prefetch(row.as_ptr().cast::<u8>().wrapping_add(byte));
        }
    }
}

/// Block `block` of interleaved rows of `width`.
#[inline(always)]
fn block_of<T>(all: &[T], block: usize, width: usize) -> Option<&[[T; LANES]]> {
    let start = block * width * LANES;
    Some(all.get(start..start + width * LANES)?.as_chunks().0)
}

/// A cache type whose elements are converted by themselves.
trait Element: Copy {
    fn load<L: Lanes>(from: &[Self; LANES]) -> L;
    fn load_one(self) -> f32;
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

impl<'a, E: Element> Cached for &'a [E] {
    type Block = &'a [[E; LANES]];
    const SCALED: bool = false;

    #[inline(always)]
    fn block(self, block: usize, head_dim: usize) -> Option<Self::Block> {
        block_of(self, block, head_dim)
    }
    #[inline(always)]
    fn key<L: Lanes>(block: Self::Block, i: usize) -> L {
        E::load(&block[i])
    }
    #[inline(always)]
    fn key_scales<L: Lanes>(_: Self::Block, _: usize) -> L {
        L::splat(1.0)
    }
    #[inline(always)]
    fn value_scales<L: Lanes>(self, _: usize, _: usize, _: usize) -> Option<L> {
        Some(L::splat(1.0))
    }
    #[inline(always)]
    unsafe fn value_at<L: Lanes, const P: usize>(self, at: usize) -> [L; P] {
        // SAFETY: the caller's promise.
        let values = unsafe { self.get_unchecked(at..at + P * LANES) };
        let mut out = [L::splat(0.0); P];
        for (out, values) in out.iter_mut().zip(values.as_chunks().0) {
            *out = E::load(values);
        }
        out
    }
    #[inline(always)]
    fn n_values(self) -> usize {
        self.len()
    }
    #[inline(always)]
    fn prefetch_key<I: Isa>(self, head_dim: usize, t: usize) {
        prefetch_row::<I, E>(self, head_dim, t);
    }
    #[inline(always)]
    fn value_of(self, head_dim: usize, t: usize, i: usize) -> Option<f32> {
        Some(self.get(t * head_dim + i)?.load_one())
    }
}

/// Integers and their scales.
#[derive(Clone, Copy)]
struct Q8<'a> {
    qs: &'a [i8],
    d: &'a [u16],
}

impl<'a> Cached for Q8<'a> {
    type Block = (&'a [[i8; LANES]], &'a [[u16; LANES]]);
    const SCALED: bool = true;

    #[inline(always)]
    fn block(self, block: usize, head_dim: usize) -> Option<Self::Block> {
        let d = block_of(self.d, block, head_dim.div_ceil(GROUP))?;
        Some((block_of(self.qs, block, head_dim)?, d))
    }
    #[inline(always)]
    fn key<L: Lanes>((qs, _): Self::Block, i: usize) -> L {
        L::load_i8(&qs[i])
    }
    #[inline(always)]
    fn key_scales<L: Lanes>((_, d): Self::Block, group: usize) -> L {
        d.get(group).map_or(L::splat(0.0), L::load_f16)
    }
    #[inline(always)]
    fn value_scales<L: Lanes>(self, head_dim: usize, block: usize, group: usize) -> Option<L> {
        Some(L::load_f16(block_of(self.d, block, head_dim.div_ceil(GROUP))?.get(group)?))
    }
    #[inline(always)]
    unsafe fn value_at<L: Lanes, const P: usize>(self, at: usize) -> [L; P] {
        // SAFETY: the caller's promise.
        let values = unsafe { self.qs.get_unchecked(at..at + P * LANES) };
        let mut out = [L::splat(0.0); P];
        for (out, values) in out.iter_mut().zip(values.as_chunks().0) {
            *out = L::load_i8(values);
        }
        out
    }
    #[inline(always)]
    fn n_values(self) -> usize {
        self.qs.len()
    }
    #[inline(always)]
    fn value_of(self, head_dim: usize, t: usize, i: usize) -> Option<f32> {
        Some(f32::from(*self.qs.get(t * head_dim + i)?))
    }
    #[inline(always)]
    fn prefetch_key<I: Isa>(self, head_dim: usize, t: usize) {
        prefetch_row::<I, i8>(self.qs, head_dim, t);
    }
}

/// What one query has gathered so far.
pub(in crate::kernels) struct QueryState<'o> {
    /// Scores of the current chunk, then their weights.
    e: Scores,
    /// The greatest score.
    max: f32,
    /// Sums of weights, by position modulo sixteen.
    total: [f32; LANES],
    /// Sums of values.
    out: &'o mut [f32],
}

/// Some positions of the chunk that begins at `start`, counted from there.
#[derive(Clone)]
pub(in crate::kernels) struct Slice {
    head_dim: usize,
    start: usize,
    lanes: Range<usize>,
}

/// # Safety
/// The CPU must have the set's features, and nobody else may access the outputs of the queries
/// that `a` names.
#[inline(always)]
pub(in crate::kernels) unsafe fn attend<I: Isa, O: Outlined>(a: &Attend<'_>) {
    // SAFETY: passed on to the caller, in every arm.
    unsafe {
        match (a.keys, a.values) {
            (CacheRef::F16(keys), CacheRef::F16(values)) => queries::<I, O, _>(a, keys, values),
            (CacheRef::F32(keys), CacheRef::F32(values)) => queries::<I, O, _>(a, keys, values),
            (CacheRef::Q8_0 { qs: k, d: dk }, CacheRef::Q8_0 { qs: v, d: dv }) => {
                queries::<I, O, _>(a, Q8 { qs: k, d: dk }, Q8 { qs: v, d: dv });
            }
            // A cache has one type; there is nothing to attend to in two.
            _ => {}
        }
    }
}

/// # Safety
/// As [`attend`].
#[inline(always)]
unsafe fn queries<I: Isa, O: Outlined, C: Cached>(a: &Attend<'_>, keys: C, values: C) {
    let mut query = a.queries.start;
    while query < a.queries.end {
        let n = (a.queries.end - query).min(I::QUERIES).min(I::ACCUMULATORS).max(1);
        // SAFETY: passed on to the caller; `n` queries from here are among those that `a` names.
        unsafe {
            // A set with few registers is spared the code for more queries than it can hold.
            if const { I::ACCUMULATORS < 2 } {
                O::tile::<C, 1>(a, keys, values, query);
            } else {
                match n {
                    2 => O::tile::<C, 2>(a, keys, values, query),
                    3 => O::tile::<C, 3>(a, keys, values, query),
                    4 => O::tile::<C, 4>(a, keys, values, query),
                    5 => O::tile::<C, 5>(a, keys, values, query),
                    6 => O::tile::<C, 6>(a, keys, values, query),
                    _ => O::tile::<C, 1>(a, keys, values, query),
                }
            }
        }
        query += n;
    }
}

/// `N` queries from `query` on.
///
/// # Safety
/// As [`attend`].
#[inline(always)]
pub(in crate::kernels) unsafe fn tile<I: Isa, O: Outlined, C: Cached, const N: usize>(
    a: &Attend<'_>,
    keys: C,
    values: C,
    query: usize,
) {
    let head_dim = a.shape.head_dim;
    let mut states: [QueryState<'_>; N] = core::array::from_fn(|n| QueryState {
        e: [[0.0; LANES]; BLOCKS],
        max: f32::NEG_INFINITY,
        total: [0.0; LANES],
        // SAFETY: each query has a place of its own, and nobody else its output.
        out: unsafe { a.out.part(a.place(query + n), head_dim) },
    });
    let q: [&[f32]; N] = core::array::from_fn(|n| {
        let place = a.place(query + n);
        a.q.get(place..place + head_dim).unwrap_or(&[])
    });
    if q.iter().any(|q| q.len() != head_dim) {
        return;
    }
    for state in &mut states {
        state.out.fill(0.0);
    }
    // Positions do not decrease from query to query.
    let (first, last) = (a.positions(query), a.positions(query + N - 1));
    let mut start = first.start / CHUNK * CHUNK;
    while start < last.end {
        let in_chunk = |positions: Range<usize>| {
            let first = positions.start.max(start);
            first - start..positions.end.min(start + CHUNK).max(first) - start
        };
        let blocks = in_chunk(first.start..last.end);
        let blocks = blocks.start / LANES..blocks.end.div_ceil(LANES);
        if score::<I, C, N>(&q, keys, head_dim, start / LANES, blocks, &mut states).is_none() {
            return;
        }
        // Only what a query attends to may touch its result: even a weight of 0 makes NaN of one.
        let shared = in_chunk(last.start..first.end);
        let slice = |lanes| Slice { head_dim, start, lanes };
        for (n, state) in states.iter_mut().enumerate() {
            let lanes = in_chunk(a.positions(query + n));
            if !lanes.is_empty() {
                let before = lanes.start..shared.start.clamp(lanes.start, lanes.end);
                // SAFETY: the CPU has the set's features, as the caller promised.
                unsafe {
                    O::weigh(a, lanes, state);
                    if !before.is_empty() {
                        O::add_values(keys, values, slice(before), state);
                    }
                }
            }
        }
        if !shared.is_empty() {
            add_values::<I, C, N>(keys, values, slice(shared.clone()), &mut states);
        }
        for (n, state) in states.iter_mut().enumerate() {
            let lanes = in_chunk(a.positions(query + n));
            let after = shared.end.clamp(lanes.start, lanes.end)..lanes.end;
            if !after.is_empty() {
                // SAFETY: the CPU has the set's features, as the caller promised.
                unsafe { O::add_values(keys, values, slice(after), state) };
            }
        }
        start += CHUNK;
    }
    for state in &mut states {
        let total = fold_lanes(state.total);
        for o in state.out.iter_mut() {
            *o = canonical(*o / total);
        }
    }
}

/// Registers' worth of lanes that `n` queries accumulate in side by side.
const fn width<I: Isa>(n: usize) -> usize {
    match I::ACCUMULATORS / n {
        4.. => 4,
        2 | 3 => 2,
        _ => 1,
    }
}

/// Unscaled scores of the `blocks` of a chunk, whose first block is `chunk`.
#[inline(always)]
fn score<I: Isa, C: Cached, const N: usize>(
    q: &[&[f32]; N],
    keys: C,
    head_dim: usize,
    chunk: usize,
    blocks: Range<usize>,
    states: &mut [QueryState<'_>; N],
) -> Option<()> {
    let mut block = blocks.start;
    while block < blocks.end.min(BLOCKS) {
        let left = blocks.end - block;
        if const { width::<I>(N) == 4 } && left >= 4 {
            score_blocks::<I::Lanes, C, N, 4>(q, keys, head_dim, chunk, block, states)?;
            block += 4;
        } else if const { width::<I>(N) == 2 } && left >= 2 {
            score_blocks::<I::Lanes, C, N, 2>(q, keys, head_dim, chunk, block, states)?;
            block += 2;
        } else {
            score_blocks::<I::Lanes, C, N, 1>(q, keys, head_dim, chunk, block, states)?;
            block += 1;
        }
    }
    Some(())
}

/// As [`score`] for `P` blocks from `block` on.
#[inline(always)]
fn score_blocks<L: Lanes, C: Cached, const N: usize, const P: usize>(
    q: &[&[f32]; N],
    keys: C,
    head_dim: usize,
    chunk: usize,
    block: usize,
    states: &mut [QueryState<'_>; N],
) -> Option<()> {
    let mut blocks = [keys.block(chunk + block, head_dim)?; P];
    for (p, place) in blocks.iter_mut().enumerate() {
        *place = keys.block(chunk + block + p, head_dim)?;
    }
    let mut sums = [[L::splat(0.0); P]; N];
    for group in 0..head_dim.div_ceil(GROUP) {
        // A scaled group has a sum of its own.
        let before = sums;
        if C::SCALED {
            sums = [[L::splat(0.0); P]; N];
        }
        let (mut i, end) = (group * GROUP, ((group + 1) * GROUP).min(head_dim));
        while const { L::BY_FOUR } && i + 4 <= end {
            let mut four = [&[0.0; 4]; N];
            for n in 0..N {
                four[n] = q[n].get(i..)?.first_chunk()?;
            }
            add_keys::<L, C, N, P, 0>(blocks, i, &four, &mut sums);
            add_keys::<L, C, N, P, 1>(blocks, i, &four, &mut sums);
            add_keys::<L, C, N, P, 2>(blocks, i, &four, &mut sums);
            add_keys::<L, C, N, P, 3>(blocks, i, &four, &mut sums);
            i += 4;
        }
        for i in i..end {
            let mut k = [L::splat(0.0); P];
            for p in 0..P {
                k[p] = C::key(blocks[p], i);
            }
            for n in 0..N {
                let q = L::splat(q[n][i]);
                for p in 0..P {
                    sums[n][p] = q.fma(k[p], sums[n][p]);
                }
            }
        }
        if C::SCALED {
            for p in 0..P {
                let scales = C::key_scales::<L>(blocks[p], group);
                for n in 0..N {
                    sums[n][p] = sums[n][p].fma(scales, before[n][p]);
                }
            }
        }
    }
    for (state, sums) in states.iter_mut().zip(&sums) {
        for (e, sum) in state.e.get_mut(block..block + P)?.iter_mut().zip(sums) {
            sum.store(e);
        }
    }
    Some(())
}

/// Adds the products of element `i + K` of keys to the sums of scores, `q` being the elements of
/// queries from `i` on.
#[inline(always)]
fn add_keys<L: Lanes, C: Cached, const N: usize, const P: usize, const K: usize>(
    blocks: [C::Block; P],
    i: usize,
    q: &[&[f32; 4]; N],
    sums: &mut [[L; P]; N],
) {
    for p in 0..P {
        let k: L = C::key(blocks[p], i + K);
        for n in 0..N {
            sums[n][p] = k.fma_by::<K>(q[n], sums[n][p]);
        }
    }
}

/// Makes weights of a query's scores in `lanes` of a chunk, and none of the others in their blocks,
/// and takes them into its maximum and total; what was added up so far follows a new maximum.
#[inline(always)]
pub(in crate::kernels) fn weigh<I: Isa>(
    a: &Attend<'_>,
    lanes: Range<usize>,
    state: &mut QueryState<'_>,
) {
    let first_block = lanes.start / LANES;
    let blocks = state.e.get_mut(first_block..lanes.end.div_ceil(LANES)).unwrap_or_default();
    // The lanes of a block that count.
    let part = |b: usize| {
        let at = (first_block + b) * LANES;
        (lanes.start.max(at) - at, (lanes.end - at).min(LANES))
    };
    let mut greatest = I::Lanes::splat(f32::NEG_INFINITY);
    for (b, e) in blocks.iter_mut().enumerate() {
        let mut s = I::Lanes::load(e) * I::Lanes::splat(a.shape.scale);
        if let Some(cap) = a.shape.soft_cap {
            s = soft_cap(s, cap);
        }
        let (first, end) = part(b);
        if end - first < LANES {
            s = s.keep(first, end, f32::NEG_INFINITY);
        }
        s.store(e);
        greatest = s.max(greatest);
    }
    let greatest = greatest.greatest();
    let mut total = I::Lanes::load(&state.total);
    if greatest > state.max {
        let factor = exp(state.max - greatest);
        total = total * I::Lanes::splat(factor);
        for o in state.out.iter_mut() {
            *o *= factor;
        }
        state.max = greatest;
    }
    let max = I::Lanes::splat(state.max);
    for (b, e) in blocks.iter_mut().enumerate() {
        let mut s = exp(I::Lanes::load(e) - max);
        let (first, end) = part(b);
        if end - first < LANES {
            s = s.keep(first, end, 0.0);
        }
        s.store(e);
        total = total + s;
    }
    total.store(&mut state.total);
}

/// Adds the weighted values of some positions to each query's result, in order, and asks for the
/// keys that come next.
#[inline(always)]
pub(in crate::kernels) fn add_values<I: Isa, C: Cached, const N: usize>(
    keys: C,
    values: C,
    slice: Slice,
    states: &mut [QueryState<'_>; N],
) {
    let head_dim = slice.head_dim;
    let mut i = 0;
    while i + LANES <= head_dim {
        let left = (head_dim - i) / LANES;
        let done = if const { width::<I>(N) == 4 } && left >= 4 {
            add_part::<I, C, N, 4>(keys, values, &slice, i, states)
        } else if const { width::<I>(N) == 2 } && left >= 2 {
            add_part::<I, C, N, 2>(keys, values, &slice, i, states)
        } else {
            add_part::<I, C, N, 1>(keys, values, &slice, i, states)
        };
        let Some(done) = done else { return };
        i += done;
    }
    for state in states {
        for (i, o) in state.out.iter_mut().enumerate().skip(i) {
            let weights = state.e.as_flattened().get(slice.lanes.clone()).unwrap_or(&[]);
            for (t, &e) in (slice.start + slice.lanes.start..).zip(weights) {
                let scales = values.value_scales::<I::Lanes>(head_dim, t / LANES, i / GROUP);
                let (Some(v), Some(d)) = (values.value_of(head_dim, t, i), scales) else { return };
                let e = if C::SCALED { e * d.to_array()[t % LANES] } else { e };
                *o = fma(e, v, *o);
            }
        }
    }
}

/// As [`add_values`] for `P` times sixteen elements from `i` on; returns their number.
#[inline(always)]
fn add_part<I: Isa, C: Cached, const N: usize, const P: usize>(
    keys: C,
    values: C,
    slice: &Slice,
    i: usize,
    states: &mut [QueryState<'_>; N],
) -> Option<usize> {
    let mut sums = [[I::Lanes::splat(0.0); P]; N];
    for (sums, state) in sums.iter_mut().zip(states.iter()) {
        let from = state.out.get(i..i + P * LANES)?.as_chunks().0;
        for (sum, from) in sums.iter_mut().zip(from) {
            *sum = I::Lanes::load(from);
        }
    }
    // The weights of each of the part's groups.
    let mut scaled = [[[[0.0; LANES]; BLOCKS]; 2]; N];
    if C::SCALED {
        let (first, end) = (slice.lanes.start / LANES, slice.lanes.end.div_ceil(LANES));
        for (state, scaled) in states.iter().zip(&mut scaled) {
            for (g, scaled) in scaled.iter_mut().enumerate().take((P * LANES).div_ceil(GROUP)) {
                let blocks = scaled.iter_mut().zip(&state.e).enumerate();
                for (b, (scaled, e)) in blocks.take(end).skip(first) {
                    let (block, group) = (slice.start / LANES + b, i / GROUP + g);
                    let d: I::Lanes = values.value_scales(slice.head_dim, block, group)?;
                    (I::Lanes::load(e) * d).store(scaled);
                }
            }
        }
    }
    let (start, end) = (slice.lanes.start, slice.lanes.end.min(CHUNK));
    let mut weights = [[&states[0].e; P]; N];
    for n in 0..N {
        for p in 0..P {
            if C::SCALED {
                weights[n][p] = &scaled[n][p * LANES / GROUP];
            } else {
                weights[n][p] = &states[n].e;
            }
        }
    }
    // Whole fours of positions, and what is before and behind them.
    let fours = match const { I::Lanes::BY_FOUR } {
        true => (start.next_multiple_of(4).min(end) / 4, end / 4),
        false => (0, 0),
    };
    let (fours, singles) = match fours.0 < fours.1 {
        true => (fours.0..fours.1, [start..4 * fours.0, 4 * fours.1..end]),
        false => (0..0, [start..end, end..end]),
    };
    let part = Part { head_dim: slice.head_dim, start: slice.start, i };
    let [before, behind] = singles;
    for t in before {
        if i == 0 {
            keys.prefetch_key::<I>(slice.head_dim, slice.start + CHUNK + t);
        }
        add_value::<I::Lanes, C, N, P>(values, &part, t, &weights, &mut sums)?;
    }
    if !fours.is_empty() {
        let last = (slice.start + 4 * fours.end - 1) * slice.head_dim + i + P * LANES;
        if last > values.n_values() {
            return None;
        }
        let mut at = (slice.start + 4 * fours.start) * slice.head_dim + i;
        for four in fours {
            if i == 0 {
                for t in 4 * four..4 * four + 4 {
                    keys.prefetch_key::<I>(slice.head_dim, slice.start + CHUNK + t);
                }
            }
            // SAFETY: the last of all is there, and the others lie before it.
            unsafe {
                add_one_of_four::<_, C, N, P, 0>(values, at, four, &weights, &mut sums);
                at += slice.head_dim;
                add_one_of_four::<_, C, N, P, 1>(values, at, four, &weights, &mut sums);
                at += slice.head_dim;
                add_one_of_four::<_, C, N, P, 2>(values, at, four, &weights, &mut sums);
                at += slice.head_dim;
                add_one_of_four::<_, C, N, P, 3>(values, at, four, &weights, &mut sums);
                at += slice.head_dim;
            }
        }
    }
    for t in behind {
        if i == 0 {
            keys.prefetch_key::<I>(slice.head_dim, slice.start + CHUNK + t);
        }
        add_value::<I::Lanes, C, N, P>(values, &part, t, &weights, &mut sums)?;
    }
    for (sums, state) in sums.iter().zip(states) {
        let to = state.out.get_mut(i..i + P * LANES)?.as_chunks_mut().0;
        for (sum, to) in sums.iter().zip(to) {
            sum.store(to);
        }
    }
    Some(P * LANES)
}

/// Elements of values from `i` on, in the chunk that begins at `start`.
struct Part {
    head_dim: usize,
    start: usize,
    i: usize,
}

/// Adds the part's elements of the value of the chunk's position `t` to sums.
#[inline(always)]
fn add_value<L: Lanes, C: Cached, const N: usize, const P: usize>(
    values: C,
    part: &Part,
    t: usize,
    weights: &[[&Scores; P]; N],
    sums: &mut [[L; P]; N],
) -> Option<()> {
    let v: [L; P] = values.value(part.head_dim, part.start + t, part.i)?;
    for n in 0..N {
        for p in 0..P {
            let e = L::splat(weights[n][p].as_flattened()[t]);
            sums[n][p] = e.fma(v[p], sums[n][p]);
        }
    }
    Some(())
}

/// Adds the elements at `at`, which are of the chunk's position `4 * four + K`, to sums.
///
/// # Safety
/// The elements must be there, and `four` in the chunk.
#[inline(always)]
unsafe fn add_one_of_four<L: Lanes, C: Cached, const N: usize, const P: usize, const K: usize>(
    values: C,
    at: usize,
    four: usize,
    weights: &[[&Scores; P]; N],
    sums: &mut [[L; P]; N],
) {
    // SAFETY: passed on to the caller.
    let v: [L; P] = unsafe { values.value_at(at) };
    for n in 0..N {
        for p in 0..P {
            // SAFETY: passed on to the caller.
            let factors = unsafe { weights[n][p].as_flattened().as_chunks().0.get_unchecked(four) };
            sums[n][p] = v[p].fma_by::<K>(factors, sums[n][p]);
        }
    }
}
