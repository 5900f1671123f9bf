//! `cargo xtask identity`: the same bits from every kernel set, number of threads, batch size and
//! cache history, here and on emulated Arm CPUs, and the same as last time.
//!
//! The runs are made by core's example `identity`, which needs nothing but core and so is built
//! for any target. Their hashes are committed in `fixtures/identity.toml`.

use crate::cmd::Cmd;
use crate::context::{Context, Ran};
use crate::models;
use crate::targets::{AARCH64, ARMV7, EmulatedArm};
use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;

/// Options of `cargo xtask identity`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Fewer combinations, one real model, and that one not under emulation; as CI runs it
    #[arg(long)]
    reduced: bool,
    /// Write the hashes to fixtures/identity.toml, if all agree with each other
    #[arg(long, conflicts_with = "reduced")]
    bless: bool,
}

/// Tokens of the prompt, tokens decoded after it, and form of the cache. A tiny model's prompt
/// passes two of the anchors at which attention begins a chunk.
const TINY: &str = "150:5:f16";
const TINY_Q8: &str = "150:5:q8_0";
/// A real model's, with one way for each kernel set: more than one batch of any size, and more
/// than Gemma's window.
const LONG: &str = "530:8:f16";
/// A real model's, with many ways.
const MEDIUM: &str = "100:6:f16";
/// A real model's, under emulation and in CI.
const SHORT: &str = "24:4:f16";
const SHORT_Q8: &str = "24:4:q8_0";

/// The file of hashes.
const FILE: &str = "fixtures/identity.toml";

/// One line that the example printed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    /// The model's file name, prompt and decoded tokens, and cache: `llama.gguf 150+5 f16`.
    run: String,
    /// Where and how it was run, for people.
    way: String,
    kernels: String,
    hash: String,
}

impl Outcome {
    /// Reads `MODEL:PROMPT:DECODE:CACHE KERNELS THREADS BATCH HISTORY HASH`, separated by tabs.
    fn parse(line: &str, place: &str) -> Option<Self> {
        let mut cells = line.split('\t');
        let mut cell = || cells.next();
        let (run, kernels) = (cell()?, cell()?);
        let (threads, batch, history, hash) = (cell()?, cell()?, cell()?, cell()?);
        let parts: Vec<&str> = run.rsplitn(4, ':').collect();
        let &[cache, decode, prompt, path] = &parts[..] else { return None };
        let model = Path::new(path).file_name()?.to_string_lossy();
        Some(Outcome {
            run: format!("{model} {prompt}+{decode} {cache}"),
            way: format!("{place}, {kernels}, threads {threads}, batch {batch}, {history} cache"),
            kernels: format!("{place} {kernels}"),
            hash: hash.to_owned(),
        })
    }
}

/// Runs everything and compares.
///
/// # Errors
/// When two hashes of a run differ, or one differs from the committed one.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<Ran> {
    let tiny = tiny_models(cx)?;
    let (real, missing) = real_models(cx, options.reduced)?;
    let runs = |models: &[PathBuf], lengths: &[&str]| -> Vec<String> {
        let of_model = |path: &PathBuf| {
            let path = path.display().to_string();
            lengths.iter().map(move |lengths| format!("{path}:{lengths}")).collect::<Vec<_>>()
        };
        models.iter().flat_map(of_model).collect()
    };
    let (mut outcomes, bars) = (Vec::new(), MultiProgress::new());

    Cmd::cargo()
        .args(["build", "--release", "--package", "bantam-core"])
        .args(["--features", "bantam-core/std", "--example", "identity"])
        .dir(cx.root())
        .run()?;
    let program = cx.target_dir().join("release/examples/identity");
    let mut here = |which, runs: &[String]| {
        outcomes.extend(execute(&bars, &[program.as_os_str()], "native", which, runs)?);
        anyhow::Ok(())
    };
    if options.reduced {
        here("square", &runs(&tiny, &[TINY, TINY_Q8]))?;
        here("square", &runs(&real, &[SHORT]))?;
        here("each", &runs(&real, &[SHORT_Q8]))?;
    } else {
        here("cross", &runs(&tiny, &[TINY, TINY_Q8]))?;
        here("each", &runs(&real, &[LONG]))?;
        here("square", &runs(&real, &[MEDIUM, SHORT, SHORT_Q8]))?;
    }

    for arch in [&AARCH64, &ARMV7] {
        let Some(arm) = EmulatedArm::find(cx, arch, "the same hashes") else { continue };
        arm.cargo(cx, "build")
            .args(["--release", "--features", "bantam-core/std", "--example", "identity"])
            .run()?;
        let program = arm.release_dir(cx).join("examples/identity");
        // Each emulator is busy on one CPU most of the time, so they run side by side.
        let results: Vec<_> = std::thread::scope(|scope| {
            let spawn = |&cpu: &&'static str| {
                let (words, bars, program) = (arm.emulator(cpu), &bars, &program);
                let (tiny, real, runs) = (&tiny, &real, &runs);
                scope.spawn(move || {
                    let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
                    words.push(program.as_os_str());
                    let mut outcomes = execute(bars, &words, cpu, "square", &runs(tiny, &[TINY]))?;
                    let mut each = runs(tiny, &[TINY_Q8]);
                    if !options.reduced {
                        each.extend(runs(real, &[SHORT, SHORT_Q8]));
                    }
                    outcomes.extend(execute(bars, &words, cpu, "each", &each)?);
                    anyhow::Ok(outcomes)
                })
            };
            let threads: Vec<_> = arch.cpus.iter().map(spawn).collect();
            let join = |thread: ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e))
            };
            threads.into_iter().map(join).collect()
        });
        for result in results {
            outcomes.extend(result?);
        }
    }

    let hashes = agreed(&outcomes)?;
    report(&outcomes, &hashes);
    if options.bless {
        ensure!(
            missing.is_empty(),
            "{} missing; hashes are blessed only all together: run `cargo xtask models`",
            missing.join(" and ")
        );
        return bless(cx, &hashes);
    }
    let committed = read(cx)?;
    compare(&hashes, &committed)?;
    println!("identity: {} runs in {} ways, every hash as committed", hashes.len(), outcomes.len());
    Ok(Ran::Yes)
}

