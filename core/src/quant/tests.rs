use super::block::Parts256;
use super::*;
use proptest::prelude::*;
use std::format;
use std::vec;
use std::vec::Vec;

#[test]
fn numbers_and_names_lead_back_to_their_format() {
    for ty in GgmlType::ALL {
        assert_eq!(GgmlType::from_id(ty.id()), Some(ty));
        assert_eq!(GgmlType::from_name(ty.name()), Some(ty));
        assert_eq!(GgmlType::from_name(&ty.name().to_lowercase()), Some(ty));
        assert_eq!(upstream_name(ty.id()), Some(ty.name()));
        assert_eq!(format!("{ty:>8}"), format!("{:>8}", ty.name()));
    }
    assert!(GgmlType::ALL.is_sorted());
    for id in (0..100).chain([u32::MAX]) {
        let known = GgmlType::ALL.into_iter().find(|ty| ty.id() == id);
        assert_eq!(GgmlType::from_id(id), known);
    }
    assert_eq!(GgmlType::from_name("Q4"), None);
    assert_eq!(GgmlType::from_name(""), None);
}

#[test]
fn upstream_names_are_known_up_to_the_last_number() {
    let names: Vec<_> = (0..43).map(|id| upstream_name(id).unwrap()).collect();
    for (i, name) in names.iter().enumerate() {
        assert!(!names[..i].contains(name), "{name} is there twice");
    }
    assert_eq!(upstream_name(16), Some("IQ2_XXS"));
    assert_eq!(upstream_name(28), Some("F64"));
    assert_eq!(upstream_name(33), Some("Q4_0_8_8"));
    assert_eq!(upstream_name(43), None);
    assert_eq!(upstream_name(u32::MAX), None);
}

#[test]
fn rows_are_whole_blocks_of_a_size_that_fits() {
    for ty in GgmlType::ALL {
        let (elems, bytes) = (ty.block_elems(), ty.block_bytes());
        assert_eq!(ty.row_bytes(0), Some(0));
        assert_eq!(ty.row_bytes(elems), Some(bytes));
        assert_eq!(ty.row_bytes(7 * elems), Some(7 * bytes));
        if elems > 1 {
            assert_eq!(ty.row_bytes(elems - 1), None);
            assert_eq!(ty.row_bytes(elems + 1), None);
        }
        let most = usize::MAX / elems * elems;
        let fits = (most / elems).checked_mul(bytes);
        assert_eq!(ty.row_bytes(most), fits);
        assert_eq!(fits.is_none(), bytes > elems, "{ty}");
    }
}

#[test]
fn wrong_lengths_are_refused_and_leave_the_output_alone() {
    for ty in GgmlType::ALL {
        let (elems, bytes) = (ty.block_elems(), ty.block_bytes());
        let row = vec![0; 3 * bytes];
        let mut out = vec![7.0; 3 * elems];
        for given in [0, 1, bytes - 1, bytes, 2 * bytes, 3 * bytes - 1] {
            let want = Err(QuantError::Length(3 * bytes, given));
            assert_eq!(dequantize_row(ty, &row[..given], &mut out), want);
        }
        if elems > 1 {
            let n = 2 * elems + 1;
            let want = Err(QuantError::PartialBlock(n, elems));
            assert_eq!(dequantize_row(ty, &row, &mut out[..n]), want);
        }
        assert!(out.iter().all(|w| *w == 7.0));
        assert_eq!(dequantize_row(ty, &row, &mut out), Ok(()));
        assert_eq!(dequantize_row(ty, &[], &mut []), Ok(()));
    }
}

#[test]
fn quantizers_refuse_what_they_cannot_write() {
    for ty in GgmlType::ALL {
        let (elems, bytes) = (ty.block_elems(), ty.block_bytes());
        // Searching for a super-block's scales takes an interpreter minutes.
        if cfg!(miri) && elems == 256 && ty.is_writable() {
            continue;
        }
        let x = vec![1.0; 2 * elems];
        let mut out = vec![7; 2 * bytes];
        let wrote = quantize_row(ty, &x, &mut out);
        assert_eq!(wrote.is_ok(), ty.is_writable());
        match wrote {
            Err(error) => {
                assert_eq!(error, QuantError::NoQuantizer(ty));
                assert!(out.iter().all(|b| *b == 7));
                continue;
            }
            Ok(()) => out.fill(7),
        }
        let want = Err(QuantError::Length(2 * bytes, 2 * bytes - 1));
        assert_eq!(quantize_row(ty, &x, &mut out[..2 * bytes - 1]), want);
        let want = Err(QuantError::Length(elems, 2 * bytes));
        if elems > 1 {
            assert_eq!(
                quantize_row(ty, &x[..elems + 1], &mut out).unwrap_err(),
                QuantError::PartialBlock(elems + 1, elems)
            );
        } else {
            assert_eq!(
                quantize_row(ty, &x[..1], &mut out),
                want.map_err(|_: QuantError| QuantError::Length(bytes, 2 * bytes))
            );
        }
        assert!(out.iter().all(|b| *b == 7));
    }
}

