//! Scales and levels that stand for given weights with little error (numerics, section 12).
//!
//! Groups of weights lie side by side, one in each lane, and candidates are tried one after
//! another over their elements. So no sum depends on how wide an instruction set's registers are,
//! and there is nothing to rearrange. No `fma`: without an instruction for it, it would take longer
//! than all the rest.

mod blocks;
mod groups;
mod plain;
mod super_blocks;

use crate::half::{f16_to_f32, f32_to_f16};
use crate::math::{EXP_MAGIC, LANES, Sixteen, fold_lanes};
use crate::quant::block::{Form32, Form256, Parts256};
use core::marker::PhantomData;
use plain::Plain;

/// Where blocks go: the index of each, its scale, its minimum and its integers.
pub(crate) type PutBlock<'a> = dyn FnMut(usize, u16, u16, &[i8; 32]) + 'a;

/// The searches, sixteen floats at a time. Both are long, and the longer a function is the more
/// compilers take for each line of it: they are not to be inlined into others.
pub(crate) trait Searches {
    /// Puts blocks that stand for `x`, whose elements count by their importance.
    fn weighted_blocks(form: &Form32, x: &[f32], importance: &[f32], put: &mut PutBlock<'_>);

    /// The parts of a super-block that stands for `x`, whose elements count by their `importance`.
    fn super_block(form: &Form256, x: &[f32; 256], importance: Option<&[f32; 256]>) -> Parts256;
}

/// Searches within the calling functions, which have the CPU features that `F` needs.
#[cfg(target_arch = "x86_64")]
pub(crate) struct SearchWithin<F>(PhantomData<F>);

#[cfg(target_arch = "x86_64")]
impl<F: Sixteen> Searches for SearchWithin<F> {
    #[inline(always)]
    fn weighted_blocks(form: &Form32, x: &[f32], importance: &[f32], put: &mut PutBlock<'_>) {
        blocks::weighted_blocks::<F>(form, x, importance, put);
    }

    #[inline(always)]
    fn super_block(form: &Form256, x: &[f32; 256], importance: Option<&[f32; 256]>) -> Parts256 {
        super_blocks::super_block::<F>(form, x, importance)
    }
}

/// Searches in functions of their own, with an `F` that needs no more than the target has.
pub(crate) struct SearchApart<F>(PhantomData<F>);

impl<F: Sixteen> Searches for SearchApart<F> {
    #[inline(never)]
    fn weighted_blocks(form: &Form32, x: &[f32], importance: &[f32], put: &mut PutBlock<'_>) {
        blocks::weighted_blocks::<F>(form, x, importance, put);
    }

    #[inline(never)]
    fn super_block(form: &Form256, x: &[f32; 256], importance: Option<&[f32; 256]>) -> Parts256 {
        super_blocks::super_block::<F>(form, x, importance)
    }
}

/// The searches for any CPU.
pub(crate) type PlainSearch = SearchApart<Plain>;

/// Elements of the longest group.
const LONGEST: usize = 32;

/// An element of each of sixteen groups.
type Elements = [f32; LANES];

/// `x`, which may be any float, as finite ones: 0 for a NaN, the largest for an infinity.
#[inline(always)]
fn finite<F: Sixteen>(x: F) -> F {
    let zero = F::splat(0.0);
    // One of the halves is 0, or both for a NaN.
    x.max(zero).min(F::splat(f32::MAX)) + x.min(zero).max(F::splat(f32::MIN))
}

#[inline(always)]
fn magnitude<F: Sixteen>(x: F) -> F {
    x.max(-x)
}

/// `x` if there is a magnitude above 0 in `divisor`, otherwise 0.
#[inline(always)]
fn unless_zero<F: Sixteen>(divisor: F, x: F) -> F {
    F::where_greater(magnitude(divisor), F::splat(0.0), x, F::splat(0.0))
}

/// The nearest integer within `low..=high`, ties to even.
#[inline(always)]
fn nearest<F: Sixteen>(x: F, low: F, high: F) -> F {
    x.max(low).min(high) + F::splat(EXP_MAGIC) - F::splat(EXP_MAGIC)
}

/// The greatest lane.
#[inline(always)]
fn greatest<F: Sixteen>(x: F) -> f32 {
    let mut greatest = f32::MIN;
    for x in x.to_array() {
        greatest = if x > greatest { x } else { greatest };
    }
    greatest
}

/// Powers of two that bring the largest magnitudes near 1, and their inverses. What is smaller than
/// any weight that a half float's scale could stand for may stay as small.
#[inline(always)]
fn powers_of_two<F: Sixteen>(largest: F) -> (F, F) {
    let (mut up, mut down) = (largest.to_array(), [0.0; LANES]);
    for (up, down) in up.iter_mut().zip(&mut down) {
        let exponent = (up.to_bits() >> 23).clamp(127 - 60, 127 + 126);
        *up = f32::from_bits(exponent << 23);
        *down = f32::from_bits((254 - exponent) << 23);
    }
    (F::load(&up), F::load(&down))
}

/// Sixteen half floats for scales among weights that were brought down by `down`, and the scales
/// that they are there. What is too large becomes the largest half float.
#[inline(always)]
fn halves<F: Sixteen>(x: F, up: F, down: F) -> ([u16; LANES], F) {
    let mut floats = (x * up).to_array();
    let bits = to_halves(&mut floats);
    (bits, F::load(&floats) * down)
}

/// As [`halves`], in place. Of its own, as it is long and asked for in many places.
#[inline(never)]
fn to_halves(x: &mut Elements) -> [u16; LANES] {
    const LARGEST: u16 = 0x7BFF;
    let mut bits = [0; LANES];
    for (bits, x) in bits.iter_mut().zip(x) {
        let half = f32_to_f16(*x);
        *bits = (half & 0x7FFF).min(LARGEST) | half & 0x8000;
        *x = f16_to_f32(*bits);
    }
    bits
}

/// Importance where there is none at all.
const LEAST_IMPORTANCE: f32 = 1.0 / 16777216.0;

/// Makes `w`, which may be any floats, how much each squared error counts: for an element that
/// counts most, about 1. Lanes are apart, unless `together`.
///
/// Every element is given `shared` of the mean beside its own: what was measured on some texts is
/// not all that a model is for.
#[inline(always)]
fn spread_importance<F: Sixteen>(w: &mut [Elements], shared: f32, together: bool) {
    let zero = F::splat(0.0);
    let mut largest = zero;
    for w in &mut *w {
        let finite = F::load(w).max(zero).min(F::splat(f32::MAX));
        largest = largest.max(finite);
        finite.store(w);
    }
    if together {
        largest = F::splat(greatest(largest));
    }
    let (_, down) = powers_of_two(largest);
    let mut sum = zero;
    for w in &mut *w {
        let scaled = F::load(w) * down;
        sum = sum + scaled;
        scaled.store(w);
    }
    if together {
        sum = F::splat(fold_lanes(sum.to_array()) / LANES as f32);
    }
    let shared = sum * F::splat(shared / w.len() as f32);
    for w in w {
        (F::load(w) + shared).max(F::splat(LEAST_IMPORTANCE)).store(w);
    }
}
