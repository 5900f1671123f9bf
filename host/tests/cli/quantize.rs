//! What `bantam quantize` writes, and that whatever is wrong costs nobody a file.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bantam::gguf_writer::{GgufWriter, Metadata, TensorSpec};
use bantam_core::gguf::{Gguf, Value as GgufValue};
use bantam_core::quant::{self, GgmlType};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::common::{Ran, SMOLLM2, bantam, real_model, root, run};

/// A folder for one test, and paths in it as text.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("a path that is text").into()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("the folder");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into()).collect();
        names.sort();
        names
    }
}

fn tiny(name: &str) -> String {
    let path = root().join(format!("fixtures/models/{name}.gguf"));
    path.to_str().expect("a path that is text").into()
}

/// Runs `quantize` with some more arguments.
fn quantize(input: &str, output: &str, ty: &str, more: &[&str]) -> Ran {
    run(&[&["quantize", input, output, "--type", ty, "-t", "2"], more].concat())
}

fn report(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok()).expect("a report")
}

/// Writes a llama of one matrix, `blk.0.ffn_up.weight`, with these weights.
fn one_matrix(path: &str, dims: [u64; 2], ty: GgmlType, weights: &[f32]) {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", GgufValue::Str("llama"));
    let spec = TensorSpec { name: "blk.0.ffn_up.weight".into(), dims: dims.into(), ty };
    let mut bytes = vec![0; spec.bytes().expect("whole blocks") as usize];
    quant::quantize_row(ty, weights, &mut bytes).expect("whole blocks");
    let mut writer = GgufWriter::create(Path::new(path), &metadata, &[spec]).expect("writable");
    writer.write(&bytes).expect("room");
    writer.finish().expect("whole");
}

/// Writes a llama of `n` matrices of 128 MiB of F16 zeros.
fn large_model(path: &str, n: usize) {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", GgufValue::Str("llama"));
    let spec = |i| TensorSpec {
        name: format!("blk.{i}.ffn_up.weight"),
        dims: vec![8192, 8192],
        ty: GgmlType::F16,
    };
    let specs: Vec<TensorSpec> = (0..n).map(spec).collect();
    let mut writer = GgufWriter::create(Path::new(path), &metadata, &specs).expect("writable");
    let zeros = vec![0; 8 << 20];
    for _ in 0..16 * n {
        writer.write(&zeros).expect("room");
    }
    writer.finish().expect("whole");
}

/// Metadata, order and every block are those of `llama-quantize`.
#[test]
fn whole_files_are_those_of_the_reference() {
    let folder = Folder::new();
    let out = folder.path("out.gguf");
    let sums = fs::read_to_string(root().join("fixtures/quantize/SHA256SUMS")).unwrap();
    assert!(sums.lines().count() >= 36);
    for line in sums.lines() {
        let [sum, model, ty] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        quantize(&tiny(model), &out, ty, &["--allow-requantize"]).ok();
        let digest = Sha256::digest(fs::read(&out).unwrap());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, sum, "{model} {ty}");
    }
}

#[test]
fn every_type_makes_a_model_that_runs() {
    let folder = Folder::new();
    let (out, logits) = (folder.path("out.gguf"), folder.path("logits.npy"));
    let types = [
        "q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K",
        "F16", "BF16", "F32",
    ];
    for ty in types {
        quantize(&tiny("qwen3"), &out, ty, &[]).ok();
        assert_eq!(
            run(&["logits", "-m", &out, "--tokens", "1,2,3", "--out", &logits]).ok(),
            "",
            "{ty}"
        );
    }
}

