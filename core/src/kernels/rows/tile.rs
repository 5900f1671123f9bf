//! Several tokens: weights unpacked into a tile once, for all of them.

use core::ops::Range;

use super::formats::{Format, Group, Sink};
use super::simd::{At, Kind, RowSimd};
use super::{dsum, excess, wanted};
use crate::kernels::args::{ActGroup, MatmulRows};

/// Groups of 32 columns in a tile.
const TILE_GROUPS: usize = 16;

/// Unpacked weights of one register of rows.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct TileRows<S: RowSimd> {
    q: [[S::Vector; 8]; TILE_GROUPS],
    d: [[S::Floats; 2]; TILE_GROUPS],
    m: [[S::Floats; 2]; TILE_GROUPS],
}

impl<S: RowSimd> TileRows<S> {
    #[inline(always)]
    fn new(s: S) -> Self {
        let zero = s.splat(0.0);
        TileRows {
            q: [[s.zeros(); 8]; TILE_GROUPS],
            d: [[zero; 2]; TILE_GROUPS],
            m: [[zero; 2]; TILE_GROUPS],
        }
    }
}

/// Puts what is unpacked into a tile.
struct Fill<'t, S: RowSimd> {
    s: S,
    /// What is taken off every weight.
    excess: i32,
    tile: &'t mut TileRows<S>,
}

impl<S: RowSimd> Sink<S> for Fill<'_, S> {
    #[inline(always)]
    unsafe fn take(&mut self, g: usize, group: &Group<S>) {
        let TileRows { q, d, m } = &mut *self.tile;
        let (Some(q), Some(d), Some(m)) = (q.get_mut(g), d.get_mut(g), m.get_mut(g)) else {
            return;
        };
        let (a, b) = (self.s.interleave(group.q[0]), self.s.interleave(group.q[1]));
        *q = self.s.settle([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]], self.excess);
        *d = group.d;
        *m = group.m;
    }
}

/// Unpacks `n_blocks` blocks of a register of rows.
///
/// # Safety
/// They must be readable from `at` on.
#[inline(always)]
pub(in crate::kernels) unsafe fn fill<S: RowSimd, F: Format>(
    s: S,
    at: At,
    n_blocks: usize,
    tile: &mut TileRows<S>,
) {
    let excess = if S::SIGNED_TILES { excess::<S, F>() } else { 0 };
    let mut sink = Fill { s, excess, tile };
    for b in 0..n_blocks {
        // SAFETY: the block is readable, by the caller's promise.
        unsafe { F::unpack(s, at.add(b * F::BYTES), b * F::GROUPS, &mut sink) };
    }
}

/// Multiplies all tokens, `N` at a time, with the rows from `first_row` on that fill `H` registers;
/// returns the first row that is left.
///
/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
pub(in crate::kernels) unsafe fn tiles<S: RowSimd, F: Format, const H: usize, const N: usize>(
    s: S,
    m: &MatmulRows<'_>,
    first_row: usize,
) -> usize {
    let (stride, n_groups, n_tokens) = (m.row_bytes(), m.n_cols() / ActGroup::LEN, m.n_places());
    let (qs, groups) = m.q8();
    let (out, out_stride) = m.places();
    let mut tile = [TileRows::new(s); H];
    let mut row = first_row;
    while row + S::ROWS * H <= m.n_rows() {
        let mut first = 0;
        while first < n_groups {
            let n = TILE_GROUPS.min(n_groups - first);
            for (h, tile) in tile.iter_mut().enumerate() {
                // SAFETY: the rows exist, and so do their blocks that the tile's groups are in: a
                // tile begins with a block, and holds whole ones.
                unsafe {
                    let ptr = m.rows().as_ptr().add((row + S::ROWS * h) * stride);
                    let at = At { ptr: ptr.add(first / F::GROUPS * F::BYTES), stride };
                    s.fill::<F>(at, n / F::GROUPS, tile);
                }
            }
            let span = Span {
                qs: qs.as_ptr().wrapping_add(ActGroup::LEN * first),
                groups: groups.as_ptr().wrapping_add(first),
                token_groups: n_groups,
                n,
                out: out.wrapping_add(row),
                out_stride,
                begins: first == 0,
                ends: first + n == n_groups,
                excess: if S::SIGNED_TILES { 0 } else { excess::<S, F>() },
            };
            // SAFETY: the tokens have activations and a place for their results; the span's groups
            // are both theirs and the tile's.
            unsafe {
                // Few tokens at a time leave the multipliers waiting, so the last ones are taken
                // by fours where that leaves fewer single ones.
                let many = if n_tokens % N == 2 { n_tokens.saturating_sub(8) } else { n_tokens };
                let t = s.tokens::<F::Kind, H, N>(&tile, &span, 0..many);
                let t = s.tokens::<F::Kind, H, 4>(&tile, &span, t..n_tokens);
                s.tokens::<F::Kind, H, 1>(&tile, &span, t..n_tokens);
            }
            first += n;
        }
        row += S::ROWS * H;
    }
    row
}

