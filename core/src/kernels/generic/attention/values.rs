//! Values, weighted and added up, an element to a lane.

use super::cached::{Cached, Element};
use super::{BLOCKS, CHUNK, GROUP, QueryState, width};
use crate::kernels::isa::Isa;
use crate::kernels::lanes::Lanes;
use crate::math::{Float, LANES, Sixteen, fma};
use core::ops::Range;

/// Bytes that memory is asked for at a time.
const LINE: usize = 64;

/// Some positions of the chunk that begins at `start`, counted from there.
#[derive(Clone)]
pub(in crate::kernels) struct Slice {
    pub(super) head_dim: usize,
    pub(super) start: usize,
    pub(super) lanes: Range<usize>,
    /// Whether another chunk follows, which memory is asked for meanwhile.
    pub(super) more: bool,
}

/// Adds the weighted values of some positions to each query's result, in order.
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
        } else if const { width::<I>(N) >= 2 } && left >= 2 {
            add_part::<I, C, N, 2>(keys, values, &slice, i, states)
        } else {
            add_part::<I, C, N, 1>(keys, values, &slice, i, states)
        };
        let Some(done) = done else { return };
        i += done;
    }
    if i < head_dim {
        for state in states {
            add_rest::<I, C>(values, &slice, i, state);
        }
    }
}

/// The elements from `i` on, fewer than sixteen, for one query.
#[inline(always)]
fn add_rest<I: Isa, C: Cached>(
    values: C,
    slice: &Slice,
    i: usize,
    state: &mut QueryState<'_>,
) -> Option<()> {
    let weights = state.e.as_flattened().get(slice.lanes.clone())?;
    for (t, &e) in (slice.start + slice.lanes.start..).zip(weights) {
        let d: I::Lanes = values.value_scales(slice.head_dim, t / LANES, i / GROUP)?;
        let e = if C::SCALED { e * d.to_array()[t % LANES] } else { e };
        let row = values.rows(slice.head_dim, t..t + 1)?.get(i..)?;
        let out = state.out.get_mut(i..)?;
        for (o, &v) in out.iter_mut().zip(row) {
            *o = fma(e, v.load_one(), *o);
        }
    }
    Some(())
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
    if C::SCALED {
        let (first, end) = (slice.lanes.start / LANES, slice.lanes.end.div_ceil(LANES));
        for g in 0..(P * LANES).div_ceil(GROUP) {
            for b in first..end.min(BLOCKS) {
                let (block, group) = (slice.start / LANES + b, i / GROUP + g);
                let d: I::Lanes = values.value_scales(slice.head_dim, block, group)?;
                for state in states.iter_mut() {
                    (I::Lanes::load(&state.e[b]) * d).store(&mut state.scaled[g][b]);
                }
            }
        }
    }
    let rows = slice.start + slice.lanes.start..slice.start + slice.lanes.end.min(CHUNK);
    // What is as far in the next chunk. Values of 8 bits come soon enough by themselves, and asking
    // for them slows two workers down.
    let ahead = rows.start + CHUNK;
    let ahead = [keys.address(slice.head_dim, ahead), values.address(slice.head_dim, ahead)];
    let ahead = if C::SCALED { &ahead[..1] } else { &ahead };
    let mut rows = values.rows(slice.head_dim, rows)?.chunks_exact(slice.head_dim.max(1));
    let mut weights = [[&states[0].e; P]; N];
    for (weights, state) in weights.iter_mut().zip(states.iter()) {
        for (p, weights) in weights.iter_mut().enumerate() {
            *weights = match C::SCALED {
                true => &state.scaled[p * LANES / GROUP],
                false => &state.e,
            };
        }
    }
    let mut at = i;
    let (mut t, end) = (slice.lanes.start, slice.lanes.end.min(CHUNK));
    while t < end {
        let n_rows = if const { I::Lanes::BY_FOUR } && t % 4 == 0 && t + 4 <= end { 4 } else { 1 };
        if slice.more {
            for row in 0..n_rows {
                let first = (at + row * slice.head_dim) * size_of::<C::Element>();
                for byte in (0..P * LANES * size_of::<C::Element>()).step_by(LINE) {
                    for &start in ahead {
                        I::prefetch(start.wrapping_add(first + byte));
                    }
                }
            }
        }
        at += n_rows * slice.head_dim;
        if n_rows == 4 {
            let mut four = [[&[0.0; 4]; P]; N];
            for n in 0..N {
                for p in 0..P {
                    four[n][p] = weights[n][p].as_flattened().as_chunks().0.get(t / 4)?;
                }
            }
            add_row::<I::Lanes, _, N, P, 0>(part_of(rows.next()?, i, P)?, &four, &mut sums);
            add_row::<I::Lanes, _, N, P, 1>(part_of(rows.next()?, i, P)?, &four, &mut sums);
            add_row::<I::Lanes, _, N, P, 2>(part_of(rows.next()?, i, P)?, &four, &mut sums);
            add_row::<I::Lanes, _, N, P, 3>(part_of(rows.next()?, i, P)?, &four, &mut sums);
        } else {
            let row = part_of(rows.next()?, i, P)?;
            if const { N == 1 } {
                for (p, row) in row.iter().enumerate().take(P) {
                    let e = weights[0][p].as_flattened()[t];
                    C::Element::add(e, row, &mut sums[0][p]);
                }
                t += 1;
                continue;
            }
            let mut v = [I::Lanes::splat(0.0); P];
            for (v, row) in v.iter_mut().zip(row) {
                *v = C::Element::load(row);
            }
            for n in 0..N {
                for p in 0..P {
                    let e = I::Lanes::splat(weights[n][p].as_flattened()[t]);
                    sums[n][p] = e.fma(v[p], sums[n][p]);
                }
            }
        }
        t += n_rows;
    }
    for (sums, state) in sums.iter().zip(states) {
        let to = state.out.get_mut(i..i + P * LANES)?.as_chunks_mut().0;
        for (sum, to) in sums.iter().zip(to) {
            sum.store(to);
        }
    }
    Some(P * LANES)
}

/// `n` times sixteen elements of a row from `i` on.
#[inline(always)]
fn part_of<E>(row: &[E], i: usize, n: usize) -> Option<&[[E; LANES]]> {
    Some(row.get(i..i + n * LANES)?.as_chunks().0)
}

/// Adds a row's elements, each weighted by number `K` of four, to sums.
#[inline(always)]
fn add_row<L: Lanes, E: Element, const N: usize, const P: usize, const K: usize>(
    row: &[[E; LANES]],
    weights: &[[&[f32; 4]; P]; N],
    sums: &mut [[L; P]; N],
) {
    for (p, row) in row.iter().enumerate().take(P) {
        let v: L = E::load(row);
        for n in 0..N {
            sums[n][p] = v.fma_by::<K>(weights[n][p], sums[n][p]);
        }
    }
}