/// No byte depends on the threads; statistics change the blocks, and are told of in the metadata.
#[test]
fn statistics_count_and_threads_do_not() {
    let folder = Folder::new();
    let model = folder.path("model.gguf");
    let weights: Vec<f32> =
        (0..512 * 300).map(|i: u32| ((i.wrapping_mul(2_654_435_761) >> 8) as f32).sin()).collect();
    one_matrix(&model, [512, 300], GgmlType::F16, &weights);
    let statistics = folder.path("statistics.gguf");
    let matters = |column: usize| column.is_multiple_of(4);
    let squares: Vec<f32> = (0..512).map(|i| if matters(i) { 50.0 } else { 1.0 }).collect();
    write_statistics(&statistics, "blk.0.ffn_up.weight", &squares, &[10.0]);

    let bytes = |threads: &str, more: &[&str]| {
        let out = folder.path("out.gguf");
        let args = ["quantize", &model, &out, "--type", "Q4_K_M", "-t", threads];
        run(&[&args[..], more].concat()).ok();
        fs::read(out).unwrap()
    };
    let plain = bytes("1", &[]);
    assert!(plain == bytes("3", &[]));
    let weighted = bytes("1", &["--imatrix", &statistics]);
    assert!(weighted == bytes("3", &["--imatrix", &statistics]));
    let read = |bytes: &[u8]| {
        let gguf = Gguf::parse(bytes).expect("a model");
        let tensor = gguf.tensor("blk.0.ffn_up.weight").expect("the matrix");
        assert_eq!(tensor.ty, GgmlType::Q4_K);
        let mut out = vec![0.0; weights.len()];
        quant::dequantize_row(tensor.ty, tensor.view.bytes(), &mut out).expect("blocks");
        out
    };
    // The columns that matter come nearer.
    let error = |bytes: &[u8]| -> f32 {
        let pairs = read(bytes).into_iter().zip(&weights).enumerate();
        let pairs = pairs.filter(|(i, _)| matters(i % 512));
        pairs.map(|(_, (a, b))| (a - b) * (a - b)).sum()
    };
    assert!(error(&weighted) < 0.9 * error(&plain), "{} {}", error(&weighted), error(&plain));

    let gguf = Gguf::parse(&weighted).expect("a model");
    let get = |key| gguf.get(key).expect(key);
    assert_eq!(get("general.file_type"), GgufValue::U32(15));
    assert_eq!(get("general.quantization_version"), GgufValue::U32(2));
    assert_eq!(get("quantize.imatrix.file"), GgufValue::Str(&statistics));
    assert_eq!(get("quantize.imatrix.dataset"), GgufValue::Str("some text"));
    assert_eq!(get("quantize.imatrix.entries_count"), GgufValue::U32(1));
    assert_eq!(get("quantize.imatrix.chunks_count"), GgufValue::U32(4));
}

/// Writes a file of statistics, as collected for one matrix.
fn write_statistics(path: &str, name: &str, squares: &[f32], counts: &[f32]) {
    let mut metadata = Metadata::default();
    metadata.set("general.type", GgufValue::Str("imatrix"));
    metadata.set_array("imatrix.datasets", ["some text"]);
    metadata.set("imatrix.chunk_count", GgufValue::U32(4));
    metadata.set("imatrix.chunk_size", GgufValue::U32(512));
    let spec = |suffix, n: usize| TensorSpec {
        name: format!("{name}.{suffix}"),
        dims: vec![n as u64],
        ty: GgmlType::F32,
    };
    let specs = [spec("in_sum2", squares.len()), spec("counts", counts.len())];
    let mut writer = GgufWriter::create(Path::new(path), &metadata, &specs).expect("writable");
    for values in [squares, counts] {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        writer.write(&bytes).expect("room");
    }
    writer.finish().expect("whole");
}

