//! From logits to a token: greedy, or drawn from a filtered distribution by a seeded generator.

use core::mem;

use crate::Token;
use crate::math::exp;
use crate::rng::Rng;

/// How to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits; 0 or less chooses the largest.
    pub temperature: f32,
    /// Keeps the k largest; 0 keeps all.
    pub top_k: usize,
    /// Keeps the fewest, from the largest on, whose probabilities reach p; 1 keeps all.
    pub top_p: f32,
    /// Keeps those with at least p times the largest probability; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of recent tokens; 1 does nothing.
    pub repeat_penalty: f32,
    /// How many of the last tokens count as recent.
    pub repeat_last_n: usize,
    /// Fixes every draw.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        SamplerOptions {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            seed: 0,
        }
    }
}

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: Token,
    /// Its logit, later its weight.
    pub weight: f32,
}

/// Chooses tokens; the same seed, logits and options give the same choices everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    rng: Rng,
}

impl Sampler {
    /// A sampler at the start of its sequence of draws.
    pub const fn new(options: SamplerOptions) -> Self {
        Sampler { options, rng: Rng::new(options.seed) }
    }

    /// The options.
    pub const fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// The next token. `recent` are the tokens so far, `scratch` has room for candidates: one per
    /// logit, or fewer, and then only the largest logits are considered.
    ///
    /// Order: repetition penalty, temperature, top-k, top-p, min-p, draw. NaN counts as −∞, ties
    /// go to the smaller token. Without any finite logit or room the result is the largest's
    /// token, or 0.
    pub fn sample(&mut self, logits: &[f32], recent: &[Token], scratch: &mut [Candidate]) -> Token {
        let o = self.options;
        let recent = recent.get(recent.len().saturating_sub(o.repeat_last_n)..).unwrap_or(&[]);
        let recent = if o.repeat_penalty == 1.0 { &[] } else { recent };
        let penalized = logits.iter().enumerate().map(|(token, &logit)| {
            let token = token as Token;
            Candidate { token, weight: penalize(logit, o.repeat_penalty, recent.contains(&token)) }
        });
        if o.temperature.is_nan() || o.temperature <= 0.0 || scratch.is_empty() {
            let first = Candidate { token: 0, weight: f32::NEG_INFINITY };
            return penalized.fold(first, |best, c| if before(&c, &best) { c } else { best }).token;
        }
        let k = if o.top_k == 0 { logits.len() } else { o.top_k };
        let kept = keep_largest(penalized, scratch, k);
        sort(kept);
        let Some(max) = kept.first().map(|c| c.weight) else { return 0 };
        let mut total = 0.0f32;
        for c in kept.iter_mut() {
            // Two infinities make a NaN; both belong to the largest.
            let below = if c.weight == max { 0.0 } else { (c.weight - max) / o.temperature };
            c.weight = exp(below);
            total += c.weight;
        }
        let kept = keep_nucleus(kept, o.top_p, total);
        let kept = keep_likely(kept, o.min_p);
        draw(kept, self.rng.next_f32())
    }
}

/// Whether `a` comes before `b`: larger weight first, then smaller token.
fn before(a: &Candidate, b: &Candidate) -> bool {
    a.weight > b.weight || (a.weight == b.weight && a.token < b.token)
}

fn penalize(logit: f32, penalty: f32, is_recent: bool) -> f32 {
    let logit = if logit.is_nan() { f32::NEG_INFINITY } else { logit };
    match (is_recent, logit > 0.0) {
        (false, _) => logit,
        (true, true) => logit / penalty,
        (true, false) => logit * penalty,
    }
}

/// The `k` first of some candidates, unordered, in a heap whose root comes last.
fn keep_largest(
    candidates: impl Iterator<Item = Candidate>,
    scratch: &mut [Candidate],
    k: usize,
) -> &mut [Candidate] {
    let k = k.min(scratch.len());
    let heap = first(scratch, k);
    let mut n = 0;
    for c in candidates {
        if let Some(place) = heap.get_mut(n) {
            *place = c;
            n += 1;
            if n == k {
                for i in (0..k / 2).rev() {
                    sift_down(heap, i);
                }
            }
        } else if let Some(root) = heap.first_mut()
            && before(&c, root)
        {
            *root = c;
            sift_down(heap, 0);
        }
    }
    first(heap, n)
}

