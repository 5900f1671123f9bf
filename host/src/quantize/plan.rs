//! What is to become of every tensor of one file, and the new file's metadata.

use bantam_core::gguf::{Gguf, TensorInfo, Value, keys};
use bantam_core::quant::{self, GgmlType, QuantError};
use regex::Regex;

use super::mix::{Choice, Facts, Mix, Tensor, layer_of};
use super::preset::Preset;
use crate::error::{Error, OneLine};
use crate::gguf_writer::{Metadata, TensorSpec};
use crate::imatrix::Importance;
use crate::model_file::ModelFile;

/// Keys that tell where a file's importance came from.
const IMATRIX_FILE: &str = "quantize.imatrix.file";
const IMATRIX_DATASET: &str = "quantize.imatrix.dataset";
const IMATRIX_ENTRIES: &str = "quantize.imatrix.entries_count";
const IMATRIX_CHUNKS: &str = "quantize.imatrix.chunks_count";
/// The most bytes that readers expect of the strings among them.
const IMATRIX_STRING: usize = 127;

/// The version of the block layouts.
const QUANTIZATION_VERSION: u32 = 2;

/// A format that the user named for some tensors.
#[derive(Clone, Debug)]
pub struct Named {
    /// Matches somewhere in the names of those tensors.
    pub pattern: Regex,
    /// Their format.
    pub ty: GgmlType,
}

impl Named {
    /// Parses `REGEX=TYPE`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((pattern, ty)) = text.rsplit_once('=') else {
            return Err("it has no `=`; write REGEX=TYPE, such as attn_v=Q8_0".into());
        };
        if pattern.is_empty() {
            return Err("there is nothing before the `=`; write REGEX=TYPE".into());
        }
        let ty = GgmlType::from_name(ty).filter(|&ty| can_write(ty)).ok_or_else(|| {
            let names: Vec<_> =
                GgmlType::ALL.into_iter().filter(|&ty| can_write(ty)).map(GgmlType::name).collect();
            format!("there is no type {} to write; there are {}", OneLine(ty), names.join(", "))
        })?;
        let pattern = Regex::new(pattern).map_err(|error| {
            // The parser shows where, on lines of its own; its last line says what.
            let error = error.to_string();
            let what = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("{} is no regular expression: {}", OneLine(pattern), OneLine(what))
        })?;
        Ok(Self { pattern, ty })
    }
}

/// Whether rows can be written in a format.
fn can_write(ty: GgmlType) -> bool {
    !matches!(quant::quantize_row(ty, &[], &mut []), Err(QuantError::NoQuantizer(_)))
}

/// What is wanted of a file.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// The mix.
    pub preset: Preset,
    /// Formats for some tensors; the first that matches counts.
    pub named: Vec<Named>,
    /// Every matrix gets the preset's base format.
    pub pure: bool,
    /// Tensors that are quantized already may be quantized again.
    pub requantize: bool,
}

/// A tensor and what is to become of it.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'m> {
    /// The tensor as it is.
    pub from: TensorInfo<'m>,
    /// Its new format.
    pub to: Choice,
}

impl<'m> Planned<'m> {
    /// Returns the tensor's dimensions, as many as the file gives.
    pub fn dims(&self) -> &[u64] {
        self.from.dims.get(..self.from.n_dims as usize).unwrap_or(&self.from.dims)
    }

    /// Returns the tensor as it is to be written.
    pub fn spec(&self) -> TensorSpec {
        TensorSpec { name: self.from.name.into(), dims: self.dims().into(), ty: self.to.ty }
    }

    /// Returns whether the tensor's bytes change.
    pub fn is_converted(&self) -> bool {
        self.from.ty != self.to.ty
    }
}

/// What is to become of a file.
#[derive(Debug)]
pub struct Plan<'m> {
    /// The tensors, in the order of the new file.
    pub tensors: Vec<Planned<'m>>,
    /// The new file's metadata.
    pub metadata: Metadata,
}

impl<'m> Plan<'m> {
    /// Returns the plan for a file.
    ///
    /// # Errors
    /// [`Error::Model`] if the file holds no model, or one that is quantized already;
    /// [`Error::Usage`] if a format is named for no tensor; [`Error::File`] if the importance is
    /// that of another model.
    pub fn new(
        file: &ModelFile,
        gguf: &Gguf<'m>,
        options: &PlanOptions,
        importance: Option<&Importance>,
    ) -> Result<Self, Error> {
        let facts = facts(file, gguf, importance.is_some())?;
        let mut tensors: Vec<TensorInfo<'m>> = gguf.tensors().collect();
        // Rules count tensors in this order, and files that are compared must have the same.
        tensors.sort_by_key(|tensor| (layer_of(tensor.name), tensor.name));
        let names = tensors.iter().map(|tensor| tensor.name);
        let mut mix = Mix::new(options.preset, options.pure, &facts, names);
        let mut used = vec![Use::None; options.named.len()];
        let mut planned = Vec::with_capacity(tensors.len());
        for from in tensors {
            let mut tensor = Planned { from, to: Choice { ty: from.ty, instead_of: None } };
            let asked = Tensor { name: from.name, dims: tensor.dims(), ty: from.ty };
            let named = named_for(&options.named, &asked, &mut used);
            tensor.to = mix.choose(&asked, named);
            if tensor.is_converted() && from.ty.block_elems() > 1 && !options.requantize {
                return Err(file.model_error(format_args!(
                    "{} is {} already, and quantizing again loses more than quantizing once; \
                     take the F16 or F32 file of this model, or pass --allow-requantize",
                    OneLine(from.name),
                    from.ty
                )));
            }
            planned.push(tensor);
        }
        check_use(&options.named, &used)?;
        if let Some(importance) = importance {
            let converted = planned.iter().filter(|tensor| tensor.is_converted());
            importance.check(converted.map(|tensor| &tensor.from))?;
        }
        Ok(Self { tensors: planned, metadata: metadata(gguf, options.preset, importance) })
    }