#[test]
fn the_report_tells_what_fell_back() {
    let folder = Folder::new();
    let (model, out) = (tiny("llama"), folder.path("out.gguf"));
    let shown = quantize(&model, &out, "Q4_K_M", &[]).ok();
    for part in ["Q4_K_M", "original", "reduction", "fallbacks", "Q4_K -> Q5_0", "blk.*.attn_q"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let json = report(quantize(&model, &out, "Q4_K_M", &["--json"]));
    let (old, new) = (fs::metadata(&model).unwrap().len(), fs::metadata(&out).unwrap().len());
    assert_eq!(json["quantization"], "Q4_K_M");
    assert_eq!(json["original_gb"], old as f64 / 1e9);
    assert_eq!(json["quantized_gb"], new as f64 / 1e9);
    let reduction = json["reduction"].as_f64().unwrap();
    assert!((reduction - 100.0 * (1.0 - new as f64 / old as f64)).abs() < 1e-9);
    let bits = json["bits_per_weight"].as_f64().unwrap();
    assert!(bits > 5.0 && bits < 9.0, "{bits}");
    let inspected: Value = serde_json::from_str(&run(&["inspect", "--json", &out]).ok()).unwrap();
    let tensors = inspected["tensors"].as_array().unwrap();
    for (ty, n) in json["tensors"].as_object().unwrap() {
        let found = tensors.iter().filter(|tensor| tensor["type"] == ty.as_str()).count();
        assert_eq!(n, found, "{ty}");
    }
    let fallbacks = json["fallbacks"].as_array().unwrap();
    let first = fallbacks.iter().find(|f| f["tensor"] == "blk.0.attn_q.weight").unwrap();
    assert_eq!((first["from"].as_str(), first["to"].as_str()), (Some("Q4_K"), Some("Q5_0")));
    assert_eq!(first["reason"], "as rows of 64 are not made of blocks of 256");
}

#[test]
fn a_dry_run_reports_the_same_and_writes_nothing() {
    let folder = Folder::new();
    let (model, out) = (tiny("gemma3"), folder.path("out.gguf"));
    let dry = report(quantize(&model, &out, "Q4_0", &["--dry-run", "--json"]));
    assert!(folder.names().is_empty());
    let wet = report(quantize(&model, &out, "Q4_0", &["--json"]));
    for key in ["bits_per_weight", "tensors", "fallbacks"] {
        assert_eq!(dry[key], wet[key], "{key}");
    }
    let gb = |report: &Value| report["quantized_gb"].as_f64().unwrap();
    assert!((gb(&dry) / gb(&wet) - 1.0).abs() < 0.01);
    // Without an output, which it needs otherwise.
    run(&["quantize", &model, "--type", "Q4_0", "--dry-run"]).ok();
    assert_eq!(run(&["quantize", &model, "--type", "Q4_0"]).code, 2);
}

#[test]
fn tensors_that_are_named() {
    let folder = Folder::new();
    let (model, out) = (tiny("llama"), folder.path("out.gguf"));
    let named = ["--tensor-type", "attn_(q|k)=q8_0", "--tensor-type", "attn=Q4_1"];
    quantize(&model, &out, "Q4_0", &[&named[..], &["--pure"]].concat()).ok();
    let bytes = fs::read(&out).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let ty = |name: &str| gguf.tensor(name).unwrap_or_else(|| panic!("{name}")).ty;
    assert_eq!(ty("blk.0.attn_q.weight"), GgmlType::Q8_0);
    assert_eq!(ty("blk.1.attn_v.weight"), GgmlType::Q4_1);
    assert_eq!(ty("blk.1.ffn_up.weight"), GgmlType::Q4_0);
    assert_eq!(ty("output.weight"), GgmlType::Q4_0);
    assert_eq!(ty("blk.0.attn_norm.weight"), GgmlType::F32);
}

/// Each in one clear line, with nothing written and nothing lost.
#[test]
fn what_makes_no_sense() {
    let folder = Folder::new();
    let (model, out) = (tiny("llama"), folder.path("out.gguf"));
    fs::write(&out, "old").unwrap();
    let said = |ty: &str, more: &[&str], code, part: &str| {
        let ran = quantize(&model, &out, ty, more);
        let line = ran.failed(code).to_owned();
        assert!(line.contains(part), "{line}");
        assert_eq!(fs::read(&out).unwrap(), b"old");
        assert_eq!(folder.names(), ["out.gguf"], "{line}");
        line
    };
    let line = said("Q9_K", &[], 2, "--type Q9_K: there is no such type");
    assert!(line.contains("Q4_K_M") && line.contains("BF16"), "{line}");
    let named = |text, part| said("Q4_0", &["--tensor-type", text], 2, part);
    named("attn_v", "it has no `=`");
    named("=Q8_0", "nothing before the `=`");
    let line = named("attn_v=Q9", "there is no type Q9 to write; there are F32");
    assert!(!line.contains("MXFP4"), "{line}");
    named("attn_(v=Q8_0", "attn_(v is no regular expression: unclosed group");
    named("attn_x=Q8_0", "--tensor-type attn_x=Q8_0: matches the name of no tensor");
    named("attn_norm=Q8_0", "always stay as they are, such as blk.0.attn_norm.weight");
    said("Q4_0", &["--imatrix", "/proc/nonexistent"], 4, "no such file");
    said("Q4_0", &["--imatrix", &model], 3, "holds no activation statistics");
}

#[test]
fn what_is_quantized_already() {
    let folder = Folder::new();
    let (model, out) = (tiny("llama-q4_0"), folder.path("out.gguf"));
    let ran = quantize(&model, &out, "Q8_0", &[]);
    assert!(ran.failed(3).contains("is Q4_0 already"), "{ran:?}");
    assert!(ran.failed(3).contains("--allow-requantize"), "{ran:?}");
    assert!(folder.names().is_empty());
    quantize(&model, &out, "Q8_0", &["--allow-requantize"]).ok();
    // What has its format already is copied, and needs no leave.
    let again = folder.path("again.gguf");
    quantize(&out, &again, "Q8_0", &[]).ok();
    assert!(fs::read(&out).unwrap() == fs::read(&again).unwrap());
}

#[test]
fn an_output_that_is_the_input() {
    let folder = Folder::new();
    let model = folder.path("model.gguf");
    fs::copy(tiny("llama"), &model).unwrap();
    let (link, twin) = (folder.path("link.gguf"), folder.path("twin.gguf"));
    std::os::unix::fs::symlink(&model, &link).unwrap();
    fs::hard_link(&model, &twin).unwrap();
    let bytes = fs::read(&model).unwrap();
    for out in [&model, &link, &twin] {
        let ran = quantize(&model, out, "Q4_0", &[]);
        assert!(ran.failed(2).contains("this is the input"), "{ran:?}");
        assert!(fs::read(&model).unwrap() == bytes);
    }
    assert_eq!(folder.names(), ["link.gguf", "model.gguf", "twin.gguf"]);
}

#[test]
fn weights_that_are_no_numbers() {
    let folder = Folder::new();
    let (model, out) = (folder.path("model.gguf"), folder.path("out.gguf"));
    for (bad, ty) in [(f32::NAN, GgmlType::F32), (f32::NEG_INFINITY, GgmlType::F16)] {
        let mut weights = vec![0.5; 256 * 600];
        weights[256 * 500 + 7] = bad;
        weights[256 * 599] = bad;
        one_matrix(&model, [256, 600], ty, &weights);
        for to in ["Q4_0", "Q4_K_M", "F32", "BF16"] {
            let ran = quantize(&model, &out, to, &[]);
            let line = ran.failed(3);
            let place = format!("blk.0.ffn_up.weight: the weight in row 500, column 7 is {bad}");
            assert!(line.contains(&place) && line.contains("--allow-nan"), "{line}");
            assert_eq!(folder.names(), ["model.gguf"]);
            quantize(&model, &out, to, &["--allow-nan"]).ok();
            fs::remove_file(&out).unwrap();
        }
    }
    // Finite here, infinite there.
    one_matrix(&model, [256, 2], GgmlType::F32, &[1e6; 512]);
    let ran = quantize(&model, &out, "F16", &[]);
    assert!(ran.failed(3).contains("weights up to 1e6") && ran.failed(3).contains("for F16"));
    quantize(&model, &out, "BF16", &[]).ok();
}

#[test]
fn statistics_of_another_model() {
    let folder = Folder::new();
    let (model, out) = (tiny("llama"), folder.path("out.gguf"));
    let statistics = folder.path("statistics.gguf");
    let quantize = || quantize(&model, &out, "Q4_0", &["--imatrix", &statistics]);
    let said = |name: &str, squares: &[f32], counts: &[f32], code, part: &str| {
        write_statistics(&statistics, name, squares, counts);
        let ran = quantize();
        assert!(ran.failed(code).contains(part), "{ran:?}");
        assert!(!Path::new(&out).exists());
    };
    let name = "blk.0.attn_q.weight";
    said("blk.9.attn_q.weight", &[1.0; 64], &[1.0], 4, "it knows none of the model's tensors");
    said(
        name,
        &[1.0; 32],
        &[1.0],
        4,
        "it has 32 columns of blk.0.attn_q.weight, and the model's has 64",
    );
    said(name, &[f32::NAN; 64], &[1.0], 3, "numbers that no squares add up to");
    said(name, &[-1.0; 64], &[1.0], 3, "numbers that no squares add up to");
    said(name, &[1.0; 64], &[1.0; 3], 3, "64 sums do not go with 3 counts");
    // Some are enough, with a word about the others.
    write_statistics(&statistics, name, &[1.0; 64], &[1.0]);
    let ran = quantize();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.starts_with("warning: ") && ran.stderr.contains("blk.0.attn_k.weight"));
}

