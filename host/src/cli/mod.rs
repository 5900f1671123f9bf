//! The command line: what can be asked for, and how an end is reported.

mod answer;
mod bench;
mod chat;
mod completions;
mod convert;
mod doctor;
mod fit;
mod imatrix;
mod inspect;
mod intent;
mod lines;
mod logits;
mod perplexity;
mod progress;
mod quantize;
mod run;
mod serial;
mod tokenize;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bantam_core::cache::CacheType;
use bantam_core::gguf::Gguf;
use bantam_core::kernels::KernelSet;
use bantam_core::model::{MAX_CTX, Model};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::{Error, exit};
use crate::interrupt;
use crate::load::LoadOptions;
use crate::memory::SystemMemory;
use crate::model_file::ModelFile;

const EXAMPLES: &str = "\
Examples:
  bantam intent 'dim the lights to forty percent'   a sentence to a device command, in JSON
  bantam run -m model.gguf                          chat with a model
  bantam run -m model.gguf -p 'Why is the sky blue?'
  bantam run -m model.gguf --raw -p 'Once upon a time' -n 64 --temp 0
  bantam inspect model.gguf                         what is in a file, and the memory it needs
  bantam convert HF_DIR model.gguf --type q8_0      make a file from a Hugging Face model
  bantam bench -m model.gguf -p 512 -n 128 --json   measure, for a record
  bantam perplexity -m model.gguf -f text.txt       how well it predicts a text
  bantam quantize model.F16.gguf small.gguf --type Q4_K_M
  bantam fit --board pi5 --params 1.5B --type Q4_0  whether it fits there, and how fast
  bantam doctor                                     what slows this machine down
  bantam serial /dev/ttyACM0 'lights on'            ask the model in a board's flash

Exit codes:
  0    done (also when whoever read the output stopped reading)
  1    a failure while running, such as a full disk or too little memory
  2    the command line is wrong
  3    the model file is malformed, not supported, or changed while in use
  4    a file cannot be opened or read
  5    the prompt does not fit into the context
  6    a board at a serial line gives no answer, or refuses to
  130  interrupted by Ctrl-C";

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("BANTAM_COMMIT"),
    ", ",
    env!("BANTAM_TARGET"),
    ", ",
    env!("BANTAM_COMPILER"),
    ")"
);

/// Runs GGUF language models, in place and in bounded memory.
#[derive(Parser)]
#[command(
    name = "bantam",
    version = VERSION,
    after_help = EXAMPLES,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::RunArgs),
    Intent(intent::IntentArgs),
    Inspect(inspect::InspectArgs),
    Tokenize(tokenize::TokenizeArgs),
    Logits(logits::LogitsArgs),
    Bench(bench::BenchArgs),
    Convert(convert::ConvertArgs),
    Perplexity(perplexity::PerplexityArgs),
    Quantize(quantize::QuantizeArgs),
    Imatrix(imatrix::ImatrixArgs),
    Fit(fit::FitArgs),
    Doctor(doctor::DoctorArgs),
    Serial(serial::SerialArgs),
    Completions(completions::CompletionsArgs),
}

/// Parses the command line, does what it says and returns how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    report_panics_in_one_line();
    let outcome = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Intent(args) => intent::intent(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Tokenize(args) => tokenize::tokenize(&args),
        Command::Logits(args) => logits::logits(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Convert(args) => convert::convert(&args),
        Command::Perplexity(args) => perplexity::perplexity(&args),
        Command::Quantize(args) => quantize::quantize(&args),
        Command::Imatrix(args) => imatrix::imatrix(&args),
        Command::Fit(args) => fit::fit(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Serial(args) => serial::serial(&args),
        Command::Completions(args) => completions::completions(&args),
    };
    let flushed = io::stdout().flush().map_err(Error::stdout);
    match outcome.and(flushed) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            match error {
                Error::BrokenPipe => {}
                // Ctrl-C was the user's own doing.
                Error::Interrupted => {}
                _ => say(format_args!("error: {error}")),
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Writes a line to standard error; if nobody listens there, there is nobody to tell.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a report as JSON, and a line end.
fn write_json(out: &mut dyn Write, report: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report).map_err(io::Error::from)?;
    writeln!(out)
}

/// A panic is a fault in this program; it says so in one line, with the place.
fn report_panics_in_one_line() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload();
        let what = what
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| what.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("unknown");
        let what = crate::error::OneLine(what);
        say(format_args!(
            "error: internal fault at {place}: {what}; this is a bug in bantam, please report it"
        ));
    }));
}

/// The command tree, for completions.
fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Which model.
#[derive(Args, Debug)]
struct ModelArg {
    /// The model, a GGUF file
    #[cfg_attr(feature = "bundled", doc = "[default: the bundled one, for device commands]")]
    #[arg(short, long, value_name = "FILE", env = "BANTAM_MODEL")]
    model: Option<PathBuf>,
}

impl ModelArg {
    fn open(&self) -> Result<ModelFile, Error> {
        open_model(self.model.as_deref())
    }
}

