//! Attention of queries over one head's keys and values (numerics, section 8).
//!
//! A lane is a position where scores are made and an element where values are added up, so that
//! nothing is folded per score. Up to [`Isa::QUERIES`] queries go through the positions together, and
//! each key and value is loaded and converted once for all of them; their arithmetic does not meet.

mod cached;
mod scores;
mod values;

use core::ops::Range;
use core::slice;

use crate::kernels::args::{Attend, AttentionShape, CacheRef};
use crate::kernels::isa::{Isa, Outlined};
use crate::kernels::lanes::Lanes;
use crate::math::{Float, LANES, Sixteen, canonical, exp, fold_lanes, soft_cap};
use cached::Q8;

pub(in crate::kernels) use cached::Cached;
pub(in crate::kernels) use values::{Slice, add_values};

const GROUP: usize = CacheRef::GROUP;
/// Positions per chunk; chunks begin at its multiples.
pub(in crate::kernels) const CHUNK: usize = 64;
/// Sixteen positions each, as keys are interleaved.
const BLOCKS: usize = CHUNK / LANES;

/// One query's scores of a chunk, then their exponentials.
type Scores = [[f32; LANES]; BLOCKS];

/// What one query has gathered so far.
pub(in crate::kernels) struct QueryState<'o> {
    /// Scores of the current chunk, then their weights.
    e: Scores,
    /// The weights times the scales of values, for two groups of elements.
    scaled: [Scores; 2],
    /// The greatest score.
    max: f32,
    /// Sums of weights, by position modulo sixteen.
    total: [f32; LANES],
    /// Sums of values.
    out: &'o mut [f32],
}

/// # Safety
/// The CPU must have the set's features, and nobody else may access the outputs of the queries
/// that `a` names.
#[inline(always)]
pub(in crate::kernels) unsafe fn attend<I: Isa, O: Outlined>(a: &Attend<'_>) {
    // SAFETY: passed on to the caller, in every arm.
    unsafe {
        match (a.keys, a.values) {
            (CacheRef::F16(keys), CacheRef::F16(values)) if cfg!(feature = "cache_f16") => {
                I::attend_halves::<O>(a, keys, values);
            }
            (CacheRef::F32(keys), CacheRef::F32(values)) if cfg!(feature = "cache_f32") => {
                queries::<I, O, _>(a, keys, values);
            }
            (CacheRef::Q8_0 { qs: k, d: dk }, CacheRef::Q8_0 { qs: v, d: dv })
                if cfg!(feature = "cache_q8_0") =>
            {
                queries::<I, O, _>(a, Q8 { qs: k, d: dk }, Q8 { qs: v, d: dv });
            }
            // A cache has one type, and one that this build has code for.
            _ => {}
        }
    }
}

