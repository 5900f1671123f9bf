//! `bantam bench`: speed, for records and comparisons.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use bantam_core::Token;
use bantam_core::engine::{Engine, Step};
use bantam_core::model::Model;
use clap::Args;
use serde::Serialize;

use super::progress::Progress;
use crate::error::{Error, Shown};
use crate::generate::engine_error;
use crate::load::{self, LoadOptions};
use crate::memory::{Bytes, peak_rss};
use crate::model_file::ModelFile;
use crate::{cpu, interrupt};

/// Measure prompt and generation speed
///
/// `ppN` reads a prompt of N tokens into an empty context; `tgN` generates N tokens after a
/// context of one. With --depth D both begin with D tokens in the context, and are called `ppN@dD`
/// and `tgN@dD`. Each is run once to warm up and then --repeat times; the figure is the median.
/// The logits of every run must be finite and the same, bit for bit, in all runs and with any
/// number of threads: a benchmark of a wrong result ends with an error.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam bench -m model.gguf
  bantam bench -m model.gguf -p 512 -n 128 -t 1,2 --json > record.json
  bantam bench -m model.gguf -p 0 -n 64 --kernels scalar
  bantam bench -m model.gguf -p 0 -n 64 -d 64,4096 --cache q8_0

The JSON holds `results`, a list of objects with `test` (pp512, tg128), `tokens_per_second` (the
median; `min` and `max` beside it), `threads` and `kernels`; and about the run `model`,
`model_bytes`, `load_seconds`, `time_to_first_token_seconds` (load, prompt of the first -p,
first token), `peak_rss_bytes`, `cpu`, `version`, `commit`, `compiler`, `target`.")]
pub(super) struct BenchArgs {
    #[command(flatten)]
    model: super::ModelArg,
    /// Tokens of the prompts; 0 leaves the test out
    #[arg(short, long, value_name = "N,...", value_delimiter = ',', default_value = "512",
        value_parser = super::count(0, MAX_TOKENS))]
    prompt: Vec<usize>,
    /// Tokens to generate; 0 leaves the test out
    #[arg(short = 'n', long, value_name = "N,...", value_delimiter = ',', default_value = "128",
        value_parser = super::count(0, MAX_TOKENS))]
    generate: Vec<usize>,
    /// Tokens that are in the context before a test begins
    #[arg(short, long, value_name = "N,...", value_delimiter = ',', default_value = "0",
        value_parser = super::count(0, MAX_TOKENS))]
    depth: Vec<usize>,
    /// Numbers of threads [default: as for `run`]
    #[arg(short, long, value_name = "N,...", value_delimiter = ',',
        value_parser = super::count(1, 1024))]
    threads: Vec<usize>,
    /// Measured runs of each test
    #[arg(short, long, value_name = "N", default_value = "3", value_parser = super::count(1, 1000))]
    repeat: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: super::EngineArgs,
}

/// Longer tests say nothing that shorter ones do not.
const MAX_TOKENS: usize = 1 << 17;

#[derive(Serialize)]
struct Report {
    model: String,
    model_bytes: usize,
    architecture: &'static str,
    load_seconds: f64,
    time_to_first_token_seconds: Option<f64>,
    peak_rss_bytes: Option<u64>,
    cpu: String,
    version: &'static str,
    commit: &'static str,
    compiler: &'static str,
    target: &'static str,
    results: Vec<TestResult>,
}

#[derive(Serialize)]
struct TestResult {
    test: String,
    tokens_per_second: f64,
    min: f64,
    max: f64,
    repeats: usize,
    threads: usize,
    kernels: &'static str,
    batch: usize,
    /// Of the last logits, the same for every number of threads and set of kernels.
    logits_checksum: String,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Test {
    kind: Kind,
    n_tokens: usize,
    /// Tokens in the context before it begins.
    depth: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Prompt,
    Generate,
}

impl Test {
    fn name(self) -> String {
        let kind = match self.kind {
            Kind::Prompt => "pp",
            Kind::Generate => "tg",
        };
        let depth = if self.depth > 0 { format!("@d{}", self.depth) } else { String::new() };
        format!("{kind}{}{depth}", self.n_tokens)
    }

    /// Tokens that are taken in before the clock starts: generation follows at least one.
    fn n_before(self) -> usize {
        match self.kind {
            Kind::Prompt => self.depth,
            Kind::Generate => self.depth.max(1),
        }
    }

