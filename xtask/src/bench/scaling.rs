//! What more threads bring: Bantam alone, on one thread and on more in turns.

use super::load::Ticks;
use super::program::{Report, Settings};
use super::{Options, Series, keep, median, name_of, program, record, warn_of_others};
use crate::context::Context;
use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use std::path::Path;

/// What the project asks of two threads with a prompt, as a ratio to one.
const ASKED_OF_TWO: f64 = 1.85;
/// By how much medians differ that mean the same.
const NOISE: f64 = 0.03;

/// One model's speeds.
#[derive(Serialize)]
struct Scaling {
    model: String,
    kernels: String,
    cpu: String,
    compiler: String,
    target: String,
    commit: String,
    rounds: u16,
    used_by_others: Option<f64>,
    speeds: Vec<Speed>,
}

/// A test's speed on some threads.
#[derive(Clone, Debug, Serialize)]
struct Speed {
    test: String,
    threads: usize,
    tokens_per_second: f64,
    min: f64,
    max: f64,
    /// To one thread.
    ratio: f64,
}

/// Measures every model; the numbers of threads are 1, 2, 4 and so on, and the one asked for.
///
/// # Errors
/// When the program fails, when logits differ with the number of threads, and when a generation is
/// slower on more threads, which is said after everything was measured and recorded.
pub(super) fn run(
    cx: &Context,
    options: &Options,
    bantam: &Path,
    settings: &Settings,
) -> Result<()> {
    let commit = record::commit(cx);
    let threads = thread_counts(settings.threads);
    ensure!(threads.len() > 1, "there is one CPU; give --threads 2 or more");
    let (mut all, mut slower) = (Vec::new(), Vec::new());
    for model in &options.models {
        let scaling = measure(bantam, model, settings, options, &threads, &commit)?;
        if !options.json {
            scaling.print();
        }
        keep(cx, options, &scaling.target, &scaling.records())?;
        slower.extend(scaling.slower().map(|what| format!("{}: {what}", scaling.model)));
        all.push(scaling);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    ensure!(slower.is_empty(), "slower with more threads: {}", slower.join("; "));
    Ok(())
}

fn thread_counts(most: usize) -> Vec<usize> {
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|&n| n < most).collect();
    counts.push(most);
    counts
}

fn measure(
    bantam: &Path,
    model: &Path,
    settings: &Settings,
    options: &Options,
    threads: &[usize],
    commit: &str,
) -> Result<Scaling> {
    eprintln!("{}", model.display());
    let before = Ticks::now();
    let mut series: Vec<Series> = threads.iter().map(|_| Series::default()).collect();
    let mut about: Option<Report> = None;
    for round in 0..options.rounds {
        let mut turns: Vec<usize> = (0..threads.len()).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            let (Some(&threads), Some(series)) = (threads.get(turn), series.get_mut(turn)) else {
                continue;
            };
            let report = program::bantam(bantam, model, &Settings { threads, ..settings.clone() })?;
            series.add(report.samples())?;
            about = Some(report);
        }
    }
    let about = about.context("no round was run")?;
    let kernels = about.kernels().to_owned();
    Ok(Scaling {
        model: name_of(model),
        kernels,
        cpu: about.cpu,
        compiler: about.compiler,
        target: about.target,
        commit: commit.to_owned(),
        rounds: options.rounds,
        used_by_others: before.and_then(|before| Some(Ticks::now()?.others_since(before))),
        speeds: speeds(threads, &series)?,
    })
}

/// Test by test, from few threads to many.
fn speeds(threads: &[usize], series: &[Series]) -> Result<Vec<Speed>> {
    let mut out = Vec::new();
    let Some(Series(one_thread)) = series.first() else { return Ok(out) };
    for alone in one_thread {
        let one = median(&alone.speeds).unwrap_or_default();
        for (&threads, Series(tests)) in threads.iter().zip(series) {
            let Some(test) = tests.iter().find(|test| test.test == alone.test) else { continue };
            ensure!(
                test.checksum == alone.checksum,
                "the logits of {} differ on 1 and {threads} threads; this is a bug",
                test.test
            );
            let speed = median(&test.speeds).unwrap_or_default();
            out.push(Speed {
                test: test.test.clone(),
                threads,
                tokens_per_second: speed,
                min: test.speeds.iter().copied().fold(f64::INFINITY, f64::min),
                max: test.speeds.iter().copied().fold(0.0, f64::max),
                ratio: speed / one,
            });
        }
    }
    Ok(out)
}

