//! Conversion against llama.cpp's converter and `transformers`, on tiny folders of every family.
//!
//! Folders and goldens: `fixtures/convert/make.py`.

#[path = "../../core/tests/golden/mod.rs"]
mod golden;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bantam::convert::{OutputType, Report, convert};
use bantam::error::Error;
use bantam::load;
use bantam::model_file::ModelFile;
use bantam_core::cache::CacheType;
use bantam_core::gguf::{Gguf, TensorInfo, Value};
use bantam_core::half::{f16_to_f32, f32_to_f16};
use golden::{Npy, fixtures, table, tokens};
use sha2::{Digest, Sha256};

/// Largest difference of any logit, for logits of up to 18; as in core's tests of the families.
const BOUND: f32 = 1e-4;

const TYPES: [(&str, OutputType); 4] = [
    ("f32", OutputType::F32),
    ("f16", OutputType::F16),
    ("bf16", OutputType::Bf16),
    ("q8_0", OutputType::Q8_0),
];

/// What describes a model to people, which is the folder's name here and more there.
const FOR_PEOPLE: [&str; 4] =
    ["general.name", "general.basename", "general.finetune", "general.size_label"];

/// Folders that have goldens.
const NAMES: [&str; 7] =
    ["llama", "llama3-rope", "mistral", "qwen2", "qwen3", "gemma3", "gemma3-vision"];

/// A fixture's folder.
fn folder(name: &str) -> PathBuf {
    fixtures().join("convert").join(name)
}

/// Converts a fixture and returns the file's bytes.
fn converted(name: &str, ty: Option<OutputType>) -> (Vec<u8>, Report) {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("out.gguf");
    let report = convert(&folder(name), &path, ty, &mut |_, _| Ok(())).unwrap();
    let bytes = fs::read(path).unwrap();
    assert_eq!(report.bytes, bytes.len() as u64);
    (bytes, report)
}

/// A value for comparison: a float by its bits.
fn spelled(value: &Value<'_>) -> String {
    match value {
        Value::F32(x) => format!("F32 {:08x}", x.to_bits()),
        Value::Array(array) => {
            let all: Vec<_> = array.iter().map(|value| spelled(&value)).collect();
            all.join(", ")
        }
        other => format!("{other:?}"),
    }
}

