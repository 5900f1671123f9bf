//! `cargo xtask bench`: Bantam beside llama.cpp, in one sitting, and how near both come to what
//! the machine can do.
//!
//! Speeds of a rented machine drift by a third within minutes, so a figure means something only
//! beside one of the same minute: the programs run in turns, the machine's limits are measured in
//! every turn, and what is compared are medians over the turns.

mod latency;
mod load;
// The same measurement as `bantam doctor`'s.
#[path = "../../host/src/doctor/probe.rs"]
mod probe;
mod program;
pub(crate) mod record;
mod scaling;

use crate::board;
use crate::cmd::Cmd;
use crate::context::Context;
use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use load::Ticks;
use probe::{Instruction, Memory};
use program::{Report, Sample, Settings, Work};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one measurement of each of the machine's limits takes.
const PROBE_TIME: Duration = Duration::from_millis(200);

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Models to measure, GGUF files
    #[arg(short, long = "model", value_name = "FILE", required_unless_present = "board",
        num_args = 1..)]
    models: Vec<PathBuf>,
    /// Run on a board of boards/profiles, emulated unless --ssh says where it is
    #[arg(long, value_name = "NAME", conflicts_with_all = ["peer", "latency", "scaling"])]
    board: Option<String>,
    /// Log in to the board and measure there
    #[arg(long, value_name = "USER@HOST", requires = "board")]
    ssh: Option<String>,
    /// What to configure ssh by, in place of your own configuration
    #[arg(long, value_name = "FILE", requires = "ssh")]
    ssh_config: Option<PathBuf>,
    /// Sentences with the commands that they are, for the bundled model on the board [default:
    /// fixtures/intent/hand.jsonl]
    #[arg(long, value_name = "FILE", requires = "board")]
    sentences: Option<PathBuf>,
    /// Keep the board's report in this folder [default: boards/record]
    #[arg(long, value_name = "DIR", requires = "board", conflicts_with = "no_record")]
    records: Option<PathBuf>,
    /// The llama-bench to compare with
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
    /// Also measure the time to the first token, beside this llama-completion
    #[arg(long, value_name = "PATH")]
    latency: Option<PathBuf>,
    /// Measure Bantam alone, on one thread and on more
    #[arg(long, conflicts_with_all = ["peer", "latency"])]
    scaling: bool,
    /// What the peer is called in tables and records
    #[arg(long, value_name = "NAME", default_value = "llama.cpp")]
    peer_name: String,
    /// Threads of both programs [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Tokens of the prompt; 0 leaves the test out
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    prompt: u32,
    /// Tokens to generate; 0 leaves the test out
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128)]
    generate: u32,
    /// Turns that each program gets
    #[arg(short, long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Bantam's kernel set [default: the best of this CPU]
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,
    /// Print JSON in place of tables
    #[arg(long)]
    json: bool,
    /// Keep no record
    #[arg(long)]
    no_record: bool,
}

/// What is known of one model after its sitting.
#[derive(Serialize)]
struct Sitting {
    model: String,
    model_bytes: u64,
    threads: usize,
    kernels: String,
    cpu: String,
    compiler: String,
    target: String,
    commit: String,
    rounds: u16,
    /// The instruction whose rate the peak is, if this machine has a probe.
    int8_instruction: Option<&'static str>,
    int8_peak_gmacs: Option<f64>,
    read_bandwidth_gb: f64,
    /// The share of the CPUs that neither program had, where the system tells.
    used_by_others: Option<f64>,
    rows: Vec<Row>,
}

/// One program's speed in one test.
#[derive(Serialize)]
struct Row {
    program: String,
    version: String,
    /// Bantam's kernel set.
    kernels: Option<String>,
    test: String,
    tokens_per_second: f64,
    min: f64,
    max: f64,
    /// To the peer's median; only on Bantam's rows.
    ratio: Option<f64>,
    /// Of the machine's limit: the int8 peak for a prompt, the read bandwidth for a generation.
    of_limit: Option<f64>,
    logits_checksum: Option<String>,
}

