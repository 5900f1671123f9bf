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
fn parity() {
    replay("parity", targets::parity);
}

#[test]
fn schema() {
    replay("schema", targets::schema);
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

/// Puts telling numbers over the headers of the tiny models and runs what is left of them.
///
/// Most of these files still parse, and many are still models: counts, sizes and token numbers
/// that fit together no longer are what a random flip seldom finds. Every 61st place of the
/// header here; BANTAM_EXHAUSTIVE=1 takes every place, for minutes.
#[test]
fn telling_numbers_in_headers_do_no_harm() {
    let exhaustive = std::env::var_os("BANTAM_EXHAUSTIVE").is_some_and(|v| v == "1");
    let numbers = [0, 1, 2, 3, 17, 0x7f, 0xff, 0x100, 0xffff, 0x7f80_0000, 0x7fff_ffff, u32::MAX];
    for name in ["tiny_llama", "tiny_gemma3", "vocabulary_llama_bpe"] {
        let path = format!("{}/../fixtures/gguf/valid/{name}.gguf", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read(path).unwrap();
        let header = bantam_core::gguf::Gguf::parse(&file).unwrap().header_bytes().len();
        for at in (24..header - 4).step_by(if exhaustive { 1 } else { 61 }) {
            for number in numbers {
                let mut file = file.clone();
                file[at..at + 4].copy_from_slice(&number.to_le_bytes());
                // Said only if the test fails.
                println!("{name}: {number:#x} at byte {at}");
                targets::gguf_parse(&file);
                targets::tokenizer(&file);
            }
        }
    }
}
