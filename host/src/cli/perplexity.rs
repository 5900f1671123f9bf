//! `bantam perplexity`: how well a model predicts a text, and how near it stays to another.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bantam_core::Token;
use bantam_core::gguf::Gguf;
use bantam_core::model::Model;
use clap::Args;
use serde::Serialize;

use super::progress::Progress;
use crate::error::{Error, Shown};
use crate::interrupt;
use crate::load::{self, LoadOptions};
use crate::memory::Bytes;
use crate::model_file::ModelFile;
use crate::perplexity::{self, Base, BaseReader, BaseWriter, Comparison, Spread, Summary, Windows};

/// Measure how well a model predicts a text, and how near it stays to another model
///
/// The text is cut into windows of --ctx tokens (512 unless told otherwise), each read from an
/// empty context; the tokens of a window's second half are scored. Perplexity is e to the power of
/// the mean of −ln p over them: the lower, the better. ± is one standard error.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam perplexity -m model.Q4_K_M.gguf -f text.txt
  bantam perplexity -m model.F16.gguf -f text.txt --save-base base.bin
  bantam perplexity -m model.Q4_K_M.gguf --kl-base base.bin --json

A base holds the predictions of one model, for others to be compared with: usually those of the
unquantized model, with its quantized forms compared. It has two bytes for each scored token and
each token of the vocabulary, and is laid out as `llama-perplexity --kl-divergence-base` has it.

The JSON holds `perplexity`, `nll` (its logarithm), each with an `_error` beside it, `scored` and
`windows`; and `against`, null without a base: `ratio`, `ln_ratio` and `difference` to the base's
perplexity, `correlation`, `kl` and `delta_p` with `mean` and percentiles, `delta_p_rms`, and
`same_top`.")]
pub(super) struct PerplexityArgs {
    #[command(flatten)]
    model: super::ModelArg,
    /// The text (`-` is standard input); with --kl-base it may be left out, and is the base's
    #[arg(short, long, value_name = "FILE", required_unless_present = "kl_base")]
    file: Option<PathBuf>,
    /// Windows to read at most [default: as many as the text fills]
    #[arg(long, value_name = "N", value_parser = super::count(1, MAX_WINDOWS))]
    chunks: Option<usize>,
    /// Keep all predictions in this file, as a base for others
    #[arg(long, value_name = "FILE", conflicts_with = "kl_base")]
    save_base: Option<PathBuf>,
    /// Compare with the predictions in this file
    #[arg(long, value_name = "FILE")]
    kl_base: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: super::ThreadsArg,
    #[command(flatten)]
    engine: super::EngineArgs,
}

/// Far more than any text has.
const MAX_WINDOWS: usize = 1 << 30;
/// Tokens in a window unless told otherwise.
const DEFAULT_CTX: usize = 512;
/// Positions whose logits are computed together.
const LOGITS_BATCH: usize = 64;

#[derive(Serialize)]
struct Report {
    model: String,
    model_bytes: usize,
    architecture: &'static str,
    text: Option<String>,
    base: Option<String>,
    n_ctx: usize,
    windows: usize,
    #[serde(flatten)]
    summary: Summary,
    seconds: f64,
    threads: usize,
    kernels: &'static str,
    version: &'static str,
    commit: &'static str,
}

