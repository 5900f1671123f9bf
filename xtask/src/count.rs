//! `cargo xtask count`: instructions that a token costs on an Arm CPU that is not here.
//!
//! Time under emulation means nothing, but executed instructions are exact and the same in every
//! run. A token's are the difference of two runs over the difference of their tokens, so that
//! loading, and all else that is done once, drops out.

use crate::bench::record::{self, Row};
use crate::cmd::Cmd;
use crate::context::Context;
use crate::targets::{Arch, EmulatedArm, counting_plugin};
use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of `cargo xtask count`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Models to run, GGUF files [default: those that llama.cpp's figures are known of]
    #[arg(short, long = "model", value_name = "FILE", num_args = 1..)]
    models: Vec<PathBuf>,
    /// CPU to emulate
    #[arg(long, default_value = "cortex-a76")]
    cpu: String,
    /// Kernel set, `best` being that of the CPU
    #[arg(long, value_name = "NAME", default_value = "best")]
    kernels: String,
    /// Tokens of a prompt that are worked on together; two batches are run
    #[arg(short, long, value_name = "N", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Count matrix products alone, for each multiplication and addition of a few formats
    #[arg(long, conflicts_with = "models")]
    products: bool,
    /// Keep no record
    #[arg(long)]
    no_record: bool,
}

/// Ours are to be no more than this part of llama.cpp's.
const TARGET: f64 = 0.8;

/// Tokens of the prompt before tokens are decoded, and how many are in the two runs.
const DECODE: (u32, [u32; 2]) = (8, [4, 12]);

/// llama.cpp's figures.
const PEER: &str = "core/benches/llama-cpp-arm.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    version: String,
    cpu: String,
    #[serde(rename = "model")]
    models: Vec<PeerModel>,
}

/// Million instructions per token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerModel {
    file: String,
    decode: f64,
    prefill: f64,
}

/// What a model's token costs, in instructions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    file: String,
    /// The kernel set that ran.
    pub(crate) kernels: String,
    pub(crate) decode: f64,
    pub(crate) prefill: f64,
    #[serde(skip)]
    peer: Option<PeerModel>,
}

/// Counts for every model, and prints and records what came out.
///
/// # Errors
/// When a program fails, or the plugin does not count.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<()> {
    let path = cx.root().join(PEER);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let peer: Peer = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    let models = models(cx, options, &peer);
    let Some(counter) = Counter::new(cx, options)? else { return Ok(()) };
    if options.products {
        return products(&counter);
    }
    let (commit, compiler) = (record::commit(cx), counter.arm.compiler()?);
    for model in &models {
        let mut cost = counter.cost(model)?;
        if options.cpu == peer.cpu {
            cost.peer = peer.models.iter().find(|peer| peer.file == cost.file).cloned();
        }
        print(&cost, options, &peer.version);
        if !options.no_record {
            let rows = rows(&cost, options, [&commit, &compiler, &peer.version]);
            let path = record::append(cx, Arch::of(&options.cpu).target, &rows)?;
            eprintln!("recorded in {}", path.display());
        }
    }
    Ok(())
}

/// What a token of each model costs on an emulated CPU, with its best kernels; `None` if it cannot
/// be counted here, which is then said.
///
/// # Errors
/// As [`run`].
pub(crate) fn costs(
    cx: &Context,
    cpu: &str,
    batch: u32,
    models: &[PathBuf],
) -> Result<Option<Vec<Cost>>> {
    let options = Options {
        models: Vec::new(),
        cpu: cpu.to_owned(),
        kernels: "best".to_owned(),
        batch,
        products: false,
        no_record: true,
    };
    let Some(counter) = Counter::new(cx, &options)? else { return Ok(None) };
    models.iter().map(|model| counter.cost(model)).collect::<Result<_>>().map(Some)
}

/// The models asked for, or those with figures to compare with that are there.
fn models(cx: &Context, options: &Options, peer: &Peer) -> Vec<PathBuf> {
    if !options.models.is_empty() {
        return options.models.clone();
    }
    let paths = peer.models.iter().map(|model| cx.models_dir().join(&model.file));
    let (there, missing): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_file());
    for path in missing {
        cx.not_run(format!("counting with {}: there is no such file", path.display()));
    }
    there
}

/// What is needed to count.
struct Counter<'a> {
    arm: EmulatedArm,
    program: PathBuf,
    plugin: PathBuf,
    /// Where the plugin writes; each run has a file of its own, with another extension.
    out: PathBuf,
    options: &'a Options,
}

