//! Every weight format against other implementations: dequantized floats against the `gguf`
//! package, quantized bytes against GGML's reference quantizers. `fixtures/quant/README.md` says
//! how the files were made.

use bantam_core::quant::{GgmlType, dequantize_row, quantize_row};

macro_rules! golden {
    ($file:literal) => {
        include_bytes!(concat!("../../fixtures/quant/", $file))
    };
}

/// Formats with golden blocks and the bits of the floats that they stand for.
const DEQUANTIZED: [(GgmlType, &[u8], &[u8]); 16] = [
    (GgmlType::F32, golden!("dequantize/f32.blocks"), golden!("dequantize/f32.f32")),
    (GgmlType::F16, golden!("dequantize/f16.blocks"), golden!("dequantize/f16.f32")),
    (GgmlType::BF16, golden!("dequantize/bf16.blocks"), golden!("dequantize/bf16.f32")),
    (GgmlType::Q4_0, golden!("dequantize/q4_0.blocks"), golden!("dequantize/q4_0.f32")),
    (GgmlType::Q4_1, golden!("dequantize/q4_1.blocks"), golden!("dequantize/q4_1.f32")),
    (GgmlType::Q5_0, golden!("dequantize/q5_0.blocks"), golden!("dequantize/q5_0.f32")),
    (GgmlType::Q5_1, golden!("dequantize/q5_1.blocks"), golden!("dequantize/q5_1.f32")),
    (GgmlType::Q8_0, golden!("dequantize/q8_0.blocks"), golden!("dequantize/q8_0.f32")),
    (GgmlType::Q2_K, golden!("dequantize/q2_k.blocks"), golden!("dequantize/q2_k.f32")),
    (GgmlType::Q3_K, golden!("dequantize/q3_k.blocks"), golden!("dequantize/q3_k.f32")),
    (GgmlType::Q4_K, golden!("dequantize/q4_k.blocks"), golden!("dequantize/q4_k.f32")),
    (GgmlType::Q5_K, golden!("dequantize/q5_k.blocks"), golden!("dequantize/q5_k.f32")),
    (GgmlType::Q6_K, golden!("dequantize/q6_k.blocks"), golden!("dequantize/q6_k.f32")),
    (GgmlType::IQ4_NL, golden!("dequantize/iq4_nl.blocks"), golden!("dequantize/iq4_nl.f32")),
    (GgmlType::IQ4_XS, golden!("dequantize/iq4_xs.blocks"), golden!("dequantize/iq4_xs.f32")),
    (GgmlType::MXFP4, golden!("dequantize/mxfp4.blocks"), golden!("dequantize/mxfp4.f32")),
];

const ROWS: &[u8] = golden!("quantize/input.f32");
const FLOATS: &[u8] = golden!("quantize/halves.f32");

/// Formats with input floats and the golden bytes that they become.
const QUANTIZED: [(GgmlType, &[u8], &[u8]); 8] = [
    (GgmlType::F32, FLOATS, FLOATS),
    (GgmlType::F16, FLOATS, golden!("quantize/f16.blocks")),
    (GgmlType::BF16, FLOATS, golden!("quantize/bf16.blocks")),
    (GgmlType::Q4_0, ROWS, golden!("quantize/q4_0.blocks")),
    (GgmlType::Q4_1, ROWS, golden!("quantize/q4_1.blocks")),
    (GgmlType::Q5_0, ROWS, golden!("quantize/q5_0.blocks")),
    (GgmlType::Q5_1, ROWS, golden!("quantize/q5_1.blocks")),
    (GgmlType::Q8_0, ROWS, golden!("quantize/q8_0.blocks")),
];

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    words(bytes).into_iter().map(f32::from_bits).collect()
}

/// The fixtures write every NaN as this one: which NaN an operation gives is left open.
fn canonical(x: f32) -> u32 {
    if x.is_nan() { 0x7FC0_0000 } else { x.to_bits() }
}

#[test]
fn every_format_dequantizes_bit_for_bit() {
    assert_eq!(DEQUANTIZED.len(), GgmlType::ALL.len());
    for (ty, blocks, want) in DEQUANTIZED {
        let want = words(want);
        let mut got = vec![f32::NAN; want.len()];
        dequantize_row(ty, blocks, &mut got).unwrap();
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!(
                canonical(*got) == *want,
                "{ty} block {} element {}: got {got:e} ({:#010x}), expected {:e} ({want:#010x})",
                i / ty.block_elems(),
                i % ty.block_elems(),
                got.to_bits(),
                f32::from_bits(*want),
            );
        }
    }
}

#[test]
fn golden_blocks_cover_odd_scales() {
    // A fixture of tame numbers would let the test above pass for the wrong reason.
    for (ty, _, want) in DEQUANTIZED {
        let want = floats(want);
        let tiny = |w: &f32| *w != 0.0 && w.abs() < 2f32.powi(-14);
        assert!(want.iter().any(tiny), "{ty} has no weight of a subnormal f16 scale");
        // A scale of MXFP4 is never negative, zero or infinite.
        if ty != GgmlType::MXFP4 {
            let negative_zero = |w: &f32| w.is_sign_negative() && *w == 0.0;
            assert!(want.iter().any(negative_zero), "{ty} has no -0");
            assert!(want.iter().any(|w| w.is_infinite()), "{ty} has no infinite weight");
            assert!(want.iter().any(|w| w.is_nan()), "{ty} has no NaN weight");
        }
    }
}

#[test]
fn every_quantizer_writes_the_reference_bytes() {
    for (ty, input, want) in QUANTIZED {
        let input = floats(input);
        let mut got = vec![0xA5; want.len()];
        quantize_row(ty, &input, &mut got).unwrap();
        let (elems, bytes) = (ty.block_elems(), ty.block_bytes());
        let blocks = got.chunks(bytes).zip(want.chunks(bytes)).zip(input.chunks(elems));
        for (i, ((got, want), input)) in blocks.enumerate() {
            assert_eq!(got, want, "{ty} block {i}, of {input:?}");
        }
    }
}

#[test]
fn formats_agree_with_their_files_on_size() {
    for (ty, blocks, want) in DEQUANTIZED {
        assert_eq!(ty.row_bytes(want.len() / 4), Some(blocks.len()), "{ty}");
    }
}
