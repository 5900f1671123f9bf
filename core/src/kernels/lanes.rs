//! Sixteen floats side by side, in as many registers as an instruction set needs for them.
//!
//! The float kernels are written over [`Lanes`], so that every set does the same operations on each
//! lane; a set brings its [`Register`].

use core::ops::{Add, Div, Mul, Neg, Sub};

use crate::half::{f16_to_f32, f32_to_f16};
use crate::math::{EXP_MAGIC, Float, LANES, Sixteen};

/// Each lane's number.
const PLACES: [f32; LANES] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

/// Sixteen floats.
pub(super) trait Lanes: Sixteen {
    /// Whether several floats go through one instruction. Where none does, what is done to each
    /// float by itself is better done one after another, without sixteen of each step at hand.
    const WIDE: bool;

    /// Half floats, converted exactly.
    fn load_f16(from: &[u16; LANES]) -> Self;
    fn load_i8(from: &[i8; LANES]) -> Self;
    /// Half floats, rounded as [`f32_to_f16`] does.
    fn store_f16(self, to: &mut [u16; LANES]);
    /// `sums[i] = factor·from[i] + sums[i]` of half floats.
    fn add_f16(factor: f32, from: &[u16; LANES], sums: &mut Self);
    /// Whether factors are taken from four floats in a register more cheaply than one by one.
    const BY_FOUR: bool = false;
    /// `self[i]·factors[K] + c[i]`
    fn fma_by<const K: usize>(self, factors: &[f32; 4], c: Self) -> Self;

    /// The sum by the tree of [`fold_lanes`](crate::math::fold_lanes).
    fn fold(self) -> f32;
    /// The greatest lane; there must be no NaN.
    fn greatest(self) -> f32;
    /// The greatest magnitude in both, which is no NaN's; +0 if there is no other.
    fn greatest_magnitude(self, other: Self) -> f32;
    /// Writes `self` rounded to integers in −127..=127, NaN as 0; returns their sum.
    fn round_to_i8(self, out: &mut [i8; LANES]) -> i16;

    /// The lanes from `first` to before `end`, and `other` in all others.
    #[inline(always)]
    fn keep(self, first: usize, end: usize, other: f32) -> Self {
        if const { Self::WIDE } {
            let (place, other) = (Self::load(&PLACES), Self::splat(other));
            let before_end = Self::where_greater(Self::splat(end as f32), place, self, other);
            return Self::where_greater(Self::splat(first as f32), place, other, before_end);
        }
        let mut lanes = self.to_array();
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = if (first..end).contains(&i) { *lane } else { other };
        }
        Self::load(&lanes)
    }
}

/// Some floats that one instruction works on.
///
/// The methods are called only from functions compiled with the features of the set that the
/// register belongs to. Those that are unsafe read or write `WIDTH` values at a pointer.
pub(super) trait Register: Copy {
    const WIDTH: usize;
    /// As [`Lanes::BY_FOUR`].
    const BY_FOUR: bool = false;
    fn splat(x: f32) -> Self;
    fn add(a: Self, b: Self) -> Self;
    fn sub(a: Self, b: Self) -> Self;
    fn mul(a: Self, b: Self) -> Self;
    fn div(a: Self, b: Self) -> Self;
    fn neg(a: Self) -> Self;
    /// `a·b + c`
    fn fma(a: Self, b: Self, c: Self) -> Self;
    /// As [`Lanes::fma_by`].
    #[inline(always)]
    fn fma_by<const K: usize>(a: Self, factors: &[f32; 4], c: Self) -> Self {
        Self::fma(a, Self::splat(factors[K]), c)
    }
    /// As [`Float::max`].
    fn max(a: Self, b: Self) -> Self;
    /// As [`Float::min`].
    fn min(a: Self, b: Self) -> Self;
    fn where_greater(a: Self, b: Self, x: Self, y: Self) -> Self;
    fn canonical(a: Self) -> Self;
    fn powers_of_two(a: Self) -> (Self, Self);
    fn greatest(a: Self) -> f32;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(a: Self, to: *mut f32);
    unsafe fn load_f16(from: *const u16) -> Self;
    unsafe fn load_i8(from: *const i8) -> Self;

