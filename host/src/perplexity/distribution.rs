//! Sums over a row of logits, in pieces that several threads share.
//!
//! A vocabulary has up to 262,144 tokens, and every scored position needs e to the power of each
//! logit. Pieces have a fixed length, lanes a fixed number, and pieces are added up in their order,
//! so that no sum depends on the number of threads. Powers are taken in f32, by operations that
//! every CPU does alike and several at a time; everything is added up in f64.

use bantam_core::Token;
use bantam_core::par::{Parallel, for_each_part};

/// Logits that are worked on together: they stay in a first-level cache between two passes.
const PIECE: usize = 4096;
/// Sums that run side by side within a piece.
const LANES: usize = 16;

/// Adding it to what lies in 0..=65,535 rounds that to an integer, ties to even, and leaves the
/// integer in the sum's lower 16 bits. (1.5·2^23)
const MAGIC: f32 = 12_582_912.0;

/// Log-probabilities further than this below the greatest are stored as if they were there.
const STORED_RANGE: f32 = 16.0;
/// Steps of a stored log-probability.
const STORED_STEPS: f32 = 65_535.0;
/// Tokens that the base finds less likely than e to this power count nothing in a divergence.
const LEAST_LOG_P: f32 = -16.0;

/// Adds up rows of logits with the threads of a pool.
pub(super) struct Summer<'p> {
    parallel: &'p dyn Parallel,
    pieces: Vec<Piece>,
}

/// What is known of one piece.
#[derive(Clone, Copy, Default)]
struct Piece {
    greatest: f32,
    least: f32,
    sum: f64,
    /// The base's likeliest token, and how it is stored.
    base_top: (usize, u16),
}

/// What is known of a whole row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Distribution {
    /// The likeliest token; the first of several.
    pub(super) top: usize,
    greatest: f32,
    least: f32,
    /// ln Σ e^(logit − greatest)
    log_sum: f64,
}

impl Distribution {
    /// Returns the logarithm of the probability of a token with this logit.
    pub(super) fn log_p(&self, logit: f32) -> f64 {
        f64::from(logit) - f64::from(self.greatest) - self.log_sum
    }
}

/// A row as a base file stores it: log-probabilities in equal steps from the least one on.
#[derive(Clone, Copy)]
pub(super) struct Stored<'r> {
    scale: f32,
    least: f32,
    /// Two bytes a token, little-endian.
    codes: &'r [[u8; 2]],
}

impl<'r> Stored<'r> {
    /// Bytes of scale and least log-probability, before the codes.
    const HEAD: usize = 8;

    /// Bytes of a row of `n_vocab` tokens: codes come in pairs.
    pub(super) const fn bytes(n_vocab: usize) -> usize {
        Self::HEAD + 2 * n_vocab.next_multiple_of(2)
    }

    /// The row of `n_vocab` tokens in `row`, or `None` if that is too short or holds numbers that
    /// are none.
    pub(super) fn read(row: &'r [u8], n_vocab: usize) -> Option<Self> {
        let (&scale, rest) = row.split_first_chunk()?;
        let (&least, rest) = rest.split_first_chunk()?;
        let codes = rest.as_chunks().0.get(..n_vocab)?;
        let (scale, least) = (f32::from_le_bytes(scale), f32::from_le_bytes(least));
        (scale.is_finite() && least.is_finite()).then_some(Stored { scale, least, codes })
    }

    fn decode(&self, code: [u8; 2]) -> f32 {
        self.scale * f32::from(u16::from_le_bytes(code)) + self.least
    }

    /// Returns the log-probability of a token.
    pub(super) fn log_p(&self, token: Token) -> Option<f64> {
        self.codes.get(token as usize).map(|&code| f64::from(self.decode(code)))
    }
}

impl<'p> Summer<'p> {
    pub(super) fn new(parallel: &'p dyn Parallel, n_vocab: usize) -> Self {
        Summer { parallel, pieces: vec![Piece::default(); n_vocab.div_ceil(PIECE)] }
    }

    /// Calls `f(first, piece, logits)` for every piece, which begins with token `first`.
    fn each_piece(&mut self, logits: &[f32], f: impl Fn(usize, &mut Piece, &[f32]) + Sync) {
        for_each_part(self.parallel, &mut self.pieces, 1, &|_, index, piece| {
            let first = index * PIECE;
            let logits = logits.get(first..).unwrap_or_default();
            let logits = logits.get(..PIECE).unwrap_or(logits);
            if let [piece] = piece {
                f(first, piece, logits);
            }
        });
    }

