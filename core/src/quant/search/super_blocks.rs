//! Super-blocks: grids whose scales and minimums are themselves small integers.

use super::groups::{Best, Fit, Grid, Groups, Kind, Sums};
use super::{
    Elements, LONGEST, finite, greatest, halves, magnitude, nearest, powers_of_two,
    spread_importance, unless_zero,
};
use crate::math::{LANES, Sixteen, fold_lanes, sqrt};
use crate::quant::block::{Form256, Parts256};

/// What is taken from the sub-scales' room when the largest scale is divided by it, so that scales
/// suit more groups than one.
const SHORTER: [f32; LANES] =
    [0.0, -0.4, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0];
/// Sub-scales around the nearest one, with minimums around what is then the nearest.
const NEAR: [[f32; LANES]; 2] = [
    [0.0, 0.0, 0.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, -2.0, -2.0, -2.0, 2.0, 2.0, 2.0, 0.0],
    [0.0, -1.0, 1.0, 0.0, -1.0, 1.0, 0.0, -1.0, 1.0, 0.0, -1.0, 1.0, 0.0, -1.0, 1.0, 2.0],
];
/// Sub-scales around the nearest one where there are no minimums.
const NEAR_S: [f32; LANES] =
    [0.0, -1.0, 1.0, -2.0, 2.0, -3.0, 3.0, -4.0, 4.0, -5.0, 5.0, -6.0, 6.0, -7.0, 7.0, 8.0];
/// By how much of itself the best scale of sub-scales is tried larger: in steps of no more than a
/// half float.
const NEAR_BEST: [f32; LANES] = [
    0.0, -0.0003, 0.0003, -0.0006, 0.0006, -0.0009, 0.0009, -0.0012, 0.0012, -0.0015, 0.0015,
    -0.0018, 0.0018, -0.0021, 0.0021, 0.0024,
];
/// What every element has of the mean importance.
const SHARED_IMPORTANCE: f32 = 0.01;
/// How often scales follow the sub-scales chosen for them.
const ROUNDS: usize = 2;

/// A half float and what it is among the weights, in every lane.
#[derive(Clone, Copy)]
struct Half<F> {
    bits: u16,
    value: F,
}

impl<F: Sixteen> Half<F> {
    /// The one in a lane.
    #[inline(always)]
    fn of(lane: usize, bits: &[u16; LANES], values: F) -> Self {
        Half { bits: bits[lane], value: F::splat(values.to_array()[lane]) }
    }
}

/// A super-block's groups, brought near 1, and the way back.
struct Search<'a, F> {
    groups: Groups<'a, F>,
    /// Elements of a group.
    group: usize,
    /// The lowest and the highest sub-scale; minimums are at most as high.
    low: F,
    high: F,
    up: F,
    down: F,
}

/// As [`Searches::super_block`](super::Searches::super_block).
#[inline(always)]
pub(super) fn super_block<F: Sixteen>(
    form: &Form256,
    x: &[f32; 256],
    importance: Option<&[f32; 256]>,
) -> Parts256 {
    let mut columns = [[0.0; LANES]; LONGEST];
    let columns = &mut columns[..form.group];
    side_by_side(x, columns);
    let mut largest = F::splat(0.0);
    for x in &mut *columns {
        let finite = finite(F::load(x));
        largest = largest.max(magnitude(finite));
        finite.store(x);
    }
    let (up, down) = powers_of_two(F::splat(greatest(largest)));
    for x in &mut *columns {
        (F::load(x) * down).store(x);
    }
    let mut w = [[0.0; LANES]; LONGEST];
    let w = &mut w[..form.group];
    match importance {
        Some(importance) => {
            side_by_side(importance, w);
            spread_importance::<F>(w, SHARED_IMPORTANCE, true);
            by_size::<F>(w, columns, form.size_counts);
        }
        None => by_size_alone::<F>(w, columns, form.has_min),
    }

    let kind = if form.has_min { Kind::Below } else { Kind::Scale };
    let doubled = form.group == 32;
    let search = Search {
        groups: Groups::<F>::new(kind, doubled, form.levels, columns, w),
        group: form.group,
        low: F::splat(form.scales[0]),
        high: F::splat(form.scales[1]),
        up,
        down,
    };
    search.run()
}

/// Takes groups to lanes of their own, twice if they are eight.
#[inline(always)]
fn side_by_side(x: &[f32; 256], columns: &mut [Elements]) {
    let group = columns.len();
    for (i, lanes) in columns.iter_mut().enumerate() {
        for (lane, to) in lanes.iter_mut().enumerate() {
            *to = x[lane % (256 / group) * group + i];
        }
    }
}

