//! Keys times queries, four bytes of each to a 32-bit lane.

use core::arch::aarch64::*;

use super::bytes::{self, Bytes};
use super::neon::Floats;
use crate::kernels::dots::{Dots, KeyWords};
use crate::kernels::lanes::Registers;
use crate::math::LANES;

type FourSums = [int32x4_t; 4];
type FourKeys = [int8x16_t; 4];

#[inline(always)]
fn zeros() -> FourSums {
    // SAFETY: NEON is a feature of the target.
    unsafe { [vdupq_n_s32(0); 4] }
}

#[inline(always)]
fn load(from: &KeyWords) -> FourKeys {
    // SAFETY: NEON is a feature of the target.
    let mut keys = [unsafe { vdupq_n_s8(0) }; 4];
    for (key, from) in keys.iter_mut().zip(from.as_chunks::<{ LANES / 4 }>().0) {
        // SAFETY: as above; four words are one register.
        *key = unsafe { vld1q_s8(from.as_ptr().cast()) };
    }
    keys
}

#[inline(always)]
fn splat(query: i32) -> int8x16_t {
    // SAFETY: NEON is a feature of the target.
    unsafe { vreinterpretq_s8_s32(vdupq_n_s32(query)) }
}

#[inline(always)]
fn to_floats([a, b, c, d]: FourSums) -> Floats {
    // SAFETY: NEON is a feature of the target.
    Registers(unsafe { [vcvtq_f32_s32(a), vcvtq_f32_s32(b), vcvtq_f32_s32(c), vcvtq_f32_s32(d)] })
}

/// Widening multiplications. Two products of at most 128 · 127 stay within 16 bits.
pub(super) struct Widening;

impl Dots for Widening {
    type Sums = FourSums;
    type Keys = FourKeys;
    type Floats = Floats;

    #[inline(always)]
    fn start(_: i32) -> FourSums {
        zeros()
    }
    #[inline(always)]
    fn keys(from: &KeyWords) -> FourKeys {
        load(from)
    }
    #[inline(always)]
    fn add(mut sums: FourSums, keys: FourKeys, query: i32) -> FourSums {
        let query = splat(query);
        for (sum, key) in sums.iter_mut().zip(keys) {
            // SAFETY: NEON is a feature of the target.
            unsafe {
                let low = vmull_s8(vget_low_s8(key), vget_low_s8(query));
                *sum = vpadalq_s16(*sum, vpaddq_s16(low, vmull_high_s8(key, query)));
            }
        }
        sums
    }
    #[inline(always)]
    fn floats(sums: FourSums) -> Floats {
        to_floats(sums)
    }
}

/// The dot product instruction.
pub(super) struct Sdot;

impl Dots for Sdot {
    type Sums = FourSums;
    type Keys = FourKeys;
    type Floats = Floats;

    #[inline(always)]
    fn start(_: i32) -> FourSums {
        zeros()
    }
    #[inline(always)]
    fn keys(from: &KeyWords) -> FourKeys {
        load(from)
    }
    #[inline(always)]
    fn add(mut sums: FourSums, keys: FourKeys, query: i32) -> FourSums {
        let query = splat(query);
        for (sum, key) in sums.iter_mut().zip(keys) {
            *sum = bytes::Sdot::step(*sum, key, query);
        }
        sums
    }
    #[inline(always)]
    fn floats(sums: FourSums) -> Floats {
        to_floats(sums)
    }
}