    /// Tokens of context.
    fn n_ctx(self) -> usize {
        self.n_before() + self.n_tokens
    }
}

pub(super) fn bench(args: &BenchArgs) -> Result<(), Error> {
    interrupt::watch();
    let start = Instant::now();
    let mut tests = Vec::new();
    for &depth in &args.depth {
        for (kind, counts) in [(Kind::Prompt, &args.prompt), (Kind::Generate, &args.generate)] {
            let counts = counts.iter().filter(|&&n| n > 0);
            tests.extend(counts.map(|&n_tokens| Test { kind, n_tokens, depth }));
        }
    }
    let Some(needed) = tests.iter().map(|test| test.n_ctx()).max() else {
        return Err(Error::Usage("nothing to measure; give -p or -n a number over 0".into()));
    };
    let mut options = args.engine.options(None)?;
    let n_ctx = *options.ctx.get_or_insert(needed);
    if n_ctx < needed {
        return Err(Error::Usage(format!(
            "--ctx {n_ctx} is too small for these tests, which need {needed}; leave it out"
        )));
    }
    let file = args.model.open()?;
    let gguf = file.gguf()?;
    let model = Model::new(&gguf).map_err(|error| file.model_error(error))?;
    super::warn_about_context(&model, &options);
    super::page_in(&file, &gguf)?;

    let mut bench = Bench { file: &file, repeat: args.repeat, results: Vec::new() };
    let mut timing = Timing { start, load: None, first_token: None };
    let threads = match args.threads.as_slice() {
        [] => vec![options.threads],
        threads => threads.to_vec(),
    };
    for threads in threads {
        options.threads = threads;
        load::with_engine(&file, &model, &options, |engine| {
            bench.run(engine, &tests, &options, &mut timing)
        })?;
    }
    file.check_unchanged()?;
    let report = Report {
        model: file.path().to_string_lossy().into_owned(),
        model_bytes: file.bytes().len(),
        architecture: model.config().family,
        load_seconds: timing.load.unwrap_or_default().as_secs_f64(),
        time_to_first_token_seconds: timing.first_token.map(|time| time.as_secs_f64()),
        peak_rss_bytes: peak_rss(),
        cpu: cpu::name(),
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("BANTAM_COMMIT"),
        compiler: env!("BANTAM_COMPILER"),
        target: env!("BANTAM_TARGET"),
        results: bench.results,
    };
    let mut out = io::stdout().lock();
    let written = if args.json {
        super::write_json(&mut out, &report)
    } else {
        print(&mut out, &report, &file)
    };
    written.map_err(Error::stdout)
}

/// What is measured on the way, once: from the program's start.
struct Timing {
    start: Instant,
    load: Option<Duration>,
    first_token: Option<Duration>,
}

struct Bench<'f> {
    file: &'f ModelFile,
    repeat: usize,
    results: Vec<TestResult>,
}

impl Bench<'_> {
    fn run(
        &mut self,
        engine: &mut Engine<'_, '_>,
        tests: &[Test],
        options: &LoadOptions,
        timing: &mut Timing,
    ) -> Result<(), Error> {
        timing.load.get_or_insert_with(|| timing.start.elapsed());
        for &test in tests {
            let runs = self.repeat + 1;
            let total = (runs * test.n_tokens) as u64;
            let mut progress = Progress::tokens("Measuring");
            let mut speeds = Vec::new();
            let mut checksum = None;
            for run in 0..runs {
                let done = run * test.n_tokens;
                let (time, sum) = run_once(engine, test, |n_tokens| {
                    progress.set((done + n_tokens) as u64, total)
                })?;
                if test.kind == Kind::Prompt && test.depth == 0 {
                    timing.first_token.get_or_insert_with(|| timing.start.elapsed());
                }
                // The first run fills caches and wakes the clock.
                if run > 0 {
                    speeds.push(test.n_tokens as f64 / time.as_secs_f64());
                }
                if *checksum.get_or_insert(sum) != sum {
                    return Err(self.differ(test, options, "from run to run"));
                }
            }
            drop(progress);
            speeds.sort_by(f64::total_cmp);
            let result = TestResult {
                test: test.name(),
                tokens_per_second: median(&speeds),
                min: speeds.first().copied().unwrap_or_default(),
                max: speeds.last().copied().unwrap_or_default(),
                repeats: speeds.len(),
                threads: options.threads,
                kernels: options.kernels.name(),
                batch: options.batch,
                logits_checksum: format!("{:016x}", checksum.unwrap_or_default()),
            };
            let same_test = self.results.iter().find(|other| other.test == result.test);
            if same_test.is_some_and(|other| other.logits_checksum != result.logits_checksum) {
                return Err(self.differ(test, options, "with the number of threads"));
            }
            self.results.push(result);
        }
        Ok(())
    }

    /// The one thing that must never happen.
    fn differ(&self, test: Test, options: &LoadOptions, how: &str) -> Error {
        Error::Engine(format!(
            "{}: the logits of {} differ {how} ({} threads, {}); this is a bug in bantam, please \
             report it",
            Shown(self.file.path()),
            test.name(),
            options.threads,
            options.kernels.name(),
        ))
    }
}