#[test]
fn every_element_needs_its_importance() {
    for ty in GgmlType::ALL {
        // Of a row without blocks: searching for those of others takes an interpreter minutes.
        let write = |importance: &[f32]| quantize_row_weighted(ty, &[], importance, &mut []);
        let want = match write(&[]) {
            Ok(()) => Err(QuantError::Importance(0, 1)),
            error => error,
        };
        assert_eq!(write(&[1.0]), want);
    }
}

#[test]
fn messages_carry_the_numbers() {
    for (error, want) in [
        (
            QuantError::PartialBlock(33, 32),
            "a row of 33 elements is not made of whole blocks of 32",
        ),
        (QuantError::Length(18, 17), "the row takes 18 bytes, but 17 were given"),
        (QuantError::NoQuantizer(GgmlType::Q2_K), "Q2_K can be read, but not written"),
        (
            QuantError::Importance(64, 63),
            "the row has 64 elements, but 63 weights of importance were given",
        ),
    ] {
        assert_eq!(format!("{error}"), want);
    }
}

#[test]
fn only_whole_blocks_are_cast() {
    let bytes = [0u8; 37];
    assert_eq!(blocks::<BlockQ4_0>(&bytes).map(<[_]>::len), None);
    assert_eq!(blocks::<BlockQ4_0>(&bytes[1..]).map(<[_]>::len), Some(2));
    assert_eq!(blocks::<BlockQ4_0>(&[]).map(<[_]>::len), Some(0));
    let mut bytes = [0u8; 37];
    assert_eq!(blocks_mut::<BlockQ4_0>(&mut bytes).map(|b| b.len()), None);
    assert_eq!(blocks_mut::<BlockQ4_0>(&mut bytes[1..]).map(|b| b.len()), Some(2));
}

/// What dot products count on when they bound their integer sums (section 4 of the numerics).
fn bounds(ty: GgmlType) -> (i8, i8) {
    match ty {
        GgmlType::Q4_0 => (-8, 7),
        GgmlType::Q4_1 | GgmlType::Q4_K => (0, 15),
        GgmlType::Q5_0 => (-16, 15),
        GgmlType::Q5_1 | GgmlType::Q5_K => (0, 31),
        GgmlType::Q2_K => (0, 3),
        GgmlType::Q3_K => (-4, 3),
        GgmlType::Q6_K => (-32, 31),
        GgmlType::IQ4_NL | GgmlType::IQ4_XS => (-127, 113),
        GgmlType::MXFP4 => (-12, 12),
        _ => (i8::MIN, i8::MAX),
    }
}

fn check32<B: Block32>(bytes: &[u8]) {
    for block in blocks::<B>(bytes).unwrap() {
        // Whatever was there before is overwritten.
        let mut q = [i8::MIN; 32];
        block.unpack(&mut q);
        let mut again = [i8::MAX; 32];
        block.unpack(&mut again);
        assert_eq!(q, again);
        let (low, high) = bounds(B::TYPE);
        assert!(q.iter().all(|q| (low..=high).contains(q)), "{} unpacked to {q:?}", B::TYPE);
        assert!(B::HAS_MIN || block.min().to_bits() == 0);
    }
}

fn check256<B: Block256>(bytes: &[u8]) {
    for block in blocks::<B>(bytes).unwrap() {
        let (mut q, mut s, mut m) = ([i8::MIN; 256], [i8::MIN; 16], [u8::MAX; 16]);
        block.unpack(&mut q);
        block.unpack_scales(&mut s, &mut m);
        let (mut q2, mut s2, mut m2) = ([i8::MAX; 256], [i8::MAX; 16], [0; 16]);
        block.unpack(&mut q2);
        block.unpack_scales(&mut s2, &mut m2);
        assert_eq!((q, s, m), (q2, s2, m2));
        let (low, high) = bounds(B::TYPE);
        assert!(q.iter().all(|q| (low..=high).contains(q)), "{} unpacked to {q:?}", B::TYPE);
        let scales = match B::TYPE {
            GgmlType::Q2_K => 0..=15,
            GgmlType::Q4_K | GgmlType::Q5_K => 0..=63,
            GgmlType::Q6_K => i8::MIN..=i8::MAX,
            _ => -32..=31,
        };
        assert!(s.iter().all(|s| scales.contains(s)), "{} unpacked to sub-scales {s:?}", B::TYPE);
        let most = match B::TYPE {
            GgmlType::Q2_K => 15,
            GgmlType::Q4_K | GgmlType::Q5_K => 63,
            _ => 0,
        };
        assert!(m.iter().all(|m| *m <= most), "{} unpacked to minimums {m:?}", B::TYPE);
        assert!(B::HAS_MIN || block.min_scale().to_bits() == 0);
    }
}

