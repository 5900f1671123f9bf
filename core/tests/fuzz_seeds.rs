//! The fuzz targets over every committed seed, with any compiler.
//!
//! So that a target keeps compiling and a find stays fixed even where nobody can fuzz. Each
//! target gets its own seeds, the GGUF fixtures, and each of these cut short.

#[allow(unreachable_pub, reason = "a library elsewhere")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

fn replay(name: &str, target: fn(&[u8])) {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut n = 0;
    for dir in [
        "fuzz/seeds/".to_owned() + name,
        "../fixtures/gguf/valid".into(),
        "../fixtures/gguf/invalid".into(),
    ] {
        let Ok(entries) = std::fs::read_dir(core.join(dir)) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            eprintln!("{}", path.display());
            target(&bytes);
            for cut in 1..8 {
                target(&bytes[..bytes.len() * cut / 8]);
            }
            n += 1;
        }
    }
    assert!(n > 80, "only {n} seeds for {name}");
}

#[test]
fn gguf_parse() {
    replay("gguf_parse", targets::gguf_parse);
}

#[test]
fn dequantize() {
    replay("dequantize", targets::dequantize);
}

#[test]
fn tokenizer() {
    replay("tokenizer", targets::tokenizer);
}

/// Otherwise fuzzing would mutate what is refused anyway, and run nothing.
#[test]
fn tiny_models_are_models() {
    for file in [
        &include_bytes!("../../fixtures/gguf/valid/tiny_llama.gguf")[..],
        include_bytes!("../../fixtures/gguf/valid/tiny_gemma3.gguf"),
    ] {
        let gguf = bantam_core::gguf::Gguf::parse(file).unwrap();
        bantam_core::model::Model::new(&gguf).unwrap_or_else(|err| panic!("{err}"));
        bantam_core::tokenizer::Tokenizer::plan(&gguf).unwrap_or_else(|err| panic!("{err}"));
    }
}
