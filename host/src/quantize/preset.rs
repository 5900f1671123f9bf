//! Presets: a name for which tensors get which format.

use bantam_core::quant::GgmlType;

use super::preset::Preset::*;

/// A mix of formats, named as llama.cpp names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, missing_docs)] // the names are all there is to say
pub enum Preset {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K_S,
    Q4_K_M,
    Q5_K_S,
    Q5_K_M,
    Q6_K,
    F16,
    BF16,
    F32,
}

impl Preset {
    /// Every preset, smaller ones first within a kind.
    pub const ALL: [Self; 13] =
        [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K, F16, BF16, F32];

    /// Returns the preset with this name, in capital or small letters. `Q4_K` and `Q5_K` are the
    /// medium ones.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "Q4_K" => Some(Q4_K_M),
            "Q5_K" => Some(Q5_K_M),
            name => Self::ALL.into_iter().find(|preset| preset.name() == name),
        }
    }

    /// Returns the preset's name, such as `Q4_K_M`.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// Returns the format of most of its tensors.
    pub const fn base(self) -> GgmlType {
        self.facts().1
    }

    /// Returns the preset's number as the value of `general.file_type`.
    pub const fn file_type(self) -> u32 {
        self.facts().2
    }

    const fn facts(self) -> (&'static str, GgmlType, u32) {
        match self {
            F32 => ("F32", GgmlType::F32, 0),
            F16 => ("F16", GgmlType::F16, 1),
            Q4_0 => ("Q4_0", GgmlType::Q4_0, 2),
            Q4_1 => ("Q4_1", GgmlType::Q4_1, 3),
            Q8_0 => ("Q8_0", GgmlType::Q8_0, 7),
            Q5_0 => ("Q5_0", GgmlType::Q5_0, 8),
            Q5_1 => ("Q5_1", GgmlType::Q5_1, 9),
            Q4_K_S => ("Q4_K_S", GgmlType::Q4_K, 14),
            Q4_K_M => ("Q4_K_M", GgmlType::Q4_K, 15),
            Q5_K_S => ("Q5_K_S", GgmlType::Q5_K, 16),
            Q5_K_M => ("Q5_K_M", GgmlType::Q5_K, 17),
            Q6_K => ("Q6_K", GgmlType::Q6_K, 18),
            BF16 => ("BF16", GgmlType::BF16, 32),
        }
    }
}
