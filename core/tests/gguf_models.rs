//! The real models read whole: counts as their makers wrote them, data up to the last byte.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bantam_core::gguf::{Gguf, keys};

/// Returns a model's bytes, or `None` after saying loudly that it is missing.
fn model(name: &str) -> Option<Vec<u8>> {
    let dir = std::env::var_os("BANTAM_MODELS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../models")),
        PathBuf::from,
    );
    let bytes = std::fs::read(dir.join(name)).ok();
    if bytes.is_none() {
        eprintln!("not run: models/{name} is missing; run cargo xtask models");
        let required = std::env::var_os("BANTAM_REQUIRE_MODELS").is_some_and(|v| v == "1");
        assert!(!required, "models/{name} is missing");
    }
    bytes
}

fn check(name: &str, n_tensors: usize, n_metadata: usize, n_vocab: usize, arch: &str) {
    let Some(bytes) = model(name) else { return };
    let mut took = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        std::hint::black_box(Gguf::parse(&bytes).is_ok());
        took = took.min(start.elapsed());
    }
    let gguf = Gguf::parse(&bytes).unwrap();
    eprintln!("{name}: parsed in {took:?}");
    // A vocabulary of 262,144 is walked once, in a few milliseconds; the rest is slack for
    // sanitizers and emulators.
    assert!(took < Duration::from_secs(2), "{took:?}");

    assert_eq!((gguf.n_tensors(), gguf.n_metadata()), (n_tensors, n_metadata));
    assert_eq!(gguf.architecture(), Some(arch));
    let tokens = gguf.get(keys::TOKENIZER_TOKENS).unwrap().as_array().unwrap();
    assert_eq!((tokens.len(), tokens.strings().unwrap().count()), (n_vocab, n_vocab));
    let embedding = gguf.tensor("token_embd.weight").unwrap();
    assert_eq!(embedding.view.n_rows(), n_vocab);

    let last = gguf.tensors().last().unwrap();
    let end = last.offset as usize + last.view.bytes().len();
    assert!(end <= bytes.len() && bytes.len() - end < 32, "{end} of {}", bytes.len());
    assert!(Gguf::parse(&bytes[..end - 1]).is_err());

    // Lookups walk entries, not values: a thousand of them among 262,144 tokens are nothing.
    let start = Instant::now();
    for _ in 0..1000 {
        assert!(std::hint::black_box(gguf.get(keys::TOKENIZER_BOS_TOKEN_ID)).is_some());
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn smollm2_reads_whole() {
    check("SmolLM2-135M-Instruct.Q4_1.gguf", 272, 33, 49_152, "llama");
}

#[test]
fn gemma3_reads_whole() {
    check("gemma-3-270m.Q4_K_M.gguf", 236, 33, 262_144, "gemma3");
}
