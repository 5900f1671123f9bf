//! `bantam inspect`: what is in a file, and what memory it needs.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use bantam_core::gguf::{Gguf, TensorInfo, Value, keys};
use bantam_core::model::{MAX_CTX, MemoryPlan, Model};
use bantam_core::schema::Schema;
use bantam_core::tokenizer::Tokenizer;
use clap::Args;
use serde_json::{Map, Number, Value as Json, json};

use crate::error::{Error, OneLine, Shown};
use crate::intent;
use crate::load::{self, LoadOptions};
use crate::memory::Bytes;
use crate::model_file::ModelFile;

/// Show what is in a model file and the memory it needs
///
/// Metadata, tensors, formats, and the exact memory plan for a context. The memory plan is
/// missing, and the command ends with an error, if the file is no model that can be run.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam inspect model.gguf
  bantam inspect model.gguf --ctx 32768
  bantam inspect model.gguf --json | jq .memory")]
pub(super) struct InspectArgs {
    /// The model, a GGUF file
    #[cfg_attr(feature = "bundled", doc = "[default: the bundled one]")]
    model: Option<PathBuf>,
    /// Print JSON, with strings in full
    #[arg(long)]
    json: bool,
    /// Tokens of context to plan for [default: as `run` takes]
    #[arg(short = 'c', long, value_name = "N", value_parser = super::count(1, MAX_CTX))]
    ctx: Option<usize>,
    /// Tokens of a prompt that are worked on together
    #[arg(short, long, value_name = "N", default_value = "512", value_parser = super::count(1, MAX_CTX))]
    batch: usize,
}

/// How many elements of an array are shown, and characters of a string.
const SHOWN_ELEMENTS: usize = 5;
const SHOWN_CHARS: usize = 72;

pub(super) fn inspect(args: &InspectArgs) -> Result<(), Error> {
    let file = super::open_model(args.model.as_deref())?;
    let gguf = file.gguf()?;
    let memory = Memory::plan(args, &file, &gguf);
    file.check_unchanged()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if args.json {
        super::write_json(&mut out, &as_json(&file, &gguf, &memory))
    } else {
        print(&mut out, &file, &gguf, &memory)
    };
    written.and_then(|()| out.flush()).map_err(Error::stdout)?;
    memory.map(|_| ())
}

/// Memory by purpose.
struct Memory {
    plan: MemoryPlan,
    tokenizer_bytes: usize,
}

impl Memory {
    fn plan(args: &InspectArgs, file: &ModelFile, gguf: &Gguf<'_>) -> Result<Self, Error> {
        let model = Model::new(gguf).map_err(|error| file.model_error(error))?;
        let schema = gguf.get(keys::BANTAM_SCHEMA).and_then(|value| value.as_str());
        let schema = schema.and_then(|text| Schema::parse(text).ok());
        let ctx = args.ctx.or(schema.map(|schema| intent::default_ctx(&model, &schema)));
        let options = LoadOptions { ctx, batch: args.batch, ..LoadOptions::default() };
        let plan = load::plan(file, &model, &options)?;
        let tokenizer = Tokenizer::plan(gguf).map_err(|error| file.model_error(error))?;
        Ok(Self { plan, tokenizer_bytes: tokenizer.bytes })
    }

    fn total(&self) -> usize {
        self.plan.bytes() + self.tokenizer_bytes
    }
}

/// Tensors and bytes of each format, largest first.
fn formats(gguf: &Gguf<'_>) -> Vec<(&'static str, usize, u64)> {
    let mut formats: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for tensor in gguf.tensors() {
        let (count, bytes) = formats.entry(tensor.ty.name()).or_default();
        *count += 1;
        *bytes += tensor.view.bytes().len() as u64;
    }
    let mut formats: Vec<_> =
        formats.into_iter().map(|(name, (count, bytes))| (name, count, bytes)).collect();
    formats.sort_by_key(|&(name, _, bytes)| (std::cmp::Reverse(bytes), name));
    formats
}

/// Elements of all tensors together.
fn n_parameters(gguf: &Gguf<'_>) -> u64 {
    let elements =
        |tensor: TensorInfo<'_>| tensor.dims.iter().fold(1, |n: u64, &dim| n.saturating_mul(dim));
    gguf.tensors().map(elements).fold(0, u64::saturating_add)
}

fn used_dims<'t>(tensor: &'t TensorInfo<'_>) -> &'t [u64] {
    tensor.dims.get(..tensor.n_dims as usize).unwrap_or(&tensor.dims)
}

