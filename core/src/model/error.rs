//! Why a well-formed GGUF file is not a model that can be run.

use core::fmt;

use crate::cache::CacheType;
use crate::gguf::Name;
use crate::quant::GgmlType;

/// What is wrong with a model, or with what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ModelError {
    /// `general.architecture` is missing or is not a string.
    NoArchitecture,
    /// No family of this name is known.
    UnknownArchitecture(Name),
    /// A required metadata key is missing: its name without the architecture.
    MissingKey(&'static str),
    /// A metadata key has a value of another type: suffix, type expected, type found.
    KeyType(&'static str, &'static str, &'static str),
    /// A metadata value is out of range: suffix, value, what is allowed.
    KeyRange(&'static str, u64, &'static str),
    /// A metadata float is out of range: suffix, value, what is allowed.
    KeyFloat(&'static str, f32, &'static str),
    /// A key that may change results and is not understood.
    UnknownKey(Name),
    /// A feature that is not supported: the key that asks for it, and what it asks for.
    Unsupported(&'static str, Name),
    /// A required tensor is missing: its name without the layer, and the layer if it has one.
    MissingTensor(&'static str, Option<u32>),
    /// A tensor that this family has no place for.
    UnexpectedTensor(Name),
    /// A tensor has another shape: name, expected columns and rows, found columns and rows.
    TensorShape(Name, [u64; 2], [u64; 2]),
    /// A tensor has a type that cannot be used where it stands: name, type, what is allowed.
    TensorType(Name, GgmlType, &'static str),
    /// A tensor has a format that this build has no code for.
    FormatLeftOut(Name, GgmlType),
    /// This build has no code for the form of the cache.
    CacheLeftOut(CacheType),
    /// The context asked for is zero, or memory for it cannot be addressed.
    Context(usize),
    /// A plan option is zero: which.
    ZeroOption(&'static str),
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoArchitecture => {
                write!(f, "metadata key general.architecture is missing or is no string")
            }
            Self::UnknownArchitecture(name) => {
                write!(f, "model family {name:?} is not supported (supported:")?;
                for (i, family) in super::family::FAMILIES.iter().enumerate() {
                    write!(f, "{} {}", if i == 0 { "" } else { "," }, family.name)?;
                }
                write!(f, ")")
            }
            Self::MissingKey(key) => write!(f, "metadata key *.{key} is missing"),
            Self::KeyType(key, expected, found) => {
                write!(f, "metadata key *.{key} has type {found}, expected {expected}")
            }
            Self::KeyRange(key, value, allowed) => {
                write!(f, "metadata key *.{key} is {value}, expected {allowed}")
            }
            Self::KeyFloat(key, value, allowed) => {
                write!(f, "metadata key *.{key} is {value}, expected {allowed}")
            }
            Self::UnknownKey(key) => write!(
                f,
                "metadata key {key} is not understood and may change results; this family cannot be run with it"
            ),
            Self::Unsupported(key, value) => {
                write!(f, "metadata key *.{key} asks for {value}, which is not supported")
            }
            Self::MissingTensor(name, Some(layer)) => {
                write!(f, "tensor blk.{layer}.{name} is missing")
            }
            Self::MissingTensor(name, None) => write!(f, "tensor {name} is missing"),
            Self::UnexpectedTensor(name) => {
                write!(f, "tensor {name} has no place in this model family")
            }
            Self::TensorShape(name, [ec, er], [fc, fr]) => {
                write!(f, "tensor {name} has shape [{fc}, {fr}], expected [{ec}, {er}]")
            }
            Self::TensorType(name, ty, allowed) => {
                write!(f, "tensor {name} has type {ty}, expected {allowed}")
            }
            Self::FormatLeftOut(name, ty) => {
                write!(
                    f,
                    "tensor {name} has type {ty}, for which this build of the core has no code"
                )
            }
            Self::CacheLeftOut(ty) => {
                write!(f, "this build of the core has no code for a cache of type {ty:?}")
            }
            Self::Context(n) => write!(
                f,
                "a context of {n} tokens cannot be planned; choose a smaller one, at least 1"
            ),
            Self::ZeroOption(name) => write!(f, "plan option {name} must be at least 1"),
        }
    }
}

impl core::error::Error for ModelError {}
