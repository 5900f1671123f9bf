//! `cargo xtask models --synthetic`: a model of random weights, big enough to measure with.
//!
//! The real models at hand are small; what a 1-billion-parameter model asks of a machine is seen
//! with one of that shape, whose weights may be any numbers. The file is written as a stream and
//! appears by a rename, and the same bytes come out on every machine.

use crate::cmd::Cmd;
use crate::context::Context;
use crate::fetch::{self, megabytes};
use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The names of the synthetic models begin with this.
const NAME: &str = "synthetic-0.8B";

/// The formats that are made of the half-float file.
const QUANTIZED: [&str; 4] = ["Q4_0", "Q4_K_M", "Q5_K_M", "Q8_0"];

/// The layout of a llama-family model with a tied output head.
struct Shape {
    n_embd: usize,
    n_layer: usize,
    n_ff: usize,
    n_head: usize,
    n_head_kv: usize,
    n_vocab: usize,
}

const SHAPE: Shape =
    Shape { n_embd: 2048, n_layer: 16, n_ff: 5632, n_head: 32, n_head_kv: 8, n_vocab: 49_152 };

/// Standard deviation of the weights: as in trained models, and logits come out near ±4.
const DEVIATION: f32 = 0.02;

/// One tensor to be written.
struct Tensor {
    name: String,
    /// Columns, then rows; norms have no rows.
    dims: Vec<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Half floats, random.
    Random,
    /// Floats, all one.
    Ones,
}

impl Tensor {
    fn bytes(&self) -> u64 {
        let elements: usize = self.dims.iter().product();
        elements as u64 * if self.kind == Kind::Random { 2 } else { 4 }
    }

    /// The format's number in a GGUF file.
    fn type_id(&self) -> u32 {
        if self.kind == Kind::Random { 1 } else { 0 }
    }
}

impl Shape {
    /// The tensors, in the order of the file.
    fn tensors(&self) -> Vec<Tensor> {
        let matrix =
            |name: String, cols, rows| Tensor { name, dims: vec![cols, rows], kind: Kind::Random };
        let norm = |name: String| Tensor { name, dims: vec![self.n_embd], kind: Kind::Ones };
        let n_kv = self.n_embd / self.n_head * self.n_head_kv;
        let mut all = vec![matrix("token_embd.weight".into(), self.n_embd, self.n_vocab)];
        for i in 0..self.n_layer {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            all.extend([
                norm(name("attn_norm")),
                matrix(name("attn_q"), self.n_embd, self.n_embd),
                matrix(name("attn_k"), self.n_embd, n_kv),
                matrix(name("attn_v"), self.n_embd, n_kv),
                matrix(name("attn_output"), self.n_embd, self.n_embd),
                norm(name("ffn_norm")),
                matrix(name("ffn_gate"), self.n_embd, self.n_ff),
                matrix(name("ffn_up"), self.n_embd, self.n_ff),
                matrix(name("ffn_down"), self.n_ff, self.n_embd),
            ]);
        }
        all.push(norm("output_norm.weight".into()));
        all
    }

