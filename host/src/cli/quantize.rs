//! `bantam quantize`: a smaller file of the same model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bantam_core::kernels::KernelSet;
use bantam_core::quant::GgmlType;
use clap::Args;
use serde_json::{Map, json};

use super::progress::Progress;
use crate::error::{Error, OneLine, Shown};
use crate::imatrix::Importance;
use crate::interrupt;
use crate::memory::{Bytes, peak_rss};
use crate::model_file::ModelFile;
use crate::quantize::{self, Named, Plan, PlanOptions, Planned, Preset, WriteOptions};

/// Write a model in smaller formats
///
/// Which tensor gets which format is what llama.cpp's llama-quantize makes of the same type.
/// Formats of 256 weights need rows of as many; other rows get a format of 32, which the report
/// lists.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam quantize model.F16.gguf model.Q4_K_M.gguf --type Q4_K_M
  bantam quantize model.F16.gguf --type Q4_K_M --dry-run
  bantam quantize model.F16.gguf small.gguf --type Q4_K_S --imatrix model.imatrix.gguf
  bantam quantize model.F16.gguf mine.gguf --type Q4_0 --tensor-type 'attn_(v|k)=Q8_0' --json

Types: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K F16 BF16 F32")]
pub(super) struct QuantizeArgs {
    /// The model, a GGUF file, best one of F16, BF16 or F32 weights
    input: PathBuf,
    /// The file to write
    #[arg(required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// The mix of formats
    #[arg(long = "type", value_name = "TYPE")]
    preset: String,
    /// A format for tensors whose names match; may be given more than once, the first match counts
    #[arg(long, value_name = "REGEX=TYPE")]
    tensor_type: Vec<String>,
    /// Activation statistics, which tell weights that matter: see `bantam imatrix`
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// Give every matrix the same format
    #[arg(long)]
    pure: bool,
    /// Quantize what is quantized already, at a loss
    #[arg(long)]
    allow_requantize: bool,
    /// Go on where weights are NaN or infinite
    #[arg(long)]
    allow_nan: bool,
    /// Write nothing, report what would be
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: super::ThreadsArg,
}

pub(super) fn quantize(args: &QuantizeArgs) -> Result<(), Error> {
    let options = PlanOptions {
        preset: preset(&args.preset)?,
        named: args.tensor_type.iter().map(|text| named(text)).collect::<Result<_, _>>()?,
        pure: args.pure,
        requantize: args.allow_requantize,
    };
    interrupt::watch();
    let start = Instant::now();
    let file = ModelFile::open(&args.input)?;
    let gguf = file.gguf()?;
    let importance = args.imatrix.as_deref().map(Importance::read).transpose()?;
    let plan = Plan::new(&file, &gguf, &options, importance.as_ref())?;
    warn_about_importance(&plan, importance.as_ref());
    let output = args.output.as_deref().filter(|_| !args.dry_run);
    if let Some(output) = output {
        check_output(output, &[Some(&args.input), args.imatrix.as_deref()])?;
        let total = plan.tensors.iter().map(|tensor| tensor.from.view.bytes().len() as u64).sum();
        let mut progress = Progress::bytes("Quantizing");
        let options = WriteOptions {
            importance: importance.as_ref(),
            allow_nan: args.allow_nan,
            threads: args.threads.threads.unwrap_or_else(crate::cpu::default_threads),
            kernels: KernelSet::best(),
        };
        quantize::write(&file, &plan, output, options, |done| {
            progress.set(done, total);
            Ok(())
        })?;
    }
    let report = Report::new(&file, &plan, options.preset, output, start);
    let mut out = io::stdout().lock();
    if args.json { writeln!(out, "{:#}", report.as_json()) } else { report.print(&mut out) }
        .map_err(Error::stdout)
}

fn preset(name: &str) -> Result<Preset, Error> {
    Preset::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Preset::ALL.into_iter().map(Preset::name).collect();
        Error::Usage(format!(
            "--type {}: there is no such type; there are {}",
            OneLine(name),
            names.join(", ")
        ))
    })
}

fn named(text: &str) -> Result<Named, Error> {
    Named::parse(text)
        .map_err(|what| Error::Usage(format!("--tensor-type {}: {what}", OneLine(text))))
}

/// A file is not written over one that it is made from.
pub(super) fn check_output(output: &Path, inputs: &[Option<&Path>]) -> Result<(), Error> {
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let Some(written) = identity(output) else { return Ok(()) };
    for input in inputs.iter().flatten() {
        if identity(input) == Some(written) {
            return Err(Error::Usage(format!(
                "{}: this is the input {}; name another output",
                Shown(output),
                Shown(input)
            )));
        }
    }
    Ok(())
}

/// Says so if weights are quantized without knowing what matters. Embeddings always are: nothing
/// is multiplied with them, or, as heads, with rows that are not counted.
fn warn_about_importance(plan: &Plan<'_>, importance: Option<&Importance>) {
    let Some(importance) = importance else { return };
    let mut unknown = plan.tensors.iter().filter(|tensor| {
        let name = tensor.from.name;
        let block = tensor.to.ty.block_elems();
        tensor.is_converted()
            && block > 1
            && name.starts_with("blk.")
            && importance.of(name).is_none()
    });
    if let Some(first) = unknown.next() {
        super::say(format_args!(
            "warning: {} knows nothing of {} of the tensors, such as {}; these are quantized \
             without",
            Shown(importance.path()),
            1 + unknown.count(),
            OneLine(first.from.name)
        ));
    }
}

