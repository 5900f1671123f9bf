//! Tiny models made on the spot, for tests of behaviour that no reference needs to confirm.
#![allow(dead_code)] // every test uses a part

use bantam_core::par::Parallel;
use bantam_core::quant::{GgmlType, quantize_row};
use bantam_core::rng::Rng;

/// A metadata value, as far as tiny models need them.
#[derive(Clone, Debug)]
pub enum Meta {
    U32(u32),
    F32(f32),
    Bool(bool),
    Str(&'static str),
}

/// A GGUF file in pieces, to be changed before it is written.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub meta: Vec<(String, Meta)>,
    pub tensors: Vec<Tensor>,
}

#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub ty: GgmlType,
    pub dims: Vec<u64>,
    pub bytes: Vec<u8>,
}

impl File {
    pub fn set(&mut self, key: &str, value: Meta) {
        self.meta.retain(|(k, _)| k != key);
        self.meta.push((key.into(), value));
    }

    pub fn remove(&mut self, key: &str) {
        self.meta.retain(|(k, _)| k != key);
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|t| t.name == name).expect("no such tensor")
    }

    /// The file's bytes, laid out as GGUF version 3 with alignment 32.
    pub fn write(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.meta.len() as u64).to_le_bytes());
        for (key, value) in &self.meta {
            string(&mut out, key);
            match value {
                Meta::U32(v) => {
                    out.extend(4u32.to_le_bytes());
                    out.extend(v.to_le_bytes());
                }
                Meta::F32(v) => {
                    out.extend(6u32.to_le_bytes());
                    out.extend(v.to_le_bytes());
                }
                Meta::Bool(v) => {
                    out.extend(7u32.to_le_bytes());
                    out.push(u8::from(*v));
                }
                Meta::Str(v) => {
                    out.extend(8u32.to_le_bytes());
                    string(&mut out, v);
                }
            }
        }
        let mut offset = 0u64;
        for t in &self.tensors {
            string(&mut out, &t.name);
            out.extend((t.dims.len() as u32).to_le_bytes());
            t.dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(t.ty.id().to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (t.bytes.len() as u64).next_multiple_of(32);
        }
        for t in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&t.bytes);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

pub const N_VOCAB: usize = 96;
pub const N_LAYER: usize = 3;
const N_EMBD: usize = 64;
const N_FF: usize = 96;
const N_HEAD: usize = 4;
const N_HEAD_KV: usize = 2;
/// Wider than `N_EMBD / N_HEAD`, and no multiple of the sixteen lanes.
const HEAD_DIM: usize = 24;