    /// As [`Float::clamp_number`].
    #[inline(always)]
    fn clamp_number(a: Self, low: Self, high: Self) -> Self {
        Self::min(high, Self::max(low, a))
    }

    /// As [`Lanes::add_f16`].
    #[inline(always)]
    fn add_f16<const N: usize>(factor: f32, from: &[u16; LANES], sums: &mut Registers<Self, N>) {
        *sums = Registers::splat(factor).fma(Lanes::load_f16(from), *sums);
    }

    /// As [`Lanes::greatest_magnitude`].
    fn greatest_magnitude<const N: usize>(a: Registers<Self, N>, b: Registers<Self, N>) -> f32;

    /// As [`Lanes::round_to_i8`].
    #[inline(always)]
    fn round_to_i8<const N: usize>(x: Registers<Self, N>, out: &mut [i8; LANES]) -> i16 {
        let (zero, most) = (Registers::splat(0.0), Registers::splat(127.0));
        // One of the halves is 0, or both for a NaN.
        let (above, below) = (x.max(zero).min(most), x.min(zero).max(-most));
        let shifted = above + below + Registers::splat(EXP_MAGIC);
        for (q, r) in out.iter_mut().zip(shifted.to_array()) {
            *q = r.to_bits() as i8;
        }
        // Integers below 2^19, whose sum no order of additions changes.
        let mut total = Self::splat(0.0);
        for &a in &(shifted - Registers::splat(EXP_MAGIC)).0 {
            total = Self::add(total, a);
        }
        Self::total(total) as i16
    }

    /// Twice `WIDTH` half floats.
    #[inline(always)]
    unsafe fn load_f16_pair(from: *const u16) -> [Self; 2] {
        // SAFETY: passed on to the caller.
        unsafe { [Self::load_f16(from), Self::load_f16(from.add(Self::WIDTH))] }
    }

    /// The sum by the tree of [`Lanes::fold`], whose last steps these are.
    fn total(a: Self) -> f32;

    /// Half floats, rounded as [`f32_to_f16`] does.
    #[inline(always)]
    unsafe fn store_f16(a: Self, to: *mut u16) {
        const { assert!(Self::WIDTH <= LANES) };
        let mut floats = [0.0; LANES];
        // SAFETY: there is room for sixteen floats, and a register has no more.
        unsafe { Self::store(a, floats.as_mut_ptr()) };
        for (i, &x) in floats.iter().enumerate().take(Self::WIDTH) {
            // SAFETY: WIDTH half floats are writable, by the caller's promise.
            unsafe { to.add(i).write(f32_to_f16(x)) };
        }
    }
}

/// Sixteen floats in `N` registers.
#[derive(Clone, Copy)]
pub(super) struct Registers<R, const N: usize>(pub(super) [R; N]);

// Loops and no closures: a closure would be compiled without the features of the set around it.
macro_rules! operators {
    ($($trait:ident $method:ident),*) => {$(
        impl<R: Register, const N: usize> $trait for Registers<R, N> {
            type Output = Self;
            #[inline(always)]
            fn $method(mut self, other: Self) -> Self {
                for (a, &b) in self.0.iter_mut().zip(&other.0) {
                    *a = R::$method(*a, b);
                }
                self
            }
        }
    )*};
}
operators!(Add add, Sub sub, Mul mul, Div div);

impl<R: Register, const N: usize> Neg for Registers<R, N> {
    type Output = Self;
    #[inline(always)]
    fn neg(mut self) -> Self {
        for a in &mut self.0 {
            *a = R::neg(*a);
        }
        self
    }
}

