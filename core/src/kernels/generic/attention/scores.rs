//! Scores of sixteen positions a register: queries times keys.

use super::cached::{Element, Q8, key_block};
use super::{BLOCKS, GROUP, QueryState, width};
use crate::kernels::args::CacheRef;
use crate::kernels::dots::{Dots, KeyWords};
use crate::kernels::generic::quantize::inverse_scale;
use crate::kernels::isa::Isa;
use crate::kernels::lanes::Lanes;
use crate::math::{Float, LANES, Sixteen};
use core::ops::Range;

/// Calls `$one` for the blocks of a chunk, as many together as there are registers for.
macro_rules! by_width {
    ($one:ident::<$isa:ty, $($param:tt),*>($blocks:expr, $($arg:expr),*)) => {{
        let mut block = $blocks.start;
        while block < $blocks.end.min(BLOCKS) {
            let left = $blocks.end - block;
            if const { width::<$isa>(N) == 4 } && left >= 4 {
                $one::<$isa, $($param,)* 4>(block, $($arg),*)?;
                block += 4;
            } else if const { width::<$isa>(N) >= 2 } && left >= 2 {
                $one::<$isa, $($param,)* 2>(block, $($arg),*)?;
                block += 2;
            } else {
                $one::<$isa, $($param,)* 1>(block, $($arg),*)?;
                block += 1;
            }
        }
    }};
}