impl Scaling {
    /// Generations that more threads made slower.
    fn slower(&self) -> impl Iterator<Item = String> {
        self.speeds.windows(2).filter_map(|pair| match pair {
            [few, many] if few.test == many.test && few.test.starts_with("tg") => {
                let ratio = many.tokens_per_second / few.tokens_per_second;
                let Speed { test, threads, .. } = many;
                (ratio < 1.0 - NOISE).then(|| {
                    format!("{test} on {threads} threads has {ratio:.2} of that on {}", few.threads)
                })
            }
            _ => None,
        })
    }

    fn print(&self) {
        println!(
            "\n{}, {}, medians of {} rounds; bantam {}",
            self.model, self.kernels, self.rounds, self.commit
        );
        warn_of_others(self.used_by_others);
        println!(
            "{:8}  {:>7}  {:>9}  {:>19}  {:>11}",
            "test", "threads", "tokens/s", "min … max", "of 1 thread"
        );
        for speed in &self.speeds {
            let Speed { test, threads, tokens_per_second, min, max, ratio } = speed;
            let short = test.starts_with("pp") && *threads == 2 && *ratio < ASKED_OF_TWO;
            let note = if short { format!("  asked: {ASKED_OF_TWO}") } else { String::new() };
            println!(
                "{test:8}  {threads:>7}  {tokens_per_second:>9.2}  {min:>8.2} … {max:>8.2}  \
                 {ratio:>11.2}{note}"
            );
        }
    }

    /// A line of the record for each speed; the ratio is that to one thread.
    fn records(&self) -> Vec<record::Row> {
        let row = |speed: &Speed| record::Row {
            commit: self.commit.clone(),
            compiler: self.compiler.clone(),
            cpu: self.cpu.clone(),
            model: self.model.clone(),
            program: "bantam".to_owned(),
            version: self.commit.clone(),
            kernels: self.kernels.clone(),
            threads: speed.threads,
            test: format!("scaling_{}", speed.test),
            unit: "tokens/s",
            rounds: self.rounds,
            median: speed.tokens_per_second,
            min: speed.min,
            max: speed.max,
            ratio: Some(speed.ratio),
            used_by_others: self.used_by_others,
            ..record::Row::default()
        };
        self.speeds.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Test;
    use super::*;

    fn series(pp: &[f64], tg: &[f64], checksum: &str) -> Series {
        let test = |test: &str, speeds: &[f64]| Test {
            test: test.into(),
            speeds: speeds.to_vec(),
            checksum: Some(checksum.into()),
        };
        Series(vec![test("pp8", pp), test("tg4", tg)])
    }

    #[test]
    fn counts_of_threads() {
        assert_eq!(thread_counts(1), [1]);
        assert_eq!(thread_counts(2), [1, 2]);
        assert_eq!(thread_counts(6), [1, 2, 4, 6]);
    }

    #[test]
    fn what_gets_slower_is_named() {
        let all = [
            series(&[10.0, 11.0, 12.0], &[5.0], "a"),
            series(&[22.0], &[5.0], "a"),
            series(&[21.0], &[4.0], "a"),
        ];
        let scaling = Scaling {
            model: "m".into(),
            kernels: "scalar".into(),
            cpu: String::new(),
            compiler: String::new(),
            target: String::new(),
            commit: String::new(),
            rounds: 1,
            used_by_others: None,
            speeds: speeds(&[1, 2, 4], &all).unwrap(),
        };
        let ratios: Vec<f64> = scaling.speeds.iter().map(|speed| speed.ratio).collect();
        assert_eq!(ratios, [1.0, 2.0, 21.0 / 11.0, 1.0, 1.0, 0.8]);
        let slower: Vec<String> = scaling.slower().collect();
        assert_eq!(slower, ["tg4 on 4 threads has 0.80 of that on 2"]);
        assert_eq!(scaling.records().len(), 6);
    }

    #[test]
    fn threads_must_have_the_same_logits() {
        let all = [series(&[1.0], &[1.0], "a"), series(&[1.0], &[1.0], "b")];
        assert!(speeds(&[1, 2], &all).unwrap_err().to_string().contains("differ"));
    }
}
