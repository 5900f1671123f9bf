//! Weight rows that are floats times activations (numerics, section 4).
//!
//! Every sum has its sixteen lanes to itself, so how many rows and tokens go through the columns
//! together cannot be seen in a result: as many as a set's registers hold sums for. Each weight is
//! then converted once for all of a tile's tokens, and there are enough sums for additions not to
//! wait for each other.

use crate::kernels::args::MatmulRows;
use crate::kernels::isa::{Isa, Outlined};
use crate::kernels::lanes::Lanes;
use crate::math::{LANES, canonical};
use crate::quant::GgmlType;
use crate::quant::block::{FloatBlock, blocks, widen16};
use crate::quant::float::{BlockBF16, BlockF16, BlockF32};

/// Bytes of rows that all tokens are multiplied with before the next: they stay in a second-level
/// cache, while a tile's tokens stay in the first.
const PANEL_BYTES: usize = 128 << 10;

/// Weights of one format, converted to floats by whatever instructions a set has for it.
pub(in crate::kernels) trait Weights: FloatBlock {
    #[inline(always)]
    fn load<L: Lanes>(from: &[Self; LANES]) -> L {
        L::load(&widen16(from))
    }
}

impl Weights for BlockF32 {}
impl Weights for BlockBF16 {}

impl Weights for BlockF16 {
    #[inline(always)]
    fn load<L: Lanes>(from: &[BlockF16; LANES]) -> L {
        let mut halves = [0; LANES];
        for (half, from) in halves.iter_mut().zip(from) {
            *half = u16::from_le_bytes(from.0);
        }
        L::load_f16(&halves)
    }
}

/// Multiplies rows of floats; of other formats nothing is written.
///
/// # Safety
/// The CPU must have the set's features, and nobody else may access the outputs that `m` names.
#[inline(always)]
pub(in crate::kernels) unsafe fn matmul_rows<I: Isa, O: Outlined>(m: &MatmulRows<'_>) {
    // SAFETY: passed on to the caller, in every arm.
    unsafe {
        // Software that stands for a missing fma would be written out for every sum of a tile; and
        // elsewhere tiles were not measured yet.
        if const { cfg!(not(target_arch = "x86_64")) || I::ACCUMULATORS < 6 } {
            return I::float_rows(m);
        }
        match m.ty() {
            GgmlType::F32 => tiles::<I, O, BlockF32>(m),
            GgmlType::F16 => tiles::<I, O, BlockF16>(m),
            GgmlType::BF16 => tiles::<I, O, BlockBF16>(m),
            _ => {}
        }
    }
}

/// # Safety
/// As [`matmul_rows`].
#[inline(always)]
unsafe fn tiles<I: Isa, O: Outlined, B: Weights>(m: &MatmulRows<'_>) {
    if const { !B::TYPE.is_built_in() } {
        return;
    }
    // SAFETY: passed on to the caller.
    unsafe {
        // Nothing is shared then, and memory serves one row after the other best.
        if m.n_tokens() == 1 {
            panels::<O, B, 1, 1>(m);
        } else if const { I::ACCUMULATORS >= 24 } {
            panels::<O, B, 4, 6>(m);
        } else {
            panels::<O, B, 2, 3>(m);
        }
    }
}