/// Runs a test and returns the time and a checksum of the last logits.
///
/// The context before it is taken over from the run before where that left it.
fn run_once(
    engine: &mut Engine<'_, '_>,
    test: Test,
    mut progress: impl FnMut(usize),
) -> Result<(Duration, u64), Error> {
    let mut tokens = TestTokens { state: 1, n_vocab: engine.config().n_vocab };
    let before: Vec<Token> = tokens.by_ref().take(test.n_before()).collect();
    let kept = before.iter().zip(engine.tokens()).take_while(|(a, b)| a == b).count();
    engine.truncate(kept).map_err(engine_error)?;
    let mut take_in = |engine: &mut Engine<'_, '_>, prompt: &[Token], n_before: Option<usize>| {
        if prompt.is_empty() {
            return Ok(());
        }
        engine.start(prompt).map_err(engine_error)?;
        while engine.step() == Step::Working {
            interrupt::check()?;
            if let Some(n_before) = n_before {
                progress(engine.pos().saturating_sub(n_before));
            }
        }
        Ok(())
    };
    take_in(engine, before.get(kept..).unwrap_or(&[]), None)?;
    let start = match test.kind {
        Kind::Prompt => {
            let prompt: Vec<Token> = tokens.by_ref().take(test.n_tokens).collect();
            let start = Instant::now();
            take_in(engine, &prompt, Some(before.len()))?;
            start
        }
        Kind::Generate => {
            let start = Instant::now();
            for (i, token) in tokens.take(test.n_tokens).enumerate() {
                engine.decode(token).map_err(engine_error)?;
                interrupt::check()?;
                progress(i);
            }
            start
        }
    };
    let time = start.elapsed();
    let logits = engine.logits();
    if let Some(index) = logits.iter().position(|logit| !logit.is_finite()) {
        return Err(Error::Engine(format!(
            "{}: the logit of token {index} is {}; the model or this program is broken",
            test.name(),
            logits.get(index).copied().unwrap_or(f32::NAN),
        )));
    }
    Ok((time, checksum(logits)))
}

/// Varied tokens, the same ones every time. Speed does not depend on which.
struct TestTokens {
    state: u32,
    n_vocab: usize,
}

impl Iterator for TestTokens {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        // A full-period linear congruential generator; its upper bits are good enough.
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let n_vocab = self.n_vocab as u64;
        Some(((u64::from(self.state) * n_vocab) >> 32) as Token)
    }
}

/// FNV-1a over the bits.
fn checksum(logits: &[f32]) -> u64 {
    logits
        .iter()
        .flat_map(|logit| logit.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Of sorted values.
fn median(values: &[f64]) -> f64 {
    let middle = |i: usize| values.get(i).copied().unwrap_or_default();
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        middle(half)
    } else {
        (middle(half.saturating_sub(1)) + middle(half)) / 2.0
    }
}

fn print(out: &mut impl Write, report: &Report, file: &ModelFile) -> io::Result<()> {
    writeln!(
        out,
        "{}, {} ({})",
        Shown(file.path()),
        report.architecture,
        Bytes(report.model_bytes as u64)
    )?;
    writeln!(out, "{}, bantam {} ({})", report.cpu, report.version, report.commit)?;
    write!(out, "loaded in {:.3} s", report.load_seconds)?;
    if let Some(time) = report.time_to_first_token_seconds {
        write!(out, ", first token after {time:.3} s")?;
    }
    if let Some(peak) = report.peak_rss_bytes {
        let share = peak as f64 / report.model_bytes as f64;
        write!(out, ", peak memory {} ({share:.2} of the file)", Bytes(peak))?;
    }
    writeln!(
        out,
        "\n\n{:12}  {:>7}  {:20}  {:>10}  {:>17}",
        "test", "threads", "kernels", "tokens/s", "min … max"
    )?;
    for result in &report.results {
        writeln!(
            out,
            "{:12}  {:>7}  {:20}  {:>10.2}  {:>8.2} … {:.2}",
            result.test,
            result.threads,
            result.kernels,
            result.tokens_per_second,
            result.min,
            result.max,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[1.0, 2.0, 10.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 10.0]), 3.0);
        assert_eq!(median(&[7.0]), 7.0);
    }

    #[test]
    fn test_tokens_are_in_the_vocabulary_and_varied() {
        let mut tokens: Vec<Token> = TestTokens { state: 1, n_vocab: 1000 }.take(500).collect();
        assert!(tokens.iter().all(|&token| token < 1000));
        tokens.sort_unstable();
        tokens.dedup();
        assert!(tokens.len() > 350, "{}", tokens.len());
    }
}
