//! What `bantam imatrix` writes, against the statistics that `llama-imatrix` collects.

use std::fs;
use std::path::PathBuf;

use bantam_core::gguf::{Gguf, Value};
use bantam_core::quant;

use crate::common::{root, run};

fn text(path: PathBuf) -> String {
    path.to_str().expect("a path that is text").into()
}

fn model(name: &str) -> String {
    text(root().join(format!("fixtures/models/{name}.gguf")))
}

fn prompt() -> String {
    text(root().join("fixtures/reference/prompts/long.txt"))
}

/// Names and values of all tensors, in order.
fn tensors(bytes: &[u8]) -> Vec<(String, Vec<f32>)> {
    let gguf = Gguf::parse(bytes).expect("statistics");
    let tensors = gguf.tensors().map(|tensor| {
        assert_eq!(tensor.n_dims, 1, "{}", tensor.name);
        let mut values = vec![0.0; tensor.view.n_cols()];
        quant::dequantize_row(tensor.ty, tensor.view.bytes(), &mut values).expect("floats");
        (tensor.name.to_owned(), values)
    });
    tensors.collect()
}

#[test]
fn statistics_are_those_of_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(folder.path().join("out.gguf"));
    // llama.cpp's GELU is a table of f16.
    for (name, bound) in [("llama", 2e-5), ("gemma3", 5e-4)] {
        let (model, prompt) = (model(name), prompt());
        let args =
            ["imatrix", "-m", &model, "-f", &prompt, "-o", &out, "--ctx", "64", "--chunks", "4"];
        let shown = run(&args).ok();
        assert!(shown.contains("256 tokens in 4 chunks of 64"), "{shown}");
        let ours = fs::read(&out).unwrap();
        let golden = root().join(format!("fixtures/quantize/imatrix/{name}.gguf"));
        let golden = fs::read(golden).unwrap();
        let (a, b) = (Gguf::parse(&ours).unwrap(), Gguf::parse(&golden).unwrap());
        for key in ["general.type", "imatrix.chunk_count", "imatrix.chunk_size"] {
            assert_eq!(a.get(key), b.get(key), "{key}");
        }
        let datasets = a.get("imatrix.datasets").and_then(|value| value.as_array());
        let datasets: Vec<Value> = datasets.expect("datasets").iter().collect();
        assert_eq!(datasets, [Value::Str(&prompt)]);
        let (ours, golden) = (tensors(&ours), tensors(&golden));
        assert_eq!(ours.len(), golden.len());
        for ((name, ours), (expected, golden)) in ours.iter().zip(&golden) {
            assert_eq!(name, expected);
            assert_eq!(ours.len(), golden.len(), "{name}");
            let norm = |values: &mut dyn Iterator<Item = f32>| -> f64 {
                values.map(|x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
            };
            let apart = norm(&mut ours.iter().zip(golden).map(|(a, b)| a - b));
            let apart = apart / norm(&mut golden.iter().copied());
            assert!(apart <= bound, "{name}: {apart:e}");
        }
    }
}

/// Both files serve, and make the same model as near as their numbers are.
#[test]
fn quantize_reads_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(folder.path().join(name));
    let (model, prompt, ours) = (model("llama"), prompt(), path("ours.gguf"));
    run(&["imatrix", "-m", &model, "-f", &prompt, "-o", &ours, "--ctx", "64", "-t", "2"]).ok();
    let golden = text(root().join("fixtures/quantize/imatrix/llama.gguf"));
    for statistics in [&ours, &golden] {
        let out = path("out.gguf");
        run(&["quantize", &model, &out, "--type", "Q4_0", "--imatrix", statistics]).ok();
        let bytes = fs::read(&out).unwrap();
        let gguf = Gguf::parse(&bytes).unwrap();
        let entries = gguf.get("quantize.imatrix.entries_count").and_then(|value| value.as_u32());
        assert_eq!(entries, Some(14));
        let logits = path("logits.npy");
        run(&["logits", "-m", &out, "--tokens", "1,2,3", "--out", &logits]).ok();
    }
}

#[test]
fn what_makes_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(folder.path().join(name));
    let (model, prompt, out) = (model("llama"), prompt(), path("out.gguf"));
    let said = |file: &str, out: &str, more: &[&str], code, part: &str| {
        let args = [&["imatrix", "-m", &model, "-f", file, "-o", out][..], more].concat();
        let ran = run(&args);
        assert!(ran.failed(code).contains(part), "{ran:?}");
    };
    said(&path("none"), &out, &[], 4, "no such file");
    fs::write(path("short"), "a few words").unwrap();
    said(&path("short"), &out, &[], 2, "make no chunk of 512; give a longer text");
    said(&prompt, &model, &[], 2, "this is the input");
    said(&prompt, &path("none/out.gguf"), &["-c", "16", "--chunks", "1"], 1, "no such folder");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
