//! Quantized weights end to end: tiny models against float truth and llama.cpp.
//!
//! The truth has the same weights, dequantized, and float activations; what differs is the rounding
//! of activations to 8 bits, which llama.cpp does as well. So no fixed bound is known beforehand,
//! but llama.cpp's own error is: ours must not be larger by more than chance allows. `mixed` has
//! one matrix of each of the sixteen formats. Models and goldens:
//! `fixtures/reference/make_tiny_models.py`.

mod golden;

use bantam_core::cache::CacheType;
use bantam_core::gguf::Gguf;
use bantam_core::quant::GgmlType;
use golden::{Npy, fixture, kl, log_softmax, nmse, tokens};

/// Our error may be this many times llama.cpp's: two draws of the same rounding noise over 80
/// positions differ by a few percent. A wrong format in one matrix of `mixed` costs 30 times more.
const SLACK: f64 = 1.25;

fn mean_kl(truth: &Npy<f32>, rows: impl Iterator<Item = Vec<f64>>) -> f64 {
    let all: Vec<f64> =
        truth.rows().zip(rows).map(|(truth, row)| kl(&log_softmax(truth), &row)).collect();
    all.iter().sum::<f64>() / all.len() as f64
}

fn check(name: &str) {
    let tokens = tokens(&format!("logits/tiny/{name}.tokens.npy"));
    let truth = Npy::<f32>::read(&format!("logits/tiny/{name}.logits.npy"));
    let theirs = Npy::<f32>::read(&format!("logits/tiny/{name}.llamacpp.npy"));
    let ours = golden::logits(&fixture(&format!("models/{name}.gguf")), CacheType::F32, &tokens);
    assert_eq!(truth.shape, [tokens.len(), ours[0].len()]);

    let (ours_nmse, theirs_nmse) =
        (nmse(ours.iter().flatten(), &truth.data), nmse(&theirs.data, &truth.data));
    let ours_kl = mean_kl(&truth, ours.iter().map(|row| log_softmax(row)));
    let theirs_kl = mean_kl(&truth, theirs.rows().map(log_softmax));
    println!(
        "{name}: to truth, NMSE {ours_nmse:.3e} (llama.cpp {theirs_nmse:.3e}), \
         KL {ours_kl:.3e} (llama.cpp {theirs_kl:.3e})"
    );
    assert!(ours_nmse <= SLACK * theirs_nmse, "{name}: NMSE {ours_nmse} over {theirs_nmse}");
    assert!(ours_kl <= SLACK * theirs_kl, "{name}: KL {ours_kl} over {theirs_kl}");
}

#[test]
fn q8_0_is_as_near_the_truth_as_llama_cpp() {
    check("llama-q8_0");
}

#[test]
fn q4_0_is_as_near_the_truth_as_llama_cpp() {
    check("llama-q4_0");
}

#[test]
fn a_model_of_all_formats_is_as_near_the_truth_as_llama_cpp() {
    check("mixed");
}

#[test]
fn the_mixed_model_has_every_format() {
    let bytes = fixture("models/mixed.gguf");
    let gguf = Gguf::parse(&bytes).unwrap();
    for ty in GgmlType::ALL {
        assert!(gguf.tensors().any(|t| t.ty == ty && t.n_dims == 2), "no matrix in {}", ty.name());
    }
}