pub(super) fn perplexity(args: &PerplexityArgs) -> Result<(), Error> {
    interrupt::watch();
    let file = args.model.open()?;
    let mut options = args.engine.options(args.threads.threads)?;
    let gguf = file.gguf()?;
    let model = Model::new(&gguf).map_err(|error| file.model_error(error))?;
    let base = args.kl_base.as_deref().map(BaseReader::open).transpose()?;
    if let Some(base) = &base {
        check_base(base, &model, &file, &options)?;
        options.ctx = Some(base.n_ctx());
    }
    let n_ctx = *options.ctx.get_or_insert(DEFAULT_CTX);
    if n_ctx < Windows::LEAST_CTX {
        return Err(Error::Usage(format!(
            "--ctx {n_ctx}: a window this short has nothing to score; give at least {}",
            Windows::LEAST_CTX
        )));
    }
    options.n_logits = LOGITS_BATCH;
    super::warn_about_context(&model, &options);
    let windows = windows(args, &file, &gguf, base.as_ref(), n_ctx)?;
    super::page_in(&file, &gguf)?;
    let mut base = match (base, &args.save_base) {
        (Some(base), _) => Base::Compare(base),
        (None, Some(path)) => {
            Base::Save(BaseWriter::create(path, &windows, model.config().n_vocab)?)
        }
        (None, None) => Base::None,
    };
    let start = Instant::now();
    let scores = load::with_engine_and_pool(&file, &model, &options, |engine, pool| {
        let mut progress = Progress::tokens("Perplexity");
        let total = windows.tokens().len() as u64;
        let (mut sum, mut n_summed) = (0.0, 0);
        perplexity::score(engine, pool, &windows, &mut base, |n_read, scores| {
            progress.set(n_read as u64, total);
            sum += scores.iter().skip(n_summed).map(|score| score.nll).sum::<f64>();
            n_summed = scores.len();
            if n_summed > 0 {
                progress.say(|| format!("Perplexity {:.4}", (sum / n_summed as f64).exp()));
            }
        })
    })?;
    let seconds = start.elapsed().as_secs_f64();
    file.check_unchanged()?;
    if let Base::Save(base) = base {
        base.finish()?;
    }
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    let report = Report {
        model: shown(file.path()),
        model_bytes: file.bytes().len(),
        architecture: model.config().family,
        text: args.file.as_deref().map(shown),
        base: args.kl_base.as_deref().map(shown),
        n_ctx,
        windows: windows.len(),
        summary: Summary::of(&scores),
        seconds,
        threads: options.threads,
        kernels: options.kernels.name(),
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("BANTAM_COMMIT"),
    };
    let mut out = io::stdout().lock();
    let written = if args.json {
        super::write_json(&mut out, &report)
    } else {
        print(&mut out, &report, &file)
    };
    written.map_err(Error::stdout)
}

/// What a base was made with must be what it is compared with.
fn check_base(
    base: &BaseReader,
    model: &Model<'_>,
    file: &ModelFile,
    options: &LoadOptions,
) -> Result<(), Error> {
    let path = Shown(base.path());
    let n_vocab = model.config().n_vocab;
    if base.n_vocab() != n_vocab {
        return Err(Error::Usage(format!(
            "--kl-base {path}: made with a model of {} tokens, while {} has {n_vocab}; give one \
             made with the same model before it was quantized",
            base.n_vocab(),
            Shown(file.path()),
        )));
    }
    match options.ctx {
        Some(n_ctx) if n_ctx != base.n_ctx() => Err(Error::Usage(format!(
            "--ctx {n_ctx}: {path} was made with windows of {} tokens; leave --ctx out",
            base.n_ctx()
        ))),
        _ => Ok(()),
    }
}

/// The windows to score: the text's, or else the base's.
fn windows(
    args: &PerplexityArgs,
    file: &ModelFile,
    gguf: &Gguf<'_>,
    base: Option<&BaseReader>,
    n_ctx: usize,
) -> Result<Windows, Error> {
    let text = args.file.as_deref().map(super::read_text).transpose()?;
    let (tokens, bos) = load::with_tokenizer(file, gguf, |tokenizer| {
        let tokens = match &text {
            Some(text) => Some(load::encode(file, tokenizer, text, true, false)?),
            None => None,
        };
        Ok((tokens, tokenizer.bos().filter(|_| tokenizer.add_bos())))
    })?;
    let most = args.chunks.unwrap_or(MAX_WINDOWS);
    if let (Some(tokens), Some(base)) = (&tokens, base) {
        check_same(tokens, base.tokens(), base, n_ctx)?;
    }
    let tokens = match base {
        Some(base) => base.tokens().to_vec(),
        None => tokens.unwrap_or_default(),
    };
    let n_tokens = tokens.len();
    let windows = Windows::new(tokens, n_ctx, most, bos);
    if windows.is_empty() {
        return Err(Error::Usage(format!(
            "--file {}: the text has {n_tokens} tokens, and a window takes {n_ctx}; give a text of \
             {n_ctx} tokens at least, or a smaller --ctx",
            Shown(args.file.as_deref().unwrap_or("".as_ref())),
        )));
    }
    Ok(windows)
}