    /// Returns what is known of a row of logits, or `None` if one of them is no finite number.
    pub(super) fn distribution(&mut self, logits: &[f32]) -> Option<Distribution> {
        self.each_piece(logits, |_, piece, logits| {
            let (least, greatest) = range(logits);
            *piece = Piece { greatest, least, sum: sum_exp(logits, greatest), ..Piece::default() };
        });
        let fold = |f: fn(f32, f32) -> f32, of: fn(&Piece) -> f32| {
            self.pieces.iter().map(of).reduce(f).unwrap_or(f32::NAN)
        };
        let greatest = fold(f32::max, |piece| piece.greatest);
        let least = fold(f32::min, |piece| piece.least);
        let scaled = |piece: &Piece| piece.sum * f64::from(exp(piece.greatest - greatest));
        let log_sum = self.pieces.iter().map(scaled).sum::<f64>().ln();
        let piece = self.pieces.iter().position(|piece| piece.greatest == greatest)?;
        let logits = logits.get(piece * PIECE..)?;
        let top = piece * PIECE + logits.iter().position(|&logit| logit == greatest)?;
        let finite = greatest.is_finite() && least.is_finite() && log_sum.is_finite();
        finite.then_some(Distribution { top, greatest, least, log_sum })
    }

    /// Writes a row as a base file stores it into `row`, which has [`Stored::bytes`] bytes.
    pub(super) fn store(&self, logits: &[f32], of: &Distribution, row: &mut [u8]) {
        let least = of.least.max(of.greatest - STORED_RANGE);
        let scale = (of.greatest - least) / STORED_STEPS;
        let least_log_p = least - of.greatest - of.log_sum as f32;
        let Some((head, codes)) = row.split_at_mut_checked(Stored::HEAD) else { return };
        for (to, value) in head.chunks_exact_mut(4).zip([scale, least_log_p]) {
            to.copy_from_slice(&value.to_le_bytes());
        }
        // All alike, or too near for a step, they all are the least.
        let per_step = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        for_each_part(self.parallel, codes, 2 * PIECE, &|_, index, codes| {
            let logits = logits.get(index * PIECE..).unwrap_or_default();
            // The last code of a pair may be nobody's.
            codes.fill(0);
            for (code, &logit) in codes.as_chunks_mut::<2>().0.iter_mut().zip(logits) {
                let steps = per_step * (logit - least);
                let steps = if logit > least { steps } else { 0.0 };
                *code = ((steps + MAGIC).to_bits() as u16).to_le_bytes();
            }
        });
    }

    /// Returns KL(base ‖ row) in nats, and the base's likeliest token.
    pub(super) fn divergence(
        &mut self,
        logits: &[f32],
        of: &Distribution,
        base: &Stored<'_>,
    ) -> (f64, usize) {
        let log_total = f64::from(of.greatest) + of.log_sum;
        self.each_piece(logits, |first, piece, logits| {
            let codes = base.codes.get(first..).unwrap_or_default();
            piece.sum = lanes(logits, codes, |logit, code| {
                let log_p = base.decode(code);
                let p = if log_p > LEAST_LOG_P { exp(log_p) } else { 0.0 };
                f64::from(p) * (f64::from(log_p) - f64::from(logit) + log_total)
            });
            let codes = codes.get(..logits.len()).unwrap_or(codes);
            let greatest = codes.iter().map(|&code| u16::from_le_bytes(code)).max();
            let greatest = greatest.unwrap_or_default();
            let place = codes.iter().position(|&code| code == greatest.to_le_bytes());
            piece.base_top = (first + place.unwrap_or_default(), greatest);
        });
        let sum = self.pieces.iter().map(|piece| piece.sum).sum();
        let tops = self.pieces.iter().map(|piece| piece.base_top);
        let top = tops.reduce(|a, b| if b.1 > a.1 { b } else { a }).unwrap_or_default();
        (sum, top.0)
    }
}

/// The least and the greatest of some logits; NaN is neither.
fn range(logits: &[f32]) -> (f32, f32) {
    let (mut least, mut greatest) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let mut take = |logits: &[f32]| {
        for ((least, greatest), &logit) in least.iter_mut().zip(&mut greatest).zip(logits) {
            *least = if logit < *least { logit } else { *least };
            *greatest = if logit > *greatest { logit } else { *greatest };
        }
    };
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        take(chunk);
    }
    take(rest);
    (
        least.into_iter().fold(f32::INFINITY, f32::min),
        greatest.into_iter().fold(f32::NEG_INFINITY, f32::max),
    )
}

/// Σ e^(logit − greatest); NaN if one of them is.
fn sum_exp(logits: &[f32], greatest: f32) -> f64 {
    lanes(logits, logits, |logit, _| f64::from(exp(logit - greatest)))
}

/// Σ f(a, b), in lanes that are added up in their order.
#[inline(always)]
fn lanes<A: Copy, B: Copy>(a: &[A], b: &[B], f: impl Fn(A, B) -> f64) -> f64 {
    let mut sums = [0.0; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f(a, b);
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += f(a, b);
    }
    sums.iter().sum()
}

