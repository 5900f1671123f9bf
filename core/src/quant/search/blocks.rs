//! Blocks of 32 with scales of their own, sixteen at a time.

use super::groups::{Best, Grid, Groups, Kind};
use super::{
    Elements, LONGEST, PutBlock, finite, greatest, halves, magnitude, powers_of_two,
    spread_importance,
};
use crate::math::{LANES, Sixteen, fold_lanes, sqrt};
use crate::quant::block::Form32;

/// By how much of itself a scale is tried larger.
const NEAR_SCALE: [f32; LANES] = [
    0.0, -0.004, 0.004, -0.008, 0.008, -0.012, 0.012, -0.016, 0.016, -0.02, 0.02, -0.024, 0.024,
    -0.03, 0.03, 0.036,
];
/// The same where there is a minimum, which is tried larger by some of the scale.
const NEAR: [[f32; LANES]; 2] = [
    [
        0.0, 0.0, 0.0, -0.008, -0.008, -0.008, 0.008, 0.008, 0.008, -0.016, -0.016, -0.016, 0.016,
        0.016, 0.016, 0.024,
    ],
    [0.0, -0.07, 0.07, 0.0, -0.07, 0.07, 0.0, -0.07, 0.07, 0.0, -0.07, 0.07, 0.0, -0.07, 0.07, 0.0],
];
/// How often grids follow the integers chosen for them.
const ROUNDS: usize = 6;

/// As [`Searches::weighted_blocks`](super::Searches::weighted_blocks).
#[inline(always)]
pub(super) fn weighted_blocks<F: Sixteen>(
    form: &Form32,
    x: &[f32],
    importance: &[f32],
    put: &mut PutBlock<'_>,
) {
    let (row_up, mean_square) = row_size::<F>(x);
    let chunks = x.chunks(LANES * 32).zip(importance.chunks(LANES * 32));
    for (sixteen, (x, importance)) in chunks.enumerate() {
        let mut columns = [[0.0; LANES]; LONGEST];
        side_by_side(x, &mut columns);
        let mut largest = F::splat(0.0);
        for x in &mut columns {
            let finite = finite(F::load(x));
            largest = largest.max(magnitude(finite));
            finite.store(x);
        }
        let (up, down) = powers_of_two(largest);
        for x in &mut columns {
            (F::load(x) * down).store(x);
        }
        let mut w = [[0.0; LANES]; LONGEST];
        side_by_side(importance, &mut w);
        spread_importance::<F>(&mut w, 0.0, false);
        // Errors of large elements count more, by the row's mean square. Beside one that is far
        // larger than a block, no element of the block is large.
        let ratio = (F::splat(row_up) * down).min(F::splat(1048576.0));
        let extra = (F::splat(mean_square) * ratio * ratio).to_array();
        for (w, x) in w.iter_mut().zip(&columns) {
            for ((w, x), extra) in w.iter_mut().zip(x).zip(extra) {
                *w *= sqrt(extra + x * x);
            }
        }
        let kind = if form.has_min { Kind::Anywhere } else { Kind::Scale };
        let groups = Groups::<F>::new(kind, false, form.levels, &columns, &w);
        let grid = search(&groups, up, down);
        let (d, m) = (halves(grid.scale, up, down).0, halves(-grid.min, up, down).0);
        let levels = levels(&groups, &grid);
        for (i, levels) in levels.iter().enumerate().take(x.len() / 32) {
            put(LANES * sixteen + i, d[i], m[i], levels);
        }
    }
}

/// A power of two near the largest magnitude, and the mean square of what it divides.
#[inline(always)]
fn row_size<F: Sixteen>(x: &[f32]) -> (f32, f32) {
    let mut largest = F::splat(0.0);
    for x in x.as_chunks().0 {
        largest = largest.max(magnitude(finite(F::load(x))));
    }
    let (up, down) = powers_of_two(F::splat(greatest(largest)));
    let mut squares = F::splat(0.0);
    for x in x.as_chunks().0 {
        let x = finite(F::load(x)) * down;
        squares = squares + x * x;
    }
    (greatest(up), fold_lanes(squares.to_array()) / x.len() as f32)
}

/// Takes blocks to lanes of their own; what is missing is left as it was.
#[inline(always)]
fn side_by_side(x: &[f32], columns: &mut [Elements; 32]) {
    for (lane, x) in x.as_chunks::<32>().0.iter().enumerate() {
        for (lanes, x) in columns.iter_mut().zip(x) {
            lanes[lane] = *x;
        }
    }
}

/// Grids whose scales and minimums are half floats.
#[inline(always)]
fn search<F: Sixteen>(groups: &Groups<'_, F>, up: F, down: F) -> Grid<F> {
    let (mut sums, mut fit) = groups.stretched(Some((up, down)));
    let mut best = Best::new();
    for round in 0..ROUNDS {
        let nearer = F::splat(1.0 / (1 + round) as f32);
        for step in 0..LANES {
            let [more, raise] = match groups.kind {
                Kind::Scale => [groups.candidate(&NEAR_SCALE, step), F::splat(0.0)],
                _ => NEAR.map(|near| groups.candidate(&near, step)),
            };
            let scale = halves(fit.scale + fit.scale * (nearer * more), up, down).1;
            let min = groups.min_with(&sums, &fit, scale) + fit.scale * (nearer * raise);
            let grid = Grid::new(scale, halves(min, up, down).1);
            best.offer(groups.cost(&grid), [grid.scale, grid.min]);
        }
        let [scale, min] = best.merged(false);
        sums = groups.sums(&Grid::new(scale, min));
        fit = groups.fit(&sums);
    }
    let [scale, min] = best.merged(false);
    Grid::new(scale, min)
}

/// The integers of each block on its grid.
#[inline(always)]
fn levels<F: Sixteen>(groups: &Groups<'_, F>, grid: &Grid<F>) -> [[i8; 32]; LANES] {
    let mut levels = [[0; 32]; LANES];
    for (i, x) in groups.x.iter().enumerate() {
        let nearest = groups.nearest(F::load(x), grid).to_array();
        for (levels, level) in levels.iter_mut().zip(nearest) {
            levels[i] = level as i8;
        }
    }
    levels
}