fn print(
    out: &mut impl Write,
    file: &ModelFile,
    gguf: &Gguf<'_>,
    memory: &Result<Memory, Error>,
) -> io::Result<()> {
    let arch = gguf.get("general.architecture").and_then(|value| value.as_str());
    writeln!(
        out,
        "{}: GGUF v{}, {}, {} parameters in {} tensors, {}",
        Shown(file.path()),
        gguf.version(),
        OneLine(arch.unwrap_or("no architecture")),
        Count(n_parameters(gguf)),
        gguf.n_tensors(),
        Bytes(file.bytes().len() as u64),
    )?;

    writeln!(out, "\nMetadata ({}):", gguf.n_metadata())?;
    let width = gguf.metadata().map(|(key, _)| key.chars().count()).max().unwrap_or(0).min(48);
    for (key, value) in gguf.metadata() {
        writeln!(out, "  {:width$}  {}", OneLine(key).to_string(), short(value))?;
    }

    writeln!(out, "\nTensors ({}):", gguf.n_tensors())?;
    let width = gguf.tensors().map(|tensor| tensor.name.chars().count()).max().unwrap_or(0);
    for tensor in gguf.tensors() {
        let shape: Vec<String> = used_dims(&tensor).iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "  {:width$}  {:6}  {:>16}  {:>12}  at byte {}",
            OneLine(tensor.name).to_string(),
            tensor.ty.name(),
            shape.join(" × "),
            Bytes(tensor.view.bytes().len() as u64),
            tensor.offset,
        )?;
    }

    writeln!(out, "\nFormats:")?;
    let all: u64 = formats(gguf).iter().map(|&(_, _, bytes)| bytes).sum();
    for (name, count, bytes) in formats(gguf) {
        let percent = 100.0 * bytes as f64 / all.max(1) as f64;
        writeln!(out, "  {name:6}  {count:>5} tensors  {:>12}  {percent:5.1} %", Bytes(bytes))?;
    }

    // Otherwise the reason follows as the command's error.
    if let Ok(memory) = memory {
        let plan = &memory.plan;
        let options = &plan.options;
        let row = |out: &mut _, name: &str, bytes: usize| {
            writeln!(
                out as &mut dyn Write,
                "  {name:32}  {:>12}  {bytes} bytes",
                Bytes(bytes as u64)
            )
        };
        writeln!(
            out,
            "\nMemory for a context of {} tokens, batches of {}:",
            options.n_ctx, options.n_batch
        )?;
        row(out, "context (keys and values)", plan.kv_bytes)?;
        row(out, "scratch and logits", plan.scratch_bytes)?;
        row(out, "tensor table", plan.layers_bytes)?;
        row(out, "tokenizer index", memory.tokenizer_bytes)?;
        row(out, "all of it", memory.total())?;
        row(out, "weights, mapped and shared", file.bytes().len())?;
    }
    Ok(())
}

/// A value on one line.
fn short(value: Value<'_>) -> String {
    match value {
        Value::Str(text) => quoted(text),
        Value::Array(array) => {
            let name = array.iter().next().map_or("", |first| first.type_name());
            let mut shown: Vec<String> = array.iter().take(SHOWN_ELEMENTS).map(short).collect();
            if array.len() > SHOWN_ELEMENTS {
                shown.push("…".into());
            }
            let s = if array.len() == 1 { "" } else { "s" };
            format!("{} {name}{s}: [{}]", array.len(), shown.join(", "))
        }
        Value::F32(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => integer(value).map_or_else(String::new, |value| value.to_string()),
    }
}

fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("\"{}\"", OneLine(&shown))
}

fn integer(value: Value<'_>) -> Option<Number> {
    value.as_u64().map(Number::from).or_else(|| value.as_i64().map(Number::from))
}

fn as_json(file: &ModelFile, gguf: &Gguf<'_>, memory: &Result<Memory, Error>) -> Json {
    let metadata: Map<String, Json> =
        gguf.metadata().map(|(key, value)| (key.to_owned(), value_as_json(value))).collect();
    let tensors: Vec<Json> = gguf
        .tensors()
        .map(|tensor| {
            json!({
                "name": tensor.name,
                "type": tensor.ty.name(),
                "shape": used_dims(&tensor),
                "offset": tensor.offset,
                "bytes": tensor.view.bytes().len(),
            })
        })
        .collect();
    let formats: Vec<Json> = formats(gguf)
        .into_iter()
        .map(|(name, tensors, bytes)| json!({"type": name, "tensors": tensors, "bytes": bytes}))
        .collect();
    let (memory, error) = match memory {
        Ok(memory) => {
            let plan = &memory.plan;
            let json = json!({
                "n_ctx": plan.options.n_ctx,
                "n_batch": plan.options.n_batch,
                "kv_bytes": plan.kv_bytes,
                "scratch_bytes": plan.scratch_bytes,
                "layers_bytes": plan.layers_bytes,
                "tokenizer_bytes": memory.tokenizer_bytes,
                "total_bytes": memory.total(),
                "mapped_bytes": file.bytes().len(),
            });
            (json, Json::Null)
        }
        Err(error) => (Json::Null, Json::String(error.to_string())),
    };
    json!({
        "file": file.path().to_string_lossy(),
        "bytes": file.bytes().len(),
        "gguf_version": gguf.version(),
        "alignment": gguf.alignment(),
        "data_offset": gguf.data_offset(),
        "architecture": gguf.get("general.architecture").and_then(|value| value.as_str()),
        "parameters": n_parameters(gguf),
        "metadata": metadata,
        "tensors": tensors,
        "formats": formats,
        "memory": memory,
        "error": error,
    })
}

/// Scalars and strings as they are; of a long array its type, its length and its beginning.
fn value_as_json(value: Value<'_>) -> Json {
    // The shortest decimal that reads back as the same float, not its expansion to double.
    let float = |text: String| {
        text.parse().ok().and_then(Number::from_f64).map(Json::Number).unwrap_or(Json::String(text))
    };
    match value {
        Value::Str(text) => Json::String(text.into()),
        Value::Bool(value) => Json::Bool(value),
        Value::F32(value) => float(value.to_string()),
        Value::F64(value) => float(value.to_string()),
        Value::Array(array) => {
            if array.len() <= 4 * SHOWN_ELEMENTS {
                return Json::Array(array.iter().map(value_as_json).collect());
            }
            let first: Vec<Json> = array.iter().take(SHOWN_ELEMENTS).map(value_as_json).collect();
            json!({"type": array.ty().name(), "len": array.len(), "first": first})
        }
        _ => integer(value).map_or(Json::Null, Json::Number),
    }
}

/// A count for people.
struct Count(u64);

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            n if n >= 1_000_000_000 => write!(f, "{:.2} G", n as f64 / 1e9),
            n if n >= 1_000_000 => write!(f, "{:.1} M", n as f64 / 1e6),
            n => write!(f, "{n}"),
        }
    }
}
