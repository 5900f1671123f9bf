//! Conversions between `f32` and the two 16-bit floats that models store.
//!
//! All four are branch-free and touch only integers, comparisons and exact or correctly rounded
//! float operations, so a loop over them becomes vector code on every target that has vectors, and
//! needs no conversion instruction. Their results are those of IEEE-754: subnormals are kept,
//! rounding is to nearest even.
//!
//! `f16` is IEEE binary16 (1 sign, 5 exponent, 10 fraction bits). `bf16` is the upper half of an
//! `f32` (1 sign, 8 exponent, 7 fraction bits).

const F32_INFINITY: u32 = 0x7F80_0000;
const F32_QUIET: u32 = 0x0040_0000;

/// The value of the binary16 with these bits, exactly. A NaN keeps its sign and payload and
/// becomes quiet.
#[inline(always)]
pub const fn f16_to_f32(bits: u16) -> f32 {
    let sign = (bits as u32 & 0x8000) << 16;
    let rest = bits as u32 & 0x7FFF;
    // Exponent and fraction moved into place make a float that is too small by the difference
    // of the exponent biases, 127 - 15; the product is exact, for subnormals too.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let finite = (f32::from_bits(rest << 13) * REBIAS).to_bits();
    // An exponent of all ones came out as 2^16: make it all ones again.
    let special = if rest >= 0x7C00 { F32_INFINITY } else { 0 };
    let quiet = if rest > 0x7C00 { F32_QUIET } else { 0 };
    f32::from_bits(sign | finite | special | quiet)
}

/// The bits of the binary16 nearest to `x`, ties to even. What is too large becomes infinite; any
/// NaN becomes the quiet NaN of the same sign, `0x7E00` or `0xFE00`.
#[inline(always)]
pub const fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let rest = bits & 0x7FFF_FFFF;

    // Normal results: drop 13 fraction bits, rounding; a carry moves into the exponent as it must.
    let odd = (rest >> 13) & 1;
    let normal = rest.wrapping_sub(112 << 23).wrapping_add(0xFFF + odd) >> 13;
    // Subnormal results are multiples of 2^-24, the spacing of floats in 0.5..1: let the addition
    // round. The tiniest normal, 2^-14, comes out of it as well, as 0x400.
    const HALF: f32 = 0.5;
    let subnormal = (f32::from_bits(rest) + HALF).to_bits().wrapping_sub(HALF.to_bits());

    let mut out = if rest < 0x3880_0000 { subnormal } else { normal };
    // 65520 is halfway between the largest binary16 and what would follow it.
    out = if rest >= 0x477F_F000 { 0x7C00 } else { out };
    out = if rest > F32_INFINITY { 0x7E00 } else { out };
    (sign | out) as u16
}

/// The value of the bfloat16 with these bits, exactly. A NaN keeps its bits.
#[inline(always)]
pub const fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// The bits of the bfloat16 nearest to `x`, ties to even. What is too large becomes infinite; a
/// NaN keeps its sign and the upper part of its payload and becomes quiet.
#[inline(always)]
pub const fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let odd = (bits >> 16) & 1;
    let rounded = bits.wrapping_add(0x7FFF + odd) >> 16;
    let nan = (bits | F32_QUIET) >> 16;
    let out = if bits & 0x7FFF_FFFF > F32_INFINITY { nan } else { rounded };
    out as u16
}

#[cfg(test)]
mod tests;