/// Restores the heap below `i`: no parent comes before its children.
fn sift_down(heap: &mut [Candidate], mut i: usize) {
    loop {
        let mut last = i;
        for child in [2 * i + 1, 2 * i + 2] {
            if let (Some(c), Some(l)) = (heap.get(child), heap.get(last))
                && before(l, c)
            {
                last = child;
            }
        }
        if last == i {
            return;
        }
        if let Ok([above, below]) = heap.get_disjoint_mut([i, last]) {
            mem::swap(above, below);
        }
        i = last;
    }
}

/// The first `n`, or as many as there are.
fn first(candidates: &mut [Candidate], n: usize) -> &mut [Candidate] {
    let n = n.min(candidates.len());
    candidates.get_mut(..n).unwrap_or_default()
}

/// Sorts in place. The library's way, which is faster with many, can panic where an order is none,
/// as far as linkers know; so boards have a heap's.
fn sort(candidates: &mut [Candidate]) {
    if cfg!(feature = "std") { sort_many(candidates) } else { sort_heap(candidates) }
}

fn sort_heap(mut candidates: &mut [Candidate]) {
    for i in (0..candidates.len() / 2).rev() {
        sift_down(candidates, i);
    }
    // The root comes last of those that are left.
    while let Some(end) = candidates.len().checked_sub(1) {
        if let Ok([root, last]) = candidates.get_disjoint_mut([0, end]) {
            mem::swap(root, last);
        }
        candidates = first(candidates, end);
        sift_down(candidates, 0);
    }
}

fn sort_many(candidates: &mut [Candidate]) {
    candidates.sort_unstable_by(|a, b| {
        if before(a, b) {
            core::cmp::Ordering::Less
        } else if before(b, a) {
            core::cmp::Ordering::Greater
        } else {
            core::cmp::Ordering::Equal
        }
    });
}

/// The fewest of the sorted candidates whose share of `total` reaches `p`; at least one.
fn keep_nucleus(kept: &mut [Candidate], p: f32, total: f32) -> &mut [Candidate] {
    if p.is_nan() || p >= 1.0 {
        return kept;
    }
    let mut sum = 0.0;
    let n = kept.iter().position(|c| {
        sum += c.weight;
        sum >= p * total
    });
    let n = n.map_or(kept.len(), |n| n + 1).max(1).min(kept.len());
    first(kept, n)
}

/// Those of the sorted candidates with at least `p` times the first one's weight, which is 1.
fn keep_likely(kept: &mut [Candidate], p: f32) -> &mut [Candidate] {
    let n = kept.iter().skip(1).take_while(|c| c.weight >= p).count();
    first(kept, n + 1)
}

