//! `bantam convert`: what it says when it works, and when it does not.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Ran, root, run, run_in_little_memory};

/// A copy of a fixture's folder that may be broken, and a place for the output.
struct Case {
    temporary: TempDir,
}

impl Case {
    fn new(name: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let case = Self { temporary };
        fs::create_dir(case.folder()).unwrap();
        for entry in fs::read_dir(root().join("fixtures/convert").join(name)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), case.path(entry.file_name().to_str().unwrap())).unwrap();
        }
        case
    }

    fn folder(&self) -> PathBuf {
        self.temporary.path().join("model")
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder().join(file)
    }

    fn out(&self) -> PathBuf {
        self.temporary.path().join("out.gguf")
    }

    /// Changes a JSON file.
    fn edit(&self, file: &str, change: impl FnOnce(&mut Value)) -> &Self {
        let mut value = serde_json::from_slice(&fs::read(self.path(file)).unwrap()).unwrap();
        change(&mut value);
        fs::write(self.path(file), value.to_string()).unwrap();
        self
    }

    /// Sets a key of config.json.
    fn set(&self, key: &str, value: Value) -> &Self {
        self.edit("config.json", |config| config[key] = value)
    }

    /// Replaces the header of a safetensors file, keeping its data.
    fn edit_header(&self, file: &str, change: impl FnOnce(&mut Value)) -> &Self {
        let bytes = fs::read(self.path(file)).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        change(&mut header);
        let header = header.to_string().into_bytes();
        let length = (header.len() as u64).to_le_bytes();
        let data = &bytes[8 + length_of(&bytes)..];
        fs::write(self.path(file), [&length[..], &header, data].concat()).unwrap();
        self
    }

    fn run(&self) -> Ran {
        let (folder, out) = (self.folder(), self.out());
        run_in_little_memory(&["convert", folder.to_str().unwrap(), out.to_str().unwrap()])
    }

    /// It fails with this exit code and one line that names the file and has these words; what was
    /// there in place of the output is as it was.
    #[track_caller]
    fn fails(&self, code: i32, file: &str, words: &[&str]) {
        fs::write(self.out(), "old").unwrap();
        let ran = self.run();
        let line = ran.failed(code);
        for word in [&[self.path(file).to_str().unwrap()], words].concat() {
            assert!(line.contains(word), "{word:?} is not in: {line}");
        }
        assert_eq!(ran.stdout, "");
        assert_eq!(fs::read(self.out()).unwrap(), b"old");
        // Nothing half-written beside it.
        assert_eq!(fs::read_dir(self.temporary.path()).unwrap().count(), 2);
    }
}

fn length_of(safetensors: &[u8]) -> usize {
    u64::from_le_bytes(safetensors[..8].try_into().unwrap()) as usize
}

const WEIGHTS: &str = "model.safetensors";

#[test]
fn says_what_it_made() {
    let case = Case::new("llama");
    // What had the name is replaced.
    fs::write(case.out(), "old").unwrap();
    let (folder, out) = (case.folder(), case.out());
    let args = ["convert", folder.to_str().unwrap(), out.to_str().unwrap()];
    let text = run(&args).ok();
    for words in
        ["21 tensors", "Family     llama", "gpt2 (llama-bpe), 288 tokens", "BF16 (config.json says"]
    {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
    assert!(fs::read(&out).unwrap().starts_with(b"GGUF"));
    let inspected = run(&["inspect", args[2]]).ok();
    assert!(inspected.contains("llama"), "{inspected}");

    let json = run(&[&args[..], &["--type", "q8_0", "--json"]].concat()).ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["family"], "llama");
    assert_eq!(json["type"], "Q8_0");
    assert_eq!(json["tensors"], 21);
    assert_eq!(json["bytes"], fs::metadata(&out).unwrap().len());
    assert_eq!(json["tokenizer"], json!({"model": "gpt2", "pre": "llama-bpe", "tokens": 288}));
}

#[test]
fn a_folder_or_its_weights_given_for_a_model() {
    let case = Case::new("qwen2");
    for path in [case.folder(), case.path(WEIGHTS)] {
        let ran = run(&["inspect", path.to_str().unwrap()]);
        assert!(ran.failed(ran.code).contains("`bantam convert`"), "{}", ran.stderr);
    }
}

#[test]
fn files_that_are_missing() {
    let case = Case::new("qwen2");
    fs::remove_file(case.path("tokenizer.json")).unwrap();
    case.fails(4, "tokenizer.json", &["no such file", "tokenizer.model"]);
    fs::remove_file(case.path(WEIGHTS)).unwrap();
    case.fails(4, WEIGHTS, &["no such file"]);
    fs::write(case.path("pytorch_model.bin"), "").unwrap();
    case.fails(4, WEIGHTS, &["pytorch_model.bin"]);
    fs::remove_file(case.path("config.json")).unwrap();
    case.fails(4, "config.json", &["no such file", "Hugging Face"]);
    fs::remove_dir_all(case.folder()).unwrap();
    let out = case.out();
    let out = out.to_str().unwrap();
    run(&["convert", "/no/such/folder", out]).failed(4);
    let ran = run(&["convert", out, out]);
    assert!(ran.failed(4).contains("not a folder"), "{}", ran.stderr);
}