#[test]
fn where_nothing_can_be_written() {
    let folder = Folder::new();
    let model = folder.path("model.gguf");
    fs::copy(tiny("llama"), &model).unwrap();
    let ran = quantize(&model, &folder.path("none/out.gguf"), "Q4_0", &[]);
    assert!(ran.failed(1).contains("there is no such folder"), "{ran:?}");

    // A limit on the size of files stands for a disk that is full.
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 20; exec \"$0\" \"$@\""])
        .arg(bantam().get_program())
        .args(["quantize", &model, &folder.path("out.gguf"), "--type", "Q8_0"]);
    let ran = Ran::of(shell.output().expect("a shell"));
    assert!(ran.failed(1).contains("out.gguf: cannot write"), "{ran:?}");
    assert_eq!(folder.names(), ["model.gguf"]);

    // Root writes everywhere, so somebody else tries, who must reach program and model.
    let program = folder.path("bantam");
    fs::copy(bantam().get_program(), &program).unwrap();
    let mode = |mode| fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(mode));
    mode(0o555).unwrap();
    let mut command = Command::new(&program);
    command.args(["quantize", &model, &folder.path("out.gguf"), "--type", "Q8_0"]);
    if File::create(folder.path("probe")).is_ok() {
        command.uid(65_534);
    }
    let ran = Ran::of(command.output().expect("the command starts"));
    mode(0o755).unwrap();
    assert!(ran.failed(1).contains("may not be written to"), "{ran:?}");
    assert!(!Path::new(&folder.path("out.gguf")).exists());
}

