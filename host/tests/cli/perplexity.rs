//! `bantam perplexity`, beside what llama-perplexity says of the same models and text: see
//! `fixtures/perplexity/make.py`.

use std::fs;
use std::path::{Path, PathBuf};

use bantam_core::gguf::Gguf;
use serde_json::Value;

use crate::common::{bantam, root, run};

fn fixture(name: &str) -> String {
    root().join("fixtures").join(name).to_str().expect("a path that is text").to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

fn perplexity(model: &str, more: &[&str]) -> Value {
    let model = fixture(&format!("models/{model}.gguf"));
    let args = ["perplexity", "--json", "--cache", "f32", "-m", &model];
    serde_json::from_str(&run(&[&args, more].concat()).ok()).expect("JSON")
}

/// The number under `key`, which is `name` or `name.part`.
fn number(json: &Value, key: &str) -> f64 {
    let found = key.split('.').fold(json, |json, part| &json[part]);
    found.as_f64().unwrap_or_else(|| panic!("no {key}: {json}"))
}

#[test]
fn figures_are_those_of_llama_perplexity() {
    let found = perplexity("llama3-rope", &["--kl-base", &fixture("perplexity/llama.base")]);
    let golden = fs::read_to_string(fixture("perplexity/llama3-rope.txt")).unwrap();
    let mut n_compared = 0;
    for line in golden.lines() {
        let [key, value, error @ ..] = &line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let place = if *key == "perplexity" { &found } else { &found["against"] };
        for (key, expected) in
            [Some((key.to_string(), value)), error.first().map(|e| (format!("{key}_error"), e))]
                .into_iter()
                .flatten()
        {
            let found = number(place, &key);
            let expected: f64 = expected.parse().unwrap();
            // Shares are printed to a thousandth of a percent.
            let slack = 1e-5 * expected.abs() + 1e-5;
            assert!((found - expected).abs() < slack, "{key}: {found} {expected}");
            n_compared += 1;
        }
    }
    assert_eq!(n_compared, 43, "{golden}");
    assert_eq!((number(&found, "windows"), number(&found, "scored")), (8.0, 120.0));
}

#[test]
fn bases_are_those_of_llama_perplexity() {
    let folder = tempfile::tempdir().unwrap();
    let (base, other) = (folder.path().join("base"), folder.path().join("other"));
    let file = fixture("perplexity/text.txt");
    let args = ["-f", &file, "--ctx", "32", "--chunks", "8", "--save-base", text(&base)];
    let alone = perplexity("llama", &args);
    let golden = fs::read(fixture("perplexity/llama.base")).unwrap();
    let written = fs::read(&base).unwrap();
    assert_eq!(written.len(), golden.len());
    let data = 20 + 4 * 32 * 8;
    assert_eq!(written[..data], golden[..data], "header and tokens");
    for (row, expected) in written[data..].chunks(552).zip(golden[data..].chunks(552)) {
        let float = |row: &[u8]| f32::from_le_bytes(row.try_into().unwrap());
        assert!((float(&row[..4]) / float(&expected[..4]) - 1.0).abs() < 1e-5);
        assert!((float(&row[4..8]) / float(&expected[4..8]) - 1.0).abs() < 1e-5);
        let codes = |row: &[u8]| -> Vec<u16> {
            row[8..].as_chunks::<2>().0.iter().map(|&code| u16::from_le_bytes(code)).collect()
        };
        for (code, expected) in codes(row).into_iter().zip(codes(expected)) {
            assert!(code.abs_diff(expected) <= 1, "{code} {expected}");
        }
    }
    // Beside its own base a model is as good as the same, and any set-up gives the same bits.
    let itself = ["--kl-base", text(&base), "-t", "1"];
    let found = perplexity("llama", &itself);
    assert_eq!(found["perplexity"], alone["perplexity"]);
    assert!(number(&found["against"], "kl.max") < 1e-4);
    assert_eq!(number(&found["against"], "same_top"), 1.0);
    let again = ["-t", "3", "-b", "5", "--kernels", "scalar", "-f", &file];
    let again = perplexity("llama", &[&itself[..2], &again[..]].concat());
    assert_eq!(again["against"], found["against"]);
    let fewer = perplexity("llama", &["--kl-base", text(&base), "--chunks", "3"]);
    assert_eq!(number(&fewer, "scored"), 45.0);
    let args = ["-f", &file, "--ctx", "32", "--save-base", text(&other), "-t", "3", "-b", "7"];
    perplexity("llama", &[&args[..], &["--chunks", "8"]].concat());
    assert_eq!(fs::read(&other).unwrap(), written);
}

#[test]
fn tables_for_people() {
    let model = fixture("models/llama.gguf");
    let base = fixture("perplexity/llama.base");
    let shown = run(&["perplexity", "-m", &model, "--kl-base", &base]).ok();
    for part in ["8 windows of 32 tokens, 120 tokens scored", "perplexity ", " ± ", "99.9 %"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (model, base) = (fixture("models/llama.gguf"), fixture("perplexity/llama.base"));
    let fails = |code: i32, more: &[&str], parts: &[&str]| {
        let ran = run(&[&["perplexity", "-m", &model], more].concat());
        let line = ran.failed(code);
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    };
    let file = fixture("perplexity/text.txt");
    fails(2, &["-f", &file], &["tokens, and a window takes 512", "--ctx"]);
    fails(2, &["-f", &file, "--ctx", "2"], &["at least 3"]);
    fails(2, &["--kl-base", &base, "--ctx", "64"], &["windows of 32 tokens"]);
    fs::write(place("text"), "Another text, of which nothing is in the base.").unwrap();
    fails(2, &["--kl-base", &base, "-f", &place("text")], &["another text", "window 1"]);
    let other = fixture("models/mistral.gguf");
    let ran = run(&["perplexity", "-m", &other, "--kl-base", &base]);
    assert!(ran.failed(2).contains("a model of 272 tokens"), "{}", ran.stderr);

    let bytes = fs::read(&base).unwrap();
    let damaged = place("damaged");
    for cut in [0, 7, 19, 20, 500, bytes.len() - 1] {
        fs::write(&damaged, &bytes[..cut]).unwrap();
        fails(4, &["--kl-base", &damaged], &[&damaged, "--save-base"]);
    }
    for (at, value) in [(8, u32::MAX), (12, 0), (16, u32::MAX), (20, 272), (0, 0), (1044, !0)] {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        fs::write(&damaged, bytes).unwrap();
        fails(4, &["--kl-base", &damaged], &[&damaged, "--save-base"]);
    }
    fails(4, &["--kl-base", &place("none")], &["no such file"]);
    fails(4, &["--kl-base", text(folder.path())], &["no regular file"]);
    let nowhere = place("no/such/folder");
    fails(1, &["-f", &file, "--ctx", "32", "--save-base", &nowhere], &["cannot write", &nowhere]);
}

#[test]
fn logits_that_are_no_numbers_end_it_and_leave_no_base() {
    let folder = tempfile::tempdir().unwrap();
    let model: PathBuf = folder.path().join("nan.gguf");
    let mut bytes = fs::read(fixture("models/llama.gguf")).unwrap();
    let place = {
        let gguf = Gguf::parse(&bytes).unwrap();
        let norm = gguf.tensor("output_norm.weight").unwrap();
        norm.view.bytes().as_ptr().addr() - bytes.as_ptr().addr()
    };
    bytes[place..place + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&model, bytes).unwrap();
    let (file, base) = (fixture("perplexity/text.txt"), folder.path().join("base"));
    let args = ["perplexity", "-m", text(&model), "-f", &file, "--ctx", "32"];
    let ran = run(&[&args[..], &["--save-base", text(&base)]].concat());
    assert!(ran.failed(1).contains("the logit of token 0 is NaN"), "{}", ran.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let ran = bantam().args(["perplexity", "-m", text(&model)]).output().unwrap();
    assert_eq!(ran.status.code(), Some(2), "a text or a base is needed");
}
