use super::soft::{fma_by_f64, fma_in_integers, sqrt_exact};
use super::*;
use proptest::prelude::*;

/// Distance of `got` from the wider `want`, in units of `want`'s last f32 place.
fn ulps(got: f32, want: f64) -> f64 {
    if f64::from(got) == want || (got.is_infinite() && (want as f32).is_infinite()) {
        return 0.0;
    }
    let exponent = (want.abs().log2().floor() as i32).max(-126);
    (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
}

/// One of how many cases to try: fewer where `BANTAM_QUICK` says that the CPU is emulated.
fn stride() -> usize {
    if std::env::var_os("BANTAM_QUICK").is_some() { 61 } else { 1 }
}

/// Every `step`-th float bit pattern.
fn floats(step: usize) -> impl Iterator<Item = f32> {
    (0..=u32::MAX).step_by(step * stride()).map(f32::from_bits)
}

#[test]
fn exp_is_within_its_stated_error() {
    let worst = floats(257)
        .filter(|x| !x.is_nan() && *x < 88.722 && *x > -87.0)
        .map(|x| ulps(exp(x), f64::from(x).exp()))
        .fold(0.0, f64::max);
    assert!(worst <= 1.01, "{worst}");
    // Subnormal results round once more.
    for i in (0..100_000).step_by(stride()) {
        let x = -87.0 - i as f32 * 17e-5;
        assert!(ulps(exp(x), f64::from(x).exp()) <= 1.5, "{x}");
    }
}

#[test]
fn exp_at_its_edges() {
    assert_eq!(exp(0.0), 1.0);
    assert_eq!(exp(-0.0), 1.0);
    assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
    assert_eq!(exp(-1e30).to_bits(), 0);
    assert_eq!(exp(f32::INFINITY), f32::INFINITY);
    assert_eq!(exp(88.73), f32::INFINITY);
    assert!(exp(88.72).is_finite());
    assert!(exp(f32::NAN).is_nan());
}

#[test]
fn sin_cos_are_nearly_correctly_rounded() {
    let mut worst = 0.0f64;
    for i in (1..4_000_000u32).step_by(stride()) {
        let x = (i as f32) * 0.262_15;
        let (s, c) = sin_cos(x);
        let (want_s, want_c) = f64::from(x).sin_cos();
        worst = worst.max(ulps(s, want_s)).max(ulps(c, want_c));
        assert_eq!(sin_cos(-x).0.to_bits(), (-s).to_bits());
    }
    assert!(worst <= 0.52, "{worst}");
    // Small angles too, whose cosine is 1 in the end.
    let mut worst = 0.0f64;
    for x in floats(1_021).filter(|x| (1e-35..1_048_576.0).contains(x)) {
        let ((s, c), (want_s, want_c)) = (sin_cos(x), f64::from(x).sin_cos());
        worst = worst.max(ulps(s, want_s)).max(ulps(c, want_c));
    }
    assert!(worst <= 0.52, "{worst}");
    assert_eq!((sin_cos(0.0), sin_cos(1e-40)), ((0.0, 1.0), (1e-40, 1.0)));
}

#[test]
fn activation_functions_follow_their_definitions() {
    for i in -2_000..2_000 {
        let x = i as f32 * 0.01;
        let wide = f64::from(x);
        let silu_want = wide / (1.0 + (-wide).exp());
        let u = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide.powi(3));
        let gelu_want = wide / (1.0 + (-2.0 * u).exp());
        assert!((f64::from(silu(x)) - silu_want).abs() <= 3e-7 * silu_want.abs() + 1e-12, "{x}");
        assert!((f64::from(gelu(x)) - gelu_want).abs() <= 2e-6 * gelu_want.abs() + 1e-9, "{x}");
        assert!((f64::from(tanh(x)) - wide.tanh()).abs() < 2e-7, "{x}");
    }
    assert_eq!((silu(f32::INFINITY), silu(-200.0)), (f32::INFINITY, -0.0));
    assert_eq!((tanh(100.0), tanh(-100.0)), (1.0, -1.0));
}