/// Opens the file at `path`; without one, the bundled model, and says so.
fn open_model(path: Option<&Path>) -> Result<ModelFile, Error> {
    if let Some(path) = path {
        return ModelFile::open(path);
    }
    #[cfg(feature = "bundled")]
    {
        let file = ModelFile::bundled();
        say(format_args!("model: {}", crate::error::Shown(file.path())));
        Ok(file)
    }
    #[cfg(not(feature = "bundled"))]
    Err(Error::Usage(
        "no model given; pass --model FILE.gguf (`cargo xtask models` fetches two small ones into \
         models/)"
            .into(),
    ))
}

/// How the engine is set up.
#[derive(Args, Debug)]
#[command(next_help_heading = "Engine")]
struct EngineArgs {
    /// Tokens of context: prompt and answer together [default: what the model was trained for,
    /// at most 4096]
    #[arg(short = 'c', long, value_name = "N", value_parser = count(1, MAX_CTX))]
    ctx: Option<usize>,
    /// Tokens of a prompt that are worked on together
    #[arg(short, long, value_name = "N", default_value = "512", value_parser = count(1, MAX_CTX))]
    batch: usize,
    /// Kernel set, such as `scalar`; results do not depend on it [default: the fastest one that
    /// this CPU runs]
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,
    /// How the context's keys and values are stored
    #[arg(long, value_enum, default_value_t = Cache::F16)]
    cache: Cache,
}

/// How many threads.
#[derive(Args, Debug)]
#[command(next_help_heading = "Engine")]
struct ThreadsArg {
    /// Threads; results do not depend on it [default: one for each fast physical core that this
    /// process may use]
    #[arg(short, long, value_name = "N", value_parser = count(1, 1024))]
    threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Cache {
    /// Half floats
    F16,
    /// Single floats, for comparisons
    F32,
    /// Integers of 8 bits with a scale for each 32: half the memory of `f16`
    #[value(name = "q8_0")]
    Q8_0,
}

impl EngineArgs {
    fn options(&self, threads: Option<usize>) -> Result<LoadOptions, Error> {
        Ok(LoadOptions {
            ctx: self.ctx,
            batch: self.batch,
            n_logits: 1,
            cache: match self.cache {
                Cache::F16 => CacheType::F16,
                Cache::F32 => CacheType::F32,
                Cache::Q8_0 => CacheType::Q8_0,
            },
            threads: threads.unwrap_or_else(crate::cpu::default_threads),
            kernels: kernels(self.kernels.as_deref())?,
        })
    }
}

fn kernels(name: Option<&str>) -> Result<KernelSet, Error> {
    let Some(name) = name else {
        return Ok(KernelSet::best());
    };
    KernelSet::by_name(name).ok_or_else(|| {
        let names: Vec<_> = KernelSet::available().map(|set| set.name()).collect();
        Error::Usage(format!(
            "--kernels {}: no such kernel set on this CPU; there are: {}",
            crate::error::OneLine(name),
            names.join(", ")
        ))
    })
}

/// Says so if a context is longer than what the model was trained for.
fn warn_about_context(model: &Model<'_>, options: &LoadOptions) {
    let n_ctx_train = model.config().n_ctx_train;
    if let Some(n_ctx) = options.ctx
        && n_ctx > n_ctx_train
    {
        say(format_args!(
            "warning: --ctx {n_ctx} is more than the {n_ctx_train} tokens that the model was \
             trained for; expect nonsense after those"
        ));
    }
}

/// Brings the weights into memory, so that a slow disk shows as a progress bar and not as a slow
/// first answer. What does not fit is left to be read when it is needed.
fn page_in(file: &ModelFile, gguf: &Gguf<'_>) -> Result<(), Error> {
    let weights = gguf.data_offset() as usize..file.bytes().len();
    let total = weights.len() as u64;
    if SystemMemory::read().is_some_and(|memory| total > memory.available / 10 * 9) {
        return Ok(());
    }
    let mut progress = progress::Progress::bytes("Reading the model");
    file.page_in(weights, |done| {
        progress.set(done, total);
        interrupt::check()
    })
}

/// A parser for whole numbers of a range, with a message that says the range.
fn count(
    least: usize,
    most: usize,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("not a whole number from {least} to {most}")),
    }
}

/// A parser for numbers of a range.
fn number(
    least: f32,
    most: f32,
) -> impl Fn(&str) -> Result<f32, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("not a number from {least} to {most}")),
    }
}

/// Text to work on may come from the command line, a file or standard input; never more of it
/// than any context could hold.
const MAX_TEXT: u64 = 64 << 20;

/// Returns a file's text, or standard input's for `-`. Bytes that are no UTF-8 become U+FFFD.
fn read_text(path: &Path) -> Result<String, Error> {
    let fail = |source: io::Error| Error::file(path, &source);
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(|source| {
            Error::File {
                path: "standard input".into(),
                what: format!("cannot be read: {}", crate::error::Reason(&source)),
            }
        })?;
    } else {
        let file = fs::File::open(path).map_err(fail)?;
        file.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(fail)?;
    }
    if bytes.len() as u64 > MAX_TEXT {
        return Err(Error::File {
            path: path.into(),
            what: format!("more than {} MiB of text; give less", MAX_TEXT >> 20),
        });
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