/// Measures every model and prints and records what came out.
///
/// # Errors
/// When a program fails, or Bantam's logits differ from round to round.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<()> {
    if let Some(name) = &options.board {
        return board::run(
            cx,
            &board::Options {
                board: name,
                ssh: options.ssh.as_deref(),
                ssh_config: options.ssh_config.as_deref(),
                models: &options.models,
                tokens: [options.prompt, options.generate],
                json: options.json,
                sentences: options.sentences.as_deref(),
                records: options.records.as_deref(),
                keep: !options.no_record,
            },
        );
    }
    let speeds = options.prompt > 0 || options.generate > 0;
    if !speeds && options.latency.is_none() {
        bail!("nothing to measure; give --prompt or --generate a number over 0");
    }
    for path in options.models.iter().chain(&options.peer).chain(&options.latency) {
        ensure!(path.is_file(), "there is no file {}", path.display());
    }
    let threads = match options.threads {
        Some(threads) => threads.into(),
        None => std::thread::available_parallelism().context("cannot count the CPUs")?.get(),
    };
    let settings = Settings {
        prompt: options.prompt as usize,
        generate: options.generate as usize,
        threads,
        kernels: options.kernels.clone(),
    };
    Cmd::cargo().args(["build", "--release", "--package", "bantam"]).dir(cx.root()).run()?;
    let bantam = cx.target_dir().join("release/bantam");
    if options.scaling {
        return scaling::run(cx, options, &bantam, &settings);
    }
    if options.peer.is_none() && speeds {
        cx.not_run("the comparison: give --peer PATH/TO/llama-bench");
    }
    let commit = record::commit(cx);
    let memory = Memory::new();
    let (mut sittings, mut latencies) = (Vec::new(), Vec::new());
    for (i, model) in options.models.iter().enumerate() {
        eprintln!("{}/{}: {}", i + 1, options.models.len(), model.display());
        if speeds {
            let sitting = sit(&bantam, model, &settings, options, &memory, &commit)?;
            if !options.json {
                print(&sitting);
            }
            // At once, so that what has been measured is kept if a later model fails.
            keep(cx, options, &sitting.target, &sitting.records())?;
            sittings.push(sitting);
        }
        if let Some(peer) = &options.latency {
            let latency = latency::measure(&bantam, peer, model, &settings, options, &commit)?;
            if !options.json {
                latency.print();
            }
            keep(cx, options, &latency.target, &latency.records())?;
            latencies.push(latency);
        }
    }
    if options.json {
        let all = serde_json::json!({ "speeds": sittings, "latencies": latencies });
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(())
}

/// Appends to the record, unless none is wanted.
fn keep(cx: &Context, options: &Options, target: &str, rows: &[record::Row]) -> Result<()> {
    if !options.no_record {
        let path = record::append(cx, target, rows)?;
        eprintln!("recorded in {}", path.display());
    }
    Ok(())
}