/// In tiles of `R` rows × `N` tokens, and of as many tokens as are left.
///
/// # Safety
/// As [`matmul_rows`].
#[inline(always)]
unsafe fn panels<O: Outlined, B: Weights, const R: usize, const N: usize>(m: &MatmulRows<'_>) {
    let (n_rows, n_tokens) = (m.n_rows(), m.n_tokens());
    let panel = (PANEL_BYTES / m.row_bytes().max(1)).max(1).next_multiple_of(R);
    let mut start = 0;
    while start < n_rows {
        let end = n_rows.min(start + panel);
        let whole = end - (end - start) % R;
        let mut t = 0;
        while t < n_tokens {
            let n = N.min(n_tokens - t);
            let mut row = start;
            // SAFETY: passed on to the caller.
            unsafe {
                while row < whole {
                    match n {
                        2 => O::float_tile::<B, R, 2>(m, row, t),
                        3 => O::float_tile::<B, R, 3>(m, row, t),
                        4 => O::float_tile::<B, R, 4>(m, row, t),
                        5 => O::float_tile::<B, R, 5>(m, row, t),
                        6 => O::float_tile::<B, R, 6>(m, row, t),
                        _ => O::float_tile::<B, R, 1>(m, row, t),
                    }
                    row += R;
                }
                // Few, if any.
                while row < end {
                    for t in t..t + n {
                        O::float_tile::<B, 1, 1>(m, row, t);
                    }
                    row += 1;
                }
            }
            t += n;
        }
        start = end;
    }
}

/// Multiplies rows `row..row + R`, each with tokens `t..t + N`.
///
/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
pub(in crate::kernels) unsafe fn tile<L: Lanes, B: Weights, const R: usize, const N: usize>(
    m: &MatmulRows<'_>,
    row: usize,
    t: usize,
) {
    let (n_chunks, n_rest) = (m.n_cols() / LANES, m.n_cols() % LANES);
    let mut weights: [&[[B; LANES]]; R] = [&[]; R];
    let mut last_weights = [[B::put(0.0); LANES]; R];
    for (i, (weights, last)) in weights.iter_mut().zip(&mut last_weights).enumerate() {
        let start = (row + i) * m.row_bytes();
        let bytes = m.rows().get(start..start + m.row_bytes());
        let Some((chunks, rest)) = bytes.and_then(blocks).map(<[B]>::as_chunks) else { return };
        let Some(chunks) = chunks.get(..n_chunks) else { return };
        *weights = chunks;
        for (last, rest) in last.iter_mut().zip(rest) {
            *last = *rest;
        }
    }
    // Products with 0 are then -0, which added to anything leaves it as it is.
    let mut last_tokens = [[-0.0; LANES]; N];
    let mut tokens: [&[[f32; LANES]]; N] = [&[]; N];
    for (i, (token, last)) in tokens.iter_mut().zip(&mut last_tokens).enumerate() {
        let (chunks, rest) = m.float_row(t + i).as_chunks();
        let Some(chunks) = chunks.get(..n_chunks) else { return };
        *token = chunks;
        for (last, rest) in last.iter_mut().zip(rest) {
            *last = *rest;
        }
    }

    let mut sums = [[L::splat(0.0); R]; N];
    for c in 0..n_chunks {
        let (mut w, mut x) = (last_weights.each_ref(), last_tokens.each_ref());
        for (w, weights) in w.iter_mut().zip(&weights) {
            *w = &weights[c];
        }
        for (x, token) in x.iter_mut().zip(&tokens) {
            *x = &token[c];
        }
        sums = add(sums, w, x);
    }
    if n_rest > 0 {
        sums = add(sums, last_weights.each_ref(), last_tokens.each_ref());
    }

    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: this part is dropped before the next is made; nobody else has one.
        let Some(out) = unsafe { m.out_row(t + i) }.get_mut(row..row + R) else { return };
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = canonical(sum.fold());
        }
    }
}

/// Adds the products of sixteen columns.
#[inline(always)]
fn add<L: Lanes, B: Weights, const R: usize, const N: usize>(
    mut sums: [[L; R]; N],
    weights: [&[B; LANES]; R],
    tokens: [&[f32; LANES]; N],
) -> [[L; R]; N] {
    let mut w = [L::splat(0.0); R];
    for (w, weights) in w.iter_mut().zip(weights) {
        *w = B::load(weights);
    }
    for (sums, x) in sums.iter_mut().zip(tokens) {
        let x = L::load(x);
        for (sum, &w) in sums.iter_mut().zip(&w) {
            *sum = w.fma(x, *sum);
        }
    }
    sums
}
