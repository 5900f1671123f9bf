//! `cargo xtask fuzz`: core's fuzz targets, each for a while.

use crate::cmd::{Cmd, has_nightly};
use crate::context::{Context, Ran};
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = SECONDS)]
    seconds: u32,
    /// Targets to run; all of core/fuzz when none is named
    targets: Vec<String>,
}

/// Enough, on each change, to see that a target works and that the known seeds pass; finding
/// something new takes the nightly hours.
const SECONDS: u32 = 10;

/// Runs each target with AddressSanitizer for the given time, and says what it did.
///
/// # Errors
/// When a target does not build or finds an input that fails; says how to run that again.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<Ran> {
    let dir = cx.root().join("core/fuzz");
    if !dir.join("Cargo.toml").is_file() {
        return Ok(cx.not_run("fuzzing: core/fuzz is not there"));
    }
    if !has_nightly() || !Cmd::cargo().args(["+nightly", "fuzz", "--version"]).succeeds() {
        return Ok(
            cx.not_run("fuzzing: it needs a nightly toolchain and cargo-fuzz; `cargo xtask setup`")
        );
    }
    let list = fuzz(cx).arg("list").capture()?;
    if !list.ok {
        bail!("cargo fuzz list: {}", list.stderr.trim());
    }
    let known: Vec<&str> = list.stdout.split_whitespace().collect();
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no fuzz target is called {unknown:?}; there are {}", known.join(", "));
    }
    let target_dir = cx.target_dir().join("fuzz");
    fuzz(cx).arg("build").arg("--target-dir").arg(&target_dir).run()?;

    let mut failed = Vec::new();
    let chosen = known
        .iter()
        .filter(|name| options.targets.is_empty() || options.targets.iter().any(|t| t == *name));
    for name in chosen {
        match one(cx, &dir, &target_dir, name, options.seconds)? {
            Ended { ok: true, executions, .. } => {
                println!(
                    "fuzz {name}: {executions} executions in {} s, nothing found",
                    options.seconds
                );
            }
            Ended { artifact, executions, .. } => {
                println!("fuzz {name}: FAILED after {executions} executions");
                let artifact = artifact.unwrap_or_else(|| "INPUT".into());
                failed.push(format!(
                    "{name} (again: `cd core && cargo +nightly fuzz run {name} {artifact}`)"
                ));
            }
        }
    }
    if !failed.is_empty() {
        bail!("fuzzing found failures in {}", failed.join(", "));
    }
    Ok(Ran::Yes)
}

/// `cargo +nightly fuzz`, from core's folder, where it expects to be.
fn fuzz(cx: &Context) -> Cmd {
    Cmd::cargo().args(["+nightly", "fuzz"]).dir(cx.root().join("core"))
}

/// How one target's time ended.
#[derive(Debug, Default, PartialEq)]
struct Ended {
    ok: bool,
    executions: u64,
    artifact: Option<String>,
}

fn one(cx: &Context, dir: &Path, target_dir: &Path, name: &str, seconds: u32) -> Result<Ended> {
    // New inputs go to the first folder, which git ignores; committed seeds are only read.
    let corpus = dir.join("corpus").join(name);
    std::fs::create_dir_all(&corpus)
        .with_context(|| format!("cannot make {}", corpus.display()))?;
    let mut cmd = fuzz(cx).arg("run").arg("--target-dir").arg(target_dir).arg(name).arg(&corpus);
    // The files of the parser's tests are seeds of every target; what is more is the target's own.
    let gguf = cx.root().join("fixtures/gguf");
    for seeds in [dir.join("seeds").join(name), gguf.join("valid"), gguf.join("invalid")] {
        if seeds.is_dir() {
            cmd = cmd.arg(&seeds);
        }
    }
    cmd = cmd
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args(["-print_final_stats=1", "-timeout=10"]);

    let mut child = cmd.spawn_captured()?;
    let lines =
        child.stderr.take().map(BufReader::new).context("cannot read cargo fuzz's output")?;
    let mut ended = Ended::default();
    let mut kept = Vec::new();
    for line in lines.lines() {
        let line = line.context("cannot read cargo fuzz's output")?;
        ended.read(&line);
        // A sign of life in long runs; the rest only when something is found.
        if line.starts_with('#') && line.contains("pulse") {
            eprintln!("  {line}");
        }
        kept.push(line);
    }
    // The process has closed its output, so that this wait is short; a hung one is libFuzzer's
    // own `-timeout` to end.
    let status = wait(&mut child)?;
    ended.ok = status.success();
    if !ended.ok {
        let tail = kept.len().saturating_sub(60);
        kept.iter().skip(tail).for_each(|line| eprintln!("  {line}"));
    }
    Ok(ended)
}

fn wait(child: &mut std::process::Child) -> Result<std::process::ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for cargo fuzz")? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Ended {
    /// Takes what one line of libFuzzer's output tells.
    fn read(&mut self, line: &str) {
        if let Some(n) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = n.trim().parse().unwrap_or(self.executions);
        } else if let Some(n) = line.strip_prefix('#') {
            let n = n.split_whitespace().next().and_then(|n| n.parse().ok());
            self.executions = n.unwrap_or(self.executions).max(self.executions);
        }
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.artifact = Some(path.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libfuzzer_output_is_understood() {
        let mut ended = Ended::default();
        for line in [
            "INFO: Seed: 1",
            "#2\tINITED cov: 9 ft: 9 corp: 1/1b exec/s: 0 rss: 30Mb",
            "#65536\tpulse  cov: 10 ft: 10 corp: 2/2b",
            "artifact_prefix='/x/'; Test unit written to /x/crash-1",
        ] {
            ended.read(line);
        }
        assert_eq!(
            ended,
            Ended { ok: false, executions: 65536, artifact: Some("/x/crash-1".into()) }
        );
        ended.read("stat::number_of_executed_units: 70000");
        assert_eq!(ended.executions, 70000);
    }
}