/// The part of the dot products that a tile is for.
pub(in crate::kernels) struct Span {
    /// Token 0's first activations.
    qs: *const i8,
    /// What is kept beside them.
    groups: *const ActGroup,
    /// Groups from a token to the next.
    token_groups: usize,
    /// Groups of the part.
    n: usize,
    /// Where token 0's results go.
    out: *mut f32,
    /// Elements from there to the next token's.
    out_stride: usize,
    /// Whether the dot products begin here; otherwise the output has their sums so far.
    begins: bool,
    /// Whether they end here.
    ends: bool,
    /// What the weights are too large by.
    excess: i32,
}

/// Multiplies as many of `tokens` as there are `N` at a time with a tile; returns the first that
/// is left.
///
/// # Safety
/// The span's pointers must be good for those tokens, for its groups of activations and for a
/// result of each row of the tile, and nobody else may access these results.
#[inline(always)]
pub(in crate::kernels) unsafe fn tokens<S: RowSimd, K: Kind, const H: usize, const N: usize>(
    s: S,
    tile: &[TileRows<S>; H],
    span: &Span,
    tokens: Range<usize>,
) -> usize {
    let mut t = tokens.start;
    while t + N <= tokens.end {
        // SAFETY: passed on to the caller.
        unsafe { some_tokens::<S, K, H, N>(s, tile, span, t) };
        t += N;
    }
    t
}

/// Multiplies tokens `t..t + N` with a tile.
///
/// # Safety
/// As [`tokens`].
#[inline(always)]
unsafe fn some_tokens<S: RowSimd, K: Kind, const H: usize, const N: usize>(
    s: S,
    tile: &[TileRows<S>; H],
    span: &Span,
    t: usize,
) {
    let mut acc = [[s.splat(0.0); H]; N];
    let mut qs = [span.qs; N];
    let mut groups = [span.groups; N];
    let mut out = [span.out; N];
    for i in 0..N {
        let first = (t + i) * span.token_groups;
        // SAFETY: the token's, by the caller's promise.
        unsafe {
            (qs[i], groups[i]) = (qs[i].add(ActGroup::LEN * first), groups[i].add(first));
            out[i] = out[i].add((t + i) * span.out_stride);
        }
    }
    if !span.begins {
        for (acc, out) in acc.iter_mut().zip(out) {
            for (h, acc) in acc.iter_mut().enumerate() {
                // SAFETY: the rows' results, by the caller's promise.
                *acc = unsafe { s.load(out.add(S::ROWS * h)) };
            }
        }
    }
    for g in 0..span.n.min(TILE_GROUPS) {
        for run in 0..K::RUNS {
            let mut sums = [[s.ints(0); H]; N];
            if !K::HAS_MIN && !S::SIGNED_TILES {
                for i in 0..N {
                    // SAFETY: the token has the group.
                    let pair = unsafe { (*groups[i].add(g)).sums };
                    sums[i] = [s.begin(pair, wanted::<K>(run), span.excess); H];
                }
            }
            let mut x = qs;
            let mut q = [&tile[0].q[g]; H];
            for x in &mut x {
                // SAFETY: the token has the group's 32 activations.
                *x = unsafe { x.add(ActGroup::LEN * g) };
            }
            for (q, tile) in q.iter_mut().zip(tile) {
                *q = &tile.q[g];
            }
            // SAFETY: as above.
            sums = unsafe { s.dot_tile::<K, H, N>(sums, q, run, x) };
            for i in 0..N {
                // SAFETY: the token has the group.
                let act = unsafe { &*groups[i].add(g) };
                let dx = s.splat(act.d);
                for h in 0..H {
                    let d = s.mul(tile[h].d[g][run], dx);
                    acc[i][h] = s.fma(d, s.floats_from(sums[i][h]), acc[i][h]);
                }
                if K::HAS_MIN {
                    let dsum = s.splat(dsum::<K>(act, run));
                    for h in 0..H {
                        acc[i][h] = s.fma(tile[h].m[g][run], dsum, acc[i][h]);
                    }
                }
            }
        }
    }
    for (acc, out) in acc.iter().zip(out) {
        for (h, &acc) in acc.iter().enumerate() {
            let acc = if span.ends { s.canonical(acc) } else { acc };
            // SAFETY: the rows' results, by the caller's promise.
            unsafe { s.store(out.add(S::ROWS * h), acc) };
        }
    }
}
