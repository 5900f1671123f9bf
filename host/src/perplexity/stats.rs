//! What a run's scores come to: means with their standard errors, and percentiles.

use serde::Serialize;

use super::Score;

/// A mean and its standard error, which is not a number of a single value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mean {
    pub(super) value: f64,
    pub(super) error: f64,
}

impl Mean {
    pub(super) fn of(values: impl ExactSizeIterator<Item = f64> + Clone) -> Self {
        let n = values.len() as f64;
        let mean = values.clone().sum::<f64>() / n;
        let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        Mean { value: mean, error: (variance / (n - 1.0)).sqrt() }
    }
}

/// How well a model predicts a text.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Tokens that were predicted.
    pub scored: usize,
    /// The mean of −ln p over them, in nats.
    pub nll: f64,
    /// Its standard error.
    pub nll_error: f64,
    /// e to the power of that mean.
    pub perplexity: f64,
    /// Its standard error.
    pub perplexity_error: f64,
    /// How that compares with another run's.
    pub against: Option<Comparison>,
}

/// How a model's predictions differ from those of a base.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The base's perplexity on the same tokens.
    pub base_perplexity: f64,
    /// Its standard error.
    pub base_perplexity_error: f64,
    /// Of the two models' −ln p, from −1 to 1.
    pub correlation: f64,
    /// ln(perplexity / base's).
    pub ln_ratio: f64,
    /// Its standard error, which is smaller than either model's: both met the same tokens.
    pub ln_ratio_error: f64,
    /// Perplexity / base's.
    pub ratio: f64,
    /// Its standard error.
    pub ratio_error: f64,
    /// Perplexity less the base's.
    pub difference: f64,
    /// Its standard error.
    pub difference_error: f64,
    /// KL(base ‖ model) of a position's whole distributions, in nats.
    pub kl: Spread,
    /// The model's probability of the token that came less the base's.
    pub delta_p: Spread,
    /// The square root of the mean of the squares of those.
    pub delta_p_rms: f64,
    /// Its standard error.
    pub delta_p_rms_error: f64,
    /// The share of positions at which both find the same token the likeliest.
    pub same_top: f64,
    /// Its standard error.
    pub same_top_error: f64,
}

/// How values are spread.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "a percentile's name says all of it")]
pub struct Spread {
    pub mean: f64,
    pub mean_error: f64,
    pub min: f64,
    pub p0_1: f64,
    pub p1: f64,
    pub p5: f64,
    pub p10: f64,
    pub p25: f64,
    pub median: f64,
    pub p75: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        let mean = Mean::of(values.iter().copied());
        values.sort_by(f64::total_cmp);
        let at = |share| percentile(&values, share);
        Spread {
            mean: mean.value,
            mean_error: mean.error,
            min: at(0.0),
            p0_1: at(0.001),
            p1: at(0.01),
            p5: at(0.05),
            p10: at(0.1),
            p25: at(0.25),
            median: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            max: at(1.0),
        }
    }
}

/// The value below which a share of sorted values lies, between two of them in proportion.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let place = share * last as f64;
    let below = (place as usize).min(last);
    let at = |i: usize| sorted.get(i.min(last)).copied().unwrap_or(f64::NAN);
    at(below) + (place - below as f64) * (at(below + 1) - at(below))
}

impl Summary {
    /// Returns what these scores come to; all of them were compared with a base, or none.
    pub fn of(scores: &[Score]) -> Self {
        let nll = Mean::of(scores.iter().map(|score| score.nll));
        let perplexity = nll.value.exp();
        let compared = scores.iter().all(|score| score.base.is_some()) && !scores.is_empty();
        Summary {
            scored: scores.len(),
            nll: nll.value,
            nll_error: nll.error,
            perplexity,
            perplexity_error: perplexity * nll.error,
            against: compared.then(|| Comparison::of(scores, nll)),
        }
    }
}

impl Comparison {
    fn of(scores: &[Score], nll: Mean) -> Self {
        let n = scores.len() as f64;
        let base = || scores.iter().map(|score| score.base.unwrap_or_default());
        let pairs = || scores.iter().zip(base());
        let base_nll = Mean::of(base().map(|base| base.nll));
        let covariance = pairs()
            .map(|(score, base)| (score.nll - nll.value) * (base.nll - base_nll.value))
            .sum::<f64>()
            / n
            / (n - 1.0);
        let (perplexity, base_perplexity) = (nll.value.exp(), base_nll.value.exp());
        let ln_ratio = Mean::of(pairs().map(|(score, base)| score.nll - base.nll));
        let delta =
            |(score, base): (&Score, super::BaseScore)| (-score.nll).exp() - (-base.nll).exp();
        let delta_p: Vec<f64> = pairs().map(delta).collect();
        let squares = Mean::of(delta_p.iter().map(|delta| delta * delta));
        let rms = squares.value.sqrt();
        let same_top = base().filter(|base| base.same_top).count() as f64 / n;
        let (error, base_error) = (perplexity * nll.error, base_perplexity * base_nll.error);
        Comparison {
            base_perplexity,
            base_perplexity_error: base_error,
            correlation: covariance / (nll.error * base_nll.error),
            ln_ratio: ln_ratio.value,
            ln_ratio_error: ln_ratio.error,
            ratio: ln_ratio.value.exp(),
            ratio_error: ln_ratio.value.exp() * ln_ratio.error,
            difference: perplexity - base_perplexity,
            difference_error: (error * error + base_error * base_error
                - 2.0 * perplexity * base_perplexity * covariance)
                .max(0.0)
                .sqrt(),
            kl: Spread::of(base().map(|base| base.kl).collect()),
            delta_p: Spread::of(delta_p),
            delta_p_rms: rms,
            delta_p_rms_error: if rms > 0.0 { 0.5 / rms * squares.error } else { 0.0 },
            same_top,
            same_top_error: (same_top * (1.0 - same_top) / (n - 1.0)).sqrt(),
        }
    }
}