/// The tiny models of the fixtures.
fn tiny_models(cx: &Context) -> Result<Vec<PathBuf>> {
    let dir = cx.root().join("fixtures/models");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut models: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    models.sort();
    ensure!(!models.is_empty(), "there are no models in {}", dir.display());
    Ok(models)
}

/// The real models that are there, and the names of those that are not.
fn real_models(cx: &Context, reduced: bool) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let list = models::List::read(cx)?;
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for model in list.models.iter().take(if reduced { 1 } else { usize::MAX }) {
        let path = cx.models_dir().join(&model.file);
        if path.is_file() {
            there.push(path);
        } else {
            cx.not_run(format!("identity of {}: run `cargo xtask models`", model.file));
            missing.push(model.file.clone());
        }
    }
    Ok((there, missing))
}

/// Runs the example, showing how far it is, and returns what it printed.
fn execute(
    bars: &MultiProgress,
    words: &[&OsStr],
    place: &str,
    which: &str,
    runs: &[String],
) -> Result<Vec<Outcome>> {
    let (Some((program, rest)), false) = (words.split_first(), runs.is_empty()) else {
        return Ok(Vec::new());
    };
    let cmd = Cmd::new(program).args(rest).arg(which).args(runs);
    eprintln!("{place}: {which} of {} runs", runs.len());
    let mut child = cmd.spawn_quietly()?;
    let mut stderr = child.stderr.take();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(stderr) = &mut stderr {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    });
    let style = ProgressStyle::with_template("  {spinner} {elapsed} {pos} done: {wide_msg}");
    let bar = bars.add(ProgressBar::new_spinner());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let mut outcomes = Vec::new();
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line.context("cannot read what it prints")?;
        let outcome = Outcome::parse(&line, place)
            .with_context(|| format!("{place}: not understood: {line}"))?;
        bar.set_message(format!("{}: {}", outcome.run, outcome.way));
        bar.inc(1);
        outcomes.push(outcome);
    }
    bar.finish_and_clear();
    let status = child.wait().context("cannot wait for it")?;
    let errors = errors.join().unwrap_or_default();
    if !status.success() {
        bail!("{status}: {}\n{}", cmd.line(), errors.trim_end());
    }
    Ok(outcomes)
}

/// The one hash of each run.
///
/// # Errors
/// When a run has several; says which ways lead to which.
fn agreed(outcomes: &[Outcome]) -> Result<BTreeMap<String, String>> {
    let mut hashes: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for outcome in outcomes {
        let by_hash = hashes.entry(&outcome.run).or_default();
        by_hash.entry(&outcome.hash).or_default().push(&outcome.way);
    }
    let mut text = String::new();
    for (run, by_hash) in hashes.iter().filter(|(_, by_hash)| by_hash.len() > 1) {
        text += &format!("\n{run} has {} hashes:", by_hash.len());
        for (hash, ways) in by_hash {
            text += &format!("\n  {hash} in {} ways:", ways.len());
            let shown = ways.iter().take(SHOWN);
            shown.for_each(|way| text += &format!("\n    {way}"));
            if ways.len() > SHOWN {
                text += &format!("\n    and {} more", ways.len() - SHOWN);
            }
        }
    }
    if !text.is_empty() {
        bail!("the same run has given different bits:{text}");
    }
    let one = |(run, by_hash): (&str, BTreeMap<&str, _>)| {
        Some((run.to_owned(), by_hash.into_keys().next()?.to_owned()))
    };
    Ok(hashes.into_iter().filter_map(one).collect())
}

