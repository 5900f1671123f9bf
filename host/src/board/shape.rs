//! Shapes of well-known models, for questions about a model that is not here.

use bantam_core::quant::GgmlType;

use crate::quantize::{Facts, Mix, Preset, Tensor};

/// A decoder's shape, named as in [`bantam_core::model::ModelConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named there")]
pub struct Shape {
    /// A model of this shape.
    pub like: &'static str,
    pub n_layer: usize,
    pub n_embd: usize,
    pub n_ff: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim: usize,
    pub n_vocab: usize,
    pub tied_head: bool,
    pub n_ctx_train: usize,
}

/// Shapes by size, as the models' own `config.json` files give them.
pub const SHAPES: [Shape; 13] = [
    shape("stories260K", [5, 64, 172], [8, 4, 8], 512, true, 512),
    shape("stories15M", [6, 288, 768], [6, 6, 48], 32000, true, 256),
    shape("SmolLM2 135M", [30, 576, 1536], [9, 3, 64], 49152, true, 8192),
    shape("SmolLM2 360M", [32, 960, 2560], [15, 5, 64], 49152, true, 8192),
    shape("Qwen2.5 0.5B", [24, 896, 4864], [14, 2, 64], 151_936, true, 32768),
    shape("Llama 3.2 1B", [16, 2048, 8192], [32, 8, 64], 128_256, true, 131_072),
    shape("Qwen2.5 1.5B", [28, 1536, 8960], [12, 2, 128], 151_936, true, 32768),
    shape("Llama 3.2 3B", [28, 3072, 8192], [24, 8, 128], 128_256, true, 131_072),
    shape("Qwen2.5 7B", [28, 3584, 18944], [28, 4, 128], 152_064, false, 32768),
    shape("Llama 3.1 8B", [32, 4096, 14336], [32, 8, 128], 128_256, false, 131_072),
    shape("Llama 2 13B", [40, 5120, 13824], [40, 40, 128], 32000, false, 4096),
    shape("Qwen2.5 32B", [64, 5120, 27648], [40, 8, 128], 152_064, false, 32768),
    shape("Llama 3.1 70B", [80, 8192, 28672], [64, 8, 128], 128_256, false, 131_072),
];

const fn shape(
    like: &'static str,
    [n_layer, n_embd, n_ff]: [usize; 3],
    [n_head, n_head_kv, head_dim]: [usize; 3],
    n_vocab: usize,
    tied_head: bool,
    n_ctx_train: usize,
) -> Shape {
    Shape {
        like,
        n_layer,
        n_embd,
        n_ff,
        n_head,
        n_head_kv,
        head_dim,
        n_vocab,
        tied_head,
        n_ctx_train,
    }
}

/// Bytes of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// All of them.
    pub bytes: u64,
    /// Those that every token needs: all but an embedding that is not the output head as well.
    pub read_bytes: u64,
}

impl Shape {
    /// Returns a shape of about this many parameters: that of the well-known model that is nearest
    /// by ratio, and if that is not near, the same made wider or narrower.
    pub fn near(n_params: f64) -> Self {
        let distance = |shape: &Shape| (shape.n_params() as f64 / n_params).ln().abs();
        let nearest = SHAPES.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let mut shape = nearest.copied().unwrap_or(SHAPES[0]);
        // Rounding to whole heads and blocks moves small ones a lot, so it is done in steps.
        for _ in 0..16 {
            if distance(&shape) <= 0.25 {
                break;
            }
            let ratio = (n_params / shape.n_params() as f64).sqrt();
            let scale = |n: usize, step: usize| {
                ((n as f64 * ratio / step as f64).round() as usize).max(1) * step
            };
            let groups = shape.n_head / shape.n_head_kv;
            shape.n_head_kv = scale(shape.n_head_kv, 1);
            shape.n_head = shape.n_head_kv * groups;
            shape.n_embd = scale(shape.n_embd, 32);
            shape.n_ff = scale(shape.n_ff, 32);
        }
        shape
    }

