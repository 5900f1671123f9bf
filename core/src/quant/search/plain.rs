//! Sixteen floats as an array, for compilers to vectorize as they can.

use crate::math::{Float, LANES, Sixteen};
use core::ops::{Add, Div, Mul, Neg, Sub};

#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; LANES]);

macro_rules! operators {
    ($($trait:ident $method:ident),*) => {$(
        impl $trait for Plain {
            type Output = Self;
            #[inline(always)]
            fn $method(mut self, other: Self) -> Self {
                for (a, b) in self.0.iter_mut().zip(other.0) {
                    *a = a.$method(b);
                }
                self
            }
        }
    )*};
}
operators!(Add add, Sub sub, Mul mul, Div div);

impl Neg for Plain {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Plain(self.0.map(Neg::neg))
    }
}

impl Float for Plain {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Plain([x; LANES])
    }
    #[inline(always)]
    fn fma(self, b: Self, mut c: Self) -> Self {
        for ((a, b), c) in self.0.into_iter().zip(b.0).zip(&mut c.0) {
            *c = a.fma(b, *c);
        }
        c
    }
    #[inline(always)]
    fn where_greater(a: Self, b: Self, x: Self, mut y: Self) -> Self {
        for (((a, b), x), y) in a.0.into_iter().zip(b.0).zip(x.0).zip(&mut y.0) {
            *y = f32::where_greater(a, b, x, *y);
        }
        y
    }
    #[inline(always)]
    fn canonical(self) -> Self {
        Plain(self.0.map(Float::canonical))
    }
    #[inline(always)]
    fn powers_of_two(self) -> (Self, Self) {
        let (mut x, mut y) = (self, self);
        for (x, y) in x.0.iter_mut().zip(&mut y.0) {
            (*x, *y) = x.powers_of_two();
        }
        (x, y)
    }
}

impl Sixteen for Plain {
    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Plain(*from)
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }
}