impl<R: Register, const N: usize> Float for Registers<R, N> {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Registers([R::splat(x); N])
    }
    #[inline(always)]
    fn fma(self, b: Self, mut c: Self) -> Self {
        for ((&a, &b), c) in self.0.iter().zip(&b.0).zip(&mut c.0) {
            *c = R::fma(a, b, *c);
        }
        c
    }
    #[inline(always)]
    fn where_greater(a: Self, b: Self, x: Self, mut y: Self) -> Self {
        for (((&a, &b), &x), y) in a.0.iter().zip(&b.0).zip(&x.0).zip(&mut y.0) {
            *y = R::where_greater(a, b, x, *y);
        }
        y
    }
    #[inline(always)]
    fn canonical(mut self) -> Self {
        for a in &mut self.0 {
            *a = R::canonical(*a);
        }
        self
    }
    #[inline(always)]
    fn powers_of_two(self) -> (Self, Self) {
        let (mut x, mut y) = (self, self);
        for (x, y) in x.0.iter_mut().zip(&mut y.0) {
            (*x, *y) = R::powers_of_two(*x);
        }
        (x, y)
    }
    #[inline(always)]
    fn max(mut self, other: Self) -> Self {
        for (a, &b) in self.0.iter_mut().zip(&other.0) {
            *a = R::max(*a, b);
        }
        self
    }
    #[inline(always)]
    fn min(mut self, other: Self) -> Self {
        for (a, &b) in self.0.iter_mut().zip(&other.0) {
            *a = R::min(*a, b);
        }
        self
    }
    #[inline(always)]
    fn clamp_number(mut self, low: Self, high: Self) -> Self {
        for ((a, &low), &high) in self.0.iter_mut().zip(&low.0).zip(&high.0) {
            *a = R::clamp_number(*a, low, high);
        }
        self
    }
}

impl<R: Register, const N: usize> Sixteen for Registers<R, N> {
    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        const { assert!(R::WIDTH * N == LANES) };
        let mut out = [R::splat(0.0); N];
        for (i, out) in out.iter_mut().enumerate() {
            // SAFETY: N registers of WIDTH are the sixteen values that are there.
            *out = unsafe { R::load(from.as_ptr().add(i * R::WIDTH)) };
        }
        Registers(out)
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        const { assert!(R::WIDTH * N == LANES) };
        for (i, &a) in self.0.iter().enumerate() {
            // SAFETY: N registers of WIDTH fill the sixteen values exactly.
            unsafe { R::store(a, to.as_mut_ptr().add(i * R::WIDTH)) };
        }
    }
}

impl<R: Register, const N: usize> Lanes for Registers<R, N> {
    const WIDE: bool = R::WIDTH > 1;
    const BY_FOUR: bool = R::BY_FOUR;

    #[inline(always)]
    fn load_f16(from: &[u16; LANES]) -> Self {
        const { assert!(R::WIDTH * N == LANES) };
        let mut out = [R::splat(0.0); N];
        let (pairs, last) = out.as_chunks_mut::<2>();
        for (i, pair) in pairs.iter_mut().enumerate() {
            // SAFETY: pair `i` of N / 2 takes twice WIDTH of the sixteen half floats.
            *pair = unsafe { R::load_f16_pair(from.as_ptr().add(2 * i * R::WIDTH)) };
        }
        for last in last {
            // SAFETY: what is left after the pairs is the last register's.
            *last = unsafe { R::load_f16(from.as_ptr().add((N - 1) * R::WIDTH)) };
        }
        Registers(out)
    }
    #[inline(always)]
    fn load_i8(from: &[i8; LANES]) -> Self {
        const { assert!(R::WIDTH * N == LANES) };
        let mut out = [R::splat(0.0); N];
        for (i, out) in out.iter_mut().enumerate() {
            // SAFETY: register `i` of N takes WIDTH of the sixteen integers.
            *out = unsafe { R::load_i8(from.as_ptr().add(i * R::WIDTH)) };
        }
        Registers(out)
    }
    #[inline(always)]
    fn store_f16(self, to: &mut [u16; LANES]) {
        const { assert!(R::WIDTH * N == LANES) };
        for (i, &a) in self.0.iter().enumerate() {
            // SAFETY: N registers of WIDTH fill the sixteen half floats exactly.
            unsafe { R::store_f16(a, to.as_mut_ptr().add(i * R::WIDTH)) };
        }
    }
    #[inline(always)]
    fn add_f16(factor: f32, from: &[u16; LANES], sums: &mut Self) {
        R::add_f16(factor, from, sums);
    }
    #[inline(always)]
    fn fma_by<const K: usize>(self, factors: &[f32; 4], mut c: Self) -> Self {
        for (&a, c) in self.0.iter().zip(&mut c.0) {
            *c = R::fma_by::<K>(a, factors, *c);
        }
        c
    }
    #[inline(always)]
    fn fold(mut self) -> f32 {
        let mut half = N / 2;
        while half > 0 {
            for j in 0..half {
                self.0[j] = R::add(self.0[j], self.0[j + half]);
            }
            half /= 2;
        }
        R::total(self.0[0])
    }
    #[inline(always)]
    fn greatest(self) -> f32 {
        let mut greatest = R::splat(f32::NEG_INFINITY);
        for &a in &self.0 {
            greatest = R::max(a, greatest);
        }
        R::greatest(greatest)
    }
    #[inline(always)]
    fn greatest_magnitude(self, other: Self) -> f32 {
        R::greatest_magnitude(self, other)
    }
    #[inline(always)]
    fn round_to_i8(self, out: &mut [i8; LANES]) -> i16 {
        R::round_to_i8(self, out)
    }
}

