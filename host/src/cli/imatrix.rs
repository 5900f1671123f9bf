//! `bantam imatrix`: which weights of a model matter.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use bantam_core::Token;
use bantam_core::engine::{Engine, Step};
use bantam_core::model::{MAX_CTX, Model};
use clap::Args;
use serde_json::json;

use super::progress::Progress;
use super::quantize::check_output;
use crate::error::{Error, Shown};
use crate::generate::engine_error;
use crate::imatrix::{Chunks, Statistics};
use crate::interrupt;
use crate::load::{self, LoadOptions};

/// Collect what a model's weights are multiplied with, for `quantize --imatrix`
///
/// The model reads a text in chunks, each by itself, and the mean square of what each column of
/// each matrix was multiplied with is written, as a file that llama-quantize reads as well. Take
/// a text like those the model is for, of 100 chunks or so, and the best weights there are.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam imatrix -m model.F16.gguf --file text.txt --out model.imatrix.gguf
  bantam imatrix -m model.F16.gguf --file text.txt --out model.imatrix.gguf --chunks 20 --json")]
pub(super) struct ImatrixArgs {
    #[command(flatten)]
    model: super::ModelArg,
    /// The text (`-` is standard input)
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE.gguf")]
    out: PathBuf,
    /// Tokens of a chunk
    #[arg(short = 'c', long, value_name = "N", default_value = "512", value_parser = super::count(2, MAX_CTX))]
    ctx: usize,
    /// Read so many chunks at most [default: all of the text]
    #[arg(long, value_name = "N", value_parser = super::count(1, usize::MAX))]
    chunks: Option<usize>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: super::ThreadsArg,
}

pub(super) fn imatrix(args: &ImatrixArgs) -> Result<(), Error> {
    interrupt::watch();
    let start = Instant::now();
    let file = args.model.open()?;
    check_output(&args.out, &[Some(file.path()), Some(&args.file)])?;
    let gguf = file.gguf()?;
    let model = Model::new(&gguf).map_err(|error| file.model_error(error))?;
    let text = super::read_text(&args.file)?;
    let (tokens, first) = load::with_tokenizer(&file, &gguf, |tokenizer| {
        let first = tokenizer.bos().filter(|_| tokenizer.add_bos());
        Ok((load::encode(&file, tokenizer, &text, true, false)?, first))
    })?;
    let chunks = Chunks {
        n: (tokens.len() / args.ctx).min(args.chunks.unwrap_or(usize::MAX)),
        size: args.ctx,
    };
    if chunks.n == 0 {
        return Err(Error::Usage(format!(
            "{}: its {} tokens make no chunk of {}; give a longer text, or a smaller --ctx",
            Shown(&args.file),
            tokens.len(),
            args.ctx
        )));
    }
    let threads = args.threads.threads.unwrap_or_else(crate::cpu::default_threads);
    let options = LoadOptions { ctx: Some(args.ctx), threads, ..LoadOptions::default() };
    super::warn_about_context(&model, &options);
    super::page_in(&file, &gguf)?;
    let mut statistics = Statistics::new(&model);
    load::with_engine(&file, &model, &options, |engine| {
        collect(&mut statistics, engine, tokens.chunks_exact(args.ctx).take(chunks.n), first)
    })?;
    file.check_unchanged()?;
    if !statistics.are_finite() {
        return Err(file.model_error("it computes numbers that are none; its weights are broken"));
    }
    statistics.write(&args.out, &gguf, &args.file.to_string_lossy(), chunks)?;
    let (n, tokens) = (statistics.n_matrices(&gguf), chunks.n * chunks.size);
    let seconds = start.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    if args.json {
        let report = json!({
            "model": file.path().to_string_lossy(),
            "output": args.out.to_string_lossy(),
            "tensors": n,
            "chunks": chunks.n,
            "tokens": tokens,
            "seconds": seconds,
        });
        writeln!(out, "{report:#}")
    } else {
        writeln!(
            out,
            "{}: {n} tensors, from {tokens} tokens in {} chunks of {}, in {seconds:.1} s",
            Shown(&args.out),
            chunks.n,
            chunks.size
        )
    }
    .map_err(Error::stdout)
}

/// Has the engine read the chunks, each as a text of its own, which begins with `first`.
fn collect<'t>(
    statistics: &mut Statistics,
    engine: &mut Engine<'_, '_>,
    chunks: impl ExactSizeIterator<Item = &'t [Token]>,
    first: Option<Token>,
) -> Result<(), Error> {
    let mut progress = Progress::tokens("Collecting statistics");
    let (total, mut done) = (chunks.len(), 0);
    for chunk in chunks {
        let mut tokens = chunk.to_vec();
        if let (Some(place), Some(first)) = (tokens.first_mut(), first) {
            *place = first;
        }
        engine.truncate(0).map_err(engine_error)?;
        engine.start(&tokens).map_err(engine_error)?;
        let mut observe = |stage, values: &[f32]| statistics.observe(stage, values);
        while engine.step_observed(&mut observe) == Step::Working {
            interrupt::check()?;
        }
        done += chunk.len();
        progress.set(done as u64, (total * chunk.len()) as u64);
    }
    Ok(())
}
