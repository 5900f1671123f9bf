//! The rotation of queries and keys, of the several ways in which config.json says it.

use serde_json::Value as Json;

use super::config::Family;
use super::json::{Document, shown};
use crate::error::Error;

/// Frequencies of the rotation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scaling {
    None,
    Linear(f64),
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
}

/// How positions rotate queries and keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rope {
    pub(super) theta: f64,
    /// Base of the layers with a window, where it is another.
    pub(super) theta_local: Option<f64>,
    pub(super) scaling: Scaling,
}

impl Rope {
    /// Reads what newer files have in `rope_parameters`, older ones in `rope_scaling` and beside.
    pub(super) fn read(d: &Document, family: Family) -> Result<Self, Error> {
        let none = Json::Object(serde_json::Map::new());
        let key =
            if d.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
        let parameters = d.get(key).unwrap_or(&none);
        if !parameters.is_object() {
            return Err(d.wrong(key, "an object"));
        }
        // One for each kind of layer, or one for all.
        let full = parameters.get("full_attention").unwrap_or(parameters);
        let sliding = parameters.get("sliding_attention").unwrap_or(&none);
        let default = match family {
            Family::Gemma3 => 1_000_000.0,
            _ => 10_000.0,
        };
        let theta = inside_or_beside(d, full, "rope_theta", "rope_theta")?;
        let theta_local = match family {
            Family::Gemma3 => {
                let theta = inside_or_beside(d, sliding, "rope_theta", "rope_local_base_freq")?;
                Some(theta.unwrap_or(10_000.0))
            }
            _ => None,
        };
        if scaling(d, key, sliding)? != Scaling::None {
            return Err(
                d.refuse(format!("{key} scales layers with a window, which is not supported"))
            );
        }
        let scaling = scaling(d, key, full)?;
        if matches!(scaling, Scaling::Llama3 { .. }) && !family.permutes() {
            return Err(d.refuse(format!("{key} asks for llama3, which is not supported here")));
        }
        Ok(Self { theta: theta.unwrap_or(default), theta_local, scaling })
    }

    /// What each frequency of Llama 3's rotation is divided by: long waves by the factor, short
    /// ones by 1, those between by something between.
    ///
    /// In single floats, step by step as the converter has it; but for the power, which is taken
    /// in double ones, as libraries differ in its last bit.
    pub(super) fn factors(&self, head_dim: usize) -> Option<Vec<f32>> {
        let Scaling::Llama3 { factor, low, high, original } = self.scaling else { return None };
        let factors = (0..head_dim).step_by(2).map(|i| {
            let exponent = i as f32 / head_dim as f32;
            let power = f64::from(self.theta as f32).powf(f64::from(exponent)) as f32;
            let freq = 1.0 / power;
            let wave = std::f64::consts::TAU as f32 / freq;
            if wave < (original / high) as f32 {
                1.0
            } else if wave > (original / low) as f32 {
                factor as f32
            } else {
                let smooth = (original as f32 / wave - low as f32) / (high - low) as f32;
                1.0 / ((1.0 - smooth) / factor as f32 + smooth)
            }
        });
        Some(factors.collect())
    }
}

/// A number that may stand in an object, or else under another name beside it.
fn inside_or_beside(
    d: &Document,
    object: &Json,
    inside: &str,
    beside: &str,
) -> Result<Option<f64>, Error> {
    match d.positive_in(object, inside)? {
        None => d.positive(beside),
        number => Ok(number),
    }
}

/// The kind of scaling that an object asks for.
fn scaling(d: &Document, key: &str, object: &Json) -> Result<Scaling, Error> {
    let partial = object.get("partial_rotary_factor");
    if let Some(value) = partial.filter(|value| !value.is_null() && value.as_f64() != Some(1.0)) {
        return Err(d.refuse(format!(
            "{key}: partial_rotary_factor is {}, which is not supported",
            shown(value)
        )));
    }
    let number = |name: &str| match d.positive_in(object, name)? {
        Some(number) => Ok(number),
        None => Err(d.refuse(format!("{key} lacks {name}"))),
    };
    let kind = object.get("rope_type").or_else(|| object.get("type"));
    match kind.filter(|kind| !kind.is_null()) {
        None => Ok(Scaling::None),
        Some(kind) => match kind.as_str() {
            Some("default") => Ok(Scaling::None),
            Some("linear") => Ok(Scaling::Linear(number("factor")?)),
            Some("llama3") => {
                let name = "original_max_position_embeddings";
                let original = inside_or_beside(d, object, name, name)?;
                let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
                if low >= high {
                    return Err(d.refuse(format!(
                        "{key}: low_freq_factor is not less than high_freq_factor"
                    )));
                }
                Ok(Scaling::Llama3 {
                    factor: number("factor")?,
                    low,
                    high,
                    original: original.ok_or_else(|| d.refuse(format!("{key} lacks {name}")))?,
                })
            }
            _ => Err(d.refuse(format!(
                "{key} asks for {}, which is not supported (supported: default, linear, llama3)",
                shown(kind)
            ))),
        },
    }
}
