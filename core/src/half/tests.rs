use super::*;
use proptest::prelude::*;

/// The value of a small float of the given shape, by the definition of such formats, in `f64`,
/// where every value of both is exact. `None` for a NaN.
fn value(bits: u16, exponent_bits: u32, fraction_bits: u32) -> Option<f64> {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    let fraction = f64::from(bits & ((1 << fraction_bits) - 1)) / 2f64.powi(fraction_bits as i32);
    let bias = (1 << (exponent_bits - 1)) - 1;
    if exponent == (1 << exponent_bits) - 1 {
        return (fraction == 0.0).then_some(sign * f64::INFINITY);
    }
    Some(match exponent {
        0 => sign * fraction * 2f64.powi(1 - bias),
        e => sign * (1.0 + fraction) * 2f64.powi(e - bias),
    })
}

/// The nearest of all values of a format by search among its non-negative bit patterns, ties to
/// the even pattern; infinity stands where the next finite value would.
fn nearest(x: f32, exponent_bits: u32, fraction_bits: u32) -> u16 {
    let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
    let x = f64::from(x).abs();
    let infinity = ((1u16 << exponent_bits) - 1) << fraction_bits;
    if x == f64::INFINITY {
        return sign | infinity;
    }
    let at = |bits: u16| {
        let largest = (
            value(infinity - 1, exponent_bits, fraction_bits),
            value(infinity - 2, exponent_bits, fraction_bits),
        );
        match largest {
            (Some(a), Some(b)) if bits == infinity => a + (a - b),
            _ => value(bits, exponent_bits, fraction_bits).unwrap(),
        }
    };
    let (mut low, mut high) = (0, infinity);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if at(middle) <= x {
            low = middle;
        } else {
            high = middle;
        }
    }
    let (below, above) = (x - at(low), at(high) - x);
    let up = above < below || (above == below && high % 2 == 0);
    sign | if up { high } else { low }
}

#[test]
fn every_f16_widens_to_its_value() {
    for bits in 0..=u16::MAX {
        let got = f16_to_f32(bits);
        match value(bits, 5, 10) {
            Some(want) => assert_eq!(f64::from(got).to_bits(), want.to_bits(), "{bits:#06x}"),
            None => {
                let want =
                    u32::from(bits & 0x8000) << 16 | 0x7FC0_0000 | u32::from(bits & 0x3FF) << 13;
                assert_eq!(got.to_bits(), want, "{bits:#06x}");
            }
        }
    }
}

#[test]
fn every_bf16_widens_to_its_value() {
    for bits in 0..=u16::MAX {
        let got = bf16_to_f32(bits);
        match value(bits, 8, 7) {
            Some(want) => assert_eq!(f64::from(got).to_bits(), want.to_bits(), "{bits:#06x}"),
            None => assert_eq!(got.to_bits(), u32::from(bits) << 16, "{bits:#06x}"),
        }
    }
}

#[test]
fn every_f16_survives_the_way_there_and_back() {
    for bits in 0..=u16::MAX {
        let want = if bits & 0x7FFF > 0x7C00 { bits & 0x8000 | 0x7E00 } else { bits };
        assert_eq!(f32_to_f16(f16_to_f32(bits)), want, "{bits:#06x}");
    }
}

#[test]
fn every_bf16_survives_the_way_there_and_back() {
    for bits in 0..=u16::MAX {
        let want = if bits & 0x7FFF > 0x7F80 { bits | 0x40 } else { bits };
        assert_eq!(f32_to_bf16(bf16_to_f32(bits)), want, "{bits:#06x}");
    }
}

/// Rounding can only go wrong at the middle between neighbours: visit all of them, and the floats
/// on either side.
#[test]
fn every_middle_between_neighbours_rounds_to_nearest_even() {
    for bits in 0..0x7C00u16 {
        let low = f64::from(f16_to_f32(bits));
        let high = if bits == 0x7BFF { 65536.0 } else { f64::from(f16_to_f32(bits + 1)) };
        let middle = ((low + high) / 2.0) as f32;
        assert_eq!(f64::from(middle), (low + high) / 2.0);
        for (x, want) in
            [(middle.next_down(), bits), (middle, bits + bits % 2), (middle.next_up(), bits + 1)]
        {
            assert_eq!(f32_to_f16(x), want, "{x:e}");
            assert_eq!(f32_to_f16(-x), want | 0x8000, "-{x:e}");
        }
    }
    for bits in 0..0x7F80u16 {
        let middle = f32::from_bits(u32::from(bits) << 16 | 0x8000);
        for (x, want) in
            [(middle.next_down(), bits), (middle, bits + bits % 2), (middle.next_up(), bits + 1)]
        {
            assert_eq!(f32_to_bf16(x), want, "{x:e}");
            assert_eq!(f32_to_bf16(-x), want | 0x8000, "-{x:e}");
        }
    }
}

#[test]
fn extremes_narrow_as_stated() {
    for (x, f16, bf16) in [
        (0x0000_0000u32, 0x0000, 0x0000),
        (0x8000_0000, 0x8000, 0x8000),
        (0x0000_0001, 0x0000, 0x0000), // the smallest f32
        (0x8000_0001, 0x8000, 0x8000),
        (0x7F7F_FFFF, 0x7C00, 0x7F80), // the largest
        (0xFF7F_FFFF, 0xFC00, 0xFF80),
        (0x7F80_0000, 0x7C00, 0x7F80),
        (0xFF80_0000, 0xFC00, 0xFF80),
        (0x7F80_0001, 0x7E00, 0x7FC0), // a signalling NaN with a payload that is cut off
        (0xFFFF_FFFF, 0xFE00, 0xFFFF),
        (0x477F_EFFF, 0x7BFF, 0x4780), // just under 65520
        (0x477F_F000, 0x7C00, 0x4780),
    ] {
        assert_eq!(f32_to_f16(f32::from_bits(x)), f16, "{x:#010x}");
        assert_eq!(f32_to_bf16(f32::from_bits(x)), bf16, "{x:#010x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_float_narrows_to_its_nearest(bits: u32) {
        let x = f32::from_bits(bits);
        prop_assume!(!x.is_nan());
        prop_assert_eq!(f32_to_f16(x), nearest(x, 5, 10));
        prop_assert_eq!(f32_to_bf16(x), nearest(x, 8, 7));
    }

    /// Most random floats lie outside of f16's range: aim at it.
    #[test]
    fn a_float_in_the_range_of_f16_narrows_to_its_nearest(low in 0u32..1 << 23, exponent in 96u32..146, sign in 0u32..2) {
        let x = f32::from_bits(sign << 31 | exponent << 23 | low);
        prop_assert_eq!(f32_to_f16(x), nearest(x, 5, 10));
    }
}