/// A register of one, for CPUs without wider ones and for compilers to vectorize.
impl Register for f32 {
    const WIDTH: usize = 1;
    #[inline(always)]
    fn splat(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn add(a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn sub(a: f32, b: f32) -> f32 {
        a - b
    }
    #[inline(always)]
    fn mul(a: f32, b: f32) -> f32 {
        a * b
    }
    #[inline(always)]
    fn div(a: f32, b: f32) -> f32 {
        a / b
    }
    #[inline(always)]
    fn neg(a: f32) -> f32 {
        -a
    }
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        Float::fma(a, b, c)
    }
    #[inline(always)]
    fn max(a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }
    #[inline(always)]
    fn min(a: f32, b: f32) -> f32 {
        if a < b { a } else { b }
    }
    #[inline(always)]
    fn where_greater(a: f32, b: f32, x: f32, y: f32) -> f32 {
        Float::where_greater(a, b, x, y)
    }
    #[inline(always)]
    fn canonical(a: f32) -> f32 {
        Float::canonical(a)
    }
    #[inline(always)]
    fn powers_of_two(a: f32) -> (f32, f32) {
        Float::powers_of_two(a)
    }
    #[inline(always)]
    fn greatest(a: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn greatest_magnitude<const N: usize>(a: Registers<f32, N>, b: Registers<f32, N>) -> f32 {
        // Magnitudes are ordered as their bits are, below any NaN's. Comparisons of floats become
        // instructions such as Arm's FMAXNM, which passes a signaling NaN on.
        let mut greatest = 0;
        for x in a.0.iter().chain(&b.0) {
            let bits = x.to_bits() & !(1 << 31);
            greatest = greatest.max(if bits > f32::INFINITY.to_bits() { 0 } else { bits });
        }
        f32::from_bits(greatest)
    }
    #[cfg(all(bantam_arm_fpv4, bantam_arm_dsp))]
    #[inline(always)]
    fn round_to_i8<const N: usize>(x: Registers<f32, N>, out: &mut [i8; LANES]) -> i16 {
        x.0.first_chunk().map_or(0, |x| crate::math::fpv4::round_to_i8(x, 1.0, out))
    }
    #[cfg(bantam_arm_fpv4)]
    #[inline(always)]
    fn add_f16<const N: usize>(factor: f32, from: &[u16; LANES], sums: &mut Registers<f32, N>) {
        if let Some(sums) = sums.0.first_chunk_mut() {
            crate::math::fpv4::add_halves(factor, from, sums);
        }
    }
    #[inline(always)]
    fn total(a: f32) -> f32 {
        a
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> f32 {
        // SAFETY: one value is readable, by the caller's promise.
        unsafe { from.read() }
    }
    #[inline(always)]
    unsafe fn store(a: f32, to: *mut f32) {
        // SAFETY: one value is writable, by the caller's promise.
        unsafe { to.write(a) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> f32 {
        // SAFETY: one half float is readable, by the caller's promise.
        f16_to_f32(unsafe { from.read() })
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> f32 {
        // SAFETY: one integer is readable, by the caller's promise.
        f32::from(unsafe { from.read() })
    }
}