#[test]
fn powers_of_rope_bases() {
    for base in [10_000.0f32, 100_000.0, 500_000.0, 1_000_000.0, 1.5, 1.0, 0.25, 1e-30, f32::MAX] {
        for n in [1, 2, 3, 5, 20, 32, 48, 64, 128, 256] {
            let ratio = Wide::inverse_root(base, n);
            let mut power = Wide::ONE;
            for i in 0..n {
                let want = f64::powf(base.into(), -f64::from(i) / f64::from(n));
                let got = power.to_f32();
                // Rounded as the exact power is, unless that is all but half way between floats.
                let worst = if want < f64::from(f32::MIN_POSITIVE) { 1.0 } else { 0.500_001 };
                assert!(ulps(got, want) <= worst, "{base}^(-{i}/{n}): {got:e}, not {want:e}");
                power = power.times(ratio);
            }
        }
    }
    // What no model has still ends.
    for base in [0.0, -0.0, -1.0, f32::INFINITY, f32::NAN, 1e-45] {
        let _ = Wide::inverse_root(base, 0).times(Wide::inverse_root(base, u32::MAX)).to_f32();
    }
}

#[test]
fn square_root_is_correctly_rounded() {
    for x in floats(4_099).filter(|x| x.is_sign_positive()) {
        let (got, want) = (sqrt_exact(x), x.sqrt());
        assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{x:e}");
    }
    assert!(sqrt_exact(-1.0).is_nan());
    assert_eq!(sqrt_exact(-0.0).to_bits(), (-0.0f32).to_bits());
}

#[test]
fn the_lane_tree_is_the_stated_one() {
    let lanes: [f32; LANES] = core::array::from_fn(|i| 1.0 + (i as f32) * 1e-7);
    let pairs: [f32; 8] = core::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let fours: [f32; 4] = core::array::from_fn(|i| pairs[i] + pairs[i + 4]);
    let twos = [fours[0] + fours[2], fours[1] + fours[3]];
    assert_eq!(fold_lanes(lanes).to_bits(), (twos[0] + twos[1]).to_bits());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn software_fma_equals_hardware(a: u32, b: u32, c: u32) {
        let (a, b, c) = (f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
        let same = |got: f32, want: f32| {
            got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan())
        };
        let want = a.mul_add(b, c);
        prop_assert!(same(fma_by_f64(a, b, c), want));
        prop_assert!(same(fma_in_integers(a, b, c), want));
        #[cfg(bantam_arm_fpv4)]
        {
            prop_assert!(same(fpv4::fma(a, b, c), want));
            prop_assert!(same(fpv4::sqrt(a), a.sqrt()));
        }
    }

    /// Addends near the product's magnitude, where double rounding would show, and results down to
    /// the smallest subnormals.
    #[test]
    fn software_fma_rounds_once(
        a in 1.0f32..2.0,
        b in 1.0f32..2.0,
        c in 1.0f32..2.0,
        shift in -60i32..60,
        down in 0i32..150,
        negative: bool,
        round: bool,
    ) {
        let sign = if negative { -1.0 } else { 1.0 };
        // A power of two, or any mantissa.
        let c = if round { sign } else { sign * c };
        let power = |exponent: i32| {
            let half = exponent / 2;
            2f32.powi(half) * 2f32.powi(exponent - half)
        };
        for (a, b, c) in [
            (a, b, power(shift) * c),
            (a * power(-down), b, power(shift - down) * c),
            (a * power(-down), b * power(-down / 2), power(shift - down - down / 2) * c),
            (a, b, -(a * b)),
        ] {
            let want = a.mul_add(b, c).to_bits();
            prop_assert_eq!(fma_by_f64(a, b, c).to_bits(), want, "{:e}·{:e} + {:e}", a, b, c);
            prop_assert_eq!(fma_in_integers(a, b, c).to_bits(), want, "{:e}·{:e} + {:e}", a, b, c);
        }
    }
}

#[test]
fn software_fma_at_its_edges() {
    let edges = [
        0.0,
        1.0,
        1.5,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-45,
        1.2e-38,
        f32::EPSILON,
        3e38,
        f32::INFINITY,
        f32::NAN,
        2f32.powi(-75),
        2f32.powi(-74),
        2f32.powi(64),
        16_777_215.0,
    ];
    let edges = edges.iter().flat_map(|&x| [x, -x]);
    for a in edges.clone() {
        for b in edges.clone() {
            for c in edges.clone() {
                let (got, want) = (fma_in_integers(a, b, c), a.mul_add(b, c));
                assert!(
                    got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                    "{a:e}·{b:e} + {c:e}: {got:e}, not {want:e}"
                );
            }
        }
    }
}
