//! Which format each tensor of a model gets: the rules of llama.cpp's `llama-quantize`, so that a
//! preset's name means the same mix everywhere.
//!
//! Rules look at a tensor's name, at how many of its kind came before it, and at a few numbers of
//! the model. Formats of blocks that a tensor's rows are not made of give way to others, which
//! for small models is most of them; every such [`Choice`] says so.

use bantam_core::quant::GgmlType;

use super::preset::Preset;

/// What the rules ask of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The model family, such as `llama`.
    pub arch: String,
    /// Layers.
    pub n_layer: usize,
    /// Query heads and key heads of a layer.
    pub n_head: [usize; 2],
    /// Experts of a layer; 0 or 1 where there is no choice of them.
    pub n_expert: usize,
    /// Whether columns are weighted by their importance.
    pub has_importance: bool,
}

/// What the rules ask of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor<'t> {
    /// The name, such as `blk.0.attn_q.weight`.
    pub name: &'t str,
    /// Elements along each dimension, the contiguous one first.
    pub dims: &'t [u64],
    /// The format that it has.
    pub ty: GgmlType,
}

/// The format that a tensor gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The format.
    pub ty: GgmlType,
    /// The format that it would have, if its rows were made of whole blocks of that.
    pub instead_of: Option<GgmlType>,
}

/// The kinds of tensors that rules tell apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Embedding,
    Output,
    /// Values, alone or together with queries and keys.
    AttnV,
    AttnK,
    AttnOutput,
    FfnDown,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        let has = |part| name.contains(part);
        match name {
            "output.weight" => Self::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Self::Embedding,
            _ if has("attn_qkv.weight") || has("attn_kv_b.weight") => Self::AttnV,
            _ if has("attn_v.weight") => Self::AttnV,
            _ if has("attn_k.weight") => Self::AttnK,
            _ if has("attn_output.weight") => Self::AttnOutput,
            _ if has("ffn_down") => Self::FfnDown,
            _ => Self::Other,
        }
    }
}

/// Parts of the names of matrices that stay as they are: small ones that much depends on.
const KEPT: [&str; 35] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

/// Whole names of such.
const KEPT_NAMES: [&str; 2] = ["position_embd.weight", "token_types.weight"];

impl Tensor<'_> {
    /// Returns whether this is a matrix that presets say something about; others stay as they are.
    pub fn is_convertible(&self) -> bool {
        let is_matrix = self.dims.iter().skip(1).any(|&dim| dim > 1);
        is_matrix
            && self.name.ends_with("weight")
            && !KEPT.iter().any(|part| self.name.contains(part))
            && !KEPT_NAMES.contains(&self.name)
    }

    fn n_cols(&self) -> u64 {
        self.dims.first().copied().unwrap_or(0)
    }

    fn has_whole_blocks(&self, ty: GgmlType) -> bool {
        self.n_cols().is_multiple_of(ty.block_elems() as u64)
    }
}

/// Returns the layer that a tensor of this name belongs to, if any.
pub(super) fn layer_of(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("blk.")?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

/// A preset applied to one model, tensor by tensor in the order of the file.
pub struct Mix<'f> {
    preset: Preset,
    /// Every matrix in the base format.
    pure: bool,
    facts: &'f Facts,
    /// Whether the embedding is the output head as well.
    is_tied: bool,
    /// Tensors of values.
    n_attn_v: usize,
    /// How many of values, and of the feed-forward's way down, came so far.
    i_attn_v: usize,
    i_ffn_down: usize,
}

