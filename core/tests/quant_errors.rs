//! How far written weights are from those they stand for, against what GGML makes of the same rows.
//! `fixtures/quant/README.md` says how the files were made.

use bantam_core::half::f16_to_f32;
use bantam_core::quant::{GgmlType, dequantize_row, quantize_row, quantize_row_weighted};

macro_rules! golden {
    ($file:literal) => {
        include_bytes!(concat!("../../fixtures/quant/quantize/", $file))
    };
}

/// Formats and what GGML writes without importance.
const ALONE: [(GgmlType, &[u8]); 3] = [
    (GgmlType::Q4_K, golden!("q4_k.none.blocks")),
    (GgmlType::Q5_K, golden!("q5_k.none.blocks")),
    (GgmlType::Q6_K, golden!("q6_k.none.blocks")),
];

/// Formats and what GGML writes with importance.
const WEIGHTED: [(GgmlType, &[u8]); 7] = [
    (GgmlType::Q4_0, golden!("q4_0.importance.blocks")),
    (GgmlType::Q4_1, golden!("q4_1.importance.blocks")),
    (GgmlType::Q5_0, golden!("q5_0.importance.blocks")),
    (GgmlType::Q5_1, golden!("q5_1.importance.blocks")),
    (GgmlType::Q4_K, golden!("q4_k.importance.blocks")),
    (GgmlType::Q5_K, golden!("q5_k.importance.blocks")),
    (GgmlType::Q6_K, golden!("q6_k.importance.blocks")),
];

/// Each row holds weights of a kind of its own.
const COLS: usize = 1024;

fn rows() -> Vec<f32> {
    let halves = golden!("weights.f16").as_chunks().0.iter();
    halves.map(|&half| f16_to_f32(u16::from_le_bytes(half))).collect()
}

fn importance() -> Vec<f32> {
    golden!("importance.f32").as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect()
}

/// What GGML counts the squared error of each element of a row by.
fn ggml_weights(ty: GgmlType, x: &[f32], importance: Option<&[f32]>) -> Vec<f64> {
    let square = |x: &f32| f64::from(*x) * f64::from(*x);
    let mean_square = |x: &[f32]| x.iter().map(square).sum::<f64>() / x.len() as f64;
    let Some(importance) = importance else {
        let by_group = |x: &[f32]| {
            let root = mean_square(x).sqrt();
            x.iter().map(|x| root + f64::from(x.abs())).collect::<Vec<_>>()
        };
        return match ty {
            GgmlType::Q6_K => x.iter().map(square).collect(),
            _ => x.chunks(32).flat_map(by_group).collect(),
        };
    };
    let (extra, group) = match ty {
        GgmlType::Q6_K => return importance.iter().map(|&w| f64::from(w)).collect(),
        GgmlType::Q4_K | GgmlType::Q5_K => (2.0, 256),
        _ => (1.0, x.len()),
    };
    let by_group = |(x, importance): (&[f32], &[f32])| {
        let extra = extra * mean_square(x);
        let each = x.iter().zip(importance);
        each.map(|(x, w)| f64::from(*w) * (extra + square(x)).sqrt()).collect::<Vec<_>>()
    };
    x.chunks(group).zip(importance.chunks(group)).flat_map(by_group).collect()
}

/// The squared error of a written row, by `weights`.
fn error(ty: GgmlType, bytes: &[u8], x: &[f32], weights: &[f64]) -> f64 {
    let mut back = vec![0.0; x.len()];
    dequantize_row(ty, bytes, &mut back).unwrap();
    let off = |(x, back): (&f32, f32)| (f64::from(*x) - f64::from(back)).powi(2);
    x.iter().zip(back).map(off).zip(weights).map(|(off, w)| w * off).sum()
}

/// Holds each row against GGML's bytes for it.
fn compare(
    ty: GgmlType,
    theirs: &[u8],
    write: impl Fn(&[f32], &mut [u8]),
    weights: impl Fn(&[f32]) -> Vec<f64>,
) {
    let n_bytes = ty.row_bytes(COLS).unwrap();
    let mut ours = vec![0; n_bytes];
    let x = rows();
    assert_eq!(x.len() / COLS * n_bytes, theirs.len());
    for (i, (x, theirs)) in x.chunks(COLS).zip(theirs.chunks(n_bytes)).enumerate() {
        write(x, &mut ours);
        let weights = weights(x);
        let [got, most] = [&ours[..], theirs].map(|bytes| error(ty, bytes, x, &weights));
        assert!(got <= most, "{ty} row {i}: an error of {got:e}, GGML's is {most:e}");
    }
}

#[test]
fn errors_are_at_most_those_of_the_reference() {
    for (ty, theirs) in ALONE {
        let write = |x: &[f32], out: &mut [u8]| quantize_row(ty, x, out).unwrap();
        compare(ty, theirs, write, |x| ggml_weights(ty, x, None));
    }
}

#[test]
fn errors_by_importance_are_at_most_those_of_the_reference() {
    let importance = importance();
    for (ty, theirs) in WEIGHTED {
        let write = |x: &[f32], out: &mut [u8]| {
            quantize_row_weighted(ty, x, &importance, out).unwrap();
        };
        compare(ty, theirs, write, |x| ggml_weights(ty, x, Some(&importance)));
    }
}
