//! Groups of weights as integers on grids: what errors cost, and which grid suits given integers.

use super::{Elements, halves, magnitude, nearest, unless_zero};
use crate::math::{LANES, Sixteen};

/// What is added to the integers' room when a group's range is divided by it.
const STRETCHES: [f32; LANES] =
    [0.0, -0.9, -0.75, -0.6, -0.45, -0.3, -0.15, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, -1.0, -2.0, -3.0];
/// By how much of a step the lowest integer may stand above the lowest weight.
const RAISES: [f32; 2] = [0.0, 0.5];

/// Which grids a format has.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// `s·q`
    Scale,
    /// `s·q − m` with `m ≥ 0`
    Below,
    /// `s·q − m`
    Anywhere,
}

/// Up to sixteen groups, one in each lane.
pub(super) struct Groups<'a, F> {
    pub(super) kind: Kind,
    /// Whether the last eight lanes hold the same groups as the first: two candidates at a time.
    pub(super) doubled: bool,
    /// The lowest and the highest integer.
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) x: &'a [Elements],
    /// How much the squared error of each element counts.
    pub(super) w: &'a [Elements],
    /// `Σ w` and `Σ w·x`.
    pub(super) sum_w: F,
    pub(super) sum_x: F,
}

/// A group's weights as `scale·q − min`.
#[derive(Clone, Copy)]
pub(super) struct Grid<F> {
    pub(super) scale: F,
    /// `1 / scale`, or 0 for a scale of 0.
    pub(super) inverse: F,
    pub(super) min: F,
}

/// Sums over a group's integers.
#[derive(Clone, Copy)]
pub(super) struct Sums<F> {
    /// `Σ w·q`; 0 where grids have no minimum.
    pub(super) q: F,
    /// `Σ w·q²`
    pub(super) qq: F,
    /// `Σ w·q·x`
    pub(super) xq: F,
}

/// The grid that suits some integers best.
#[derive(Clone, Copy)]
pub(super) struct Fit<F> {
    pub(super) scale: F,
    pub(super) min: F,
}

impl<F: Sixteen> Grid<F> {
    #[inline(always)]
    pub(super) fn new(scale: F, min: F) -> Self {
        Grid { scale, inverse: unless_zero(scale, F::splat(1.0) / scale), min }
    }
}

impl<'a, F: Sixteen> Groups<'a, F> {
    #[inline(always)]
    pub(super) fn new(
        kind: Kind,
        doubled: bool,
        [low, high]: [f32; 2],
        x: &'a [Elements],
        w: &'a [Elements],
    ) -> Self {
        let (mut sum_w, mut sum_x) = (F::splat(0.0), F::splat(0.0));
        for (x, w) in x.iter().zip(w) {
            let w = F::load(w);
            sum_w = sum_w + w;
            sum_x = sum_x + w * F::load(x);
        }
        Groups { kind, doubled, low, high, x, w, sum_w, sum_x }
    }

    /// In how many steps sixteen candidates are tried.
    #[inline(always)]
    pub(super) fn steps(&self) -> usize {
        if self.doubled { LANES / 2 } else { LANES }
    }

    /// What step `step` tries of some candidates.
    #[inline(always)]
    pub(super) fn candidate(&self, of: &[f32; LANES], step: usize) -> F {
        if !self.doubled {
            return F::splat(of[step]);
        }
        let mut lanes = [of[2 * step]; LANES];
        lanes[LANES / 2..].fill(of[2 * step + 1]);
        F::load(&lanes)
    }

    /// The integers nearest to weights of each group.
    #[inline(always)]
    pub(super) fn nearest(&self, x: F, grid: &Grid<F>) -> F {
        let x = if self.kind == Kind::Scale { x } else { x + grid.min };
        nearest(x * grid.inverse, F::splat(self.low), F::splat(self.high))
    }

    /// Sums over the integers that are nearest on a grid.
    #[inline(always)]
    pub(super) fn sums(&self, grid: &Grid<F>) -> Sums<F> {
        let (mut q, mut qq, mut xq) = (F::splat(0.0), F::splat(0.0), F::splat(0.0));
        for (x, w) in self.x.iter().zip(self.w) {
            let (x, w) = (F::load(x), F::load(w));
            let level = self.nearest(x, grid);
            let wq = w * level;
            if self.kind != Kind::Scale {
                q = q + wq;
            }
            qq = qq + wq * level;
            xq = xq + wq * x;
        }
        Sums { q, qq, xq }
    }

    /// What a grid costs.
    #[inline(always)]
    pub(super) fn cost(&self, grid: &Grid<F>) -> F {
        let mut cost = F::splat(0.0);
        for (x, w) in self.x.iter().zip(self.w) {
            let x = F::load(x);
            let level = self.nearest(x, grid);
            let value = grid.scale * level;
            let off = if self.kind == Kind::Scale { value - x } else { value - (x + grid.min) };
            cost = cost + F::load(w) * (off * off);
        }
        cost
    }