impl<'f> Mix<'f> {
    /// Returns the mix for a model with tensors of these names.
    pub fn new<'n>(
        preset: Preset,
        pure: bool,
        facts: &'f Facts,
        names: impl Iterator<Item = &'n str>,
    ) -> Self {
        let (mut is_tied, mut n_attn_v) = (true, 0);
        for name in names {
            match Kind::of(name) {
                Kind::Output => is_tied = false,
                Kind::AttnV => n_attn_v += 1,
                _ => {}
            }
        }
        Self { preset, pure, facts, is_tied, n_attn_v, i_attn_v: 0, i_ffn_down: 0 }
    }

    /// Returns the next tensor's format: `named`, if the user named one for it, or what the preset
    /// says. To be asked for every tensor once, in the order of the file.
    pub fn choose(&mut self, tensor: &Tensor<'_>, named: Option<GgmlType>) -> Choice {
        if !tensor.is_convertible() {
            return Choice { ty: tensor.ty, instead_of: None };
        }
        let base = self.preset.base();
        let wanted = match named {
            Some(ty) => ty,
            None if self.pure || base.block_elems() == 1 => base,
            None => self.by_rules(tensor),
        };
        if tensor.has_whole_blocks(wanted) {
            return Choice { ty: wanted, instead_of: None };
        }
        let ty = Some(fallback(wanted)).filter(|&ty| tensor.has_whole_blocks(ty));
        Choice { ty: ty.unwrap_or(GgmlType::F16), instead_of: Some(wanted) }
    }

    fn by_rules(&mut self, tensor: &Tensor<'_>) -> GgmlType {
        use GgmlType::{Q4_1, Q5_1, Q5_K, Q6_K, Q8_0};
        let base = self.preset.base();
        let (is_falcon, has_8_experts) = (self.facts.arch == "falcon", self.facts.n_expert == 8);
        match Kind::of(tensor.name) {
            Kind::Embedding if !self.is_tied => base,
            Kind::Output | Kind::Embedding if is_falcon || base == Q8_0 => Q8_0,
            Kind::Output | Kind::Embedding => Q6_K,
            Kind::AttnV => {
                let i = self.i_attn_v;
                self.i_attn_v += 1;
                match self.preset {
                    _ if has_8_experts => Q8_0,
                    Preset::Q4_K_M | Preset::Q5_K_M if gets_more_bits(i, self.n_attn_v) => Q6_K,
                    Preset::Q4_K_S if i < 4 => Q5_K,
                    Preset::Q4_K_S | Preset::Q4_K_M if self.is_70b() => Q5_K,
                    _ => base,
                }
            }
            Kind::AttnK if has_8_experts => Q8_0,
            Kind::FfnDown => {
                // Those of experts are not counted: they are not in the order of layers.
                let counted = self.i_ffn_down;
                self.i_ffn_down += 1;
                let n = self.facts.n_layer;
                let i = match layer_of(tensor.name) {
                    Some(layer) if self.facts.n_expert > 1 => layer,
                    _ => counted,
                };
                match self.preset {
                    Preset::Q4_K_M if is_falcon && i < n / 16 => Q6_K,
                    Preset::Q4_K_M if is_falcon && gets_more_bits(i, n) => Q5_K,
                    Preset::Q4_K_M if is_falcon => base,
                    Preset::Q4_K_M | Preset::Q5_K_M if gets_more_bits(i, n) => Q6_K,
                    Preset::Q4_K_S if !is_falcon && i < n / 8 => Q5_K,
                    // The first ones are easily ruined by columns that matter too much.
                    Preset::Q4_0 if self.facts.has_importance && i < n / 8 => Q4_1,
                    Preset::Q5_0 if self.facts.has_importance && i < n / 8 => Q5_1,
                    _ => base,
                }
            }
            Kind::AttnOutput if has_8_experts && !is_falcon => match self.preset {
                Preset::Q4_K_S | Preset::Q4_K_M => Q5_K,
                _ => base,
            },
            Kind::AttnK | Kind::AttnOutput | Kind::Other => base,
        }
    }

    /// Models of this size share each head of values among so many queries that it is worth more.
    fn is_70b(&self) -> bool {
        let Facts { arch, n_layer, n_head: [n_head, n_head_kv], .. } = self.facts;
        match (arch.as_str(), n_layer) {
            ("llama", 80) => n_head != n_head_kv,
            ("deci" | "olmo" | "qwen2", 80) | ("jais2", 68) => true,
            _ => false,
        }
    }
}

/// Whether layer `i` of `n` is among those that more bits help most: the first and last eighth,
/// and each third in between.
fn gets_more_bits(i: usize, n: usize) -> bool {
    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
}

/// What a format of large blocks gives way to where rows are not made of those.
fn fallback(ty: GgmlType) -> GgmlType {
    match ty {
        GgmlType::Q2_K | GgmlType::Q3_K => GgmlType::Q4_0,
        GgmlType::Q4_K => GgmlType::Q5_0,
        GgmlType::Q5_K => GgmlType::Q5_1,
        GgmlType::Q6_K => GgmlType::Q8_0,
        GgmlType::IQ4_XS => GgmlType::IQ4_NL,
        _ => ty,
    }
}

#[cfg(test)]
mod tests;