    /// Returns its number of parameters.
    pub fn n_params(&self) -> u64 {
        self.tensors().iter().map(|tensor| tensor.dims.iter().product::<u64>()).sum()
    }

    /// Returns the multiplications that a token of a prompt takes: each weight of each layer once.
    pub fn prompt_macs(&self) -> u64 {
        let tensors = self.tensors();
        let layers = tensors.iter().filter(|tensor| tensor.name.starts_with("blk."));
        layers.map(|tensor| tensor.dims.iter().product::<u64>()).sum()
    }

    /// Returns the bytes of its weights in the formats that `bantam quantize` would give them.
    pub fn weights(&self, preset: Preset) -> Weights {
        let tensors = self.tensors();
        let facts = Facts {
            arch: "llama".into(),
            n_layer: self.n_layer,
            n_head: [self.n_head, self.n_head_kv],
            n_expert: 0,
            has_importance: false,
        };
        let names = tensors.iter().map(|tensor| tensor.name.as_str());
        let mut mix = Mix::new(preset, false, &facts, names);
        let mut weights = Weights { bytes: 0, read_bytes: 0 };
        for Named { name, dims } in &tensors {
            let choice = mix.choose(&Tensor { name, dims, ty: GgmlType::F32 }, None);
            let elements: u64 = dims.iter().product();
            let blocks = elements / choice.ty.block_elems() as u64;
            let bytes = blocks * choice.ty.block_bytes() as u64;
            weights.bytes += bytes;
            if self.tied_head || name != "token_embd.weight" {
                weights.read_bytes += bytes;
            }
        }
        weights
    }

    /// Returns the bytes of keys and values that a position takes in half floats.
    pub fn kv_bytes_per_position(&self) -> u64 {
        4 * (self.n_layer * self.n_head_kv * self.head_dim) as u64
    }

    /// Returns about the working memory that a [`bantam_core::model::MemoryPlan`] for this shape
    /// has besides keys and values.
    pub fn scratch_bytes(&self, n_batch: usize) -> u64 {
        let (q_dim, kv_dim) = (self.n_head * self.head_dim, self.n_head_kv * self.head_dim);
        let wide = (2 * (q_dim + kv_dim)).max(2 * self.n_ff);
        let widest = self.n_embd.max(q_dim).max(self.n_ff);
        // Floats of the residual stream (twice), of the widest step, and of RoPE's angles; 8-bit
        // activations and what each group of them has; logits.
        let per_token = 4 * (2 * self.n_embd + wide + self.head_dim) + widest + widest / 4;
        (per_token * n_batch + 4 * self.n_vocab) as u64
    }

    /// Its tensors, in the order in which files have them.
    fn tensors(&self) -> Vec<Named> {
        let [embd, ff] = [self.n_embd as u64, self.n_ff as u64];
        let q = (self.n_head * self.head_dim) as u64;
        let kv = (self.n_head_kv * self.head_dim) as u64;
        let named = |name: String, dims: &[u64]| Named { name, dims: dims.to_vec() };
        let mut tensors = vec![named("token_embd.weight".into(), &[embd, self.n_vocab as u64])];
        for layer in 0..self.n_layer {
            let mut add = |name: &str, dims: &[u64]| {
                tensors.push(named(format!("blk.{layer}.{name}.weight"), dims));
            };
            add("attn_norm", &[embd]);
            add("ffn_down", &[ff, embd]);
            add("ffn_gate", &[embd, ff]);
            add("ffn_up", &[embd, ff]);
            add("ffn_norm", &[embd]);
            add("attn_k", &[embd, kv]);
            add("attn_output", &[q, embd]);
            add("attn_q", &[embd, q]);
            add("attn_v", &[embd, kv]);
        }
        tensors.push(named("output_norm.weight".into(), &[embd]));
        if !self.tied_head {
            tensors.push(named("output.weight".into(), &[embd, self.n_vocab as u64]));
        }
        tensors
    }
}

/// A tensor's name and elements along each dimension.
struct Named {
    name: String,
    dims: Vec<u64>,
}
