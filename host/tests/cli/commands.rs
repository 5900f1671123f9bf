//! What the commands do, on tiny models with random weights and, where they were fetched, on
//! real ones.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::common::{GEMMA3, Ran, SMOLLM2, bantam, fixtures, real_model, run, tiny_model};
use serde_json::Value;

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// The shape and the values of a `.npy` file of floats.
fn read_npy(path: &Path) -> ([usize; 2], Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    let header_end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..header_end]).unwrap();
    let shape = header.split(['(', ')']).nth(1).unwrap();
    let shape: Vec<usize> = shape.split(", ").map(|n| n.parse().unwrap()).collect();
    let values: Vec<f32> = bytes[header_end..]
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    assert_eq!(values.len(), shape[0] * shape[1]);
    (shape.try_into().unwrap(), values)
}

#[test]
fn help_and_version() {
    let help = run(&["--help"]).ok();
    for part in
        ["Examples:", "Exit codes:", "run", "intent", "inspect", "tokenize", "logits", "bench"]
    {
        assert!(help.contains(part), "{part}");
    }
    for command in [
        "run",
        "intent",
        "inspect",
        "tokenize",
        "logits",
        "bench",
        "convert",
        "perplexity",
        "quantize",
        "imatrix",
        "serial",
        "completions",
    ] {
        let help = run(&[command, "--help"]).ok();
        assert!(help.contains("Examples:\n  bantam "), "{command}");
    }
    let version = run(&["--version"]).ok();
    assert!(version.starts_with(concat!("bantam ", env!("CARGO_PKG_VERSION"))), "{version}");
    assert!(version.contains("rustc"), "{version}");
}

#[test]
fn completions() {
    for (shell, part) in
        [("bash", "_bantam()"), ("zsh", "#compdef bantam"), ("fish", "complete -c bantam")]
    {
        assert!(run(&["completions", shell]).ok().contains(part), "{shell}");
    }
}

/// Every tiny model goes through every command, with the same logits whatever the set-up.
#[test]
fn every_tiny_model() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.npy");
    let mut models = fixtures("models");
    models.push(tiny_model());
    for model in models {
        let model = text(&model);
        let inspected: Value =
            serde_json::from_str(&run(&["inspect", "--json", model]).ok()).unwrap();
        let n_vocab = inspected["metadata"]["tokenizer.ggml.tokens"]["len"].as_u64().unwrap();
        let mut first: Option<Vec<f32>> = None;
        for set_up in [
            &["-t", "1"][..],
            &["-t", "3", "-b", "2"],
            &["--kernels", "scalar", "-t", "2", "-b", "1"],
        ] {
            let mut args =
                vec!["logits", "-m", model, "--tokens", "5,1,2,3,3,7", "--out", text(&out)];
            args.extend(set_up);
            assert_eq!(run(&args).ok(), "");
            let (shape, values) = read_npy(&out);
            assert_eq!(shape, [6, n_vocab as usize], "{model}");
            assert!(values.iter().all(|value| value.is_finite()), "{model}");
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let first = first.get_or_insert_with(|| values.clone());
            assert_eq!(bits(first), bits(&values), "{model} {set_up:?}");
        }
        let ran = run(&["run", "--raw", "-m", model, "-p", "a", "-n", "4", "--temp", "0", "-v"]);
        assert_eq!(ran.code, 0, "{model}: {}", ran.stderr);
        assert!(ran.stderr.contains("answer: "), "{model}: {}", ran.stderr);
    }
}