impl<'a> Counter<'a> {
    /// Builds all that is needed; `None` if something is missing, which is then said.
    fn new(cx: &Context, options: &'a Options) -> Result<Option<Self>> {
        let arch = Arch::of(&options.cpu);
        let Some(arm) = EmulatedArm::find(cx, arch, "counting instructions") else {
            return Ok(None);
        };
        if arch.qemu().is_some_and(|qemu| qemu.ends_with("-static")) {
            let why = "QEMU's -static programs load no plugins; get qemu-user";
            cx.not_run(format!("counting instructions: {why}"));
            return Ok(None);
        }
        let example = if options.products { "multiply" } else { "identity" };
        arm.cargo(cx, "build")
            .args(["--release", "--features", "bantam-core/std", "--example", example])
            .run()?;
        Ok(Some(Counter {
            plugin: counting_plugin(cx)?,
            out: cx.target_dir().join("qemu_count"),
            program: arm.release_dir(cx).join("examples").join(example),
            arm,
            options,
        }))
    }

    fn cost(&self, model: &Path) -> Result<Cost> {
        ensure!(model.is_file(), "there is no file {}", model.display());
        let file = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (prompt, [few, many]) = DECODE;
        let batch = self.options.batch;
        let runs = [(prompt, few), (prompt, many), (batch, 0), (2 * batch, 0)];
        let style =
            ProgressStyle::with_template("  {spinner} {elapsed} {msg}: {pos} of 4 runs done");
        let bar = ProgressBar::new(4)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar.set_message(file.clone());
        // Emulation is slow, and counts do not depend on what else the machine does.
        let results = std::thread::scope(|scope| {
            let threads = runs.map(|(prompt, decode)| {
                let bar = &bar;
                scope.spawn(move || {
                    let result = self.count(model, prompt, decode);
                    bar.inc(1);
                    result
                })
            });
            threads.map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
        });
        let mut kernels = String::new();
        let mut counts = [0; 4];
        for (count, result) in counts.iter_mut().zip(results) {
            (*count, kernels) = result?;
        }
        bar.finish_and_clear();
        let [few_decoded, many_decoded, one_batch, two_batches] = counts;
        Ok(Cost {
            file,
            kernels,
            decode: per_token(few_decoded, many_decoded, many - few)?,
            prefill: per_token(one_batch, two_batches, batch)?,
            peer: None,
        })
    }

    /// Instructions of a whole run, and the kernel set that it took.
    fn count(&self, model: &Path, prompt: u32, decode: u32) -> Result<(u64, String)> {
        let Options { kernels, batch, .. } = self.options;
        let args =
            [format!("{kernels}/1/{batch}"), format!("{}:{prompt}:{decode}:f16", model.display())];
        let (count, stdout) = self.run(&format!("{prompt}-{decode}"), &args)?;
        let kernels = stdout.split('\t').nth(1).unwrap_or_default().to_owned();
        Ok((count, kernels))
    }