/// Scores by keys of floats; see [`super::Cached::score`].
#[inline(always)]
pub(super) fn of_floats<I: Isa, E: Element, const N: usize>(
    q: &[&[f32]; N],
    keys: &[E],
    head_dim: usize,
    chunk: usize,
    blocks: Range<usize>,
    states: &mut [QueryState<'_>; N],
) -> Option<()> {
    by_width!(floats::<I, E, N>(blocks, q, keys, head_dim, chunk, states));
    Some(())
}

/// As [`of_floats`] for `P` blocks from `block` on.
#[inline(always)]
fn floats<I: Isa, E: Element, const N: usize, const P: usize>(
    block: usize,
    q: &[&[f32]; N],
    keys: &[E],
    head_dim: usize,
    chunk: usize,
    states: &mut [QueryState<'_>; N],
) -> Option<()> {
    let mut blocks = [key_block(keys, chunk + block, head_dim)?; P];
    for (p, place) in blocks.iter_mut().enumerate() {
        *place = key_block(keys, chunk + block + p, head_dim)?;
    }
    let mut sums = [[I::Lanes::splat(0.0); P]; N];
    let mut i = 0;
    while const { I::Lanes::BY_FOUR } && i + 4 <= head_dim {
        let mut four = [&[0.0; 4]; N];
        for n in 0..N {
            four[n] = q[n].get(i..)?.first_chunk()?;
        }
        add_keys::<I::Lanes, E, N, P, 0>(blocks, i, &four, &mut sums);
        add_keys::<I::Lanes, E, N, P, 1>(blocks, i, &four, &mut sums);
        add_keys::<I::Lanes, E, N, P, 2>(blocks, i, &four, &mut sums);
        add_keys::<I::Lanes, E, N, P, 3>(blocks, i, &four, &mut sums);
        i += 4;
    }
    for i in i..head_dim {
        if const { N == 1 } {
            for p in 0..P {
                E::add(*q[0].get(i)?, blocks[p].get(i)?, &mut sums[0][p]);
            }
            continue;
        }
        let mut k = [I::Lanes::splat(0.0); P];
        for p in 0..P {
            k[p] = E::load(blocks[p].get(i)?);
        }
        for n in 0..N {
            let q = I::Lanes::splat(*q[n].get(i)?);
            for p in 0..P {
                sums[n][p] = q.fma(k[p], sums[n][p]);
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
fn add_keys<L: Lanes, E: Element, const N: usize, const P: usize, const K: usize>(
    blocks: [&[[E; LANES]]; P],
    i: usize,
    q: &[&[f32; 4]; N],
    sums: &mut [[L; P]; N],
) {
    for p in 0..P {
        let Some(k) = blocks[p].get(i + K) else { return };
        let k: L = E::load(k);
        for n in 0..N {
            sums[n][p] = k.fma_by::<K>(q[n], sums[n][p]);
        }
    }
}

/// Words of four elements in a group.
const WORDS: usize = GROUP / CacheRef::WORD;

/// A query rounded to 8 bits, some groups at a time: those of most models' heads at once.
pub(in crate::kernels) struct QuantizedQuery<'q> {
    floats: &'q [f32],
    /// The first group at hand, or [`usize::MAX`] if there is none yet.
    first: usize,
    groups: [QueryGroup; QuantizedQuery::HELD],
}

#[derive(Clone, Copy)]
struct QueryGroup {
    words: [i32; WORDS],
    d: f32,
    /// Sum of the integers.
    total: i32,
}

impl<'q> QuantizedQuery<'q> {
    const HELD: usize = 8;

    #[inline(always)]
    pub(super) const fn new(floats: &'q [f32]) -> Self {
        let none = QueryGroup { words: [0; WORDS], d: 0.0, total: 0 };
        QuantizedQuery { floats, first: usize::MAX, groups: [none; Self::HELD] }
    }

    /// Sees to it that the groups from `first` on are at hand.
    #[inline(always)]
    fn hold<L: Lanes>(&mut self, first: usize) {
        if self.first == first {
            return;
        }
        self.first = first;
        let rest = self.floats.get(first * GROUP..).unwrap_or(&[]);
        for (x, group) in rest.chunks(GROUP).zip(&mut self.groups) {
            // What a shorter group lacks is 0 and changes nothing.
            let (mut floats, mut integers) = ([[0.0; LANES]; 2], [[0; LANES]; 2]);
            floats.as_flattened_mut().split_at_mut(x.len()).0.copy_from_slice(x);
            let ([a, b], [qa, qb]) = (&floats, &mut integers);
            let (a, b) = (L::load(a), L::load(b));
            let amax = a.greatest_magnitude(b);
            let id = L::splat(inverse_scale(amax));
            let total = i32::from((a * id).round_to_i8(qa)) + i32::from((b * id).round_to_i8(qb));
            *group = QueryGroup { d: amax / 127.0, total, ..*group };
            let integers = integers.as_flattened().as_chunks().0;
            for (word, &[a, b, c, d]) in group.words.iter_mut().zip(integers) {
                *word = i32::from_ne_bytes([a as u8, b as u8, c as u8, d as u8]);
            }
        }
    }
}

/// Scores by keys of integers; see [`super::Cached::score`].
#[inline(always)]
pub(super) fn of_integers<I: Isa, const N: usize>(
    q: &mut [QuantizedQuery<'_>; N],
    keys: Q8<'_>,
    head_dim: usize,
    chunk: usize,
    blocks: Range<usize>,
    states: &mut [QueryState<'_>; N],
) -> Option<()> {
    for first in (0..head_dim.div_ceil(GROUP)).step_by(QuantizedQuery::HELD) {
        for q in q.iter_mut() {
            q.hold::<I::Lanes>(first);
        }
        by_width!(integers::<I, N>(blocks, q, keys, head_dim, chunk, first, states));
    }
    Some(())
}

/// As [`of_integers`] for `P` blocks from `block` on and the groups that the queries have at hand,
/// the first of which is `first`; adds to the scores so far if that is not the first of all.
#[inline(always)]
fn integers<I: Isa, const N: usize, const P: usize>(
    block: usize,
    q: &[QuantizedQuery<'_>; N],
    keys: Q8<'_>,
    head_dim: usize,
    chunk: usize,
    first: usize,
    states: &mut [QueryState<'_>; N],
) -> Option<()> {
    let mut blocks = [keys.key_block(chunk + block, head_dim)?; P];
    for (p, place) in blocks.iter_mut().enumerate() {
        *place = keys.key_block(chunk + block + p, head_dim)?;
    }
    let end = head_dim.div_ceil(GROUP).min(first + QuantizedQuery::HELD);
    for group in first..end {
        let mut words: [&[KeyWords]; P] = [&[]; P];
        let n_words = blocks[0].0.len().checked_sub(group * WORDS)?.min(WORDS);
        for (words, (all, _)) in words.iter_mut().zip(&blocks) {
            *words = all.get(group * WORDS..group * WORDS + n_words)?;
        }
        let mut at = [q[0].groups.first()?; N];
        for n in 0..N {
            at[n] = q[n].groups.get(group - first)?;
        }
        let sums = dots::<I::Dots, N, P>(at, words);
        for p in 0..P {
            let kd = I::Lanes::load_f16(blocks[p].1.get(group)?);
            for n in 0..N {
                let d = I::Lanes::splat(at[n].d) * kd;
                let s = states[n].e.get_mut(block + p)?;
                let before = if group == 0 { I::Lanes::splat(0.0) } else { I::Lanes::load(s) };
                d.fma(I::Dots::floats(sums[n][p]), before).store(s);
            }
        }
    }
    Some(())
}

/// The integer sums of a group.
#[inline(always)]
fn dots<D: Dots, const N: usize, const P: usize>(
    q: [&QueryGroup; N],
    words: [&[KeyWords]; P],
) -> [[D::Sums; P]; N] {
    let mut sums = [[D::start(0); P]; N];
    for n in 0..N {
        sums[n] = [D::start(q[n].total); P];
    }
    // As many of each block.
    for (word, first) in words[0].iter().enumerate().take(WORDS) {
        let mut k = [D::keys(first); P];
        for p in 1..P {
            let Some(keys) = words[p].get(word) else { return sums };
            k[p] = D::keys(keys);
        }
        for n in 0..N {
            let q = q[n].words[word];
            for p in 0..P {
                sums[n][p] = D::add(sums[n][p], k[p], q);
            }
        }
    }
    sums
}