/// The candidate at `u` in 0..1 of their total weight.
fn draw(kept: &[Candidate], u: f32) -> Token {
    let total: f32 = kept.iter().map(|c| c.weight).sum();
    let mut rest = u * total;
    for c in kept {
        rest -= c.weight;
        if rest < 0.0 {
            return c.token;
        }
    }
    // Rounding can leave a little: it belongs to the last.
    kept.last().map_or(0, |c| c.token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const LOGITS: [f32; 6] = [0.0, 3.0, 1.0, f32::NAN, 3.0, -2.0];

    fn draws(options: SamplerOptions, n: usize) -> vec::Vec<Token> {
        let mut sampler = Sampler::new(options);
        let mut scratch = [Candidate::default(); 6];
        (0..n).map(|_| sampler.sample(&LOGITS, &[], &mut scratch)).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let options = SamplerOptions { temperature: 0.0, ..Default::default() };
        assert_eq!(draws(options, 1), [1]);
        let nan = SamplerOptions { temperature: f32::NAN, ..Default::default() };
        assert_eq!(draws(nan, 1), [1]);
        let mut greedy = Sampler::new(options);
        assert_eq!(greedy.sample(&[f32::NAN; 3], &[], &mut []), 0);
        assert_eq!(greedy.sample(&[], &[], &mut []), 0);
    }

    #[test]
    fn both_ways_of_sorting_give_the_same_order() {
        for n in 0..40u32 {
            let weights = (0..n).map(|i| f32::from((i * 7919 % 13) as u8));
            let candidates = weights.zip(0..).map(|(weight, token)| Candidate { token, weight });
            let mut heap: vec::Vec<_> = candidates.collect();
            let mut many = heap.clone();
            sort_heap(&mut heap);
            sort_many(&mut many);
            let tokens = |all: &[Candidate]| all.iter().map(|c| c.token).collect::<vec::Vec<_>>();
            assert_eq!(tokens(&heap), tokens(&many));
            assert!(heap.windows(2).all(|pair| before(&pair[0], &pair[1])));
        }
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let options = SamplerOptions {
            temperature: 1.5,
            top_p: 1.0,
            min_p: 0.0,
            seed: 7,
            ..Default::default()
        };
        assert_eq!(draws(options, 100), draws(options, 100));
        assert_ne!(draws(options, 100), draws(SamplerOptions { seed: 8, ..options }, 100));
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let options = SamplerOptions {
            temperature: 2.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 1,
            ..Default::default()
        };
        let n = 40_000;
        let drawn = draws(options, n);
        let weights = LOGITS.map(|l| if l.is_nan() { 0.0 } else { f64::from(l / 2.0).exp() });
        let total: f64 = weights.iter().sum();
        for (token, weight) in weights.iter().enumerate() {
            let count = drawn.iter().filter(|&&t| t == token as Token).count() as f64;
            let want = weight / total;
            assert!((count / n as f64 - want).abs() < 0.01, "{token}: {count}, expected {want}");
        }
        assert!(!drawn.contains(&3), "a NaN was drawn");
    }

    #[test]
    fn filters_keep_what_they_say() {
        let open = SamplerOptions {
            temperature: 5.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..Default::default()
        };
        let distinct = |options| {
            let mut seen = draws(options, 3_000);
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(distinct(open), [0, 1, 2, 4, 5]);
        assert_eq!(distinct(SamplerOptions { top_k: 2, ..open }), [1, 4]);
        assert_eq!(distinct(SamplerOptions { top_k: 1, ..open }), [1]);
        assert_eq!(distinct(SamplerOptions { top_p: 0.3, ..open }), [1, 4]);
        assert_eq!(distinct(SamplerOptions { top_p: 0.0, ..open }), [1]);
        // e^(-2/5) = 0.67, e^(-3/5) = 0.55, e^(-5/5) = 0.37
        assert_eq!(distinct(SamplerOptions { min_p: 0.6, ..open }), [1, 2, 4]);
    }

    #[test]
    fn recent_tokens_are_penalized() {
        let options = SamplerOptions {
            temperature: 0.0,
            repeat_penalty: 4.0,
            repeat_last_n: 2,
            ..Default::default()
        };
        let mut sampler = Sampler::new(options);
        assert_eq!(sampler.sample(&LOGITS, &[1], &mut []), 4);
        assert_eq!(sampler.sample(&LOGITS, &[1, 4], &mut []), 2);
        assert_eq!(sampler.sample(&LOGITS, &[1, 4, 0], &mut []), 1);
    }

    #[test]
    fn a_small_scratch_keeps_the_largest() {
        let mut sampler = Sampler::new(SamplerOptions {
            temperature: 9.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..Default::default()
        });
        let mut scratch = [Candidate::default(); 2];
        for _ in 0..100 {
            assert!([1, 4].contains(&sampler.sample(&LOGITS, &[], &mut scratch)));
        }
    }

    #[test]
    fn infinite_logits_are_certain() {
        let mut sampler = Sampler::new(SamplerOptions::default());
        let mut scratch = [Candidate::default(); 4];
        for _ in 0..50 {
            assert_eq!(sampler.sample(&[1.0, f32::INFINITY, 2.0], &[], &mut scratch), 1);
            assert_eq!(sampler.sample(&[f32::NEG_INFINITY; 3], &[], &mut scratch) / 3, 0);
        }
    }
}