/// How many ways that led to one hash are shown.
const SHOWN: usize = 6;

fn report(outcomes: &[Outcome], hashes: &BTreeMap<String, String>) {
    for (run, hash) in hashes {
        let of_run = outcomes.iter().filter(|outcome| outcome.run == *run);
        println!("{hash}  {run}, {} ways", of_run.count());
    }
    let sets: BTreeSet<&str> = outcomes.iter().map(|outcome| &*outcome.kernels).collect();
    println!("with {}", sets.into_iter().collect::<Vec<_>>().join(", "));
}

/// `fixtures/identity.toml`.
fn read(cx: &Context) -> Result<BTreeMap<String, String>> {
    let path = cx.root().join(FILE);
    let text = fs::read_to_string(&path).with_context(|| {
        format!("cannot read {}; `cargo xtask identity --bless` writes it", path.display())
    })?;
    toml::from_str(&text).with_context(|| format!("in {}", path.display()))
}

fn compare(hashes: &BTreeMap<String, String>, committed: &BTreeMap<String, String>) -> Result<()> {
    let mut text = String::new();
    for (run, hash) in hashes {
        match committed.get(run) {
            Some(want) if want == hash => {}
            Some(want) => text += &format!("\n  {run}: {hash}, committed {want}"),
            None => text += &format!("\n  {run}: {hash}, none committed"),
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    bail!(
        "logits are not those of {FILE}; if that was the intention, see that numerics.md says so \
         and run `cargo xtask identity --bless`{text}"
    );
}

fn bless(cx: &Context, hashes: &BTreeMap<String, String>) -> Result<Ran> {
    let path = cx.root().join(FILE);
    let partial = path.with_extension("partial");
    fs::write(&partial, text(hashes)?)
        .and_then(|()| fs::rename(&partial, &path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}: {} hashes", path.display(), hashes.len());
    Ok(Ran::Yes)
}

fn text(hashes: &BTreeMap<String, String>) -> Result<String> {
    let mut text = String::from(
        "# Hashes of logits, the same on every CPU: FNV-1a over the bits of those behind a prompt\n\
         # of so many tokens and behind each of so many decoded after it. They change only when\n\
         # core/docs/numerics.md does. Written by `cargo xtask identity --bless`.\n\n",
    );
    for (run, hash) in hashes {
        ensure!(!run.contains(['"', '\\']), "{run} cannot be a key");
        text += &format!("\"{run}\" = \"{hash}\"\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "/a:b/llama.gguf:150:5:f16\tx86_64/avx2\t3\t32\tShared\t00ff";

    #[test]
    fn lines_are_understood() {
        let outcome = Outcome::parse(LINE, "native").unwrap();
        assert_eq!(outcome.run, "llama.gguf 150+5 f16");
        assert_eq!(outcome.way, "native, x86_64/avx2, threads 3, batch 32, Shared cache");
        assert_eq!((&*outcome.kernels, &*outcome.hash), ("native x86_64/avx2", "00ff"));
        assert!(Outcome::parse("thread 'main' panicked", "native").is_none());
    }

    #[test]
    fn one_other_hash_is_found_and_named() {
        let same = Outcome::parse(LINE, "native").unwrap();
        let arm = Outcome::parse(&LINE.replace("00ff", "00fe"), "max").unwrap();
        let hashes = agreed(&[same.clone(), same.clone()]).unwrap();
        assert_eq!(hashes["llama.gguf 150+5 f16"], "00ff");
        let error = agreed(&[same.clone(), same, arm]).unwrap_err().to_string();
        assert!(error.contains("llama.gguf 150+5 f16 has 2 hashes"), "{error}");
        assert!(error.contains("00fe in 1 ways:\n    max, x86_64/avx2"), "{error}");
    }

    #[test]
    fn what_is_committed_is_read_back_and_compared() {
        let hashes = agreed(&[Outcome::parse(LINE, "native").unwrap()]).unwrap();
        let committed: BTreeMap<String, String> = toml::from_str(&text(&hashes).unwrap()).unwrap();
        assert_eq!(committed, hashes);
        compare(&hashes, &committed).unwrap();
        let mut other = committed.clone();
        other.insert("llama.gguf 150+5 f16".into(), "00aa".into());
        let error = compare(&hashes, &other).unwrap_err().to_string();
        assert!(error.contains("llama.gguf 150+5 f16: 00ff, committed 00aa"), "{error}");
        let error = compare(&hashes, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("none committed"), "{error}");
    }
}