#[test]
fn inspect() {
    let model = tiny_model();
    let model = text(&model);
    let shown = run(&["inspect", model, "--ctx", "32"]).ok();
    for part in [
        "GGUF v3, llama",
        "general.architecture",
        "token_embd.weight",
        "Formats:",
        "context of 32 tokens",
    ] {
        assert!(shown.contains(part), "{part}");
    }
    let json: Value = serde_json::from_str(&run(&["inspect", model, "--json"]).ok()).unwrap();
    assert_eq!(json["gguf_version"], 3);
    assert_eq!(json["architecture"], "llama");
    assert_eq!(json["metadata"]["general.architecture"], "llama");
    assert_eq!(json["bytes"], fs::metadata(model).unwrap().len());
    assert_eq!(json["error"], Value::Null);
    let tensors = json["tensors"].as_array().unwrap();
    let sum: u64 = tensors.iter().map(|tensor| tensor["bytes"].as_u64().unwrap()).sum();
    let formats = json["formats"].as_array().unwrap();
    let by_format: u64 = formats.iter().map(|format| format["bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum, by_format);
    let memory = &json["memory"];
    let parts = ["kv_bytes", "scratch_bytes", "layers_bytes", "tokenizer_bytes"];
    let parts: u64 = parts.iter().map(|name| memory[name].as_u64().unwrap()).sum();
    let total = memory["total_bytes"].as_u64().unwrap();
    assert!(total >= parts && total < parts + 1024, "{memory}");
}

#[test]
fn tokenize() {
    let model = fixtures("models").remove(0);
    let model = text(&model);
    let json = run(&["tokenize", "-m", model, "--json", "abc"]).ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    let tokens = json["tokens"].as_array().unwrap();
    assert_eq!(json["count"], tokens.len());
    let ids: Vec<String> = tokens.iter().map(|token| token["id"].to_string()).collect();
    let from_text = run(&["tokenize", "-m", model, "--ids", "abc"]).ok();
    assert_eq!(from_text.trim_end(), ids.join(" "));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    fs::write(&path, "abc").unwrap();
    assert_eq!(run(&["tokenize", "-m", model, "--ids", "-f", text(&path)]).ok(), from_text);
    let mut child = bantam()
        .args(["tokenize", "-m", model, "--ids"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"abc").unwrap();
    assert_eq!(Ran::of(child.wait_with_output().unwrap()).ok(), from_text);
}

#[test]
fn dump_stages() {
    let folder = tempfile::tempdir().unwrap();
    let (out, stages) = (folder.path().join("out.npy"), folder.path().join("stages"));
    let model = tiny_model();
    let args = [
        "logits",
        "-m",
        text(&model),
        "--tokens",
        "1,2,3",
        "-b",
        "2",
        "--out",
        text(&out),
        "--dump-stages",
        text(&stages),
    ];
    assert_eq!(run(&args).ok(), "");
    let (_, logits) = read_npy(&out);
    let mut names: Vec<String> = fs::read_dir(&stages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() > 10, "{names:?}");
    for (i, name) in names.iter().enumerate() {
        assert!(name.starts_with(&format!("{i:03}-")) && name.ends_with(".npy"), "{name}");
        assert_eq!(read_npy(&stages.join(name)).0[0], 3, "{name}");
    }
    assert!(names.iter().any(|name| name.contains("-l0.")), "{names:?}");
    // The same logits as without being watched.
    assert_eq!(run(&args[..9]).ok(), "");
    assert_eq!(read_npy(&out).1, logits);
    assert!(run(&args).failed(2).contains("not empty"));
}

#[test]
fn bench_json() {
    let model = tiny_model();
    let json = run(&[
        "bench",
        "-m",
        text(&model),
        "-p",
        "8,16",
        "-n",
        "4",
        "-t",
        "1,2",
        "-r",
        "2",
        "--json",
    ])
    .ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    for name in ["model", "architecture", "cpu", "version", "commit", "compiler", "target"] {
        assert!(json[name].as_str().is_some_and(|value| !value.is_empty()), "{name}");
    }
    for name in ["load_seconds", "time_to_first_token_seconds"] {
        assert!(json[name].as_f64().is_some_and(|value| value > 0.0), "{name}");
    }
    assert_eq!(json["model_bytes"], fs::metadata(&model).unwrap().len());
    assert!(json["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
    let results = json["results"].as_array().unwrap();
    let tests: Vec<(&str, u64)> = results
        .iter()
        .map(|result| (result["test"].as_str().unwrap(), result["threads"].as_u64().unwrap()))
        .collect();
    assert_eq!(tests, [("pp8", 1), ("pp16", 1), ("tg4", 1), ("pp8", 2), ("pp16", 2), ("tg4", 2)]);
    for result in results {
        let number = |name: &str| result[name].as_f64().unwrap();
        assert!(0.0 < number("min") && number("min") <= number("tokens_per_second"));
        assert!(number("tokens_per_second") <= number("max"));
        assert_eq!(result["repeats"], 2);
        assert!(!result["kernels"].as_str().unwrap().is_empty());
        let same = results.iter().find(|other| other["test"] == result["test"]).unwrap();
        assert_eq!(same["logits_checksum"], result["logits_checksum"]);
    }
    let table = run(&["bench", "-m", text(&model), "-p", "8", "-n", "4", "-r", "1"]).ok();
    assert!(table.contains("\npp8 ") && table.contains("\ntg4 "), "{table}");
}

#[test]
fn bench_begins_where_it_is_told_to() {
    let model = tiny_model();
    let checksums = |args: &[&str]| -> Vec<(String, String)> {
        let args = [&["bench", "-m", text(&model), "-r", "1", "--json"], args].concat();
        let json: Value = serde_json::from_str(&run(&args).ok()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let results = json["results"].as_array().unwrap();
        results.iter().map(|r| (text(&r["test"]), text(&r["logits_checksum"]))).collect()
    };
    let deep = checksums(&["-p", "4", "-n", "4", "-d", "0,9"]);
    let names: Vec<_> = deep.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["pp4", "tg4", "pp4@d9", "tg4@d9"]);
    // Nine tokens and four are thirteen, however they are taken in.
    let whole = checksums(&["-p", "13", "-n", "0"]);
    assert_eq!(deep[2].1, whole[0].1);
    assert_eq!(deep[3].1, whole[0].1);
    assert_ne!(deep[0].1, whole[0].1);
    // Another cache type is another result.
    assert_ne!(checksums(&["-p", "13", "-n", "0", "--cache", "q8_0"])[0].1, whole[0].1);
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let model = fixtures("models").remove(0);
    let answer = |seed: &str, threads: &str| {
        run(&[
            "run",
            "--raw",
            "-m",
            text(&model),
            "-p",
            "ab",
            "-n",
            "40",
            "--seed",
            seed,
            "-t",
            threads,
            "--temp",
            "1.5",
        ])
        .ok()
    };
    assert_eq!(answer("7", "1"), answer("7", "3"));
    assert_ne!(answer("7", "1"), answer("8", "1"));
}

#[test]
fn prompts_come_from_anywhere() {
    let model = fixtures("models").remove(0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prompt");
    fs::write(&path, "ab").unwrap();
    let args = ["run", "--raw", "-m", text(&model), "-n", "8", "--temp", "0"];
    let with = |more: &[&str]| run(&[&args[..], more].concat()).ok();
    let expected = with(&["-p", "ab"]);
    assert_eq!(with(&["-f", text(&path)]), expected);
    assert_eq!(with(&["-p", "ab", "--echo"]), format!("ab{expected}"));
    let mut child = bantam()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"ab").unwrap();
    assert_eq!(Ran::of(child.wait_with_output().unwrap()).ok(), expected);
}

#[test]
fn smollm2_answers() {
    let Some(model) = real_model(SMOLLM2) else { return };
    let model = text(&model);
    let raw = run(&[
        "run",
        "--raw",
        "--model",
        model,
        "-p",
        "The Raspberry Pi is a small computer that",
        "-n",
        "24",
        "--temp",
        "0",
    ])
    .ok();
    // As llama.cpp continues it.
    assert!(raw.contains("lightweight, portable, and low-cost device"), "{raw}");
    let answer = run(&[
        "run",
        "-m",
        model,
        "-p",
        "What is the capital of France? One word.",
        "--temp",
        "0",
        "-n",
        "40",
    ])
    .ok();
    assert!(answer.contains("Paris") && !answer.contains("<|im_end|>"), "{answer}");
    let ids = run(&["tokenize", "-m", model, "--ids", "--parse-special", "<|im_start|>user"]).ok();
    assert_eq!(ids.split(' ').next(), Some("1"));
    let plain = run(&["tokenize", "-m", model, "--ids", "<|im_start|>user"]).ok();
    assert_ne!(ids, plain);
}

#[test]
fn gemma3_answers() {
    let Some(model) = real_model(GEMMA3) else { return };
    // No chat template, so --raw changes nothing.
    let prompt = "The Raspberry Pi is a small computer that";
    let args = ["run", "-m", text(&model), "-p", prompt, "-n", "24", "--temp", "0"];
    let answer = run(&args).ok();
    assert!(answer.contains(" is ") && answer.contains("computer"), "{answer}");
    assert_eq!(run(&[&args[..], &["--raw"]].concat()).ok(), answer);
    assert!(run(&[&args[..], &["--system", "x"]].concat()).failed(2).contains("--system"));
    let ids = run(&["tokenize", "-m", text(&model), "--ids", "Hi"]).ok();
    assert!(ids.starts_with("2 "), "{ids}");
    let ids = run(&["tokenize", "-m", text(&model), "--ids", "--no-bos", "Hi"]).ok();
    assert!(!ids.starts_with("2 "), "{ids}");
}
