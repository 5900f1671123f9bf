//! Fused multiply-add and square root where no instruction computes them, exactly as one would.

#![cfg_attr(any(feature = "std", bantam_arm_fpv4, bantam_riscv_f), allow(dead_code))]

use super::CANONICAL_NAN;

/// `a·b + c` with one rounding.
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        fma_by_f64(a, b, c)
    } else {
        fma_in_integers(a, b, c)
    }
}

/// `a·b + c` with one rounding, from f64 additions and multiplications alone.
///
/// The product of two f32 is exact in f64. The sum is rounded to odd at 53 bits, after which the
/// rounding to 24 bits equals a single one (Boldo and Melquiond, "Emulation of a FMA and
/// correctly rounded sums", IEEE Trans. Computers 2008).
pub(crate) fn fma_by_f64(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let c_part = sum - product;
    let error = (product - (sum - c_part)) + (c - c_part);
    let bits = sum.to_bits();
    if !sum.is_finite() || error == 0.0 || bits & 1 == 1 {
        return sum as f32;
    }
    let away_from_zero = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away_from_zero { bits + 1 } else { bits - 1 }) as f32
}

/// A finite float that is not 0, as `mantissa · 2^exponent`; the mantissa has 24 bits.
struct Parts {
    is_negative: bool,
    mantissa: u32,
    exponent: i32,
}

impl Parts {
    const fn of(x: f32) -> Self {
        let bits = x.to_bits();
        let (exponent, mantissa) = ((bits >> 23 & 0xFF) as i32, bits & 0x7F_FFFF);
        let is_negative = bits >> 31 == 1;
        if exponent > 0 {
            return Parts { is_negative, mantissa: mantissa | 0x80_0000, exponent: exponent - 150 };
        }
        let shift = mantissa.leading_zeros() as i32 - 8;
        Parts { is_negative, mantissa: mantissa << shift, exponent: -149 - shift }
    }
}

/// `x / 2^shift`, with a last bit for all that is cut off.
const fn shifted(x: u64, shift: u32) -> u64 {
    match shift {
        0 => x,
        1..64 => x >> shift | (x << (64 - shift) != 0) as u64,
        _ => (x != 0) as u64,
    }
}

/// `a·b + c` with one rounding, in integers: for CPUs without a fused multiply-add or an f64.
pub(crate) fn fma_in_integers(a: f32, b: f32, c: f32) -> f32 {
    // Products with 0, an infinity or a NaN are exact, and so is what is added to them.
    if a == 0.0 || b == 0.0 || !a.is_finite() || !b.is_finite() {
        return a * b + c;
    }
    if !c.is_finite() {
        return c;
    }
    // A product that is too small for a float keeps its sign then.
    if c == 0.0 {
        return a * b;
    }
    let (a, b, c) = (Parts::of(a), Parts::of(b), Parts::of(c));
    let is_negative = a.is_negative != b.is_negative;
    // Both with their highest bit at 2^60 or 2^61, and zeros enough below that what is cut off of
    // one cannot matter if they cancel each other.
    let product = (u64::from(a.mantissa) * u64::from(b.mantissa)) << 14;
    let addend = u64::from(c.mantissa) << 38;
    let mut exponent = a.exponent + b.exponent - 14;
    let apart = exponent - (c.exponent - 38);
    let (product, addend) = if apart >= 0 {
        (product, shifted(addend, apart as u32))
    } else {
        exponent -= apart;
        (shifted(product, apart.unsigned_abs()), addend)
    };
    let (sum, is_negative) = if is_negative == c.is_negative {
        (product + addend, is_negative)
    } else if product >= addend {
        (product - addend, is_negative)
    } else {
        (addend - product, c.is_negative)
    };
    if sum == 0 {
        return 0.0;
    }
    // The highest bit to the top, but below 2^-126 the last place stays where it is.
    let zeros = sum.leading_zeros();
    exponent += 63 - zeros as i32;
    let sum = sum << zeros;
    let (sum, exponent) = match exponent {
        ..-126 => (shifted(sum, (-126 - exponent) as u32), -126),
        _ => (sum, exponent),
    };
    let (mantissa, rest) = ((sum >> 40) as u32, sum & 0xFF_FFFF_FFFF);
    let half = 1 << 39;
    let up = rest > half || rest == half && mantissa & 1 == 1;
    let mantissa = mantissa + u32::from(up);
    // A mantissa's highest bit counts as one more of the exponent, and 2^24 as two.
    let magnitude = match exponent {
        128.. => f32::INFINITY.to_bits(),
        _ => (((exponent + 126) as u32) << 23) + mantissa,
    };
    f32::from_bits(magnitude | u32::from(is_negative) << 31)
}

/// `√x`, correctly rounded, one result bit at a time.
pub(crate) fn sqrt_exact(x: f32) -> f32 {
    if x.is_nan() || x < 0.0 {
        return CANONICAL_NAN;
    }
    if x == 0.0 || x == f32::INFINITY {
        return x;
    }
    let bits = x.to_bits();
    let (mut exponent, mut mantissa) = ((bits >> 23) as i32, bits & 0x7F_FFFF);
    if exponent == 0 {
        let shift = mantissa.leading_zeros() - 8;
        mantissa <<= shift;
        exponent = 1 - shift as i32;
    } else {
        mantissa |= 0x80_0000;
    }
    // x = mantissa · 2^(exponent - 150); give the root 25 bits and an even exponent.
    let power = exponent - 150;
    let shift = if power % 2 == 0 { 26 } else { 25 };
    let mut rest = u64::from(mantissa) << shift;
    let mut root = 0u64;
    let mut bit = 1u64 << 48;
    while bit != 0 {
        if rest >= root + bit {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
        bit >>= 2;
    }
    // `root` has 25 bits: 24 and a rounding bit. A root is never exactly half way.
    let rounded = (root >> 1) as u32 + (root & 1) as u32;
    // The value is rounded · 2^((power - shift)/2 + 1); multiply by that exact power of two.
    let scale = (power - shift) / 2 + 1;
    rounded as f32 * f32::from_bits(((scale + 127) as u32) << 23)
}