proptest! {
    #[test]
    fn unpacked_integers_stay_within_their_bounds(bytes in proptest::collection::vec(any::<u8>(), 210 * 4)) {
        fn whole<B>(bytes: &[u8]) -> &[u8] {
            &bytes[..bytes.len() / size_of::<B>() * size_of::<B>()]
        }
        check32::<BlockQ4_0>(whole::<BlockQ4_0>(&bytes));
        check32::<BlockQ4_1>(whole::<BlockQ4_1>(&bytes));
        check32::<BlockQ5_0>(whole::<BlockQ5_0>(&bytes));
        check32::<BlockQ5_1>(whole::<BlockQ5_1>(&bytes));
        check32::<BlockQ8_0>(whole::<BlockQ8_0>(&bytes));
        check32::<BlockIQ4NL>(whole::<BlockIQ4NL>(&bytes));
        check32::<BlockMXFP4>(whole::<BlockMXFP4>(&bytes));
        check256::<BlockQ2K>(whole::<BlockQ2K>(&bytes));
        check256::<BlockQ3K>(whole::<BlockQ3K>(&bytes));
        check256::<BlockQ4K>(whole::<BlockQ4K>(&bytes));
        check256::<BlockQ5K>(whole::<BlockQ5K>(&bytes));
        check256::<BlockQ6K>(whole::<BlockQ6K>(&bytes));
        check256::<BlockIQ4XS>(whole::<BlockIQ4XS>(&bytes));
    }

    #[test]
    fn super_blocks_are_put_together_as_they_were(bytes in proptest::collection::vec(any::<u8>(), 210)) {
        fn check<B: Pack256>(bytes: &[u8]) {
            let bytes = &bytes[..size_of::<B>()];
            let block = &blocks::<B>(bytes).unwrap()[0];
            let mut parts = Parts256 {
                d: crate::half::f32_to_f16(block.scale()),
                dmin: crate::half::f32_to_f16(block.min_scale()),
                s: [0; 16],
                m: [0; 16],
                q: [0; 256],
            };
            block.unpack(&mut parts.q);
            block.unpack_scales(&mut parts.s, &mut parts.m);
            let mut back = vec![0; bytes.len()];
            blocks_mut::<B>(&mut back).unwrap()[0] = B::pack(&parts);
            // The payload of a NaN is not kept.
            if block.scale().is_nan() || block.min_scale().is_nan() {
                let again = blocks::<B>(&back).unwrap()[0];
                (parts.q, parts.s, parts.m) = ([0; 256], [0; 16], [0; 16]);
                let (mut q, mut s, mut m) = (parts.q, parts.s, parts.m);
                block.unpack(&mut q);
                again.unpack(&mut parts.q);
                block.unpack_scales(&mut s, &mut m);
                again.unpack_scales(&mut parts.s, &mut parts.m);
                assert_eq!((q, s, m), (parts.q, parts.s, parts.m), "{}", B::TYPE);
            } else {
                assert_eq!(back, bytes, "{}", B::TYPE);
            }
        }
        check::<BlockQ4K>(&bytes);
        check::<BlockQ5K>(&bytes);
        check::<BlockQ6K>(&bytes);
    }

    /// Quantizing what was dequantized changes nothing where the format represents its own values:
    /// Q8_0 with a largest level of 127.
    #[test]
    fn q8_0_blocks_survive_the_way_there_and_back(exponent in 1u16..30, fraction in 0u16..1024, mut qs: [i8; 32], at in 0usize..32) {
        qs = qs.map(|q| q.max(-127));
        qs[at] = 127;
        let block = BlockQ8_0 { d: (exponent << 10 | fraction).to_le_bytes(), qs };
        let mut x = [0.0; 32];
        block.dequantize(&mut x);
        let back = BlockQ8_0::quantize(&x);
        prop_assert_eq!((back.d, back.qs), (block.d, block.qs));
    }

    /// A quantized weight is off by at most half a step, with what rounding the scale to f16 adds.
    #[test]
    fn quantized_weights_are_near(x in proptest::collection::vec(-100f32..100.0, 32)) {
        let spread = x.iter().fold(0f32, |most, x| most.max(x.abs())) * 2.0;
        for (ty, levels) in [
            // A symmetric format has no level for the largest magnitude with the other sign.
            (GgmlType::Q4_0, 8.0), (GgmlType::Q4_1, 15.0), (GgmlType::Q5_0, 16.0), (GgmlType::Q5_1, 31.0),
            (GgmlType::Q8_0, 254.0),
        ] {
            let mut bytes = vec![0; ty.row_bytes(32).unwrap()];
            quantize_row(ty, &x, &mut bytes).unwrap();
            let mut back = [0.0; 32];
            dequantize_row(ty, &bytes, &mut back).unwrap();
            for (x, back) in x.iter().zip(back) {
                prop_assert!((x - back).abs() <= spread * (0.5 / levels + 1e-3), "{} {} {}", ty, x, back);
            }
        }
    }
}
