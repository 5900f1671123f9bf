//! `cargo xtask quant-error`: how far quantized weights are from the model's own, tensor by tensor,
//! beside what `llama-quantize` makes of the same file.
//!
//! Both programs quantize every model's F16 form, without an imatrix and with one that `bantam
//! imatrix` collects; `host/examples/quant_error.rs` sums up the errors.

use crate::accuracy::{fetched_text, output, stem_of};
use crate::cmd::Cmd;
use crate::context::Context;
use crate::models::List;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Options of `cargo xtask quant-error`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The llama-quantize to compare with
    #[arg(long, value_name = "PATH")]
    llama_quantize: PathBuf,
    /// Models to quantize, GGUF files [default: those that `cargo xtask models` fetches]
    #[arg(short, long = "model", value_name = "FILE", num_args = 1..)]
    models: Vec<PathBuf>,
    /// Formats to compare
    #[arg(long = "type", value_name = "TYPE", default_values = ["Q4_K_M", "Q5_K_M", "Q6_K"])]
    types: Vec<String>,
    /// Print a line for every tensor
    #[arg(long)]
    all: bool,
}

/// Windows of text whose activations an imatrix is collected from.
const WINDOWS: &str = "8";

/// Compares all models in all formats.
///
/// # Errors
/// When a program fails, and when a tensor's error, as the peer's search counts it, is larger.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<()> {
    let models = match options.models.as_slice() {
        [] => List::read(cx)?.models.iter().map(|m| cx.models_dir().join(&m.file)).collect(),
        models => models.to_vec(),
    };
    for path in models.iter().chain([&options.llama_quantize]) {
        ensure!(path.is_file(), "there is no file {}", path.display());
    }
    let work = cx.target_dir().join("quant-error");
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let (text, _) = fetched_text(cx, &work)?;
    let build = ["build", "--release", "--package", "bantam", "--bins", "--example", "quant_error"];
    Cmd::cargo().args(build).dir(cx.root()).run()?;
    let release = cx.target_dir().join("release");
    let (program, compare) = (release.join("bantam"), release.join("examples/quant_error"));

    let file = |name: &str| work.join(name);
    let mut larger = Vec::new();
    println!(
        "worst ratios of squared errors, ours to the peer's: as they count, plain, by its rule"
    );
    for model in &models {
        let (f16, imatrix) = (file("F16.gguf"), file("imatrix.gguf"));
        let quantize = |from: &Path, to: &Path, ty: &str| {
            Cmd::new(&program).arg("quantize").args([from, to]).args(["--type", ty])
        };
        quietly(&quantize(model, &f16, "F16").arg("--allow-requantize"))?;
        let collect = Cmd::new(&program).args(["imatrix", "--chunks", WINDOWS, "--model"]);
        quietly(&collect.arg(&f16).arg("--file").arg(&text).arg("--out").arg(&imatrix))?;
        for ty in &options.types {
            for with in [None, Some(&imatrix)] {
                let (ours, theirs) = (file("ours.gguf"), file("theirs.gguf"));
                let mut own = quantize(&f16, &ours, ty);
                let (mut peer, mut errors) =
                    (Cmd::new(&options.llama_quantize), Cmd::new(&compare));
                if let Some(imatrix) = with {
                    own = own.arg("--imatrix").arg(imatrix);
                    peer = peer.arg("--imatrix").arg(imatrix);
                    errors = errors.arg("--imatrix").arg(imatrix);
                }
                quietly(&own)?;
                quietly(&peer.args([&f16, &theirs]).arg(ty))?;
                let what = format!(
                    "{} {ty} {}",
                    stem_of(model),
                    if with.is_some() { "with importance" } else { "without" }
                );
                let compared = errors.args([&f16, &ours, &theirs]).capture()?;
                let Some(last) = compared.stdout.lines().last() else {
                    bail!("{what}: {}", compared.stderr.trim());
                };
                if options.all {
                    println!("{}", compared.stdout.trim_end());
                }
                println!("{what}: {last}");
                if !compared.ok {
                    larger.push(what);
                }
            }
        }
    }
    ensure!(larger.is_empty(), "some tensor's error is larger than the peer's: {larger:?}");
    Ok(())
}

/// Runs a program whose output is of interest only if it fails.
fn quietly(cmd: &Cmd) -> Result<()> {
    eprintln!("  $ {}", cmd.line());
    output(cmd).map(drop)
}