/// `e^x` for x ≤ 0, as if −87 were the least of them; a NaN stays one. Relative error below 2e-7.
///
/// As core's, but of additions and multiplications alone: compilers do several at a time with
/// any instruction set, and to the same bits.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // ln 2 in two parts, the first short enough that n·LN2_HI is exact (Cephes, expf).
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    // Coefficients for (e^r − 1 − r) / r² on ±ln2/2 (Cephes, expf).
    const P: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.0e-1];
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (x - n * LN2_HI) - n * LN2_LO;
    let mut p = P[0];
    for &c in &P[1..] {
        p = p * r + c;
    }
    let y = (p * (r * r) + r) + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127);
    y * f32::from_bits(exponent << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    /// Logits that vary over some twenty nats.
    fn row(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state) / f64::from(u32::MAX)
        };
        (0..n).map(|_| (next() + next() + next()) as f32 * 8.0 - 12.0).collect()
    }

    /// ln Σ e^logit, the slow way.
    fn log_total(logits: &[f32]) -> f64 {
        let greatest: f64 = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max).into();
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - greatest).exp()).sum();
        greatest + sum.ln()
    }

    #[test]
    fn powers_are_right() {
        for i in 0..=870_000 {
            let x = i as f32 * -1e-4;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 2e-7, "{x}: {found} {expected}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), exp(-87.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn distributions_are_right_and_the_same_with_any_number_of_threads() {
        let pools = [1, 2, 5].map(|n| Pool::new(n).unwrap());
        for n in [1, 2, 15, 16, 17, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 21] {
            let logits = row(n, n as u32);
            let [one, others @ ..] = pools.each_ref().map(|pool| {
                let mut summer = Summer::new(pool, n);
                let found = summer.distribution(&logits).unwrap();
                let mut stored = vec![0xEE; Stored::bytes(n)];
                summer.store(&logits, &found, &mut stored);
                let other = row(n, 77);
                let of_other = summer.distribution(&other).unwrap();
                let stored_row = Stored::read(&stored, n).unwrap();
                let (kl, top) = summer.divergence(&other, &of_other, &stored_row);
                (found, stored.clone(), kl.to_bits(), top)
            });
            assert!(others.iter().all(|other| *other == one), "{n}");
            let (found, stored, kl, top) = one;
            let (total, total_other) = (log_total(&logits), log_total(&row(n, 77)));
            assert!((found.log_p(logits[n / 2]) - (f64::from(logits[n / 2]) - total)).abs() < 1e-6);
            let likeliest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(logits[found.top], likeliest);
            assert_eq!(top, found.top, "{n}");
            // Stored steps are at most 16 / 65,535 wide.
            let stored = Stored::read(&stored, n).unwrap();
            for (token, &logit) in logits.iter().enumerate() {
                let expected = (f64::from(logit) - total).max(f64::from(likeliest) - 16.0 - total);
                let found = stored.log_p(token as Token).unwrap();
                assert!((found - expected).abs() < 1.3e-4, "{n} {token}: {found} {expected}");
            }
            let expected: f64 = logits
                .iter()
                .zip(row(n, 77))
                .map(|(&a, b)| {
                    let (a, b) = (f64::from(a) - total, f64::from(b) - total_other);
                    a.exp() * (a - b)
                })
                .sum();
            assert!((f64::from_bits(kl) - expected).abs() < 2e-3 * (1.0 + expected), "{n}");
        }
    }

    #[test]
    fn what_is_no_number_is_found() {
        let pool = Pool::new(2).unwrap();
        let n = 2 * PIECE + 5;
        let mut summer = Summer::new(&pool, n);
        for place in [0, 16, PIECE + 3, n - 1] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut logits = row(n, 5);
                logits[place] = bad;
                assert_eq!(summer.distribution(&logits), None, "{place} {bad}");
            }
        }
        assert_eq!(summer.distribution(&vec![f32::NAN; n]), None);
    }

    #[test]
    fn equal_logits_are_stored_as_equal() {
        let mut summer = Summer::new(&bantam_core::par::Serial, 3);
        let logits = [4.0; 3];
        let found = summer.distribution(&logits).unwrap();
        let mut row = [0xEE; Stored::bytes(3)];
        summer.store(&logits, &found, &mut row);
        assert_eq!(row[Stored::HEAD..], [0; 8]);
        let stored = Stored::read(&row, 3).unwrap();
        assert!((stored.log_p(2).unwrap() + 3f64.ln()).abs() < 1e-6);
        assert_eq!(stored.log_p(3), None);
        let (kl, top) = summer.divergence(&logits, &found, &stored);
        assert!(kl.abs() < 1e-6 && top == 0, "{kl} {top}");
        assert!(Stored::read(&row[..13], 3).is_none());
        row[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(Stored::read(&row, 3).is_none());
    }
}