    /// The least squares.
    #[inline(always)]
    pub(super) fn fit(&self, sums: &Sums<F>) -> Fit<F> {
        let zero = F::splat(0.0);
        let Sums { q, qq, xq } = *sums;
        let one_scale = unless_zero(qq, xq / qq);
        if self.kind == Kind::Scale {
            return Fit { scale: one_scale, min: zero };
        }
        let (w, x) = (self.sum_w, self.sum_x);
        let det = w * qq - q * q;
        // Integers that are all the same say nothing of a scale: only rounding keeps `det` from 0.
        let enough = w * qq * F::splat(1.0 / 65536.0);
        let mut scale = F::where_greater(det, enough, (w * xq - x * q) / det, zero);
        let mut min =
            F::where_greater(det, enough, (q * xq - qq * x) / det, -unless_zero(w, x / w));
        if self.kind == Kind::Below {
            scale = F::where_greater(zero, min, one_scale, scale);
            min = min.max(zero);
        }
        Fit { scale, min }
    }

    /// The minimum that suits the integers of `sums` with another scale; 0 if there are none.
    #[inline(always)]
    pub(super) fn min_with(&self, sums: &Sums<F>, fit: &Fit<F>, scale: F) -> F {
        let mean = unless_zero(self.sum_w, sums.q / self.sum_w);
        fit.min + mean * (scale - fit.scale)
    }

    /// The best fit for integers that come of dividing each group's range by some more or less than
    /// the integers have room for; if a power of two and its inverse are given, the best with half
    /// floats among what was brought down by it.
    #[inline(always)]
    pub(super) fn stretched(&self, halved: Option<(F, F)>) -> (Sums<F>, Fit<F>) {
        // Differences below this, where the largest magnitude is about 1, are taken for none.
        const FLAT: f32 = 1.0 / 1048576.0;
        let zero = F::splat(0.0);
        let most = F::splat(f32::MAX);
        let (mut lowest, mut highest) = match self.kind {
            Kind::Scale => (zero, zero),
            Kind::Below => (zero, -most),
            Kind::Anywhere => (most, -most),
        };
        for x in self.x {
            lowest = lowest.min(F::load(x));
            highest = highest.max(F::load(x));
        }
        let (range, room, min) = if self.kind == Kind::Scale {
            // There is room for one more below 0 than above.
            (F::where_greater(highest, -lowest, -highest, -lowest), -self.low, zero)
        } else {
            (highest - lowest, self.high, -lowest)
        };
        let whole = F::splat(1.0) / range;
        let whole = F::where_greater(F::splat(FLAT), magnitude(range), zero, whole);
        let mut best = Best::new();
        let raises = if self.kind == Kind::Scale { &RAISES[..1] } else { &RAISES };
        for &raise in raises {
            for step in 0..self.steps() {
                let room = F::splat(room) + self.candidate(&STRETCHES, step);
                let (inverse, min) = (room * whole, min - F::splat(raise) * range / room);
                let sums = self.sums(&Grid { scale: zero, inverse, min });
                // By its errors: what sums say of them drowns in rounding where one weight counts
                // for all.
                let Fit { mut scale, mut min } = self.fit(&sums);
                if let Some((up, down)) = halved {
                    (scale, min) = (halves(scale, up, down).1, halves(min, up, down).1);
                }
                best.offer(self.cost(&Grid::new(scale, min)), [scale, min]);
            }
        }
        let [scale, min] = best.merged(self.doubled);
        let sums = self.sums(&Grid::new(scale, min));
        (sums, self.fit(&sums))
    }
}

/// The cheapest of the candidates so far in each lane, and what they are.
pub(super) struct Best<F> {
    pub(super) cost: F,
    what: [F; 2],
}

impl<F: Sixteen> Best<F> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Best { cost: F::splat(f32::MAX), what: [F::splat(0.0); 2] }
    }

    #[inline(always)]
    pub(super) fn offer(&mut self, cost: F, [a, b]: [F; 2]) {
        self.what[0] = F::where_greater(self.cost, cost, a, self.what[0]);
        self.what[1] = F::where_greater(self.cost, cost, b, self.what[1]);
        self.cost = self.cost.min(cost);
    }

    /// The candidates that won; of lanes with the same group, the first if they are as good.
    #[inline(always)]
    pub(super) fn merged(&mut self, doubled: bool) -> [F; 2] {
        if doubled {
            let (mut cost, [a, b]) = (self.cost.to_array(), self.what);
            let (mut a, mut b) = (a.to_array(), b.to_array());
            for (i, j) in (0..LANES / 2).zip(LANES / 2..) {
                let from = if cost[i] > cost[j] { j } else { i };
                (cost[i], a[i], b[i]) = (cost[from], a[from], b[from]);
                (cost[j], a[j], b[j]) = (cost[i], a[i], b[i]);
            }
            *self = Best { cost: F::load(&cost), what: [F::load(&a), F::load(&b)] };
        }
        self.what
    }
}
