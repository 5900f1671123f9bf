//! The float steps between a group's integer sum and its row's accumulator.
//!
//! On a microcontroller's FPU each is written out, from the forms that values are stored in: the
//! compiler does not let assembly have operands in the registers of such an FPU, so values come
//! and go through integer registers, and the fewer times the better.

#[cfg(not(bantam_arm_fpv4))]
pub(super) use portable::{add_half, add_min, add_super, half, take_min};

#[cfg(bantam_arm_fpv4)]
pub(super) use fpv4::{add_half, add_min, add_super, half, take_min};

/// `fma(d·dx, sum, acc)`.
#[inline(always)]
pub(super) fn add_scaled(acc: f32, d: f32, dx: f32, sum: i32) -> f32 {
    crate::math::fma(d * dx, sum as f32, acc)
}

#[cfg(not(bantam_arm_fpv4))]
mod portable {
    use super::add_scaled;
    use crate::half::f16_to_f32;
    use crate::math::fma;

    /// The float of a stored half float.
    #[inline(always)]
    pub(in super::super) fn half(bytes: [u8; 2]) -> f32 {
        f16_to_f32(u16::from_le_bytes(bytes))
    }

    /// `fma(d·dx, sum, acc)`, with the scale as it is stored.
    #[inline(always)]
    pub(in super::super) fn add_half(acc: f32, d: [u8; 2], dx: f32, sum: i32) -> f32 {
        add_scaled(acc, half(d), dx, sum)
    }

    /// `fma(m, dsum, acc)`, with the minimum as it is stored.
    #[inline(always)]
    pub(in super::super) fn add_min(acc: f32, m: [u8; 2], dsum: f32) -> f32 {
        fma(half(m), dsum, acc)
    }

    /// `fma(d·s·dx, sum, acc)`; the first product is exact.
    #[inline(always)]
    pub(in super::super) fn add_super(acc: f32, d: f32, s: i32, dx: f32, sum: i32) -> f32 {
        add_scaled(acc, d * s as f32, dx, sum)
    }

    /// `fma(−(dmin·m), dsum, acc)`.
    #[inline(always)]
    pub(in super::super) fn take_min(acc: f32, dmin: f32, m: u32, dsum: f32) -> f32 {
        fma(-(dmin * m as f32), dsum, acc)
    }
}

#[cfg(bantam_arm_fpv4)]
mod fpv4 {
    use core::arch::asm;

    /// Instructions on bits, some of which come back as a float's.
    macro_rules! instructions {
        ($out:ident, [$($in:ident = $bits:expr),*], $($text:literal),*) => {{
            // SAFETY: the FPU has the instructions; they change nothing but the registers named.
            unsafe {
                asm!(
                    $($text,)*
                    out = inlateout(reg) $out,
                    $($in = in(reg) $bits,)*
                    out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            f32::from_bits($out)
        }};
    }

    fn bits(half: [u8; 2]) -> u32 {
        u32::from(u16::from_le_bytes(half))
    }

    /// The float of a stored half float.
    #[inline(always)]
    pub(in super::super) fn half(bytes: [u8; 2]) -> f32 {
        let mut x = bits(bytes);
        instructions!(x, [], "vmov s0, {out}", "vcvtb.f32.f16 s0, s0", "vmov {out}, s0")
    }

    /// `fma(d·dx, sum, acc)`, with the scale as it is stored.
    #[inline(always)]
    pub(in super::super) fn add_half(acc: f32, d: [u8; 2], dx: f32, sum: i32) -> f32 {
        let mut acc = acc.to_bits();
        instructions!(
            acc,
            [d = bits(d), dx = dx.to_bits(), sum = sum],
            "vmov s0, s1, {d}, {dx}",
            "vmov s2, s3, {sum}, {out}",
            "vcvtb.f32.f16 s0, s0",
            "vcvt.f32.s32 s2, s2",
            "vmul.f32 s0, s0, s1",
            "vfma.f32 s3, s0, s2",
            "vmov {out}, s3"
        )
    }

    /// `fma(m, dsum, acc)`, with the minimum as it is stored.
    #[inline(always)]
    pub(in super::super) fn add_min(acc: f32, m: [u8; 2], dsum: f32) -> f32 {
        let mut acc = acc.to_bits();
        instructions!(
            acc,
            [m = bits(m), dsum = dsum.to_bits()],
            "vmov s0, s1, {m}, {dsum}",
            "vmov s2, {out}",
            "vcvtb.f32.f16 s0, s0",
            "vfma.f32 s2, s0, s1",
            "vmov {out}, s2"
        )
    }

    /// `fma(d·s·dx, sum, acc)`; the first product is exact.
    #[inline(always)]
    pub(in super::super) fn add_super(acc: f32, d: f32, s: i32, dx: f32, sum: i32) -> f32 {
        let mut acc = acc.to_bits();
        instructions!(
            acc,
            [d = d.to_bits(), s = s, dx = dx.to_bits(), sum = sum],
            "vmov s0, s1, {d}, {dx}",
            "vmov s2, s3, {s}, {sum}",
            "vmov s4, {out}",
            "vcvt.f32.s32 s2, s2",
            "vcvt.f32.s32 s3, s3",
            "vmul.f32 s0, s0, s2",
            "vmul.f32 s0, s0, s1",
            "vfma.f32 s4, s0, s3",
            "vmov {out}, s4"
        )
    }

    /// `fma(−(dmin·m), dsum, acc)`.
    #[inline(always)]
    pub(in super::super) fn take_min(acc: f32, dmin: f32, m: u32, dsum: f32) -> f32 {
        let mut acc = acc.to_bits();
        instructions!(
            acc,
            [d = dmin.to_bits(), m = m, dsum = dsum.to_bits()],
            "vmov s0, s1, {d}, {dsum}",
            "vmov s2, s3, {m}, {out}",
            "vcvt.f32.u32 s2, s2",
            "vmul.f32 s0, s0, s2",
            "vfms.f32 s3, s0, s1",
            "vmov {out}, s3"
        )
    }
}