/// A random model of a family, its matrices taking `types` in turn.
pub fn tiny(family: &'static str, types: &[GgmlType]) -> File {
    let mut file = File::default();
    file.set("general.architecture", Meta::Str(family));
    let mut key = |suffix: &str, value| file.set(&format!("{family}.{suffix}"), value);
    key("block_count", Meta::U32(N_LAYER as u32));
    key("context_length", Meta::U32(4096));
    key("embedding_length", Meta::U32(N_EMBD as u32));
    key("feed_forward_length", Meta::U32(N_FF as u32));
    key("attention.head_count", Meta::U32(N_HEAD as u32));
    key("attention.head_count_kv", Meta::U32(N_HEAD_KV as u32));
    key("attention.key_length", Meta::U32(HEAD_DIM as u32));
    key("attention.value_length", Meta::U32(HEAD_DIM as u32));
    key("attention.layer_norm_rms_epsilon", Meta::F32(1e-5));
    key("rope.dimension_count", Meta::U32(HEAD_DIM as u32));
    if family == "gemma3" {
        key("attention.sliding_window", Meta::U32(20));
        key("attention.sliding_window_pattern", Meta::U32(2));
    }

    let mut rng = Rng::new(0xBA17A3);
    let mut types = types.iter().copied().cycle();
    let mut matrix = |name: String, n_cols: usize, n_rows: usize| {
        let ty = types.next().expect("no types");
        let values: Vec<f32> = (0..n_cols * n_rows).map(|_| rng.next_f32() - 0.5).collect();
        let mut bytes = vec![0; ty.row_bytes(n_cols).expect("whole blocks") * n_rows];
        quantize_row(ty, &values, &mut bytes).expect("a type with a quantizer");
        file.tensors.push(Tensor { name, ty, dims: vec![n_cols as u64, n_rows as u64], bytes });
    };
    let (q_dim, kv_dim) = (N_HEAD * HEAD_DIM, N_HEAD_KV * HEAD_DIM);
    matrix("token_embd.weight".into(), N_EMBD, N_VOCAB);
    for l in 0..N_LAYER {
        let name = |slot: &str| format!("blk.{l}.{slot}.weight");
        matrix(name("attn_q"), N_EMBD, q_dim);
        matrix(name("attn_k"), N_EMBD, kv_dim);
        matrix(name("attn_v"), N_EMBD, kv_dim);
        matrix(name("attn_output"), q_dim, N_EMBD);
        matrix(name("ffn_gate"), N_EMBD, N_FF);
        matrix(name("ffn_up"), N_EMBD, N_FF);
        matrix(name("ffn_down"), N_FF, N_EMBD);
    }

    let mut rng = Rng::new(0x5EED);
    let mut vector = |name: String, n: usize, around: f32| {
        let values = (0..n).map(|_| around + (rng.next_f32() - 0.5) * 0.5);
        let bytes = values.flat_map(f32::to_le_bytes).collect();
        file.tensors.push(Tensor { name, ty: GgmlType::F32, dims: vec![n as u64], bytes });
    };
    vector("output_norm.weight".into(), N_EMBD, 1.0);
    for l in 0..N_LAYER {
        let name = |slot: &str| format!("blk.{l}.{slot}");
        vector(name("attn_norm.weight"), N_EMBD, 1.0);
        vector(name("ffn_norm.weight"), N_EMBD, 1.0);
        if family == "qwen2" {
            vector(name("attn_q.bias"), q_dim, 0.0);
            vector(name("attn_k.bias"), kv_dim, 0.0);
            vector(name("attn_v.bias"), kv_dim, 0.0);
        }
        if family == "qwen3" || family == "gemma3" {
            vector(name("attn_q_norm.weight"), HEAD_DIM, 1.0);
            vector(name("attn_k_norm.weight"), HEAD_DIM, 1.0);
        }
        if family == "gemma3" {
            vector(name("post_attention_norm.weight"), N_EMBD, 1.0);
            vector(name("post_ffw_norm.weight"), N_EMBD, 1.0);
        }
    }
    file
}

/// Types that tiny models can be quantized to.
pub const MIX: [GgmlType; 7] = [
    GgmlType::Q8_0,
    GgmlType::Q4_0,
    GgmlType::Q5_1,
    GgmlType::F16,
    GgmlType::Q4_1,
    GgmlType::BF16,
    GgmlType::Q5_0,
];

/// Some tokens, fixed by `seed`.
pub fn prompt(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| (rng.next_u64() % N_VOCAB as u64) as u32).collect()
}

/// Memory that begins at a multiple of the arena's alignment, exactly `bytes` long.
pub struct Memory(Vec<[u64; 8]>, usize);

impl Memory {
    pub fn new(bytes: usize) -> Self {
        Memory(vec![[0; 8]; bytes.div_ceil(64) + 1], bytes)
    }

    pub fn slice(&mut self) -> &mut [u8] {
        let bytes = self.0.as_flattened_mut();
        // SAFETY: u64 has no padding and every byte pattern is a u8; the length is the same.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<u8>(), bytes.len() * 8)
        };
        let skip = bytes.as_ptr().align_offset(64);
        &mut bytes[skip..][..self.1]
    }
}

/// Threads made for every run, so that tasks meet in every possible order.
pub struct Threads(pub usize);

// SAFETY: a shared counter hands out each index once, every thread has its own worker number, and
// the scope joins all threads before `run` returns.
unsafe impl Parallel for Threads {
    fn workers(&self) -> usize {
        self.0
    }
    fn run(&self, n_tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = |worker| {
            loop {
                let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if index >= n_tasks {
                    return;
                }
                task(worker, index);
            }
        };
        // No thread without a task: emulators take long to start one.
        std::thread::scope(|scope| {
            let work = &work;
            for worker in 1..self.0.min(n_tasks) {
                scope.spawn(move || work(worker));
            }
            work(0);
        });
    }
}
