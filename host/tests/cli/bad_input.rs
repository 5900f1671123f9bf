//! Whatever is wrong with a file, the command says so in one line, with the right exit code,
//! without a panic and without taking much memory.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use bantam_core::kernels::KernelSet;

use crate::common::{
    Numbers, Ran, bantam, fixtures, memory_can_be_limited, run, run_in_little_memory, tiny_model,
};

/// Every command on one file.
fn all_commands<'a>(model: &'a str, out: &'a str) -> [Vec<&'a str>; 9] {
    [
        vec!["inspect", model],
        vec!["inspect", "--json", model],
        vec!["run", "-t", "2", "-m", model, "-p", "hi", "-n", "2"],
        vec!["tokenize", "-m", model, "hi"],
        vec!["logits", "-t", "2", "-m", model, "--tokens", "1,2", "--out", out],
        vec!["bench", "-t", "2", "-m", model, "-p", "2", "-n", "2"],
        vec!["quantize", "-t", "2", model, out, "--type", "Q4_0", "--allow-requantize"],
        vec!["imatrix", "-t", "2", "-m", model, "-f", "/proc/self/cmdline", "-o", out, "-c", "2"],
        vec!["perplexity", "-t", "2", "-m", model, "-f", "/proc/self/cmdline", "-c", "16"],
    ]
}

#[test]
fn every_broken_fixture() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.npy");
    for model in fixtures("gguf/invalid") {
        let model = model.to_str().unwrap();
        for args in all_commands(model, out.to_str().unwrap()) {
            let ran = run_in_little_memory(&args);
            let line = ran.failed(3);
            assert!(line.contains(model), "{args:?}: {line}");
            assert_eq!(ran.stdout, "", "{args:?}");
        }
        assert!(!out.exists());
    }
}

#[test]
fn well_formed_files_that_are_no_models() {
    for model in fixtures("gguf/valid") {
        let model = model.to_str().unwrap();
        let ran = run_in_little_memory(&["inspect", model]);
        assert!(ran.stdout.contains("Tensors ("), "{model}");
        if ran.code == 0 {
            assert_eq!(ran.stderr, "");
            assert!(ran.stdout.contains("Memory for a context of"), "{model}");
        } else {
            let line = ran.failed(3);
            assert!(line.contains(model), "{line}");
            let ran = run_in_little_memory(&["run", "-m", model, "-p", "hi", "-n", "2"]);
            ran.failed(3);
        }
    }
}

/// Cut anywhere, a model is refused, and never crashes anything.
#[test]
fn truncated_models() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.gguf");
    let bytes = fs::read(tiny_model()).unwrap();
    let mut numbers = Numbers(1);
    let mut lengths: Vec<usize> = (0..60).map(|_| numbers.below(bytes.len())).collect();
    lengths.extend([0, 1, 3, 4, 23, 24, bytes.len() - 1]);
    for length in lengths {
        fs::write(&path, &bytes[..length]).unwrap();
        let ran = run_in_little_memory(&["inspect", path.to_str().unwrap()]);
        ran.failed(3);
    }
}

/// A flipped bit makes another model or none, but never a crash.
#[test]
fn bit_flips() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flipped.gguf");
    let model = path.to_str().unwrap();
    let out = folder.path().join("out.npy");
    let bytes = fs::read(tiny_model()).unwrap();
    let mut numbers = Numbers(2);
    for round in 0..120 {
        let mut flipped = bytes.clone();
        // Mostly in the part that is parsed.
        let end = if round % 4 == 0 { bytes.len() } else { bytes.len() / 3 };
        for _ in 0..=numbers.below(2) {
            flipped[numbers.below(end)] ^= 1 << numbers.below(8);
        }
        fs::write(&path, &flipped).unwrap();
        let commands = all_commands(model, out.to_str().unwrap());
        let args = &commands[round % commands.len()];
        let ran = run_in_little_memory(args);
        if ran.code != 0 {
            // The memory for a context that a flipped bit made huge is the one thing that may
            // be missing.
            let code = if ran.stderr.contains("of memory") { 1 } else { ran.code };
            assert!([1, 2, 3].contains(&code), "{args:?}: {}", ran.stderr);
            ran.failed(code);
        }
    }
}

#[test]
fn what_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let said = |model: &str, code| run(&["run", "-m", model, "-p", "hi"]).failed(code).to_owned();

    assert!(said(&path("missing.gguf"), 4).contains("missing.gguf: no such file"));
    assert!(said(&path(""), 4).contains("is a directory"));
    assert!(said("/dev/null", 4).contains("not a regular file"));
    // Nobody writes into it: opening it would wait for ever.
    let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(made.success());
    assert!(said(&path("pipe"), 4).contains("not a regular file"));
    fs::write(path("empty.gguf"), b"").unwrap();
    assert!(said(&path("empty.gguf"), 3).contains("empty"));
    fs::write(path("page.gguf"), b"<!DOCTYPE html>").unwrap();
    assert!(said(&path("page.gguf"), 3).contains("web page"));
    // A name cannot break the one line.
    assert!(said(&path("two\nlines"), 4).contains("two\\nlines"));

    assert!(run(&["inspect", &path("")]).failed(4).contains("empty.gguf"));
}

#[test]
fn unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.gguf");
    fs::copy(tiny_model(), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = bantam();
    command.args(["inspect", path.to_str().unwrap()]);
    if File::open(&path).is_ok() {
        // Root reads everything, so somebody else tries, who must reach the program.
        let program = folder.path().join("bantam");
        fs::copy(bantam().get_program(), &program).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        command = Command::new(program);
        command.args(["inspect", path.to_str().unwrap()]).uid(65_534);
    }
    let output = command.output();
    let ran = Ran::of(output.expect("the command starts"));
    assert!(ran.failed(4).contains("permission denied"), "{ran:?}");
}