/// The file's name, for tables and records.
fn name_of(model: &Path) -> String {
    model.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// All rounds with one model.
fn sit(
    bantam: &Path,
    model: &Path,
    settings: &Settings,
    options: &Options,
    memory: &Memory,
    commit: &str,
) -> Result<Sitting> {
    let work = Work::of(bantam, model)?;
    let before = Ticks::now();
    let steps = if options.peer.is_some() { 3 } else { 2 };
    let bar = ProgressBar::new(u64::from(options.rounds) * steps).with_style(bar_style());
    let step = |what: &str| {
        bar.set_message(what.to_owned());
        bar.tick();
    };
    let (mut ours, mut theirs) = (Series::default(), Series::default());
    let (mut peaks, mut bandwidths) = (Vec::new(), Vec::new());
    let mut instruction = None;
    let mut last: Option<Report> = None;
    let mut version = String::new();
    for round in 0..options.rounds {
        // Whoever goes first finds a cooler machine, so they take turns at that too.
        for turn in [round % 2, 1 - round % 2] {
            if turn == 0 {
                step("bantam");
                let report = program::bantam(bantam, model, settings)?;
                instruction = Instruction::for_kernels(report.kernels());
                ours.add(report.samples())?;
                last = Some(report);
                bar.inc(1);
            } else if let Some(path) = &options.peer {
                step(&options.peer_name);
                let peer = program::peer(path, model, settings)?;
                theirs.add(peer.samples)?;
                version = peer.version;
                bar.inc(1);
            }
        }
        step("the machine's limits");
        if let Some(instruction) = instruction {
            peaks.push(probe::int8_peak(instruction, settings.threads, PROBE_TIME)?);
        }
        bandwidths.push(memory.read_bandwidth(settings.threads, PROBE_TIME)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let used_by_others = before.and_then(|before| Some(Ticks::now()?.others_since(before)));
    let report = last.context("no round was run")?;
    let (peak, bandwidth) = (median(&peaks), median(&bandwidths).unwrap_or_default());
    let mut rows = Vec::new();
    for ours in &ours.0 {
        let theirs = theirs.0.iter().find(|theirs| theirs.test == ours.test);
        let mut row = |test: &Test, program: &str, version: &str, kernels, ratio| {
            let speed = median(&test.speeds).unwrap_or_default();
            let of_limit = if test.test.starts_with("pp") {
                peak.map(|peak| work.macs_per_prompt_token * speed / peak)
            } else {
                Some(work.bytes_per_token * speed / bandwidth)
            };
            rows.push(Row {
                program: program.to_owned(),
                version: version.to_owned(),
                kernels,
                test: test.test.clone(),
                tokens_per_second: speed,
                min: test.speeds.iter().copied().fold(f64::INFINITY, f64::min),
                max: test.speeds.iter().copied().fold(0.0, f64::max),
                ratio,
                of_limit,
                logits_checksum: test.checksum.clone(),
            });
        };
        let ratio = theirs.and_then(|t| Some(median(&ours.speeds)? / median(&t.speeds)?));
        row(ours, "bantam", commit, Some(report.kernels().to_owned()), ratio);
        if let Some(theirs) = theirs {
            row(theirs, &options.peer_name, &version, None, None);
        }
    }
    Ok(Sitting {
        model: name_of(model),
        model_bytes: report.model_bytes,
        threads: settings.threads,
        kernels: report.kernels().to_owned(),
        commit: commit.to_owned(),
        rounds: options.rounds,
        int8_instruction: instruction.map(Instruction::name),
        int8_peak_gmacs: peak.map(|peak| peak / 1e9),
        read_bandwidth_gb: bandwidth / 1e9,
        used_by_others,
        rows,
        cpu: report.cpu,
        compiler: report.compiler,
        target: report.target,
    })
}

/// The speeds of one program, by test.
#[derive(Debug, Default)]
struct Series(Vec<Test>);

#[derive(Debug)]
struct Test {
    test: String,
    speeds: Vec<f64>,
    checksum: Option<String>,
}

impl Series {
    /// Takes in one round.
    ///
    /// # Errors
    /// When a checksum differs from that of an earlier round.
    fn add(&mut self, samples: Vec<Sample>) -> Result<()> {
        for sample in samples {
            match self.0.iter_mut().find(|test| test.test == sample.test) {
                Some(test) => {
                    ensure!(
                        test.checksum == sample.checksum,
                        "the logits of {} differ from round to round ({} and {}); this is a bug",
                        test.test,
                        test.checksum.as_deref().unwrap_or("none"),
                        sample.checksum.as_deref().unwrap_or("none"),
                    );
                    test.speeds.push(sample.tokens_per_second);
                }
                None => self.0.push(Test {
                    test: sample.test,
                    speeds: vec![sample.tokens_per_second],
                    checksum: sample.checksum,
                }),
            }
        }
        Ok(())
    }
}

/// The middle value, or the mean of the two; `None` of none.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = ((sorted.len().checked_sub(1)?) / 2, sorted.len() / 2);
    Some((sorted.get(low)? + sorted.get(high)?) / 2.0)
}

impl Sitting {
    /// One line of the record for each row.
    fn records(&self) -> Vec<record::Row> {
        let record = |row: &Row| record::Row {
            commit: self.commit.clone(),
            compiler: self.compiler.clone(),
            cpu: self.cpu.clone(),
            model: self.model.clone(),
            program: row.program.clone(),
            version: row.version.clone(),
            kernels: row.kernels.clone().unwrap_or_default(),
            threads: self.threads,
            test: row.test.clone(),
            unit: "tokens/s",
            rounds: self.rounds,
            median: row.tokens_per_second,
            min: row.min,
            max: row.max,
            ratio: row.ratio,
            int8_instruction: self.int8_instruction.unwrap_or_default(),
            int8_peak_gmacs: self.int8_peak_gmacs,
            read_bandwidth_gb: Some(self.read_bandwidth_gb),
            of_limit: row.of_limit,
            used_by_others: self.used_by_others,
            logits_checksum: row.logits_checksum.clone().unwrap_or_default(),
        };
        self.rows.iter().map(record).collect()
    }
}

/// Says so if others used much of the machine while something was measured.
fn warn_of_others(used_by_others: Option<f64>) {
    if let Some(others) = used_by_others.filter(|&others| others > BUSY) {
        println!(
            "warning: others used {:.0} % of the CPUs meanwhile; these figures say little",
            others * 100.0
        );
    }
}

/// From which share on others' use of the machine is worth a warning.
const BUSY: f64 = 0.05;

fn print(sitting: &Sitting) {
    let Sitting { model, threads, kernels, rounds, cpu, commit, .. } = sitting;
    let threads = if *threads == 1 { "1 thread".into() } else { format!("{threads} threads") };
    println!("\n{model}, {threads}, {kernels}, medians of {rounds} rounds");
    print!("{cpu}: ");
    match (sitting.int8_peak_gmacs, sitting.int8_instruction) {
        (Some(peak), Some(name)) => print!("int8 peak {peak:.0} G MAC/s ({name})"),
        _ => print!("int8 peak not run: no probe for this CPU"),
    }
    println!(", reads {:.1} GB/s; bantam {commit}", sitting.read_bandwidth_gb);
    warn_of_others(sitting.used_by_others);
    println!(
        "{:8}  {:12}  {:>9}  {:>19}  {:>6}  {:>14}",
        "test", "program", "tokens/s", "min … max", "ratio", "of the limit"
    );
    for row in &sitting.rows {
        let ratio = row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let limit = if row.test.starts_with("pp") { "peak" } else { "read" };
        let of_limit =
            row.of_limit.map_or(String::new(), |of| format!("{:.0} % {limit}", of * 100.0));
        println!(
            "{:8}  {:12}  {:>9.2}  {:>8.2} … {:>8.2}  {ratio:>6}  {of_limit:>14}",
            row.test, row.program, row.tokens_per_second, row.min, row.max,
        );
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("  [{bar:30}] {pos}/{len} {elapsed}, {eta} left: {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(test: &str, tokens_per_second: f64, checksum: &str) -> Sample {
        Sample { test: test.into(), tokens_per_second, checksum: Some(checksum.into()) }
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[10.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 10.0, 2.0]), Some(3.0));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn rounds_must_have_the_same_logits() {
        let mut series = Series::default();
        series.add(vec![sample("pp8", 1.0, "a"), sample("tg2", 5.0, "b")]).unwrap();
        series.add(vec![sample("pp8", 3.0, "a"), sample("tg2", 6.0, "b")]).unwrap();
        assert_eq!(series.0[0].speeds, [1.0, 3.0]);
        let error = series.add(vec![sample("tg2", 6.0, "c")]).unwrap_err().to_string();
        assert!(error.contains("tg2 differ from round to round (b and c)"), "{error}");
    }
}