/// # Safety
/// As [`attend`].
#[cfg_attr(not(bantam_arm_fpv4), inline(always))]
// Half floats have a way of their own there, which need not have the stack that other types take.
#[cfg_attr(bantam_arm_fpv4, inline(never))]
pub(in crate::kernels) unsafe fn queries<I: Isa, O: Outlined, C: Cached>(
    a: &Attend<'_>,
    keys: C,
    values: C,
) {
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
        scaled: [[[0.0; LANES]; BLOCKS]; 2],
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
    let mut q = q.map(C::query);
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
        if keys.score::<I, N>(&mut q, head_dim, start / LANES, blocks, &mut states).is_none() {
            return;
        }
        // Only what a query attends to may touch its result: even a weight of 0 makes NaN of one.
        let shared = in_chunk(last.start..first.end);
        let more = start + CHUNK < last.end;
        let slice = |lanes| Slice { head_dim, start, lanes, more };
        for (n, state) in states.iter_mut().enumerate() {
            let lanes = in_chunk(a.positions(query + n));
            if !lanes.is_empty() {
                let before = lanes.start..shared.start.max(lanes.start).min(lanes.end);
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
            let after = shared.end.max(lanes.start).min(lanes.end)..lanes.end;
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

/// Makes weights of a query's scores in `lanes` of a chunk, and none of the others in their blocks,
/// and takes them into its maximum and total; what was added up so far follows a new maximum.
#[inline(always)]
pub(in crate::kernels) fn weigh<I: Isa>(
    a: &Attend<'_>,
    lanes: Range<usize>,
    state: &mut QueryState<'_>,
) {
    if const { !I::Lanes::WIDE } {
        let (first, max, total) = (lanes.start, &mut state.max, &mut state.total);
        if let Some(e) = state.e.as_flattened_mut().get_mut(lanes) {
            weigh_each::<I>(&a.shape, first, e, max, total, state.out);
        }
        return;
    }
    if lanes == (0..CHUNK) {
        weigh_chunk::<I>(a, state);
        return;
    }
    let first_block = lanes.start / LANES;
    let blocks = first_block..lanes.end.div_ceil(LANES).min(BLOCKS);
    // The lanes of a block that count.
    let part = |b: usize| {
        let at = b * LANES;
        (lanes.start.max(at) - at, (lanes.end - at).min(LANES))
    };
    let mut greatest = I::Lanes::splat(f32::NEG_INFINITY);
    for b in blocks.clone() {
        let mut s = scaled(&a.shape, I::Lanes::load(&state.e[b]));
        let (first, end) = part(b);
        if end - first < LANES {
            s = s.keep(first, end, f32::NEG_INFINITY);
        }
        s.store(&mut state.e[b]);
        greatest = s.max(greatest);
    }
    let mut total = state.raise::<I>(greatest.greatest());
    let max = I::Lanes::splat(state.max);
    for b in blocks {
        let mut s = exp(I::Lanes::load(&state.e[b]) - max);
        let (first, end) = part(b);
        if end - first < LANES {
            s = s.keep(first, end, 0.0);
        }
        s.store(&mut state.e[b]);
        total = total + s;
    }
    total.store(&mut state.total);
}

/// As [`weigh`] for all of a chunk, whose scores stay in registers.
#[inline(always)]
fn weigh_chunk<I: Isa>(a: &Attend<'_>, state: &mut QueryState<'_>) {
    let mut s = [I::Lanes::splat(0.0); BLOCKS];
    let mut greatest = I::Lanes::splat(f32::NEG_INFINITY);
    for (s, e) in s.iter_mut().zip(&state.e) {
        *s = scaled(&a.shape, I::Lanes::load(e));
        greatest = s.max(greatest);
    }
    let mut total = state.raise::<I>(greatest.greatest());
    let max = I::Lanes::splat(state.max);
    for (s, e) in s.iter().zip(&mut state.e) {
        let s = exp(*s - max);
        s.store(e);
        total = total + s;
    }
    total.store(&mut state.total);
}

/// As [`weigh`] for positions from `first` on, one after another.
pub(in crate::kernels) fn weigh_each<I: Isa>(
    shape: &AttentionShape,
    first: usize,
    e: &mut [f32],
    max: &mut f32,
    total: &mut [f32; LANES],
    out: &mut [f32],
) {
    let mut greatest = f32::NEG_INFINITY;
    for s in e.iter_mut() {
        *s = scaled(shape, *s);
        greatest = Float::max(*s, greatest);
    }
    if greatest > *max {
        // What was added up under a maximum of -∞ is 0, or a NaN: a factor does not change it.
        if *max > f32::NEG_INFINITY {
            let mut factor = *max;
            I::exp_beyond(slice::from_mut(&mut factor), greatest);
            for sum in out.iter_mut().chain(total.iter_mut()) {
                *sum *= factor;
            }
        }
        *max = greatest;
    }
    I::exp_beyond(e, *max);
    for (t, s) in (first..).zip(e) {
        total[t % LANES] += *s;
    }
}

/// Scores, scaled and capped.
#[inline(always)]
fn scaled<F: Float>(shape: &AttentionShape, s: F) -> F {
    let s = s * F::splat(shape.scale);
    match shape.soft_cap {
        // Only these models have one.
        Some(cap) if cfg!(feature = "gemma3") => soft_cap(s, cap),
        _ => s,
    }
}

impl QueryState<'_> {
    /// Takes in the greatest score of a chunk, and returns the total.
    #[inline(always)]
    fn raise<I: Isa>(&mut self, greatest: f32) -> I::Lanes {
        let total = I::Lanes::load(&self.total);
        if greatest > self.max {
            let factor = exp(self.max - greatest);
            for o in self.out.iter_mut() {
                *o *= factor;
            }
            self.max = greatest;
            return total * I::Lanes::splat(factor);
        }
        total
    }
}
