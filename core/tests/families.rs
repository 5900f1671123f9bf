//! Every model family against `transformers`, on tiny models with random F32 weights.
//!
//! Goldens and models: `fixtures/reference/make_tiny_models.py`. `transformers` computed in
//! float64 (its norms and RoPE in float32), so with F32 weights and an f32 cache the bound here is
//! about float32 alone. Windows are shorter than the prompts, so a wrong one shows.

mod golden;

use bantam_core::cache::CacheType;
use golden::{Npy, fixture, nmse, stages, table, tokens};

/// Largest difference of any logit, for logits of up to 24. Measured: 4.0e-5 (llama3-rope).
const BOUND: f32 = 1e-4;

/// The same with the usual f16 cache, which rounds keys and values to 11 bits. Measured: 3.3e-2.
const BOUND_F16: f32 = 0.1;

fn worst(name: &str, cache: CacheType) -> f32 {
    let tokens = tokens(&format!("logits/tiny/{name}.tokens.npy"));
    let expected = Npy::<f32>::read(&format!("logits/tiny/{name}.logits.npy"));
    let ours = golden::logits(&fixture(&format!("models/{name}.gguf")), cache, &tokens);
    assert_eq!(expected.shape, [tokens.len(), ours[0].len()]);
    let pairs = expected.data.iter().zip(ours.iter().flatten());
    pairs.map(|(t, x)| (x - t).abs()).fold(0.0, |a, b| if b > a || b.is_nan() { b } else { a })
}

fn check(name: &str) {
    let exact = worst(name, CacheType::F32);
    let half = worst(name, CacheType::F16);
    println!("{name}: largest difference {exact:.2e}, with an f16 cache {half:.2e}");
    assert!(exact <= BOUND, "{name} differs by {exact}, allowed {BOUND}");
    assert!(half <= BOUND_F16, "{name} with an f16 cache differs by {half}, allowed {BOUND_F16}");
}

#[test]
fn llama_agrees_with_transformers() {
    check("llama");
}

#[test]
fn llama_3_rope_scaling_agrees_with_transformers() {
    check("llama3-rope");
}

#[test]
fn mistral_agrees_with_transformers() {
    check("mistral");
}

#[test]
fn qwen2_agrees_with_transformers() {
    check("qwen2");
}

#[test]
fn qwen3_agrees_with_transformers() {
    check("qwen3");
}

#[test]
fn gemma3_agrees_with_transformers() {
    check("gemma3");
}

#[test]
fn gemma3_with_its_pattern_in_the_file_agrees_with_transformers() {
    check("gemma3-pattern");
}

/// A stage is wrong if its relative RMS error is over this. Measured: 2.0e-6.
const STAGE_BOUND: f64 = 1e-5;

/// Names of all stages in the order of computation, each with its relative RMS error to the truth.
fn stage_errors(name: &str, gguf: &[u8]) -> Vec<(String, f64)> {
    let expected = Npy::<f32>::read(&format!("logits/tiny/{name}.stages.npy")).data;
    let list = table(&format!("logits/tiny/{name}.stages.txt"));
    let n_tokens: usize = list[0][1].parse().unwrap();
    let tokens = tokens(&format!("logits/tiny/{name}.tokens.npy"));
    let ours = stages(gguf, CacheType::F32, &tokens[..n_tokens]);
    assert_eq!(ours.len(), list.len(), "as many stages as the truth has");
    let mut errors = Vec::new();
    for line in &list {
        let [rows, cols, offset] = [1, 2, 3].map(|i| line[i].parse::<usize>().unwrap());
        let truth = &expected[offset..][..rows * cols];
        let ours = ours.get(&line[0]).unwrap_or_else(|| panic!("no stage {}", line[0]));
        assert_eq!(ours.len(), truth.len(), "stage {}", line[0]);
        errors.push((line[0].clone(), nmse(ours, truth).sqrt()));
    }
    errors
}

fn first_wrong(errors: &[(String, f64)]) -> Option<&str> {
    let wrong = errors.iter().find(|(_, error)| error.is_nan() || *error > STAGE_BOUND);
    wrong.map(|(name, _)| name.as_str())
}

#[test]
fn every_stage_agrees_with_float_truth() {
    for name in ["llama", "gemma3"] {
        let errors = stage_errors(name, &fixture(&format!("models/{name}.gguf")));
        let worst = errors.iter().map(|(_, error)| *error).fold(0.0, f64::max);
        println!("{name}: {} stages, worst relative error {worst:.1e}", errors.len());
        assert_eq!(first_wrong(&errors), None, "{errors:#?}");
    }
}

/// Overwrites an f32 metadata value.
fn set_f32(gguf: &mut [u8], key: &str, value: f32) {
    let at = gguf.windows(key.len()).position(|bytes| bytes == key.as_bytes()).unwrap();
    // Behind the key: the value's type (6 is f32) and the value.
    let rest = &mut gguf[at + key.len()..];
    assert_eq!(rest[..4], 6_u32.to_le_bytes());
    rest[4..8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn a_wrong_rope_is_found_where_it_is() {
    let mut gguf = fixture("models/llama.gguf");
    set_f32(&mut gguf, "llama.rope.freq_base", 500_000.0);
    assert_eq!(first_wrong(&stage_errors("llama", &gguf)), Some("l0.q_rope"));

    // Layers 0 to 4 have windows and the local base; layer 5 is the first to use the global one.
    let mut gguf = fixture("models/gemma3.gguf");
    set_f32(&mut gguf, "gemma3.rope.freq_base", 500.0);
    assert_eq!(first_wrong(&stage_errors("gemma3", &gguf)), Some("l5.q_rope"));
}

#[test]
fn a_wrong_epsilon_is_found_where_it_is() {
    let mut gguf = fixture("models/llama.gguf");
    set_f32(&mut gguf, "llama.attention.layer_norm_rms_epsilon", 1e-2);
    assert_eq!(first_wrong(&stage_errors("llama", &gguf)), Some("l0.attn_norm"));
}