    /// Returns the tensors as they are to be written.
    pub fn specs(&self) -> Vec<TensorSpec> {
        self.tensors.iter().map(Planned::spec).collect()
    }
}

/// What a pattern has matched so far.
#[derive(Clone, PartialEq, Eq)]
enum Use {
    None,
    /// Only tensors that no format can be named for, of which this is the first.
    Kept(String),
    Some,
}

fn named_for(named: &[Named], tensor: &Tensor<'_>, used: &mut [Use]) -> Option<GgmlType> {
    let mut first = None;
    for (named, used) in named.iter().zip(used) {
        if !named.pattern.is_match(tensor.name) {
            continue;
        }
        match used {
            _ if tensor.is_convertible() => *used = Use::Some,
            Use::None => *used = Use::Kept(tensor.name.into()),
            _ => {}
        }
        first = first.or(Some(named.ty));
    }
    first
}

fn check_use(named: &[Named], used: &[Use]) -> Result<(), Error> {
    for (named, used) in named.iter().zip(used) {
        let pattern = OneLine(named.pattern.as_str());
        let what = match used {
            Use::Some => continue,
            Use::None => "matches the name of no tensor; `bantam inspect` lists them".into(),
            Use::Kept(name) => format!(
                "matches only tensors that always stay as they are, such as {}",
                OneLine(name)
            ),
        };
        return Err(Error::Usage(format!("--tensor-type {pattern}={}: {what}", named.ty)));
    }
    Ok(())
}

fn facts(file: &ModelFile, gguf: &Gguf<'_>, has_importance: bool) -> Result<Facts, Error> {
    if let Some(ty) = gguf.get(keys::GENERAL_TYPE).and_then(|value| value.as_str())
        && ty != "model"
    {
        let ty = OneLine(ty);
        return Err(file.model_error(format_args!("it holds no model but `{ty}`; name a model")));
    }
    let Some(arch) = gguf.architecture() else {
        return Err(file.model_error("it has no general.architecture, so it is no model"));
    };
    if arch == "glm5-next" {
        return Err(file.model_error("glm5-next has rules of its own, which are not known here"));
    }
    // The first layer's, if layers differ.
    let number = |key: &str| {
        let value = gguf.get_arch(arch, key)?;
        let first = value.as_array().and_then(|array| array.iter().next()).unwrap_or(value);
        usize::try_from(first.as_u64()?).ok()
    };
    let n_head = number(keys::ATTENTION_HEAD_COUNT).unwrap_or(0);
    Ok(Facts {
        arch: arch.into(),
        n_layer: number(keys::BLOCK_COUNT).unwrap_or(0),
        n_head: [n_head, number(keys::ATTENTION_HEAD_COUNT_KV).unwrap_or(n_head)],
        n_expert: number(keys::EXPERT_COUNT).unwrap_or(0),
        has_importance,
    })
}

/// The old file's metadata and, behind them, what describes the new one.
fn metadata(gguf: &Gguf<'_>, preset: Preset, importance: Option<&Importance>) -> Metadata {
    let mut metadata = Metadata::default();
    for (key, value) in gguf.metadata() {
        metadata.set(key, value);
    }
    for key in [keys::SPLIT_NO, keys::SPLIT_COUNT, keys::SPLIT_TENSORS_COUNT] {
        metadata.remove(key);
    }
    let mut set = |key: &str, value: Value<'_>| {
        metadata.remove(key);
        metadata.set(key, value);
    };
    set(keys::GENERAL_QUANTIZATION_VERSION, Value::U32(QUANTIZATION_VERSION));
    set(keys::GENERAL_FILE_TYPE, Value::U32(preset.file_type()));
    if let Some(importance) = importance {
        set(IMATRIX_FILE, Value::Str(beginning(&importance.path().to_string_lossy())));
        if let Some(dataset) = importance.datasets().first() {
            set(IMATRIX_DATASET, Value::Str(beginning(dataset)));
        }
        set(IMATRIX_ENTRIES, Value::U32(importance.len() as u32));
        if importance.n_chunks() > 0 {
            set(IMATRIX_CHUNKS, Value::U32(importance.n_chunks()));
        }
    }
    metadata
}

/// As much of a text as its readers expect.
fn beginning(text: &str) -> &str {
    let mut ends = (0..=IMATRIX_STRING.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}
