//! What the command's tests share: where models are, and how the command is run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The command under test, with nothing of the user's own set-up.
pub(crate) fn bantam() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bantam"));
    command
        .env_remove("BANTAM_MODEL")
        .env("XDG_STATE_HOME", "/proc/nonexistent")
        .stdin(Stdio::null());
    command
}

/// Runs the command; it must not be killed by a signal.
pub(crate) fn run<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> Ran {
    Ran::of(bantam().args(args).output().expect("the command starts"))
}

const LIMITED: &str = "ulimit -v 262144; exec \"$0\" \"$@\"";

/// Whether the command starts at all under the limit.
pub(crate) fn memory_can_be_limited() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(LIMITED).arg(bantam().get_program()).arg("--version");
        shell.output().expect("a shell").status.success()
    })
}

/// The command as a shell would run it under a limit of 256 MiB of address space: taking
/// memory because a file says so would fail.
///
/// A build with a sanitizer takes terabytes of addresses for itself and runs without the limit.
pub(crate) fn run_in_little_memory(args: &[&str]) -> Ran {
    let script = if memory_can_be_limited() { LIMITED } else { "exec \"$0\" \"$@\"" };
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(script)
        .arg(bantam().get_program())
        .args(args)
        .env_remove("BANTAM_MODEL")
        .stdin(Stdio::null());
    Ran::of(shell.output().expect("a shell"))
}

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let code = output.status.code().unwrap_or_else(|| {
            panic!("killed: {}, stderr: {stderr}", output.status);
        });
        Self { code, stdout, stderr }
    }

    /// It went well and had nothing to complain about.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        assert_eq!(self.stderr, "");
        self.stdout
    }

    /// It failed with this exit code and one line, which it returns.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{}", self.stderr);
        let line = self.stderr.strip_suffix('\n').expect("a whole line");
        assert!(line.starts_with("error: "), "{line}");
        assert!(!line.contains('\n'), "more than one line: {line}");
        for word in ["panicked", "internal fault", "RUST_BACKTRACE", "unwrap"] {
            assert!(!line.contains(word), "{line}");
        }
        line
    }
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The `.gguf` files of a folder of fixtures; there must be some.
pub(crate) fn fixtures(folder: &str) -> Vec<PathBuf> {
    let path = root().join("fixtures").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", path.display());
    files
}

/// A tiny model with random weights and a small vocabulary.
pub(crate) fn tiny_model() -> PathBuf {
    root().join("fixtures/gguf/valid/tiny_llama.gguf")
}

pub(crate) const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
pub(crate) const GEMMA3: &str = "gemma-3-270m.Q4_K_M.gguf";

/// A real model, or `None`, with a word about it, where it was not fetched.
pub(crate) fn real_model(name: &str) -> Option<PathBuf> {
    let folder =
        std::env::var_os("BANTAM_MODELS").map_or_else(|| root().join("models"), PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    let message = format!("not run: models/{name} is missing; run cargo xtask models");
    assert!(
        std::env::var_os("BANTAM_REQUIRE_MODELS").is_none_or(|value| value != "1"),
        "{message}"
    );
    eprintln!("{message}");
    None
}

/// A copy of `model` with a chat template.
pub(crate) fn with_template(model: &Path, template: &str) -> Vec<u8> {
    with_strings(model, &[("tokenizer.chat_template", template)])
}

/// A copy of `model` with more metadata in front, and one more entry of such a length that the
/// tensor data stay aligned.
pub(crate) fn with_strings(model: &Path, entries: &[(&str, &str)]) -> Vec<u8> {
    const HEADER: usize = 24;
    let bytes = fs::read(model).expect("the model");
    let (header, rest) = bytes.split_at(HEADER);
    let n_metadata = u64::from_le_bytes(header[16..].try_into().expect("eight bytes"));
    let mut out = header[..16].to_vec();
    out.extend((n_metadata + entries.len() as u64 + 1).to_le_bytes());
    for (key, value) in entries {
        push_string(&mut out, key, value);
    }
    let mut padding = String::new();
    let padded = |padding: &str| {
        let mut entry = Vec::new();
        push_string(&mut entry, "test.padding", padding);
        entry
    };
    while !(out.len() - HEADER + padded(&padding).len()).is_multiple_of(32) {
        padding.push('.');
    }
    out.extend(padded(&padding));
    out.extend(rest);
    out
}

fn push_string(out: &mut Vec<u8>, key: &str, value: &str) {
    const STRING: u32 = 8;
    out.extend((key.len() as u64).to_le_bytes());
    out.extend(key.as_bytes());
    out.extend(STRING.to_le_bytes());
    out.extend((value.len() as u64).to_le_bytes());
    out.extend(value.as_bytes());
}

/// A small repeatable source of numbers.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}
