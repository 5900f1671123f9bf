//! The two programs that are measured, and what they say.

use crate::cmd::{Captured, Cmd};
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use std::path::Path;

/// What is measured: a prompt, then a generation, on so many threads.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) prompt: usize,
    pub(super) generate: usize,
    pub(super) threads: usize,
    pub(super) kernels: Option<String>,
}

/// One speed, from one run.
#[derive(Debug, PartialEq)]
pub(super) struct Sample {
    /// `pp512`, `tg128`.
    pub(super) test: String,
    pub(super) tokens_per_second: f64,
    /// Of the last logits; the peer has none.
    pub(super) checksum: Option<String>,
}

/// What Bantam says of a run.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    pub(super) cpu: String,
    pub(super) compiler: String,
    pub(super) target: String,
    pub(super) model_bytes: u64,
    results: Vec<BantamResult>,
}

#[derive(Debug, Deserialize)]
struct BantamResult {
    test: String,
    tokens_per_second: f64,
    threads: usize,
    kernels: String,
    logits_checksum: String,
}

impl Report {
    fn parse(text: &str) -> Result<Self> {
        let report: Report = serde_json::from_str(text)?;
        ensure!(!report.results.is_empty(), "it holds no results");
        Ok(report)
    }

    /// The kernel set that ran.
    pub(super) fn kernels(&self) -> &str {
        self.results.first().map_or("", |result| &result.kernels)
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        let sample = |result: &BantamResult| Sample {
            test: result.test.clone(),
            tokens_per_second: result.tokens_per_second,
            checksum: Some(result.logits_checksum.clone()),
        };
        self.results.iter().map(sample).collect()
    }
}

/// One run of Bantam.
///
/// # Errors
/// When it fails, or ran with other threads or kernels than it was asked to.
pub(super) fn bantam(program: &Path, model: &Path, settings: &Settings) -> Result<Report> {
    let cmd = Cmd::new(program)
        .args(["bench", "--json", "--repeat", "1", "--model"])
        .arg(model)
        .args(["--prompt", &settings.prompt.to_string()])
        .args(["--generate", &settings.generate.to_string()])
        .args(["--threads", &settings.threads.to_string()]);
    let cmd = match &settings.kernels {
        Some(kernels) => cmd.args(["--kernels", kernels]),
        None => cmd,
    };
    let report = Report::parse(&output(&cmd)?).with_context(|| not_understood(&cmd))?;
    for result in &report.results {
        let asked = settings.kernels.as_ref().is_none_or(|kernels| *kernels == result.kernels);
        ensure!(
            asked && result.threads == settings.threads,
            "{} ran {} with {} on {} threads, which was not asked for",
            program.display(),
            result.test,
            result.kernels,
            result.threads
        );
    }
    Ok(report)
}

/// What llama-bench says of one test.
#[derive(Debug, Deserialize)]
struct PeerResult {
    build_commit: String,
    n_threads: usize,
    n_prompt: usize,
    n_gen: usize,
    avg_ts: f64,
}

/// What a run of llama-bench measured.
#[derive(Debug)]
pub(super) struct Peer {
    /// The commit that it was built from.
    pub(super) version: String,
    pub(super) samples: Vec<Sample>,
}

impl Peer {
    fn parse(text: &str, settings: &Settings) -> Result<Self> {
        let results: Vec<PeerResult> = serde_json::from_str(text)?;
        let samples: Result<Vec<Sample>> = results
            .iter()
            .map(|result| {
                ensure!(
                    result.n_threads == settings.threads,
                    "it ran on {} threads, not {}",
                    result.n_threads,
                    settings.threads
                );
                let test = match (result.n_prompt, result.n_gen) {
                    (n, 0) if n == settings.prompt => format!("pp{n}"),
                    (0, n) if n == settings.generate => format!("tg{n}"),
                    (p, g) => bail!("it measured a prompt of {p} and {g} tokens"),
                };
                Ok(Sample { test, tokens_per_second: result.avg_ts, checksum: None })
            })
            .collect();
        let version = results.first().context("it holds no results")?.build_commit.clone();
        Ok(Peer { version, samples: samples? })
    }
}

/// One run of llama-bench.
///
/// # Errors
/// When it fails, or measured something else than it was asked to.
pub(super) fn peer(program: &Path, model: &Path, settings: &Settings) -> Result<Peer> {
    let cmd = Cmd::new(program)
        .arg("-m")
        .arg(model)
        .args(["-p", &settings.prompt.to_string(), "-n", &settings.generate.to_string()])
        .args(["-t", &settings.threads.to_string()])
        .args(["-r", "1", "-ngl", "0", "-o", "json"]);
    Peer::parse(&output(&cmd)?, settings).with_context(|| not_understood(&cmd))
}

/// What one token costs at least, as far as the model's matrices tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Work {
    /// Multiply-accumulates for a token of a prompt: those of the layers' matrices.
    pub(super) macs_per_prompt_token: f64,
    /// Bytes of weights read for a generated token: the layers' and the output head's.
    pub(super) bytes_per_token: f64,
}