/// A text that is given beside a base must be the one that the base was made with.
fn check_same(
    text: &[Token],
    of_base: &[Token],
    base: &BaseReader,
    n_ctx: usize,
) -> Result<(), Error> {
    let n_same = text.iter().zip(of_base).take_while(|(a, b)| a == b).count();
    if n_same == of_base.len() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--kl-base {}: made with another text or tokenizer, which differs from token {} on (in \
         window {}); leave --file out to take the base's",
        Shown(base.path()),
        n_same + 1,
        n_same / n_ctx + 1,
    )))
}

fn print(out: &mut impl Write, report: &Report, file: &ModelFile) -> io::Result<()> {
    let Report { summary, .. } = report;
    writeln!(
        out,
        "{}, {} ({})",
        Shown(file.path()),
        report.architecture,
        Bytes(report.model_bytes as u64)
    )?;
    writeln!(
        out,
        "{} windows of {} tokens, {} tokens scored, in {:.1} s",
        report.windows, report.n_ctx, summary.scored, report.seconds
    )?;
    writeln!(
        out,
        "\nperplexity       {:>10.4} ± {:.4}",
        summary.perplexity, summary.perplexity_error
    )?;
    match &summary.against {
        Some(against) => print_comparison(out, against),
        None => Ok(()),
    }
}

fn print_comparison(out: &mut impl Write, against: &Comparison) -> io::Result<()> {
    let mut row =
        |name: &str, value: f64, error: f64| writeln!(out, "{name:16} {value:>10.4} ± {error:.4}");
    row("of the base", against.base_perplexity, against.base_perplexity_error)?;
    row("ratio", against.ratio, against.ratio_error)?;
    row("ln of the ratio", against.ln_ratio, against.ln_ratio_error)?;
    row("difference", against.difference, against.difference_error)?;
    writeln!(out, "correlation      {:>10.2} %", 100.0 * against.correlation)?;
    let mut row = |name: &str, value: f64, error: f64| {
        writeln!(out, "{name:16} {:>10.3} ± {:.3} %", 100.0 * value, 100.0 * error)
    };
    row("same top token", against.same_top, against.same_top_error)?;
    row("RMS Δp", against.delta_p_rms, against.delta_p_rms_error)?;
    row("mean Δp", against.delta_p.mean, against.delta_p.mean_error)?;
    let kl = &against.kl;
    writeln!(out, "mean KL          {:>10.6} ± {:.6}", kl.mean, kl.mean_error)?;
    writeln!(out, "\n{:16} {:>10}  {:>10}", "", "KL", "Δp")?;
    type Part = (&'static str, fn(&Spread) -> f64);
    let parts: [Part; 13] = [
        ("maximum", |spread| spread.max),
        ("99.9 %", |spread| spread.p99_9),
        ("99 %", |spread| spread.p99),
        ("95 %", |spread| spread.p95),
        ("90 %", |spread| spread.p90),
        ("75 %", |spread| spread.p75),
        ("median", |spread| spread.median),
        ("25 %", |spread| spread.p25),
        ("10 %", |spread| spread.p10),
        ("5 %", |spread| spread.p5),
        ("1 %", |spread| spread.p1),
        ("0.1 %", |spread| spread.p0_1),
        ("minimum", |spread| spread.min),
    ];
    for (name, of) in parts {
        let delta = 100.0 * of(&against.delta_p);
        writeln!(out, "{name:16} {:>10.6}  {delta:>8.3} %", of(kl))?;
    }
    Ok(())
}