/// Lets errors of large elements count more, as `√(extra · mean square + x²)` does, if there is an
/// `extra`.
#[inline(always)]
fn by_size<F: Sixteen>(w: &mut [Elements], x: &[Elements], extra: f32) {
    if extra == 0.0 {
        return;
    }
    let mut squares = F::splat(0.0);
    for x in x {
        squares = squares + F::load(x) * F::load(x);
    }
    let mean = extra * (fold_lanes(squares.to_array()) / (LANES * x.len()) as f32);
    for (w, x) in w.iter_mut().zip(x) {
        for (w, x) in w.iter_mut().zip(x) {
            *w *= sqrt(mean + x * x);
        }
    }
}

/// Sets what errors count without importance: in formats with minimums the group's root mean square
/// and the magnitude, in others the square.
#[inline(always)]
fn by_size_alone<F: Sixteen>(w: &mut [Elements], x: &[Elements], has_min: bool) {
    let mut squares = F::splat(0.0);
    for (w, x) in w.iter_mut().zip(x) {
        let square = F::load(x) * F::load(x);
        squares = squares + square;
        square.store(w);
    }
    if has_min {
        let mut root = (squares / F::splat(x.len() as f32)).to_array();
        for root in &mut root {
            *root = sqrt(*root);
        }
        for (w, x) in w.iter_mut().zip(x) {
            (F::load(&root) + magnitude(F::load(x))).store(w);
        }
    }
}

