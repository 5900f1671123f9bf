//! RoPE's frequencies and angles in integers, which every CPU multiplies alike and a microcontroller
//! fast: it has no wider floats.

/// The upper half of a product.
const fn high(a: u64, b: u64) -> u64 {
    let [a1, a0] = [a >> 32, a & 0xFFFF_FFFF];
    let [b1, b0] = [b >> 32, b & 0xFFFF_FFFF];
    let low = a1 * b0 + ((a0 * b0) >> 32);
    let middle = a0 * b1 + (low & 0xFFFF_FFFF);
    a1 * b1 + (low >> 32) + (middle >> 32)
}

/// As [`high`], of 32 bits.
const fn high32(a: u32, b: u32) -> u32 {
    ((a as u64 * b as u64) >> 32) as u32
}

/// `2^exponent` of a normal f32; 0 below them and infinite above.
const fn power_of_two(exponent: i32) -> f32 {
    match exponent {
        -126..=127 => f32::from_bits(((exponent + 127) as u32) << 23),
        ..-126 => 0.0,
        _ => f32::INFINITY,
    }
}

/// `bits · 2^exponent`, rounded once if that is no subnormal.
const fn scaled(bits: u32, exponent: i32) -> f32 {
    // 32 bits are rounded to 24 here; a power of two by halves, as one may be too small by itself.
    let half = exponent >> 1;
    bits as f32 * power_of_two(half) * power_of_two(exponent - half)
}

/// A positive number: `mantissa · 2^(exponent − 63)`, the mantissa's highest bit being set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wide {
    mantissa: u64,
    exponent: i32,
}

impl Wide {
    /// 1.
    pub const ONE: Self = Wide { mantissa: 1 << 63, exponent: 0 };

    /// A float that is positive, finite and normal; of any other one, something.
    const fn new(x: f32) -> Self {
        let bits = x.to_bits();
        let mantissa = 1 << 63 | (bits as u64) << 40;
        Wide { mantissa, exponent: (bits >> 23 & 0xFF) as i32 - 127 }
    }

    /// The product, rounded towards 0.
    pub const fn times(self, other: Self) -> Self {
        let (product, exponent) =
            (high(self.mantissa, other.mantissa), self.exponent.wrapping_add(other.exponent));
        // From 2^62 up to 2^64.
        match product >> 63 {
            0 => Wide { mantissa: product << 1, exponent },
            _ => Wide { mantissa: product, exponent: exponent.wrapping_add(1) },
        }
    }

    /// The float, rounded once if it is no subnormal.
    pub const fn to_f32(self) -> f32 {
        // A bit for all that is cut off, so that no half is met that is none.
        let rest = (self.mantissa as u32 != 0) as u32;
        scaled((self.mantissa >> 32) as u32 | rest, self.exponent.wrapping_sub(31))
    }

    /// `base^(−1/n)`, short of it by less than `n + 1` of 2^−62 of it. For a base that is positive,
    /// finite and normal, and an `n` of at least 1.
    pub const fn inverse_root(base: f32, n: u32) -> Self {
        let base = Self::new(base);
        let is_power_of_two = base.mantissa == Self::ONE.mantissa;
        let most = -base.exponent - (!is_power_of_two) as i32;
        // The greatest number of which the n-th power times the base is 1 at most: its power of two,
        // then bit by bit.
        let n_signed = if n < 1 << 30 { n as i32 } else { 1 << 30 };
        let exponent = match most.checked_div_euclid(n_signed) {
            Some(exponent) => exponent,
            None => 0,
        };
        let mut root = Wide { exponent, ..Self::ONE };
        let mut bit = 1 << 62;
        while bit > 0 {
            let larger = Wide { mantissa: root.mantissa | bit, exponent };
            if !larger.power(n).times(base).is_above_one() {
                root = larger;
            }
            bit >>= 1;
        }
        root
    }

    const fn is_above_one(self) -> bool {
        self.exponent > 0 || self.exponent == 0 && self.mantissa > Self::ONE.mantissa
    }

    /// By squaring.
    const fn power(mut self, mut n: u32) -> Self {
        let mut product = Self::ONE;
        while n > 0 {
            if n & 1 == 1 {
                product = product.times(self);
            }
            self = self.times(self);
            n >>= 1;
        }
        product
    }
}

/// `(sin θ, cos θ)` of an angle in radians, |θ| < 2^20. Error at most 0.52 ULP.
///
/// The angle is taken as a number of quarter turns by 96 bits of 2/π; what is left beyond the
/// nearest whole number, up to an eighth of a turn, goes into Taylor's series in 32 bits.
pub fn sin_cos(theta: f32) -> (f32, f32) {
    // 2/π in words, the highest first.
    const FRAC_2_PI: [u64; 3] = [0xA2F9_836E, 0x4E44_1529, 0xFC27_57D1];
    // π/4 as a part of 2^32.
    const FRAC_PI_4: u64 = 0xC90F_DAA2;
    // Reciprocals of factorials from 2 on, as parts of 2^32.
    const FACTORIALS: [u32; 11] = {
        let mut parts = [1 << 31; 11];
        let mut i = 1;
        while i < 11 {
            parts[i] = parts[i - 1] / (i as u32 + 2);
            i += 1;
        }
        parts
    };
    let [f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12] = FACTORIALS;

    let bits = theta.to_bits();
    let exponent = (bits >> 23 & 0xFF) as i32 - 150;
    // θ is less than 2^−12 or so: two terms of each series are all there is.
    if exponent < -36 {
        let square = theta * theta;
        return (theta - theta * square * (1.0 / 6.0), 1.0 - square * 0.5);
    }
    // Quarter turns: a whole number and a part of 2^64, once 64 + 32 bits are shifted.
    let shift = exponent.unsigned_abs() & 63;
    let mantissa = u64::from(bits & 0x7F_FFFF | 0x80_0000);
    let low = mantissa * FRAC_2_PI[1] + ((mantissa * FRAC_2_PI[2]) >> 32);
    let upper = mantissa * FRAC_2_PI[0] + (low >> 32);
    let (whole, part) = (upper >> 32, upper << 32 | low & 0xFFFF_FFFF);
    let part = part >> shift | whole << ((64 - shift) & 63);
    // The nearest whole number, and what the angle is from there. It is never 0 but for lack of bits.
    let quarter = (whole >> shift) + (part >> 63);
    let (below, part) = (part >> 63 == 1, (part as i64).unsigned_abs() | 1);

    // In radians x = mantissa · 2^(−31 − zeros); the mantissa has 31 or 32 bits.
    let zeros = part.leading_zeros();
    let part = part << zeros;
    let radians = (part >> 32) * FRAC_PI_4 + (((part & 0xFFFF_FFFF) * FRAC_PI_4) >> 32);
    let mantissa = ((radians + (1 << 31)) >> 32) as u32;
    let x = (u64::from(mantissa) << 1 >> zeros) as u32;
    let z = high32(x, x);
    let series = |f: [u32; 5]| f.into_iter().rev().fold(0, |sum, f| high32(z, f - sum));
    let sin = mantissa - high32(mantissa, series([f3, f5, f7, f9, f11]));
    let sin = scaled(sin, -31 - zeros as i32);
    let cos = (1 << 31) - (series([f2, f4, f6, f8, f10 - high32(z, f12)]) >> 1);
    let cos = scaled(cos, -31);

    let sin = if below { -sin } else { sin };
    let (sin, cos) = match quarter & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    };
    (if theta < 0.0 { -sin } else { sin }, cos)
}
