//! How long it takes from a program's start to the first token of its answer.
//!
//! The prompt is a word, and the model is in the page cache: what is measured is everything that a
//! program does before it can begin. The peer is spared its warm-up run.

use super::load::Ticks;
use super::program::{Report, Settings};
use super::{Options, median, name_of, program, record, warn_of_others};
use crate::cmd::Cmd;
use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Turns that each program gets at least: starting one takes little.
const ROUNDS: u16 = 11;
const PROMPT: &str = "Hi";
/// What it is called in records.
const TEST: &str = "first_token";

/// Both programs' times with one model.
#[derive(Serialize)]
pub(super) struct Latency {
    model: String,
    threads: usize,
    kernels: String,
    cpu: String,
    compiler: String,
    pub(super) target: String,
    commit: String,
    rounds: u16,
    used_by_others: Option<f64>,
    ours: Times,
    peer: String,
    peer_version: String,
    theirs: Times,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
struct Times {
    median: f64,
    min: f64,
    max: f64,
}

impl Times {
    fn of(times: &[f64]) -> Result<Self> {
        Ok(Times {
            median: median(times).context("no round was run")?,
            min: times.iter().copied().fold(f64::INFINITY, f64::min),
            max: times.iter().copied().fold(0.0, f64::max),
        })
    }
}

/// Starts both programs in turns.
///
/// # Errors
/// When one fails or answers nothing.
pub(super) fn measure(
    bantam: &Path,
    peer: &Path,
    model: &Path,
    settings: &Settings,
    options: &Options,
    commit: &str,
) -> Result<Latency> {
    // Tells what runs, and has the model read.
    let about =
        program::bantam(bantam, model, &Settings { prompt: 1, generate: 0, ..settings.clone() })?;
    let before = Ticks::now();
    let rounds = options.rounds.max(ROUNDS);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        for turn in [round % 2, 1 - round % 2] {
            let time = match turn {
                0 => first_output(&mut our_command(bantam, model, settings))?,
                _ => first_output(&mut their_command(peer, model, settings))?,
            };
            // The first round finds neither program in the page cache.
            if round > 0 {
                if turn == 0 { &mut ours } else { &mut theirs }.push(time);
            }
        }
    }
    let kernels = about.kernels().to_owned();
    let Report { cpu, compiler, target, .. } = about;
    Ok(Latency {
        model: name_of(model),
        threads: settings.threads,
        kernels,
        cpu,
        compiler,
        target,
        commit: commit.to_owned(),
        rounds,
        used_by_others: before.and_then(|before| Some(Ticks::now()?.others_since(before))),
        ours: Times::of(&ours)?,
        peer: options.peer_name.clone(),
        peer_version: version(peer)?,
        theirs: Times::of(&theirs)?,
    })
}

fn our_command(program: &Path, model: &Path, settings: &Settings) -> Command {
    let mut command = Command::new(program);
    command.args(["run", "--raw", "--temp", "0", "-n", "1", "--prompt", PROMPT, "--model"]);
    command.arg(model).args(["--threads", &settings.threads.to_string()]);
    if let Some(kernels) = &settings.kernels {
        command.args(["--kernels", kernels]);
    }
    command
}

fn their_command(program: &Path, model: &Path, settings: &Settings) -> Command {
    let mut command = Command::new(program);
    command.args(["--temp", "0", "-n", "1", "-p", PROMPT, "-m"]).arg(model);
    command.args(["-t", &settings.threads.to_string()]);
    command.args(["-no-cnv", "--no-display-prompt", "--no-warmup"]);
    command
}

/// Milliseconds from a program's start to its first byte of output.
fn first_output(command: &mut Command) -> Result<f64> {
    let line = format!("{command:?}");
    let fail = || format!("cannot run {line}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().with_context(fail)?;
    let mut out = child.stdout.take().with_context(fail)?;
    let n_first = out.read(&mut [0; 1]).with_context(fail)?;
    let time = start.elapsed();
    // Or its end would find a closed pipe.
    out.read_to_end(&mut Vec::new()).with_context(fail)?;
    let status = child.wait().with_context(fail)?;
    ensure!(status.success(), "{line}: it failed ({status})");
    ensure!(n_first > 0, "{line}: it answered nothing");
    Ok(time.as_secs_f64() * 1e3)
}

/// The commit that the peer was built from.
fn version(peer: &Path) -> Result<String> {
    let cmd = Cmd::new(peer).arg("--version");
    let said = cmd.capture()?;
    Ok(parse_version(&(said.stdout + &said.stderr)).unwrap_or_else(|| "unknown".into()))
}

/// From a line such as `version: 4589 (0c1e570)` or `version: 0.5.0 (build 1, commit 0c1e570)`.
fn parse_version(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("version: "))?;
    let (_, build) = line.strip_suffix(')')?.rsplit_once('(')?;
    build.split_whitespace().last().map(str::to_owned)
}

impl Latency {
    fn ratio(&self) -> f64 {
        self.ours.median / self.theirs.median
    }

    pub(super) fn print(&self) {
        println!(
            "\n{}, {} threads, {}: start to first token, medians of {} rounds; bantam {}",
            self.model, self.threads, self.kernels, self.rounds, self.commit
        );
        warn_of_others(self.used_by_others);
        println!("{:12}  {:>9}  {:>19}  {:>6}", "program", "ms", "min … max", "ratio");
        for (program, times, ratio) in
            [("bantam", &self.ours, Some(self.ratio())), (self.peer.as_str(), &self.theirs, None)]
        {
            let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let Times { median, min, max } = times;
            println!("{program:12}  {median:>9.1}  {min:>8.1} … {max:>8.1}  {ratio:>6}");
        }
    }

    /// A line of the record for each program; the ratio is that of times, so less is better.
    pub(super) fn records(&self) -> Vec<record::Row> {
        let row = |program: &str, version: &str, times: &Times| record::Row {
            commit: self.commit.clone(),
            compiler: self.compiler.clone(),
            cpu: self.cpu.clone(),
            model: self.model.clone(),
            program: program.to_owned(),
            version: version.to_owned(),
            threads: self.threads,
            test: TEST.to_owned(),
            unit: "ms",
            rounds: self.rounds,
            median: times.median,
            min: times.min,
            max: times.max,
            used_by_others: self.used_by_others,
            ..record::Row::default()
        };
        vec![
            record::Row {
                kernels: self.kernels.clone(),
                ratio: Some(self.ratio()),
                ..row("bantam", &self.commit, &self.ours)
            },
            row(&self.peer, &self.peer_version, &self.theirs),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let text = "load_backend: x\nversion: 4589 (0c1e570)\nbuilt with cc\n";
        assert_eq!(parse_version(text).as_deref(), Some("0c1e570"));
        let text = "version: 0.5.0-dev (build 1, commit 0c1e570)\nbuilt with cc\n";
        assert_eq!(parse_version(text).as_deref(), Some("0c1e570"));
        assert_eq!(parse_version("usage: x"), None);
    }

    #[test]
    fn what_fails_or_says_nothing_is_no_time() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            first_output(&mut command)
        };
        assert!(shell("echo x").unwrap() > 0.0);
        assert!(shell("echo x; exit 3").unwrap_err().to_string().contains("it failed"));
        assert!(shell(":").unwrap_err().to_string().contains("answered nothing"));
    }
}
