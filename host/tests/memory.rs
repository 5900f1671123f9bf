//! How much memory a run takes, by what Linux says of every mapping: the weights are the file's own
//! pages, mapped once and never copied, and all else is the planned memory and little more.
#![cfg(target_os = "linux")]

#[allow(unreachable_pub)]
#[path = "../../core/tests/support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bantam::load::{self, LoadOptions};
use bantam::memory::Bytes;
use bantam::model_file::ModelFile;
use bantam_core::Token;
use bantam_core::model::Model;
use bantam_core::tokenizer::Tokenizer;

const MIB: u64 = 1 << 20;
/// What a run may take beside the file and the cache, at batches of 512 tokens.
const ALLOWED: u64 = 48 * MIB;
/// What of that may be neither planned nor the program's own file: stacks and the system's heap.
const UNPLANNED: u64 = 4 * MIB;
/// Tokens of a prompt that are worked on together.
const BATCH: usize = 512;

/// One mapping of a process.
struct Mapping {
    /// Such as `r--p`.
    permissions: String,
    path: PathBuf,
    /// The lines behind it, in bytes.
    fields: Vec<(String, u64)>,
}

impl Mapping {
    fn bytes(&self, field: &str) -> u64 {
        let found = self.fields.iter().find(|(name, _)| name == field);
        found.unwrap_or_else(|| panic!("smaps has no {field}")).1
    }
}

/// What Linux says of the memory of the process `pid`, which may be `self`.
struct Memory {
    mappings: Vec<Mapping>,
    peak_rss: u64,
}

impl Memory {
    fn of(pid: &str) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect(file);
        let mut mappings: Vec<Mapping> = Vec::new();
        for line in read("smaps").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [name, value, "kB"] if name.ends_with(':') => {
                    let bytes = value.parse::<u64>().expect("a number") * 1024;
                    let mapping = mappings.last_mut().expect("a mapping before its fields");
                    mapping.fields.push((name.trim_end_matches(':').into(), bytes));
                }
                [range, permissions, _offset, _device, _inode, ref path @ ..]
                    if range.contains('-') =>
                {
                    mappings.push(Mapping {
                        permissions: permissions.into(),
                        path: path.join(" ").into(),
                        fields: Vec::new(),
                    });
                }
                _ => {}
            }
        }
        assert!(!mappings.is_empty(), "the process has ended");
        let status = read("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        Memory { mappings, peak_rss: kib * 1024 }
    }

    /// Memory that is no file's: allocated, written to, or copied.
    fn anonymous(&self) -> u64 {
        self.mappings.iter().map(|mapping| mapping.bytes("Anonymous")).sum()
    }

    /// The file's pages are its own: mapped once, to be read, and none was written to.
    #[track_caller]
    fn holds_once(&self, model: &Path) {
        let model = model.canonicalize().expect("the model");
        let maps: Vec<&Mapping> = self.mappings.iter().filter(|m| m.path == model).collect();
        let [map] = maps[..] else { panic!("{} is mapped {} times", model.display(), maps.len()) };
        let size = fs::metadata(&model).expect("the model").len();
        assert!(map.permissions.starts_with("r--"), "{}", map.permissions);
        assert_eq!(map.bytes("Size"), size.next_multiple_of(4096), "not the whole file");
        for field in ["Anonymous", "Private_Dirty", "Shared_Dirty", "Swap"] {
            assert_eq!(map.bytes(field), 0, "{field} of the mapped model");
        }
        assert!(map.bytes("Rss") > size / 2, "the weights were not read from where they lie");
    }
}

/// What the plans say of a model.
struct Plans {
    file: u64,
    kv: u64,
    /// All that is lent to the core, the cache and the tokenizer included.
    lent: u64,
}

impl Plans {
    fn of(file: &ModelFile, options: &LoadOptions) -> Self {
        let gguf = file.gguf().unwrap();
        let model = Model::new(&gguf).unwrap();
        let plan = load::plan(file, &model, options).unwrap();
        let tokenizer = Tokenizer::plan(&gguf).map_or(0, |plan| plan.bytes);
        Plans {
            file: file.bytes().len() as u64,
            kv: plan.kv_bytes as u64,
            lent: (plan.bytes() + tokenizer) as u64,
        }
    }