#[test]
fn memory_does_not_grow_with_the_model() {
    const MIB: u64 = 1 << 20;
    let folder = Folder::new();
    let (model, out) = (folder.path("model.gguf"), folder.path("out.gguf"));
    large_model(&model, 2);
    let json = report(quantize(&model, &out, "Q8_0", &["--json"]));
    let peak = json["peak_rss_bytes"].as_u64().unwrap();
    println!("peak {} MiB for a model of 256 MiB", peak / MIB);
    assert!(peak < 96 * MIB, "{} MiB", peak / MIB);
}

#[test]
fn an_interrupt_leaves_nothing() {
    let folder = Folder::new();
    let (model, out) = (folder.path("model.gguf"), folder.path("out.gguf"));
    large_model(&model, 1);
    let mut child = bantam()
        .args(["quantize", &model, &out, "--type", "Q4_K_M", "-t", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Once it has begun to write.
    let start = Instant::now();
    while folder.names().len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(10), "nothing is written");
        thread::sleep(Duration::from_millis(5));
    }
    let pid = i32::try_from(child.id()).unwrap();
    assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
    let code = child.wait().unwrap().code();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((code, ran.stderr.as_str()), (Some(130), ""));
    assert_eq!(folder.names(), ["model.gguf"]);
}

/// A real model, by way of F16 or straight: the presets' mixes and the blocks of tied heads.
#[test]
fn a_real_model() {
    let Some(model) = real_model(SMOLLM2) else { return };
    let folder = Folder::new();
    let out = folder.path("out.gguf");
    let model: PathBuf = model.canonicalize().unwrap();
    let json = report(quantize(
        model.to_str().unwrap(),
        &out,
        "Q4_K_S",
        &["--allow-requantize", "--json"],
    ));
    assert_eq!(json["fallbacks"].as_array().unwrap().len(), 181);
    let ran = run(&[
        "run",
        "-m",
        &out,
        "--raw",
        "-p",
        "The capital of France is",
        "-n",
        "8",
        "--temp",
        "0",
    ]);
    assert!(ran.ok().contains("Paris"));
}