#[test]
fn other_files() {
    let model = tiny_model();
    let model = model.to_str().unwrap();
    let ran = run(&["run", "-m", model, "-f", "/proc/nonexistent/prompt"]);
    assert!(ran.failed(4).contains("/proc/nonexistent/prompt: no such file"));
    let ran = run(&["logits", "-m", model, "--tokens", "1", "--out", "/proc/nonexistent/a.npy"]);
    assert!(ran.failed(1).contains("/proc/nonexistent/a.npy: cannot write"));
    let full = Command::new("/bin/sh")
        .args(["-c", "\"$0\" inspect \"$1\" > /dev/full"])
        .arg(bantam().get_program())
        .arg(model)
        .output();
    assert!(Ran::of(full.unwrap()).failed(1).contains("standard output: cannot write"));
}

#[test]
fn nonsense_on_the_command_line() {
    let model = tiny_model();
    let model = model.to_str().unwrap();
    let one_line = |args: &[&str]| run(args).failed(2).to_owned();
    #[cfg(not(feature = "bundled"))]
    assert!(one_line(&["run", "-p", "hi"]).contains("cargo xtask models"));
    assert!(one_line(&["run", "-m", model, "-p", ""]).contains("empty"));
    // A set of other CPUs, or of none: those of this one are listed.
    for name in ["abacus", "aarch64/i8mm", "x86_64/avx512vnni"] {
        if KernelSet::by_name(name).is_some() {
            continue;
        }
        let line = one_line(&["run", "-m", model, "-p", "hi", "--kernels", name]);
        assert!(line.contains(name), "{line}");
        assert!(KernelSet::available().all(|set| line.contains(set.name())), "{line}");
    }
    let tokens = ["logits", "-m", model, "--out", "/proc/nonexistent", "--tokens", "1,4000000000"];
    assert!(one_line(&tokens).contains("4000000000 is not in the vocabulary"));
    assert!(one_line(&["bench", "-m", model, "-p", "0", "-n", "0"]).contains("nothing to measure"));
    // The parser's own messages may take several lines, and end the same way.
    for args in [
        &["run", "-m", model, "--ctx", "0"][..],
        &["run", "-m", model, "--temp", "-1"],
        &["run", "-m", model, "--temp", "nan"],
        &["run", "-m", model, "--threads", "many"],
        &["logits", "-m", model, "--out", "x"],
        &["logits", "-m", model, "--out", "x", "--tokens", "1,x"],
        &["frobnicate"],
        &[],
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 2, "{args:?}");
        assert!(!ran.stderr.is_empty());
    }
}

#[test]
fn contexts() {
    let model = tiny_model();
    let model = model.to_str().unwrap();
    let ran = run(&["run", "-m", model, "-p", "a b c d e f g h", "--raw", "--ctx", "4"]);
    let line = ran.failed(5);
    assert!(line.contains("the context holds 4") && line.contains("--ctx 512"), "{line}");
    let ran = run(&[
        "logits",
        "-m",
        model,
        "--tokens",
        "1,2,3",
        "--ctx",
        "2",
        "--out",
        "/proc/nonexistent",
    ]);
    assert!(ran.failed(5).contains("--ctx 3"));
    // More than there is.
    if memory_can_be_limited() {
        let args = ["run", "-m", model, "-p", "a", "--ctx", "1048576", "-b", "1048576"];
        let ran = run_in_little_memory(&args);
        assert_eq!(ran.code, 1, "{ran:?}");
        let line = ran.stderr.lines().last().unwrap();
        assert!(line.starts_with("error: the context needs"), "{line}");
        assert!(line.contains("try a smaller --ctx"), "{line}");
    }
    // The answer fills the context: all of it is there, and a word about the end.
    // Greedy: a sampled answer may end by itself before the context is full.
    let ran =
        run(&["run", "-m", model, "-p", "a", "--raw", "--ctx", "8", "-n", "100", "--temp", "0"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.starts_with("warning: the answer was cut"), "{ran:?}");
}

/// Cuts a model off while it is in use, and checks how the program takes it.
fn shrink_while_running(length: u64) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::copy(tiny_model(), &path).unwrap();
    let child = bantam()
        .args(["bench", "-t", "2", "-p", "0", "-n", "60000", "--ctx", "60001", "-m"])
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
    let output = child.wait_with_output().unwrap();
    let mut ran = Ran::of(output);
    // The context is longer than this model was trained for, which it says first.
    if let Some((_, rest)) = ran.stderr.split_once("nonsense after those\n") {
        ran.stderr = rest.to_owned();
    }
    ran
}

#[test]
fn a_file_that_shrinks_under_the_program() {
    let line = shrink_while_running(4096).failed(3).to_owned();
    assert!(line.contains("model.gguf: the file shrank"), "{line}");
}

#[test]
fn a_reader_that_goes_away() {
    let model = tiny_model();
    let mut child = bantam()
        .args(["inspect", "--json", model.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn prompts_that_are_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prompt");
    File::create(&path).unwrap().write_all(b"a\xff\xfeb\x00c").unwrap();
    let model = tiny_model();
    let ran = run(&["run", "-m", model.to_str().unwrap(), "-f", path.to_str().unwrap(), "-n", "1"]);
    // This vocabulary may not have every byte; either way nothing breaks.
    assert!(ran.code == 0 || ran.code == 3, "{ran:?}");
    assert!(Path::new(&path).exists());
}
