//! `bantam convert`: from a folder as Hugging Face publishes models to a GGUF file.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::progress::Progress;
use crate::convert::{OutputType, Report};
use crate::error::{Error, OneLine, Shown};
use crate::interrupt;

/// Make a GGUF file from a Hugging Face model
///
/// The folder holds config.json, the weights as one or several safetensors files, and the
/// tokenizer (tokenizer.model or tokenizer.json). Families: llama (also Mistral, SmolLM,
/// TinyLlama), qwen2, qwen3, gemma3 (its text part).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam convert SmolLM2-135M-Instruct smollm2.gguf
  bantam convert Qwen3-0.6B qwen3.gguf --type q8_0
  bantam convert gemma-3-270m-it gemma.gguf --type f32 --json")]
pub(super) struct ConvertArgs {
    /// The model's folder
    #[arg(value_name = "HF_DIR")]
    folder: PathBuf,
    /// The file to write; it appears when it is whole and was found to run
    #[arg(value_name = "OUT.gguf")]
    out: PathBuf,
    /// How matrices are stored [default: as config.json's torch_dtype says, bf16 or else f16]
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    ty: Option<Type>,
    /// Say what was made as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    /// Single floats
    F32,
    /// Half floats
    F16,
    /// The upper halves of single floats
    Bf16,
    /// 8-bit integers with a scale for each 32
    #[value(name = "q8_0")]
    Q8_0,
}

impl From<Type> for OutputType {
    fn from(ty: Type) -> Self {
        match ty {
            Type::F32 => Self::F32,
            Type::F16 => Self::F16,
            Type::Bf16 => Self::Bf16,
            Type::Q8_0 => Self::Q8_0,
        }
    }
}

pub(super) fn convert(args: &ConvertArgs) -> Result<(), Error> {
    interrupt::watch();
    let start = Instant::now();
    let mut bar = Progress::bytes("Converting");
    let ty = args.ty.map(OutputType::from);
    let report = crate::convert::convert(&args.folder, &args.out, ty, &mut |done, total| {
        bar.set(done, total);
        interrupt::check()
    })?;
    drop(bar);
    let seconds = start.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    let written = if args.json {
        super::write_json(&mut out, &as_json(args, &report, seconds))
    } else {
        write_text(&mut out, args, &report, seconds)
    };
    written.map_err(Error::stdout)
}

fn write_text(
    out: &mut dyn Write,
    args: &ConvertArgs,
    report: &Report,
    seconds: f64,
) -> io::Result<()> {
    let (model, pre) = report.tokenizer;
    writeln!(
        out,
        "{}: {} tensors, {:.1} MB, in {seconds:.1} s",
        Shown(&args.out),
        report.n_tensors,
        report.bytes as f64 / 1e6
    )?;
    writeln!(out, "Family     {}", report.family)?;
    writeln!(out, "Tokenizer  {model} ({pre}), {} tokens", report.n_vocab)?;
    writeln!(out, "Type       {} ({})", report.ty.name(), report.ty_reason)?;
    if let Some(first) = report.as_f16.first() {
        writeln!(
            out,
            "As F16     {} matrices whose rows are no whole blocks, such as {}",
            report.as_f16.len(),
            OneLine(first)
        )?;
    }
    if report.unused > 0 {
        writeln!(out, "Left out   {} tensors that a text model has no use for", report.unused)?;
    }
    Ok(())
}

fn as_json(args: &ConvertArgs, report: &Report, seconds: f64) -> serde_json::Value {
    json!({
        "out": args.out.to_string_lossy(),
        "family": report.family,
        "tokenizer": {
            "model": report.tokenizer.0,
            "pre": report.tokenizer.1,
            "tokens": report.n_vocab,
        },
        "type": report.ty.name(),
        "type_reason": report.ty_reason,
        "tensors": report.n_tensors,
        "as_f16": report.as_f16,
        "left_out": report.unused,
        "bytes": report.bytes,
        "seconds": seconds,
    })
}
