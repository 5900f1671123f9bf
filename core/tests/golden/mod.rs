//! What the golden tests share: fixtures, number files, and engines in memory of their own.
//!
//! `host/tests/agreement.rs` uses this file too.
#![allow(dead_code, unreachable_pub, reason = "every test program uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bantam_core::Token;
use bantam_core::cache::CacheType;
use bantam_core::engine::{Engine, EngineOptions};
use bantam_core::gguf::Gguf;
use bantam_core::model::{Model, PlanOptions};

/// The folder `fixtures/` of the repository.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// The bytes of a fixture.
pub fn fixture(path: &str) -> Vec<u8> {
    let path = fixtures().join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An element type of number files.
pub trait Element: Copy {
    /// As NumPy names it.
    const DESCR: &'static str;
    /// Its bytes.
    const SIZE: usize;
    /// The element in exactly [`Element::SIZE`] little-endian bytes.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($($ty:ty = $descr:literal),*) => {$(
        impl Element for $ty {
            const DESCR: &'static str = $descr;
            const SIZE: usize = size_of::<$ty>();
            fn read(bytes: &[u8]) -> Self {
                <$ty>::from_le_bytes(bytes.try_into().unwrap())
            }
        }
    )*};
}
element!(u16 = "<u2", i32 = "<i4", f32 = "<f4");

/// An array of any number of dimensions, in C order.
pub struct Npy<T> {
    pub shape: Vec<usize>,
    pub data: Vec<T>,
}

impl<T: Element> Npy<T> {
    /// Reads a fixture. Of the format, only what the scripts write is known: version 1.0, little
    /// endian, C order, and exactly the type `T`.
    pub fn read(path: &str) -> Self {
        Self::parse(&fixture(path)).unwrap_or_else(|| panic!("{path} is not the .npy expected"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(b"\x93NUMPY\x01\x00")?;
        let (length, rest) = rest.split_first_chunk()?;
        let (header, data) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let header = std::str::from_utf8(header).ok()?;
        header.contains(&format!("'descr': '{}'", T::DESCR)).then_some(())?;
        header.contains("'fortran_order': False").then_some(())?;
        let shape = header.split_once("'shape': (")?.1.split_once(')')?.0;
        let shape = shape.split(',').map(str::trim).filter(|n| !n.is_empty());
        let shape: Vec<usize> = shape.map(|n| n.parse().ok()).collect::<Option<_>>()?;
        let data: Vec<T> = data.chunks_exact(T::SIZE).map(T::read).collect();
        (shape.iter().product::<usize>() == data.len()).then_some(Npy { shape, data })
    }

    /// Rows of the last dimension.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, T> {
        self.data.chunks_exact(*self.shape.last().unwrap())
    }

    /// Row `row` of the last dimension.
    pub fn row(&self, row: usize) -> &[T] {
        self.rows().nth(row).unwrap()
    }
}

/// Token ids of a fixture.
pub fn tokens(path: &str) -> Vec<Token> {
    Npy::<i32>::read(path).data.into_iter().map(|id| id.try_into().unwrap()).collect()
}

/// Lines of a fixture that are not comments, in words.
pub fn table(path: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(fixture(path)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// Runs `f` with an engine that has a new context of `n_ctx` tokens.
pub fn with_engine<R>(
    gguf: &[u8],
    cache: CacheType,
    n_ctx: usize,
    options: EngineOptions<'_>,
    f: impl FnOnce(&mut Engine<'_, '_>) -> R,
) -> R {
    let gguf = Gguf::parse(gguf).expect("the file is well formed");
    let model = Model::new(&gguf).expect("the model is known");
    let plan = model.plan(&PlanOptions { cache, ..PlanOptions::new(n_ctx) }).unwrap();
    let mut memory = vec![0_u8; plan.bytes() + 64];
    let skip = memory.as_ptr().align_offset(64);
    let memory = &mut memory[skip..][..plan.bytes()];
    f(&mut Engine::new(&model, &plan, memory, options).unwrap())
}

/// Logits behind every token of a prompt, one row each.
pub fn logits(gguf: &[u8], cache: CacheType, tokens: &[Token]) -> Vec<Vec<f32>> {
    with_engine(gguf, cache, tokens.len(), EngineOptions::default(), |engine| {
        let mut rows = Vec::new();
        engine
            .prefill_each(tokens, &mut |index, row| {
                assert_eq!(index, rows.len(), "positions come in order");
                rows.push(row.to_vec());
            })
            .unwrap();
        rows
    })
}

/// Values of every stage of a prompt, by name (`l0.q_rope`, `logits`).
pub fn stages(gguf: &[u8], cache: CacheType, tokens: &[Token]) -> BTreeMap<String, Vec<f32>> {
    with_engine(gguf, cache, tokens.len(), EngineOptions::default(), |engine| {
        let mut stages = BTreeMap::<String, Vec<f32>>::new();
        engine
            .prefill_observed(tokens, &mut |_, _| (), &mut |stage, values| {
                assert_eq!(values.len(), stage.n_rows * stage.n_cols);
                let name = match stage.layer {
                    Some(layer) => format!("l{layer}.{}", stage.name),
                    None => stage.name.to_owned(),
                };
                stages.entry(name).or_default().extend_from_slice(values);
            })
            .unwrap();
        stages
    })
}

/// Log-probabilities of a row of logits.
pub fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
    let log_sum = max + sum.ln();
    logits.iter().map(|&x| f64::from(x) - log_sum).collect()
}

/// `KL(p || q)` in nats of two distributions given by their logarithms.
pub fn kl(log_p: &[f64], log_q: &[f64]) -> f64 {
    assert_eq!(log_p.len(), log_q.len());
    log_p.iter().zip(log_q).map(|(p, q)| p.exp() * (p - q)).sum()
}

/// Index of the largest value; the first of equals.
pub fn top(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = i;
        }
    }
    best
}

/// Mean squared error over the mean square of the truth.
pub fn nmse<'a>(
    ours: impl IntoIterator<Item = &'a f32>,
    truth: impl IntoIterator<Item = &'a f32>,
) -> f64 {
    let (mut error, mut power) = (0.0, 0.0);
    for (x, t) in ours.into_iter().zip(truth) {
        error += (f64::from(*x) - f64::from(*t)).powi(2);
        power += f64::from(*t).powi(2);
    }
    error / power
}