    #[track_caller]
    fn check(&self, name: &str, memory: &Memory) {
        let anonymous = memory.anonymous();
        let beside = memory.peak_rss.saturating_sub(self.file + self.kv);
        println!(
            "{name}: peak {}, file {}, cache {}, beside these {}; anonymous {}, lent to the core {}",
            Bytes(memory.peak_rss),
            Bytes(self.file),
            Bytes(self.kv),
            Bytes(beside),
            Bytes(anonymous),
            Bytes(self.lent),
        );
        assert!(beside <= ALLOWED, "{name}: {} beside file and cache", Bytes(beside));
        let allowed = self.lent + UNPLANNED;
        assert!(anonymous <= allowed, "{name}: {} of anonymous memory", Bytes(anonymous));
        // Or a second copy of the weights would go unseen.
        assert!(self.file > 2 * UNPLANNED, "{name}: the model is too small to prove anything");
    }
}

/// A model of the size of a small real one: most of it is a vocabulary, whose rows repeat.
fn model_of_some_size(path: &Path) -> usize {
    const N_VOCAB: usize = 1 << 18;
    let mut model = support::tiny("llama", &support::MIX);
    let embedding = model.tensor("token_embd.weight");
    let rows = N_VOCAB / support::N_VOCAB;
    embedding.bytes = embedding.bytes.repeat(rows);
    embedding.dims[1] = (rows * support::N_VOCAB) as u64;
    fs::write(path, model.write()).expect("room for a model");
    rows * support::N_VOCAB
}

/// Waits until the file's pages are on disk: what somebody wrote lately counts as dirty.
fn sync(path: &Path) {
    File::open(path).and_then(|file| file.sync_all()).expect("a file on a disk");
}

#[test]
fn weights_are_the_files_own_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    let n_vocab = model_of_some_size(&path);
    sync(&path);
    // From here on: making the model took memory too.
    fs::write("/proc/self/clear_refs", "5").expect("a peak that can be forgotten");

    let file = ModelFile::open(&path).unwrap();
    let options = LoadOptions { ctx: Some(600), batch: BATCH, threads: 2, ..Default::default() };
    let plans = Plans::of(&file, &options);
    let gguf = file.gguf().unwrap();
    let model = Model::new(&gguf).unwrap();
    let memory = load::with_engine(&file, &model, &options, |engine| {
        let tokens: Vec<Token> = (0..BATCH).map(|i| (i * 8191 % n_vocab) as Token).collect();
        engine.prefill(&tokens).unwrap();
        engine.decode(1).unwrap();
        Ok(Memory::of("self"))
    });
    let memory = memory.unwrap();
    memory.holds_once(&path);
    plans.check("made", &memory);
}

/// A process that is ended with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program itself, tokenizer and all, stopped in the middle of its answer to a long prompt.
fn check_run(name: &str) {
    let folder = std::env::var_os("BANTAM_MODELS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"), PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        let message = format!("not run: models/{name} is missing; run cargo xtask models");
        let required = std::env::var_os("BANTAM_REQUIRE_MODELS").is_some_and(|v| v == "1");
        assert!(!required, "{message}");
        eprintln!("{message}");
        return;
    }
    sync(&path);
    let ctx = 1024;
    let options = LoadOptions { ctx: Some(ctx), batch: BATCH, threads: 2, ..Default::default() };
    let plans = Plans::of(&ModelFile::open(&path).unwrap(), &options);
    // A text that nothing ends soon.
    let prompt = "one two three four five six seven eight nine ten ".repeat(60);
    let mut child = Command::new(env!("CARGO_BIN_EXE_bantam"));
    child.args(["run", "--raw", "--temp", "0", "-t", "2", "-n", "400", "--ctx"]);
    child.arg(ctx.to_string()).arg("--batch").arg(BATCH.to_string());
    child.arg("--prompt").arg(&prompt).arg("--model").arg(&path);
    child.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running(child.spawn().expect("the program starts"));
    let mut answer = running.0.stdout.take().expect("a pipe");
    answer.read_exact(&mut [0; 16]).expect("an answer");
    let pid = running.0.id();
    // SAFETY: the signal goes to a child of this process that was not waited for yet.
    assert_eq!(unsafe { libc::kill(pid as libc::pid_t, libc::SIGSTOP) }, 0);
    let memory = Memory::of(&pid.to_string());
    memory.holds_once(&path);
    plans.check(name, &memory);
}

#[test]
fn smollm2_runs_in_its_file_its_cache_and_little_more() {
    check_run("SmolLM2-135M-Instruct.Q4_1.gguf");
}

#[test]
fn gemma_3_runs_in_its_file_its_cache_and_little_more() {
    check_run("gemma-3-270m.Q4_K_M.gguf");
}