/// What was done, or would be.
struct Report<'a> {
    input: &'a Path,
    output: Option<&'a Path>,
    preset: Preset,
    original_bytes: u64,
    quantized_bytes: u64,
    /// Bits of each weight, before and after.
    bits: [f64; 2],
    seconds: f64,
    formats: BTreeMap<GgmlType, usize>,
    fallbacks: Vec<&'a Planned<'a>>,
    n_tensors: usize,
}

impl<'a> Report<'a> {
    fn new(
        file: &'a ModelFile,
        plan: &'a Plan<'a>,
        preset: Preset,
        output: Option<&'a Path>,
        start: Instant,
    ) -> Self {
        let (mut formats, mut fallbacks) = (BTreeMap::new(), Vec::new());
        let (mut n_elems, mut before, mut after) = (0, 0, 0);
        for tensor in &plan.tensors {
            *formats.entry(tensor.to.ty).or_default() += 1;
            if tensor.to.instead_of.is_some() {
                fallbacks.push(tensor);
            }
            let spec = tensor.spec();
            n_elems += spec.n_elements().unwrap_or(0);
            before += tensor.from.view.bytes().len() as u64;
            after += spec.bytes().unwrap_or(0);
        }
        let original_bytes = file.bytes().len() as u64;
        let written = output.and_then(|output| fs::metadata(output).ok()).map(|file| file.len());
        let bits = |bytes: u64| 8.0 * bytes as f64 / (n_elems as f64).max(1.0);
        Self {
            input: file.path(),
            output,
            preset,
            original_bytes,
            // Before it is written: what is not tensors hardly changes.
            quantized_bytes: written.unwrap_or(original_bytes.saturating_sub(before) + after),
            bits: [before, after].map(bits),
            seconds: start.elapsed().as_secs_f64(),
            formats,
            fallbacks,
            n_tensors: plan.tensors.len(),
        }
    }

    /// How much smaller the file is, in percent.
    fn reduction(&self) -> f64 {
        100.0 * (1.0 - self.quantized_bytes as f64 / self.original_bytes.max(1) as f64)
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        match self.output {
            Some(output) => {
                writeln!(
                    out,
                    "{} -> {}: {}",
                    Shown(self.input),
                    Shown(output),
                    self.preset.name()
                )?;
            }
            None => {
                let name = self.preset.name();
                writeln!(out, "{} as {name}, nothing written:", Shown(self.input))?;
            }
        }
        let mut row = |name, text: String| writeln!(out, "  {name:10} {text}");
        let size = |bytes, bits| format!("{:8.3} GB {bits:6.2} bits per weight", gb(bytes));
        row("original", size(self.original_bytes, self.bits[0]))?;
        row("quantized", size(self.quantized_bytes, self.bits[1]))?;
        row("reduction", format!("{:8.1} %", self.reduction()))?;
        if self.output.is_some() {
            let memory = peak_rss().map(|peak| format!(", in at most {} of memory", Bytes(peak)));
            row("time", format!("{:8.1} s{}", self.seconds, memory.unwrap_or_default()))?;
        }
        let formats = self.formats.iter().map(|(ty, n)| format!("{n} {ty}"));
        row("tensors", formats.collect::<Vec<_>>().join(", "))?;
        if self.fallbacks.is_empty() {
            return Ok(());
        }
        let n = self.fallbacks.len();
        row("fallbacks", format!("{n} of {} tensors:", self.n_tensors))?;
        let mut groups: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for tensor in &self.fallbacks {
            let wanted = tensor.to.instead_of.unwrap_or(tensor.to.ty);
            let group = (wanted, tensor.to.ty, tensor.from.view.n_cols());
            groups.entry(group).or_default().insert(without_layer(tensor.from.name));
        }
        for ((from, to, n_cols), names) in groups {
            let names: Vec<_> = names.iter().map(|name| OneLine(name).to_string()).collect();
            writeln!(out, "    {from} -> {to}, {}: {}", reason(from, n_cols), names.join(", "))?;
        }
        Ok(())
    }

    fn as_json(&self) -> serde_json::Value {
        let formats: Map<_, _> =
            self.formats.iter().map(|(ty, n)| (ty.name().into(), json!(n))).collect();
        let fallbacks = self.fallbacks.iter().map(|tensor| {
            let from = tensor.to.instead_of.unwrap_or(tensor.to.ty);
            json!({
                "tensor": tensor.from.name,
                "from": from.name(),
                "to": tensor.to.ty.name(),
                "reason": reason(from, tensor.from.view.n_cols()),
            })
        });
        json!({
            "input": self.input.to_string_lossy(),
            "output": self.output.map(Path::to_string_lossy),
            "quantization": self.preset.name(),
            "original_gb": gb(self.original_bytes),
            "quantized_gb": gb(self.quantized_bytes),
            "reduction": self.reduction(),
            "original_bits_per_weight": self.bits[0],
            "bits_per_weight": self.bits[1],
            "seconds": self.seconds,
            "peak_rss_bytes": peak_rss(),
            "tensors": formats,
            "fallbacks": fallbacks.collect::<Vec<_>>(),
        })
    }
}

/// A tensor's name with any layer in place of its own.
fn without_layer(name: &str) -> String {
    let rest = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    rest.map_or_else(|| name.into(), |(_, rest)| format!("blk.*.{rest}"))
}

fn reason(from: GgmlType, n_cols: usize) -> String {
    format!("as rows of {n_cols} are not made of blocks of {}", from.block_elems())
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}