impl<F: Sixteen> Search<'_, F> {
    #[inline(always)]
    fn run(&self) -> Parts256 {
        let zero = F::splat(0.0);
        let none = Half { bits: 0, value: zero };
        let start = self.groups.stretched(None);
        let (mut least, mut best) = (f32::MAX, (none, none, zero, zero));
        // With scales that suit the groups' own, and with those that leave no room: where scales
        // and minimums are multiples of each other, sub-scales then can be too.
        for shorter in [F::load(&SHORTER), zero] {
            let (mut sums, mut fit) = start;
            let mut d = self.first_scale(&sums, &fit, shorter);
            let mut dmin = self.first_min_scale(&sums, &fit, d, shorter);
            for round in 0..ROUNDS {
                let (cost, s, m) = self.near(&sums, &fit, d, dmin);
                if cost >= least {
                    break;
                }
                (least, best) = (cost, (d, dmin, s, m));
                if round + 1 < ROUNDS {
                    sums = self.groups.sums(&Grid::new(d.value * s, dmin.value * m));
                    fit = self.groups.fit(&sums);
                    (d, dmin) = self.next_scales(&sums, s, m);
                }
            }
        }
        let (d, dmin, s, m) = best;
        self.parts(d, dmin, s, m)
    }

    /// The sub-scales nearest to scales, or what minimums are in such steps.
    #[inline(always)]
    fn steps(&self, scale: F, d: F) -> F {
        nearest(unless_zero(d, scale / d), self.low, self.high)
    }

    /// The scale of sub-scales with which they are nearest to what they should be.
    #[inline(always)]
    fn first_scale(&self, sums: &Sums<F>, fit: &Fit<F>, shorter: F) -> Half<F> {
        let mut peak = 0.0f32;
        for scale in fit.scale.to_array() {
            peak = if scale.abs() > peak.abs() { scale } else { peak };
        }
        let slope = if self.groups.kind == Kind::Scale {
            sums.qq
        } else {
            // A minimum makes up for it as well as one can, unless there is none.
            let with =
                sums.qq - unless_zero(self.groups.sum_w, sums.q * sums.q / self.groups.sum_w);
            F::where_greater(fit.min, F::splat(0.0), with, sums.qq)
        };
        let below_zero = F::where_greater(F::splat(0.0), self.low, self.low, F::splat(0.0));
        let edge = F::where_greater(magnitude(below_zero), self.high, self.low, self.high);
        let shorter = F::where_greater(edge, F::splat(0.0), shorter, -shorter);
        self.cheapest(F::splat(peak) / (edge - shorter), slope, fit.scale)
    }

    /// The same for minimums, with the sub-scales that the scales will have.
    #[inline(always)]
    fn first_min_scale(&self, sums: &Sums<F>, fit: &Fit<F>, d: Half<F>, shorter: F) -> Half<F> {
        if self.groups.kind == Kind::Scale {
            return Half { bits: 0, value: F::splat(0.0) };
        }
        let min = self.groups.min_with(sums, fit, d.value * self.steps(fit.scale, d.value));
        let most = F::splat(greatest(min)).max(F::splat(0.0));
        self.cheapest(most / (self.high - shorter), self.groups.sum_w, min)
    }

    /// The half float among candidates of which multiples come nearest to `targets`, whose squared
    /// distances count by `weights`.
    #[inline(always)]
    fn cheapest(&self, candidates: F, weights: F, targets: F) -> Half<F> {
        let (bits, values) = halves(candidates, self.up, self.down);
        let mut cost = F::splat(0.0);
        let targets = targets.to_array().into_iter().zip(weights.to_array());
        for (target, weight) in targets.take(256 / self.group) {
            let target = F::splat(target);
            let off = target - values * self.steps(target, values);
            cost = cost + F::splat(weight) * (off * off);
        }
        Half::of(lowest(cost), &bits, values)
    }

    /// The best sub-scales and minimums near those that a fit asks for, and what all groups then
    /// cost.
    #[inline(always)]
    fn near(&self, sums: &Sums<F>, fit: &Fit<F>, d: Half<F>, dmin: Half<F>) -> (f32, F, F) {
        let (groups, zero) = (&self.groups, F::splat(0.0));
        let centre = self.steps(fit.scale, d.value);
        let mut best = Best::new();
        for step in 0..groups.steps() {
            let (s, m);
            if groups.kind == Kind::Scale {
                s = (centre + groups.candidate(&NEAR_S, step)).max(self.low).min(self.high);
                m = zero;
            } else {
                s = (centre + groups.candidate(&NEAR[0], step)).max(self.low).min(self.high);
                let min = groups.min_with(sums, fit, d.value * s);
                let m_centre = self.steps(min, dmin.value);
                m = (m_centre + groups.candidate(&NEAR[1], step)).max(self.low).min(self.high);
            }
            best.offer(groups.cost(&Grid::new(d.value * s, dmin.value * m)), [s, m]);
        }
        let [s, m] = best.merged(groups.doubled);
        (fold_lanes(best.cost.to_array()), s, m)
    }

    /// The scales with which the integers of `sums` cost least, given their sub-scales.
    #[inline(always)]
    fn next_scales(&self, sums: &Sums<F>, s: F, m: F) -> (Half<F>, Half<F>) {
        // Lanes that hold the same group twice do so in every sum.
        let (ss, sx) = (total(s * s * sums.qq), total(s * sums.xq));
        let mm = total(m * m * self.groups.sum_w);
        let (sm, mx) = (total(s * m * sums.q), total(m * self.groups.sum_x));
        let det = ss * mm - sm * sm;
        let (mut d, mut dmin) = (if ss > 0.0 { sx / ss } else { 0.0 }, 0.0);
        if self.groups.kind != Kind::Scale && det > 0.0 {
            (d, dmin) = ((mm * sx - sm * mx) / det, (sm * sx - ss * mx) / det);
        }
        // Half floats around the best scale, each with what is then the best scale of minimums.
        let d = F::splat(d);
        let (d_bits, d_values) = halves(d + d * F::load(&NEAR_BEST), self.up, self.down);
        let off = d_values - d;
        let slope = if mm > 0.0 { sm / mm } else { 0.0 };
        let (m_bits, m_values) = halves(F::splat(dmin) + F::splat(slope) * off, self.up, self.down);
        let m_off = m_values - F::splat(dmin);
        // What either costs beside the best that there is.
        let cost = F::splat(ss) * off * off + F::splat(mm) * m_off * m_off
            - F::splat(2.0 * sm) * off * m_off;
        let at = lowest(cost);
        (Half::of(at, &d_bits, d_values), Half::of(at, &m_bits, m_values))
    }

    #[inline(always)]
    fn parts(&self, d: Half<F>, dmin: Half<F>, s: F, m: F) -> Parts256 {
        let mut parts =
            Parts256 { d: d.bits, dmin: dmin.bits, s: [0; 16], m: [0; 16], q: [0; 256] };
        let grid = Grid::new(d.value * s, dmin.value * m);
        for (i, x) in self.groups.x.iter().enumerate() {
            let levels = self.groups.nearest(F::load(x), &grid).to_array();
            for (group, level) in levels.into_iter().take(256 / self.group).enumerate() {
                parts.q[group * self.group + i] = level as i8;
            }
        }
        let (s, m) = (s.to_array(), m.to_array());
        for j in 0..16 {
            let group = j * 16 / self.group;
            (parts.s[j], parts.m[j]) = (s[group] as i8, m[group] as u8);
        }
        parts
    }
}

/// The lane with the lowest value, the first if there are several.
#[inline(always)]
fn lowest<F: Sixteen>(x: F) -> usize {
    let (x, mut at) = (x.to_array(), 0);
    for i in 1..LANES {
        at = if x[i] < x[at] { i } else { at };
    }
    at
}

#[inline(always)]
fn total<F: Sixteen>(x: F) -> f32 {
    fold_lanes(x.to_array())
}