    /// Instructions of one run of the program, and what it printed.
    fn run(&self, name: &str, args: &[String]) -> Result<(u64, String)> {
        let out_file = self.out.with_extension(name);
        let _ = fs::remove_file(&out_file);
        let words = self.arm.emulator(&self.options.cpu);
        let (qemu, rest) = words.split_first().context("no emulator")?;
        let cmd = Cmd::new(qemu)
            .args(rest)
            .arg("-plugin")
            .arg(format!("{},out={}", self.plugin.display(), out_file.display()))
            .arg(&self.program)
            .args(args);
        let out = cmd.capture()?;
        if !out.ok {
            bail!("{}: {}", cmd.line(), out.stderr.trim_end());
        }
        let count = fs::read_to_string(&out_file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .with_context(|| format!("the plugin has counted nothing: {}", cmd.line()))?;
        let _ = fs::remove_file(&out_file);
        Ok((count, out.stdout))
    }
}

/// Formats and shapes, rows by columns, whose products are counted.
const FORMATS: [&str; 6] = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q4_K", "Q6_K"];
const SHAPES: [[u32; 2]; 2] = [[256, 256], [256, 1024]];

/// Prints what a multiplication and addition costs in matrices times one token.
fn products(counter: &Counter<'_>) -> Result<()> {
    let Options { cpu, kernels, .. } = counter.options;
    for (i, format) in FORMATS.into_iter().enumerate() {
        for [rows, cols] in SHAPES {
            let run = |times: u32| {
                let args = [kernels.clone(), format.to_owned()];
                let numbers = [rows, cols, times].map(|n| n.to_string());
                counter.run("products", &[&args[..], &numbers[..]].concat())
            };
            let ((less, _), (more, set)) = (run(1)?, run(3)?);
            if i == 0 && [rows, cols] == SHAPES[0] {
                println!("\n{cpu}, {}, one token: instructions per product", set.trim_end());
            }
            let cost = per_token(less, more, 2 * rows * cols)?;
            println!("{format:5} {:>11}  {cost:>5.2}", format!("{rows} x {cols}"));
        }
    }
    Ok(())
}

/// Instructions for one of the `tokens` by which two runs differ.
fn per_token(less: u64, more: u64, tokens: u32) -> Result<f64> {
    let difference = more.checked_sub(less).context("the longer run took fewer instructions")?;
    Ok(difference as f64 / f64::from(tokens))
}

impl Cost {
    /// Each test: its name, our instructions, and llama.cpp's.
    fn tests(&self, batch: u32) -> [(String, f64, Option<f64>); 2] {
        let peer = |figure: fn(&PeerModel) -> f64| self.peer.as_ref().map(|p| figure(p) * 1e6);
        [
            ("decode".into(), self.decode, peer(|p| p.decode)),
            (format!("prefill batch {batch}"), self.prefill, peer(|p| p.prefill)),
        ]
    }
}

fn print(cost: &Cost, options: &Options, peer: &str) {
    let Cost { file, kernels, .. } = cost;
    println!("\n{file}, {}, {kernels}, one thread; million instructions per token", options.cpu);
    if cost.peer.is_some() {
        println!("beside {peer}");
    }
    println!("{:18}  {:>9}  {:>9}  {:>6}", "test", "bantam", "llama.cpp", "ratio");
    for (test, ours, theirs) in cost.tests(options.batch) {
        let ours_shown = ours / 1e6;
        match theirs {
            Some(theirs) => {
                let ratio = ours / theirs;
                let verdict = if ratio <= TARGET { "within" } else { "over" };
                println!(
                    "{test:18}  {ours_shown:>9.1}  {:>9.1}  {ratio:>6.2}  {verdict} {TARGET}",
                    theirs / 1e6
                );
            }
            None => println!("{test:18}  {ours_shown:>9.1}  {:>9}", "none"),
        }
    }
}

fn rows(cost: &Cost, options: &Options, [commit, compiler, peer]: [&str; 3]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (test, ours, theirs) in cost.tests(options.batch) {
        let row = |program: &str, version: &str, kernels: &str, count: f64| Row {
            commit: commit.to_owned(),
            compiler: compiler.to_owned(),
            cpu: format!("{} (QEMU)", options.cpu),
            model: cost.file.clone(),
            program: program.to_owned(),
            version: version.to_owned(),
            kernels: kernels.to_owned(),
            threads: 1,
            test: test.clone(),
            unit: "instructions/token",
            rounds: 1,
            median: count,
            min: count,
            max: count,
            ..Row::default()
        };
        rows.push(Row {
            ratio: theirs.map(|theirs| ours / theirs),
            ..row("bantam", commit, &cost.kernels, ours)
        });
        rows.extend(theirs.map(|theirs| row("llama.cpp", peer, "", theirs)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_once_drops_out() {
        assert_eq!(per_token(1_000 + 4 * 50, 1_000 + 12 * 50, 8).unwrap(), 50.0);
        assert!(per_token(2, 1, 8).is_err());
    }

    #[test]
    fn the_committed_figures_are_read() {
        let peer: Peer =
            toml::from_str(include_str!("../../core/benches/llama-cpp-arm.toml")).unwrap();
        assert_eq!((&*peer.cpu, peer.models.len()), ("cortex-a76", 5));
        let cost = Cost {
            file: "m".into(),
            kernels: "aarch64/neon".into(),
            decode: 30.88e6,
            prefill: 42.4e6,
            peer: Some(peer.models[0].clone()),
        };
        let options = Options {
            models: Vec::new(),
            cpu: "cortex-a76".into(),
            kernels: "best".into(),
            batch: 128,
            products: false,
            no_record: true,
        };
        let rows = rows(&cost, &options, ["c", "r", "v"]);
        let seen: Vec<_> = rows.iter().map(|row| (&*row.test, &*row.program, row.ratio)).collect();
        assert_eq!(seen[0], ("decode", "bantam", Some(0.8)));
        assert_eq!(seen[1], ("decode", "llama.cpp", None));
        assert_eq!(seen[2], ("prefill batch 128", "bantam", Some(2.0)));
    }
}