#[test]
fn an_output_that_is_the_input() {
    let case = Case::new("qwen2");
    let folder = case.folder();
    let folder = folder.to_str().unwrap();
    for out in [case.folder(), case.path("config.json"), case.path(WEIGHTS)] {
        let ran = run(&["convert", folder, out.to_str().unwrap()]);
        assert!(ran.failed(2).contains("would replace the model"), "{}", ran.stderr);
    }
    let fine = case.path("model.gguf");
    run(&["convert", folder, fine.to_str().unwrap()]).ok();
    run(&["convert", folder, fine.to_str().unwrap()]).ok();
}

#[test]
fn configurations_that_are_not_supported() {
    let refused = |name: &str, key: &str, value: Value, words: &[&str]| {
        Case::new(name).set(key, value).fails(3, "config.json", words);
    };
    let unknown = json!(["FalconForCausalLM"]);
    refused("llama", "architectures", unknown, &["FalconForCausalLM", "LlamaForCausalLM, Mistral"]);
    refused("llama", "architectures", json!(null), &["architectures"]);
    let yarn = json!({"rope_type": "yarn", "factor": 4.0});
    refused("qwen2", "rope_scaling", yarn, &["rope_scaling", "yarn", "linear, llama3"]);
    let dynamic = json!({"type": "dynamic", "factor": 4.0});
    refused("llama", "rope_scaling", dynamic, &["rope_scaling", "dynamic"]);
    let half = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0});
    refused("llama", "rope_scaling", half, &["rope_scaling lacks high_freq_factor"]);
    refused("llama", "rope_scaling", json!("llama3"), &["rope_scaling is not an object"]);
    let partial = json!({"rope_theta": 1e4, "partial_rotary_factor": 0.5});
    refused("llama3-rope", "rope_parameters", partial, &["partial_rotary_factor is 0.5"]);
    refused("llama", "attention_bias", json!(true), &["attention_bias is true"]);
    refused("llama", "mlp_bias", json!(true), &["mlp_bias is true"]);
    refused("llama", "hidden_act", json!("gelu"), &["hidden_act is \"gelu\""]);
    refused("llama", "quantization_config", json!({"bits": 4}), &["quantization_config is"]);
    refused("llama", "num_local_experts", json!(8), &["num_local_experts is 8"]);
    refused("llama", "is_causal", json!(false), &["is_causal is false"]);
    let layers = json!(["full_attention", "sliding_attention"]);
    refused("llama", "layer_types", layers.clone(), &["layer_types", "sliding_attention"]);
    refused("gemma3", "layer_types", layers, &["layer_types is not one type for each layer"]);
    refused("gemma3", "query_pre_attn_scalar", json!(99), &["query_pre_attn_scalar is 99"]);
    refused("gemma3", "attn_logit_softcapping", json!(50.0), &["attn_logit_softcapping is 50.0"]);
    refused("qwen3", "hidden_size", json!(null), &["hidden_size is missing"]);
    refused("qwen3", "hidden_size", json!(-32), &["hidden_size is not a whole number"]);
    refused("qwen3", "num_hidden_layers", json!(1_u64 << 40), &["num_hidden_layers is not"]);
    refused("qwen3", "head_dim", json!(23), &["head_dim is 23"]);
    refused("qwen3", "rms_norm_eps", json!(0.0), &["rms_norm_eps is not a positive number"]);
    refused("qwen3", "num_key_value_heads", json!(null), &["num_key_value_heads is missing"]);

    let case = Case::new("qwen2");
    case.set("use_sliding_window", json!(true)).set("max_window_layers", json!(1));
    case.fails(3, "config.json", &["use_sliding_window is true"]);
    // With no layer that has a window, there is none.
    let case = Case::new("qwen2");
    case.set("use_sliding_window", json!(true)).run().ok();
    // A pattern of windows other than the usual one is kept.
    let case = Case::new("gemma3");
    let types = ["sliding_attention", "full_attention"].repeat(3);
    case.set("layer_types", json!(types)).run().ok();
    let out = case.out();
    let inspected = run(&["inspect", "--json", out.to_str().unwrap()]).ok();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["metadata"]["gemma3.attention.sliding_window_pattern"], 2);

    let case = Case::new("qwen2");
    for text in ["", "{", "[]", "{\"a\": NaN}", "\u{fffd}"] {
        fs::write(case.path("config.json"), text).unwrap();
        case.fails(3, "config.json", &["JSON"]);
    }
}