    /// Everything before the tensors' bytes.
    fn header(&self, tensors: &[Tensor]) -> Vec<u8> {
        let mut meta = Meta::default();
        meta.text("general.architecture", "llama");
        meta.text("general.name", NAME);
        meta.u32("general.file_type", 1);
        meta.u32("llama.context_length", 8192);
        meta.u32("llama.embedding_length", self.n_embd);
        meta.u32("llama.block_count", self.n_layer);
        meta.u32("llama.feed_forward_length", self.n_ff);
        meta.u32("llama.attention.head_count", self.n_head);
        meta.u32("llama.attention.head_count_kv", self.n_head_kv);
        meta.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
        meta.u32("llama.rope.dimension_count", self.n_embd / self.n_head);
        meta.f32("llama.rope.freq_base", 10_000.0);
        meta.u32("llama.vocab_size", self.n_vocab);
        meta.text("tokenizer.ggml.model", "llama");
        meta.array("tokenizer.ggml.tokens", 8, self.n_vocab, |i, out| string(out, &token(i)));
        meta.array("tokenizer.ggml.scores", 6, self.n_vocab, |i, out| {
            out.extend((-(i as f32)).to_le_bytes());
        });
        meta.array("tokenizer.ggml.token_type", 5, self.n_vocab, |i, out| {
            // Unknown, control, byte, normal.
            let kind: u32 = match i {
                0 => 2,
                1 | 2 => 3,
                3..=258 => 6,
                _ => 1,
            };
            out.extend(kind.to_le_bytes());
        });
        meta.u32("tokenizer.ggml.bos_token_id", 1);
        meta.u32("tokenizer.ggml.eos_token_id", 2);
        meta.u32("tokenizer.ggml.unknown_token_id", 0);

        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((tensors.len() as u64).to_le_bytes());
        out.extend(meta.n.to_le_bytes());
        out.extend(meta.bytes);
        let mut offset = 0;
        for tensor in tensors {
            string(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            for &dim in &tensor.dims {
                out.extend((dim as u64).to_le_bytes());
            }
            out.extend(tensor.type_id().to_le_bytes());
            out.extend(u64::to_le_bytes(offset));
            offset += tensor.bytes().next_multiple_of(ALIGNMENT);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
        out
    }

    /// Writes the whole file, telling `progress` how many bytes have been written in all.
    fn write(&self, out: &mut impl Write, mut progress: impl FnMut(u64)) -> io::Result<()> {
        let tensors = self.tensors();
        let header = self.header(&tensors);
        out.write_all(&header)?;
        let mut written = header.len() as u64;
        let halves = random_halves();
        let mut buffer = Vec::with_capacity(CHUNK);
        for (seed, tensor) in tensors.iter().enumerate() {
            let mut rng = SplitMix(seed as u64);
            let mut left = tensor.bytes() as usize;
            while left > 0 {
                let len = left.min(CHUNK);
                buffer.clear();
                match tensor.kind {
                    Kind::Ones => buffer.extend(1f32.to_le_bytes().repeat(len / 4)),
                    Kind::Random => {
                        while buffer.len() < len {
                            let bits = rng.next();
                            for four in [bits as u32, (bits >> 32) as u32] {
                                let sum: usize =
                                    four.to_le_bytes().iter().map(|&b| usize::from(b)).sum();
                                buffer.extend(halves[sum].to_le_bytes());
                            }
                        }
                        buffer.truncate(len);
                    }
                }
                out.write_all(&buffer)?;
                left -= len;
                written += len as u64;
                progress(written);
            }
            let padding = tensor.bytes().next_multiple_of(ALIGNMENT) - tensor.bytes();
            out.write_all(&vec![0; padding as usize])?;
            written += padding;
        }
        out.flush()
    }

    fn file_bytes(&self) -> u64 {
        let tensors = self.tensors();
        let data: u64 = tensors.iter().map(|t| t.bytes().next_multiple_of(ALIGNMENT)).sum();
        self.header(&tensors).len() as u64 + data
    }
}

/// Where tensors begin, in bytes.
const ALIGNMENT: u64 = 32;

/// Bytes made at a time.
const CHUNK: usize = 1 << 20;

/// Metadata as it is written.
#[derive(Default)]
struct Meta {
    n: u64,
    bytes: Vec<u8>,
}

impl Meta {
    fn key(&mut self, key: &str, type_id: u32) -> &mut Vec<u8> {
        self.n += 1;
        string(&mut self.bytes, key);
        self.bytes.extend(type_id.to_le_bytes());
        &mut self.bytes
    }

    fn u32(&mut self, key: &str, value: usize) {
        self.key(key, 4).extend((value as u32).to_le_bytes());
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6).extend(value.to_le_bytes());
    }

    fn text(&mut self, key: &str, value: &str) {
        string(self.key(key, 8), value);
    }

    fn array(
        &mut self,
        key: &str,
        type_id: u32,
        n: usize,
        mut item: impl FnMut(usize, &mut Vec<u8>),
    ) {
        let out = self.key(key, 9);
        out.extend(type_id.to_le_bytes());
        out.extend((n as u64).to_le_bytes());
        for i in 0..n {
            item(i, out);
        }
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The text of a token: what SentencePiece models begin with, then words made of the letters of
/// their number.
fn token(i: usize) -> String {
    match i {
        0 => "<unk>".into(),
        1 => "<s>".into(),
        2 => "</s>".into(),
        3..=258 => format!("<0x{:02X}>", i - 3),
        259 => "▁".into(),
        _ => {
            let mut word = String::new();
            let mut left = i - 259;
            while left > 0 {
                left -= 1;
                word.insert(0, char::from(b'a' + (left % 26) as u8));
                left /= 26;
            }
            word
        }
    }
}

/// Half floats for every sum of four random bytes, which is nearly a normal distribution.
fn random_halves() -> Vec<u16> {
    // The variance of one byte is (256² - 1) / 12.
    let deviation_of_sum = (4.0 * (256.0f32 * 256.0 - 1.0) / 12.0).sqrt();
    (0..=1020).map(|sum| half((sum as f32 - 510.0) / deviation_of_sum * DEVIATION)).collect()
}

/// `x` as a half float, rounded towards zero: `x` is far from the largest and is not subnormal
/// unless it is zero.
fn half(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = (bits & 0x7FFF_FFFF) >> 13;
    // The exponents' biases differ by 127 - 15.
    (sign | magnitude.saturating_sub(112 << 10)) as u16
}

/// Sebastiano Vigna's generator of that name: one addition and a mix for 64 bits.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Makes what is missing of the synthetic models in `dir`.
///
/// # Errors
/// When a file cannot be written, or `llama-quantize` fails.
pub(crate) fn run(cx: &Context, dir: &Path, llama_quantize: Option<&Path>) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let source = dir.join(format!("{NAME}.F16.gguf"));
    let wanted: Vec<_> = QUANTIZED
        .map(|format| (format, dir.join(format!("{NAME}.{format}.gguf"))))
        .into_iter()
        .filter(|(_, path)| {
            let present = path.is_file();
            if present {
                println!("{}: present", path.display());
            }
            !present
        })
        .collect();
    if source.is_file() && source.metadata().is_ok_and(|meta| meta.len() == SHAPE.file_bytes()) {
        println!("{}: present", source.display());
    } else if !wanted.is_empty() {
        write_file(&source)?;
    }
    for (format, path) in wanted {
        let Some(program) = llama_quantize else {
            cx.not_run(format!(
                "{}: give --llama-quantize PATH, the program that makes it",
                path.display()
            ));
            continue;
        };
        let partial = path.with_extension("partial");
        let out = Cmd::new(program).arg(&source).arg(&partial).arg(format).capture()?;
        if !out.ok {
            let _ = fs::remove_file(&partial);
            let reason = out.stderr.lines().last().unwrap_or("it did not say why").to_owned();
            bail!("{} could not make {}: {reason}", program.display(), path.display());
        }
        fs::rename(&partial, &path)
            .with_context(|| format!("cannot rename to {}", path.display()))?;
        println!("{}: made", path.display());
    }
    Ok(())
}

fn write_file(path: &Path) -> Result<()> {
    let partial = path.with_extension("partial");
    let bytes = SHAPE.file_bytes();
    let bar =
        ProgressBar::new(bytes).with_style(fetch::style()).with_message(format!("writing {NAME}"));
    let written = File::create(&partial).and_then(|file| {
        SHAPE.write(&mut BufWriter::with_capacity(CHUNK, file), |done| bar.set_position(done))
    });
    bar.finish_and_clear();
    if let Err(error) = written {
        let _ = fs::remove_file(&partial);
        return Err(error).with_context(|| {
            format!("cannot write {} ({} MB)", partial.display(), megabytes(bytes))
        });
    }
    fs::rename(&partial, path).with_context(|| format!("cannot rename to {}", path.display()))?;
    println!("{}: made, {} MB", path.display(), megabytes(bytes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bantam_core::engine::{Engine, EngineOptions};
    use bantam_core::gguf::Gguf;
    use bantam_core::model::{Model, PlanOptions};
    use bantam_core::tokenizer::{EncodeOptions, Tokenizer};

    const TINY: Shape =
        Shape { n_embd: 64, n_layer: 2, n_ff: 96, n_head: 4, n_head_kv: 2, n_vocab: 400 };

    #[test]
    fn the_core_reads_and_runs_it() {
        let mut bytes = Vec::new();
        let mut last = 0;
        TINY.write(&mut bytes, |done| last = done).unwrap();
        assert_eq!(bytes.len() as u64, TINY.file_bytes());
        assert_eq!(last, TINY.file_bytes());

        let gguf = Gguf::parse(&bytes).unwrap();
        let model = Model::new(&gguf).unwrap();
        let plan = model.plan(&PlanOptions::new(16)).unwrap();
        let mut memory = vec![0; plan.bytes() + 64];
        let mut engine = Engine::new(&model, &plan, &mut memory, EngineOptions::default()).unwrap();
        let logits = engine.prefill(&[1, 300, 7]).unwrap();
        assert!(logits.iter().all(|x| x.is_finite()));
        assert!(logits.iter().any(|&x| x != logits[0]));

        let mut index = vec![0; 1 << 20];
        let tokenizer = Tokenizer::new_in(&gguf, &mut index).unwrap();
        let options = EncodeOptions { add_special: true, parse_special: false };
        let mut tokens = [0; 16];
        let n = tokenizer.encode("ab", options, &mut [0; 4096], &mut tokens).unwrap();
        // Beginning, space, and "ab", the 28th word after it.
        assert_eq!(tokens[..n], [1, 259, 287]);
    }

    #[test]
    fn the_real_shape_has_the_stated_size() {
        let tensors = SHAPE.tensors();
        let macs: usize = tensors
            .iter()
            .filter(|t| t.name.starts_with("blk.") && t.kind == Kind::Random)
            .map(|t| t.dims.iter().product::<usize>())
            .sum();
        assert_eq!(macs / 1_000_000, 721);
        assert_eq!(token(259 + 26), "z");
        assert_eq!(token(259 + 27), "aa");
    }

    #[test]
    fn halves_are_spread_as_asked() {
        let value = |bits: u16| {
            let exponent = i32::from((bits >> 10) & 31) - 25;
            f32::from(0x400 | (bits & 0x3FF)) * 2f32.powi(exponent)
        };
        assert_eq!(half(0.0), 0);
        assert_eq!(half(1.0), 0x3C00);
        assert_eq!(half(-0.5), 0xB800);
        assert!((value(half(0.02)) - 0.02).abs() < 2e-5);
        let halves = random_halves();
        assert_eq!(halves[510], 0);
        assert!(halves.iter().all(|&h| h == 0 || value(h & 0x7FFF) < 5.0 * DEVIATION));
    }
}
