//! Several tokens: weights unpacked into a tile once, for all of them.

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
        *q = [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]];
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
    let mut sink = Fill { s, tile };
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
    let (stride, n_groups, n_tokens) = (m.row_bytes(), m.n_cols() / ActGroup::LEN, m.n_tokens());
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
            let ends = first + n == n_groups;
            let span = Span { row, first, n, ends, excess: excess::<S, F>() };
            let mut t = 0;
            // SAFETY: tokens below `n_tokens`, and groups that both they and the tile have.
            unsafe {
                // Few tokens at a time leave the multipliers waiting, so the last ones are taken
                // by fours where that leaves fewer single ones.
                while n_tokens - t >= N && n_tokens - t != 8 {
                    s.some_tokens::<F::Kind, H, N>(m, &tile, span, t);
                    t += N;
                }
                while n_tokens - t >= 4 {
                    s.some_tokens::<F::Kind, H, 4>(m, &tile, span, t);
                    t += 4;
                }
                while t < n_tokens {
                    s.some_tokens::<F::Kind, H, 1>(m, &tile, span, t);
                    t += 1;
                }
            }
            first += n;
        }
        row += S::ROWS * H;
    }
    row
}

/// Which part of the dot products a tile holds.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Span {
    row: usize,
    /// Groups `first..first + n` of every row.
    first: usize,
    n: usize,
    /// Whether the dot products end here; otherwise they wait in the output for the next span.
    ends: bool,
    /// What the weights are too large by.
    excess: i32,
}

/// Multiplies tokens `t..t + N` with a tile.
///
/// # Safety
/// As [`tiles`]; the span's rows and groups must exist, and so must the tokens.
#[inline(always)]
pub(in crate::kernels) unsafe fn some_tokens<
    S: RowSimd,
    K: Kind,
    const H: usize,
    const N: usize,
>(
    s: S,
    m: &MatmulRows<'_>,
    tile: &[TileRows<S>; H],
    span: Span,
    t: usize,
) {
    let mut acc = [[s.splat(0.0); H]; N];
    let mut qs = [core::ptr::null::<i8>(); N];
    let mut groups = [core::ptr::null::<ActGroup>(); N];
    for i in 0..N {
        let (q, g) = m.q8_row(t + i);
        // SAFETY: the token has the span's groups.
        (qs[i], groups[i]) =
            unsafe { (q.as_ptr().add(ActGroup::LEN * span.first), g.as_ptr().add(span.first)) };
        if span.first > 0 {
            // SAFETY: no other part is alive; the slice has a place for every row.
            unsafe {
                if let Some(out) = m.out_row(t + i).get(span.row..span.row + S::ROWS * H) {
                    for (h, acc) in acc[i].iter_mut().enumerate() {
                        *acc = s.load(out.as_ptr().add(S::ROWS * h));
                    }
                }
            }
        }
    }
    for g in 0..span.n.min(TILE_GROUPS) {
        for run in 0..K::RUNS {
            let ks = if K::RUNS == 1 { 0..8 } else { 4 * run..4 * run + 4 };
            let steps = S::steps::<K>().min(ks.len());
            let mut sums = [[s.ints(0); H]; N];
            let mut partial = [[s.start(s.ints(0)); H]; N];
            if !K::HAS_MIN {
                for i in 0..N {
                    // SAFETY: the token has the group.
                    let pair = unsafe { (*groups[i].add(g)).sums };
                    let sum = s.begin(pair, wanted::<K>(run), span.excess);
                    for h in 0..H {
                        sums[i][h] = sum;
                        partial[i][h] = s.start(sum);
                    }
                }
            }
            for k in ks {
                for i in 0..N {
                    for h in 0..H {
                        // SAFETY: the token has the group's 32 activations.
                        partial[i][h] = unsafe {
                            let x = qs[i].add(ActGroup::LEN * g + 4 * k);
                            s.step::<K>(partial[i][h], tile[h].q[g][k], x)
                        };
                    }
                }
                if (k + 1) % steps == 0 {
                    for i in 0..N {
                        for h in 0..H {
                            sums[i][h] = s.flush(sums[i][h], partial[i][h]);
                            partial[i][h] = s.start(sums[i][h]);
                        }
                    }
                }
            }
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
    for (i, acc) in acc.iter().enumerate() {
        // SAFETY: no other part is alive; the slice has a place for every row.
        unsafe {
            if let Some(out) = m.out_row(t + i).get_mut(span.row..span.row + S::ROWS * H) {
                for (h, &acc) in acc.iter().enumerate() {
                    let acc = if span.ends { s.canonical(acc) } else { acc };
                    s.store(out.as_mut_ptr().add(S::ROWS * h), acc);
                }
            }
        }
    }
}