#[derive(Deserialize)]
struct Inspected {
    tensors: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    shape: Vec<u64>,
    bytes: u64,
}

impl Work {
    /// The work of `model`, by what `bantam inspect` says of its tensors.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn of(program: &Path, model: &Path) -> Result<Self> {
        let cmd = Cmd::new(program).args(["inspect", "--json"]).arg(model);
        Self::parse(&output(&cmd)?).with_context(|| not_understood(&cmd))
    }

    fn parse(text: &str) -> Result<Self> {
        let Inspected { tensors } = serde_json::from_str(text)?;
        // A file without an output head uses its embedding as one.
        let has_head = tensors.iter().any(|tensor| tensor.name == "output.weight");
        let head = if has_head { "output.weight" } else { "token_embd.weight" };
        let (mut macs, mut bytes) = (0, 0);
        for tensor in &tensors {
            let in_layer = tensor.name.starts_with("blk.");
            if in_layer && tensor.shape.len() == 2 {
                macs += tensor.shape.iter().product::<u64>();
            }
            if in_layer || tensor.name == head {
                bytes += tensor.bytes;
            }
        }
        ensure!(macs > 0, "it names no matrices of layers");
        Ok(Work { macs_per_prompt_token: macs as f64, bytes_per_token: bytes as f64 })
    }
}

/// Standard output of a command that must succeed.
fn output(cmd: &Cmd) -> Result<String> {
    let Captured { ok, stdout, stderr, .. } = cmd.capture()?;
    if !ok {
        let reason = stderr.lines().rev().find(|line| !line.trim().is_empty());
        bail!("{}: {}", cmd.line(), reason.unwrap_or("it failed and did not say why"));
    }
    Ok(stdout)
}

fn not_understood(cmd: &Cmd) -> String {
    format!("cannot use the answer of: {}", cmd.line())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { prompt: 16, generate: 4, threads: 2, kernels: None }
    }

    const PEER: &str = r#"[
      { "build_commit": "0c1e570", "n_threads": 2, "n_prompt": 16, "n_gen": 0,
        "test_time": "2026-11-22T10:09:23Z", "avg_ts": 767.187579, "samples_ts": [ 767.188 ] },
      { "build_commit": "0c1e570", "n_threads": 2, "n_prompt": 0, "n_gen": 4,
        "test_time": "2026-11-22T10:09:23Z", "avg_ts": 174.315819, "samples_ts": [ 174.316 ] }
    ]"#;

    #[test]
    fn the_peer_is_understood() {
        let peer = Peer::parse(PEER, &settings()).unwrap();
        assert_eq!(peer.version, "0c1e570");
        let sample = |test: &str, tokens_per_second| Sample {
            test: test.into(),
            tokens_per_second,
            checksum: None,
        };
        assert_eq!(peer.samples, [sample("pp16", 767.187579), sample("tg4", 174.315819)]);
    }

    #[test]
    fn a_peer_that_did_something_else_is_refused() {
        let other = |change: fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            Peer::parse(PEER, &settings).unwrap_err().to_string()
        };
        assert_eq!(other(|s| s.threads = 1), "it ran on 2 threads, not 1");
        assert_eq!(other(|s| s.prompt = 8), "it measured a prompt of 16 and 0 tokens");
        assert!(Peer::parse("[]", &settings()).unwrap_err().to_string().contains("no results"));
        assert!(Peer::parse("error", &settings()).is_err());
    }

    #[test]
    fn bantam_is_understood() {
        let report = Report::parse(
            r#"{"cpu": "A", "compiler": "rustc 1", "target": "t", "model_bytes": 5, "version": "0",
                "results": [{"test": "pp16", "tokens_per_second": 2.5, "threads": 2,
                             "kernels": "scalar", "logits_checksum": "7a"}]}"#,
        )
        .unwrap();
        assert_eq!((report.kernels(), report.model_bytes), ("scalar", 5));
        assert_eq!(report.samples()[0].checksum.as_deref(), Some("7a"));
        assert!(Report::parse(r#"{"results": []}"#).is_err());
    }

    #[test]
    fn work_is_what_runs_per_token() {
        let tied = r#"{"tensors": [
            {"name": "token_embd.weight", "shape": [64, 100], "bytes": 1000},
            {"name": "blk.0.attn_norm.weight", "shape": [64], "bytes": 256},
            {"name": "blk.0.ffn_up.weight", "shape": [64, 96], "bytes": 3000}]}"#;
        let work = Work::parse(tied).unwrap();
        assert_eq!(work.macs_per_prompt_token, 64.0 * 96.0);
        assert_eq!(work.bytes_per_token, 4256.0);
        let untied = tied.replace(
            r#""tensors": ["#,
            r#""tensors": [{"name": "output.weight", "shape": [64, 100], "bytes": 50},"#,
        );
        assert_eq!(Work::parse(&untied).unwrap().bytes_per_token, 3306.0);
    }
}
