//! What is known of a board after a run, in print and as JSON.

use crate::count::Cost;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// A run on a board.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) board: String,
    /// `measured`, `emulated` or `predicted`.
    pub(super) how: String,
    pub(super) time: String,
    pub(super) commit: String,
    pub(super) compiler: Option<String>,
    /// Right answers of the bundled model.
    pub(super) accuracy: Option<Value>,
    /// What `bantam doctor` said before and after.
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
    pub(super) models: Vec<Model>,
}

/// One model on the board.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Model {
    pub(super) model: String,
    /// Logits that are those of another machine.
    pub(super) identity: Option<Identity>,
    /// Executed instructions of a token, counted under QEMU.
    pub(super) instructions: Option<Cost>,
    /// Speeds by `bantam fit`.
    pub(super) predicted: Value,
    pub(super) measured: Vec<Speed>,
}

/// That two machines computed the same bits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The kernel sets of this machine and the board.
    pub(super) here: String,
    pub(super) there: String,
    pub(super) checksums: Vec<String>,
}

/// A speed by `bantam bench`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Speed {
    pub(super) test: String,
    pub(super) threads: u64,
    pub(super) kernels: String,
    pub(super) tokens_per_second: f64,
    pub(super) checksum: Option<String>,
}

impl Speed {
    /// All that `bantam bench --json` says.
    pub(super) fn all(bench: &Value) -> Result<Vec<Self>> {
        let results = bench["results"].as_array().context("`bantam bench` gave no results")?;
        let one = |result: &Value| {
            Some(Speed {
                test: result["test"].as_str()?.to_owned(),
                threads: result["threads"].as_u64()?,
                kernels: result["kernels"].as_str()?.to_owned(),
                tokens_per_second: result["tokens_per_second"].as_f64()?,
                checksum: result["logits_checksum"].as_str().map(str::to_owned),
            })
        };
        results.iter().map(|result| one(result).context("a result lacks something")).collect()
    }
}

impl Model {
    /// A model that has not run yet.
    pub(super) fn predicted(model: &Path, predicted: Value) -> Self {
        let model = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Model { model, identity: None, instructions: None, predicted, measured: Vec::new() }
    }
}

impl Report {
    pub(super) fn print(&self) {
        println!("\n{}, {}, commit {}", self.board, self.how, self.commit);
        if let Some(accuracy) = &self.accuracy {
            println!(
                "answers    {} of {} right, as on this machine",
                accuracy["right"], accuracy["cases"]
            );
        }
        for (when, health) in [("before", &self.before), ("after", &self.after)] {
            if let Some(health) = health {
                println!("{when:10} {}", state(health));
            }
        }
        for model in &self.models {
            println!("{}", model.model);
            if let Some(Identity { here, there, checksums }) = &model.identity {
                println!(
                    "  identity    {there} computes the bits of {here}: {}",
                    checksums.join(", ")
                );
            }
            if let Some(cost) = &model.instructions {
                println!(
                    "  counted     {:.2} million instructions a token, {:.2} in a prompt ({}, QEMU)",
                    cost.decode / 1e6,
                    cost.prefill / 1e6,
                    cost.kernels
                );
            }
            for speed in &model.measured {
                println!(
                    "  measured    {:8} {:2} threads  {:8.2} tokens/s  {}",
                    speed.test, speed.threads, speed.tokens_per_second, speed.kernels
                );
            }
            let range = |what: &str| {
                let speed = &model.predicted[what];
                Some(format!(
                    "{:.1} to {:.1} tokens/s by {}",
                    speed["low"].as_f64()?,
                    speed["high"].as_f64()?,
                    speed["limit"].as_str()?
                ))
            };
            for what in ["prompt", "generation"] {
                let range = range(what).unwrap_or("unknown".into());
                println!("  predicted   {what}: {range}");
            }
        }
    }

    /// Prints what is not as in the report before.
    pub(super) fn print_changes(&self, last: Option<&Self>) {
        let Some(last) = last else {
            println!("there is no report before this one");
            return;
        };
        println!("compared with commit {} of {}:", last.commit, last.time);
        let mut changes = 0;
        let mut change = |what: String, before: f64, now: f64| {
            if before != now {
                changes += 1;
                println!(
                    "  {what}: {before:.2} to {now:.2} ({:+.1} %)",
                    100.0 * (now / before - 1.0)
                );
            }
        };
        for model in &self.models {
            let Some(before) = last.models.iter().find(|last| last.model == model.model) else {
                println!("  {} is new", model.model);
                continue;
            };
            if let (Some(now), Some(before)) = (&model.instructions, &before.instructions) {
                let name = &model.model;
                let million = |count: f64| count / 1e6;
                change(
                    format!("{name}, decode, million instructions"),
                    million(before.decode),
                    million(now.decode),
                );
                change(
                    format!("{name}, prefill, million instructions"),
                    million(before.prefill),
                    million(now.prefill),
                );
            }
            for now in &model.measured {
                let same = |old: &&Speed| (&old.test, old.threads) == (&now.test, now.threads);
                if let Some(old) = before.measured.iter().find(same) {
                    let what =
                        format!("{}, {} with {} threads", model.model, now.test, now.threads);
                    change(what, old.tokens_per_second, now.tokens_per_second);
                }
            }
        }
        if changes == 0 {
            println!("  nothing has changed");
        }
    }
}

/// A board's temperature, clock and throttling in words, from what `bantam doctor` says.
fn state(health: &Value) -> String {
    let system = &health["system"];
    let mut words = Vec::new();
    for sensor in system["temperatures"].as_array().into_iter().flatten() {
        words.push(format!("{} °C ({})", sensor["celsius"], text(&sensor["sensor"])));
    }
    for core in system["cores"].as_array().into_iter().flatten() {
        let name = if core["core"].is_null() { "cores" } else { text(&core["core"]) };
        words.push(format!("{} {name} at {} MHz", core["cpus"], core["mhz"]));
    }
    let throttling = system["throttling"].as_array().into_iter().flatten().map(text);
    words.extend(throttling.map(|what| format!("throttled: {what}")));
    if system["throttling_is_known"] == false {
        words.push("throttling unknown".into());
    }
    words.join(", ")
}

/// A string without its quotes.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_state_is_told_in_words() {
        let health = json!({ "system": {
            "temperatures": [{ "sensor": "cpu-thermal", "celsius": 61.5 }],
            "cores": [{ "core": "Cortex-A76", "cpus": 4, "mhz": 2400.0 }],
            "throttling": ["under-voltage"],
            "throttling_is_known": true,
        }});
        assert_eq!(
            state(&health),
            "61.5 °C (cpu-thermal), 4 Cortex-A76 at 2400.0 MHz, throttled: under-voltage"
        );
        assert_eq!(
            state(&json!({ "system": { "throttling_is_known": false }})),
            "throttling unknown"
        );
    }

    #[test]
    fn speeds_are_read_from_what_bench_prints() {
        let bench = json!({ "results": [
            { "test": "tg4", "threads": 2, "kernels": "k", "tokens_per_second": 1.5,
              "logits_checksum": "ab" },
        ]});
        let speeds = Speed::all(&bench).unwrap();
        assert_eq!((&*speeds[0].test, speeds[0].checksum.as_deref()), ("tg4", Some("ab")));
        assert!(Speed::all(&json!({ "results": [{}] })).is_err());
        assert!(Speed::all(&json!({})).is_err());
    }
}