#[test]
fn tensors_that_do_not_fit() {
    let case = Case::new("qwen3");
    case.set("intermediate_size", json!(96));
    case.fails(3, WEIGHTS, &["model.layers.0.mlp.down_proj.weight", "[32, 80]", "[32, 96]"]);
    let case = Case::new("qwen3");
    case.set("num_hidden_layers", json!(3));
    case.fails(3, "config.json", &["no file has: model.layers.2.", "and 8 more"]);
    let case = Case::new("qwen3");
    case.set("num_hidden_layers", json!(1));
    case.fails(3, WEIGHTS, &["model.layers.1.input_layernorm.weight has no place"]);
    let case = Case::new("qwen3");
    case.set("tie_word_embeddings", json!(false));
    case.fails(3, "config.json", &["lm_head.weight"]);
    // A head that is not the embeddings, though they are tied.
    let case = Case::new("llama");
    case.set("tie_word_embeddings", json!(true));
    case.fails(3, "config.json", &["tie_word_embeddings is true"]);
    let case = Case::new("qwen3");
    case.edit_header(WEIGHTS, |header| header["model.norm.weight"]["dtype"] = json!("I16"));
    case.fails(3, WEIGHTS, &["model.norm.weight has type I16"]);
}

/// A weight of 1e6 is a number in BF16 and would be none in F16.
#[test]
fn weights_that_a_type_cannot_hold() {
    let case = Case::new("qwen2");
    let mut bytes = fs::read(case.path(WEIGHTS)).unwrap();
    let header = length_of(&bytes);
    let tensors: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let offset = tensors["model.embed_tokens.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
    let at = 8 + header + offset;
    bytes[at..at + 2].copy_from_slice(&[0x74, 0x49]);
    fs::write(case.path(WEIGHTS), &bytes).unwrap();
    let (folder, out) = (case.folder(), case.out());
    let convert =
        |ty| run(&["convert", folder.to_str().unwrap(), out.to_str().unwrap(), "--type", ty]);
    convert("bf16").ok();
    convert("q8_0").ok();
    let ran = convert("f16");
    let line = ran.failed(3);
    assert!(line.contains("which F16 cannot hold; choose another --type"), "{line}");
    // Infinite to begin with.
    bytes[at..at + 2].copy_from_slice(&[0x80, 0x7f]);
    fs::write(case.path(WEIGHTS), &bytes).unwrap();
    assert!(convert("q8_0").failed(3).contains("the value inf"));
}

#[test]
fn an_index_that_does_not_fit() {
    const INDEX: &str = "model.safetensors.index.json";
    let parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let case = Case::new("llama");
    fs::remove_file(case.path(parts[1])).unwrap();
    case.fails(4, parts[1], &["no such file", INDEX]);
    let case = Case::new("llama");
    case.edit(INDEX, |index| index["weight_map"]["model.extra"] = json!(parts[0]));
    case.fails(3, INDEX, &["no file has: model.extra"]);
    let case = Case::new("llama");
    case.edit(INDEX, |index| {
        index["weight_map"].as_object_mut().unwrap().remove("model.norm.weight");
    });
    case.fails(3, INDEX, &["does not name tensors of the files: model.norm.weight"]);
    for elsewhere in [json!("../model.safetensors"), json!("/etc/passwd"), json!(7), json!("..")] {
        let case = Case::new("llama");
        let shown = elsewhere.to_string();
        case.edit(INDEX, |index| index["weight_map"]["model.norm.weight"] = elsewhere);
        case.fails(3, INDEX, &[&shown, "not the name of a file"]);
    }
    let case = Case::new("llama");
    case.edit(INDEX, |index| index["weight_map"] = json!([]));
    case.fails(3, INDEX, &["weight_map is not an object"]);
}

#[test]
fn weights_that_are_broken() {
    let case = Case::new("qwen2");
    let bytes = fs::read(case.path(WEIGHTS)).unwrap();
    let header = length_of(&bytes);
    for length in [0, 7, 8, 9, 8 + header / 2, 8 + header, bytes.len() / 2, bytes.len() - 1] {
        fs::write(case.path(WEIGHTS), &bytes[..length]).unwrap();
        case.fails(3, WEIGHTS, &[]);
    }
    fs::write(case.path(WEIGHTS), [&bytes[..], &[0]].concat()).unwrap();
    case.fails(3, WEIGHTS, &["bytes of tensors"]);
    for length in [u64::MAX, 1 << 62, 100_000_001, bytes.len() as u64] {
        fs::write(case.path(WEIGHTS), [&length.to_le_bytes()[..], &bytes[8..]].concat()).unwrap();
        case.fails(3, WEIGHTS, &["header should take"]);
    }
    // A header that tells of more than there is, more than can be counted, and of overlaps.
    type Change = fn(&mut Value);
    let changes: [Change; 5] = [
        |header| header["model.norm.weight"]["shape"] = json!([u64::MAX, u64::MAX]),
        |header| header["model.norm.weight"]["shape"] = json!([1_u64 << 40]),
        |header| header["model.norm.weight"]["data_offsets"] = json!([0, 1_u64 << 60]),
        |header| header["model.norm.weight"]["data_offsets"] = json!([64, 0]),
        |header| header["model.norm.weight"]["dtype"] = json!("F7"),
    ];
    for change in changes {
        let case = Case::new("qwen2");
        case.edit_header(WEIGHTS, change);
        case.fails(3, WEIGHTS, &["its header is broken"]);
    }
}

/// A hole as large as a model may be is no reason to take memory for it.
#[test]
fn a_file_of_nothing_but_size() {
    let case = Case::new("qwen2");
    let file = fs::File::create(case.path(WEIGHTS)).unwrap();
    file.set_len(1 << 40).unwrap();
    case.fails(3, WEIGHTS, &["its header is broken"]);
}

#[test]
fn tokenizers_that_are_not_known() {
    const TOKENIZER: &str = "tokenizer.json";
    let refused = |name: &str, change: fn(&mut Value), words: &[&str]| {
        Case::new(name).edit(TOKENIZER, change).fails(3, TOKENIZER, words);
    };
    let split =
        |t: &mut Value| t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("x");
    refused("qwen2", split, &["pre_tokenizer", "Split", "is not known"]);
    refused("qwen2", |t| t["normalizer"] = json!({"type": "NFKC"}), &["normalizer", "NFKC"]);
    refused("qwen2", |t| t["model"]["type"] = json!("Unigram"), &["not BPE"]);
    refused("qwen2", |t| t["model"]["end_of_word_suffix"] = json!("</w>"), &["</w>"]);
    refused("qwen2", |t| t["model"]["merges"] = json!([["a"]]), &["[\"a\"]", "no merge"]);
    refused("qwen2", |t| t["model"]["vocab"]["!"] = json!(288), &["token ! has number 288"]);
    refused("qwen2", |t| t["model"] = json!(null), &["model is not an object"]);
    refused(
        "qwen2",
        |t| t["post_processor"]["type"] = json!("BertProcessing"),
        &["BertProcessing"],
    );
    refused("qwen2", |t| t["model"]["byte_fallback"] = json!(true), &["byte_fallback", "NFC"]);
    let other_bos = |config: &mut Value| config["bos_token"] = json!("<|eot_id|>");
    let case = Case::new("llama");
    case.edit("tokenizer_config.json", other_bos);
    case.fails(3, TOKENIZER, &["<|begin_of_text|>", "bos_token is another"]);

    const PIECES: &str = "tokenizer.model";
    let case = Case::new("mistral");
    let bytes = fs::read(case.path(PIECES)).unwrap();
    for broken in [&b""[..], b"\xff\xff\xff", &bytes[..bytes.len() / 2], b"{\"version\": \"1.0\"}"]
    {
        fs::write(case.path(PIECES), broken).unwrap();
        case.fails(3, PIECES, &["SentencePiece"]);
    }
    // Two tokens of one text are found when the file is read back.
    let case = Case::new("mistral");
    let twice = json!({"330": {"content": "<s>", "special": true}});
    case.edit("tokenizer_config.json", |config| config["added_tokens_decoder"] = twice);
    fs::write(case.out(), "old").unwrap();
    let ran = case.run();
    let line = ran.failed(3);
    assert!(line.contains("what was written cannot be run"), "{line}");
    assert_eq!(fs::read(case.out()).unwrap(), b"old");
}

/// Nothing that a bit can do to a file makes the command crash.
#[test]
fn bit_flips() {
    let files = [WEIGHTS, "tokenizer.model", "config.json", "tokenizer_config.json"];
    let mut numbers = crate::common::Numbers(3);
    for round in 0..60 {
        let case = Case::new("gemma3-vision");
        let path = case.path(files[round % files.len()]);
        let mut bytes = fs::read(&path).unwrap();
        // Mostly in the part that is parsed.
        let end = if numbers.below(4) == 0 { bytes.len() } else { bytes.len().min(2048) };
        bytes[numbers.below(end)] ^= 1 << numbers.below(8);
        fs::write(&path, bytes).unwrap();
        let ran = case.run();
        if ran.code == 0 {
            assert!(Path::new(&case.out()).exists());
        } else {
            ran.failed(ran.code);
            assert!([3, 4].contains(&ran.code), "{}", ran.stderr);
        }
    }
}