/// Keys and values in order, without those for people.
fn metadata(gguf: &[u8]) -> Vec<(String, String)> {
    let gguf = Gguf::parse(gguf).unwrap();
    let all = gguf.metadata().filter(|(key, _)| !FOR_PEOPLE.contains(key));
    all.map(|(key, value)| (key.to_owned(), spelled(&value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tensor's data as the converter has them: it adds 1 to Gemma's norms in the type that they
/// have, and so rounds to half floats what it then stores as single ones.
fn stored(name: &str, tensor: &TensorInfo<'_>) -> Vec<u8> {
    let bytes = tensor.view.bytes();
    if name != "gemma3" || !tensor.name.ends_with("norm.weight") {
        return bytes.into();
    }
    let values = bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    values.flat_map(|value| f16_to_f32(f32_to_f16(value)).to_le_bytes()).collect()
}

/// Same keys in the same order with the same values, but for `ours`, which the converter does not
/// write; same tensors in the same order, byte for byte, in every type.
fn same_as_llama_cpp(name: &str, ours: &[(&str, &str)]) {
    let theirs = metadata(&golden::fixture(&format!("convert/golden/{name}.gguf")));
    let (bytes, _) = converted(name, Some(OutputType::F16));
    let mut found = metadata(&bytes);
    for (key, value) in ours {
        let at = found.iter().position(|(k, v)| k == key && v == value);
        found.remove(at.unwrap_or_else(|| panic!("{name}: {key} is not {value}: {found:?}")));
    }
    for (theirs, found) in theirs.iter().zip(&found) {
        assert_eq!(found, theirs, "{name}");
    }
    assert_eq!(found.len(), theirs.len(), "{name}");

    let mut listed = BTreeMap::<String, Vec<String>>::new();
    for line in table(&format!("convert/golden/{name}.tensors.txt")) {
        listed.entry(line[0].clone()).or_default().push(line[1..].join(" "));
    }
    for (kind, ty) in TYPES {
        let (bytes, report) = converted(name, Some(ty));
        let gguf = Gguf::parse(&bytes).unwrap();
        let lines = gguf.tensors().map(|tensor| {
            let dims: Vec<_> =
                tensor.dims[..tensor.n_dims as usize].iter().map(ToString::to_string).collect();
            let digest = hex(&Sha256::digest(stored(name, &tensor)));
            format!("{} {} {} {digest}", tensor.name, tensor.ty, dims.join("x"))
        });
        let lines: Vec<_> = lines.collect();
        assert_eq!(report.n_tensors, lines.len());
        for (found, theirs) in lines.iter().zip(&listed[kind]) {
            assert_eq!(found, theirs, "{name} {kind}");
        }
        assert_eq!(lines.len(), listed[kind].len(), "{name} {kind}");
    }
}

/// With weights as they are, results are those of `transformers` on the folder.
fn runs_as_in_transformers(name: &str) {
    let (bytes, _) = converted(name, Some(OutputType::F32));
    let tokens = tokens(&format!("convert/golden/{name}.tokens.npy"));
    let expected = Npy::<f32>::read(&format!("convert/golden/{name}.logits.npy"));
    let ours = golden::logits(&bytes, CacheType::F32, &tokens);
    assert_eq!(expected.shape, [tokens.len(), ours[0].len()]);
    let differences = expected.data.iter().zip(ours.iter().flatten()).map(|(t, x)| (x - t).abs());
    let worst = differences.fold(0.0, |a, b| if b > a || b.is_nan() { b } else { a });
    println!("{name}: largest difference {worst:.2e}");
    assert!(worst <= BOUND, "{name} differs by {worst}, allowed {BOUND}");
}

#[test]
fn llama_of_two_files() {
    same_as_llama_cpp("llama", &[]);
    runs_as_in_transformers("llama");
}

#[test]
fn llama_3_rope_scaling() {
    same_as_llama_cpp("llama3-rope", &[]);
    runs_as_in_transformers("llama3-rope");
}

#[test]
fn mistral_with_a_window() {
    same_as_llama_cpp(
        "mistral",
        &[
            ("llama.attention.sliding_window", "U32(16)"),
            ("tokenizer.ggml.unknown_token_id", "U32(0)"),
        ],
    );
    runs_as_in_transformers("mistral");
}

#[test]
fn qwen2_with_biases() {
    same_as_llama_cpp("qwen2", &[]);
    runs_as_in_transformers("qwen2");
}

#[test]
fn qwen3_with_rows_of_no_whole_blocks() {
    same_as_llama_cpp("qwen3", &[]);
    runs_as_in_transformers("qwen3");
    let (_, report) = converted("qwen3", Some(OutputType::Q8_0));
    let narrow = ["blk.0.attn_output.weight", "blk.0.ffn_down.weight"];
    for name in narrow {
        assert!(report.as_f16.iter().any(|found| found == name), "{:?}", report.as_f16);
    }
}

#[test]
fn gemma3_in_half_floats() {
    same_as_llama_cpp("gemma3", &[("tokenizer.ggml.unknown_token_id", "U32(3)")]);
    runs_as_in_transformers("gemma3");
}

#[test]
fn the_text_part_of_gemma3_that_sees() {
    // The converter finds these only where tokenizer.json lists them or config.json has them.
    same_as_llama_cpp(
        "gemma3-vision",
        &[
            ("tokenizer.ggml.bos_token_id", "U32(2)"),
            ("tokenizer.ggml.eos_token_id", "U32(1)"),
            ("tokenizer.ggml.unknown_token_id", "U32(3)"),
            ("tokenizer.ggml.padding_token_id", "U32(0)"),
        ],
    );
    runs_as_in_transformers("gemma3-vision");
    assert_eq!(converted("gemma3-vision", None).1.unused, 2);
}

/// Token ids of the texts in a golden file are those that it says.
fn tokenizes(name: &str, gguf: &Path) {
    let golden = golden::fixture(&format!("convert/golden/{name}.ids.json"));
    let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
    let file = ModelFile::open(gguf).unwrap();
    load::with_tokenizer(&file, &file.gguf().unwrap(), |tokenizer| {
        for line in golden.as_array().unwrap() {
            let text = line["text"].as_str().unwrap();
            let ids = line["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32);
            let found = load::encode(&file, tokenizer, text, true, false).unwrap();
            assert_eq!(found, ids.collect::<Vec<_>>(), "{name}: {text:?}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn texts_become_the_same_tokens() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("out.gguf");
    for name in NAMES {
        convert(&folder(name), &path, None, &mut |_, _| Ok(())).unwrap();
        tokenizes(name, &path);
    }
}

/// Without tokenizer.model, merges take the place of scores.
#[test]
fn sentence_piece_from_tokenizer_json() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("out.gguf");
    for name in ["mistral", "gemma3"] {
        let copy = out.path().join(name);
        fs::create_dir(&copy).unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer_config.json"] {
            fs::copy(folder(name).join(file), copy.join(file)).unwrap();
        }
        let tokenizer = format!("convert/golden/{name}.tokenizer.json");
        fs::write(copy.join("tokenizer.json"), golden::fixture(&tokenizer)).unwrap();
        let report = convert(&copy, &path, None, &mut |_, _| Ok(())).unwrap();
        assert_eq!(report.tokenizer, ("llama", "default"));
        tokenizes(name, &path);
        // Beside tokenizer.model, it only says what is put around texts.
        fs::copy(folder(name).join("tokenizer.model"), copy.join("tokenizer.model")).unwrap();
        convert(&copy, &path, Some(OutputType::F16), &mut |_, _| Ok(())).unwrap();
        let with_both = metadata(&fs::read(&path).unwrap());
        let without = metadata(&converted(name, Some(OutputType::F16)).0);
        let more = with_both.iter().filter(|entry| !without.contains(entry));
        let more: Vec<_> = more.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(more, [("tokenizer.ggml.add_sep_token", "Bool(false)")]);
        assert_eq!(with_both.len(), without.len() + 1);
    }
}

/// What tokenizer_config.json does not say is found in other files; templates have names.
#[test]
fn special_tokens_and_templates_wherever_they_are() {
    let out = tempfile::tempdir().unwrap();
    let (copy, path) = (out.path().join("model"), out.path().join("out.gguf"));
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(folder("llama3-rope")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let write = |file: &str, text: &str| fs::write(copy.join(file), text).unwrap();
    write("tokenizer_config.json", r#"{"eos_token": "<|end_of_text|>"}"#);
    write(
        "special_tokens_map.json",
        r#"{"bos_token": {"content": "<|eot_id|>"}, "eos_token": "a"}"#,
    );
    let read = |key: &str| {
        convert(&copy, &path, None, &mut |_, _| Ok(())).unwrap();
        let bytes = fs::read(&path).unwrap();
        Gguf::parse(&bytes).unwrap().get(key).map(|value| spelled(&value))
    };
    assert_eq!(read("tokenizer.ggml.bos_token_id").unwrap(), "U32(282)");
    assert_eq!(read("tokenizer.ggml.eos_token_id").unwrap(), "U32(281)");
    assert!(read("tokenizer.chat_template").unwrap().contains("<|im_start|>"));
    let templates =
        r#"[{"name": "default", "template": "one"}, {"name": "tool-use", "template": "two"}]"#;
    write("tokenizer_config.json", &format!(r#"{{"chat_template": {templates}}}"#));
    assert_eq!(read("tokenizer.chat_template").unwrap(), "Str(\"one\")");
    assert_eq!(read("tokenizer.chat_template.tool_use").unwrap(), "Str(\"two\")");
    assert_eq!(read("tokenizer.chat_templates").unwrap(), "Str(\"tool_use\")");
}

#[test]
fn an_interrupted_conversion_leaves_no_file() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("out.gguf");
    let mut calls = 0;
    let mut stop = |done: u64, total: u64| {
        calls += 1;
        assert!(done <= total);
        if calls < 5 { Ok(()) } else { Err(Error::Interrupted) }
    };
    let result = convert(&folder("qwen2"), &path, None, &mut stop);
    assert!(matches!(result, Err(Error::Interrupted)));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn the_type_follows_from_that_of_the_weights() {
    assert_eq!(converted("llama", None).1.ty, OutputType::Bf16);
    assert_eq!(converted("gemma3", None).1.ty, OutputType::F16);
    let (_, report) = converted("mistral", None);
    assert_eq!((report.ty, &*report.ty_reason), (OutputType::F16, "config.json says float32"));
}
