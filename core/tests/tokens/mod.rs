//! What the tokenizer tests share: the corpus, goldens, models and lent memory.

#![allow(dead_code)] // each test file uses its part

use std::path::PathBuf;

use bantam_core::gguf::Gguf;
use bantam_core::tokenizer::{Tokenizer, TokenizerPlan};

/// Returns the path of a file of `fixtures/tokens`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tokens").join(name)
}

/// Returns a real model's bytes, or says loudly that the test does not run.
pub(crate) fn model(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("BANTAM_MODELS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models"), PathBuf::from);
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let message = format!("not run: models/{name} is missing; run cargo xtask models");
            assert!(
                std::env::var_os("BANTAM_REQUIRE_MODELS").is_none_or(|v| v != "1"),
                "{message} ({error})"
            );
            eprintln!("{message}");
            None
        }
    }
}

/// Returns the texts of `corpus.txt`.
pub(crate) fn corpus() -> Vec<String> {
    let file = std::fs::read_to_string(fixture("corpus.txt")).unwrap();
    file.split_terminator('\n')
        .map(|line| {
            let mut text = String::new();
            let mut chars = line.chars();
            while let Some(c) = chars.next() {
                text.push(match c {
                    '\\' => match chars.next() {
                        Some('n') => '\n',
                        Some('r') => '\r',
                        Some('\\') => '\\',
                        other => panic!("escape {other:?}"),
                    },
                    c => c,
                });
            }
            text
        })
        .collect()
}

/// Returns FNV-1a of 64 bits, its halves xored.
pub(crate) fn fold(bytes: impl Iterator<Item = u8>) -> u32 {
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 32) as u32
}

/// Reads a file of little-endian hashes.
pub(crate) fn hashes(name: &str) -> Vec<u32> {
    let bytes = std::fs::read(fixture(name)).unwrap();
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// llama.cpp's answers for one vocabulary.
pub(crate) struct Golden {
    /// A hash per line of the corpus.
    pub(crate) hashes: Vec<u32>,
    /// The ids of the first lines.
    pub(crate) full: Vec<Vec<u32>>,
    /// Special tokens, in one line.
    pub(crate) facts: String,
}

impl Golden {
    /// Reads `NAME.bin` and `NAME.ids`.
    pub(crate) fn read(name: &str) -> Self {
        let ids = std::fs::read_to_string(fixture(&format!("{name}.ids"))).unwrap();
        let mut lines = ids.lines();
        let facts = lines.next().unwrap().to_owned();
        let full = lines
            .map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect())
            .collect();
        Self { hashes: hashes(&format!("{name}.bin")), full, facts }
    }
}

/// Returns what `Golden::facts` says, for our tokenizer.
pub(crate) fn facts(tokenizer: &Tokenizer<'_, '_>) -> String {
    let id = |token: Option<u32>| token.map_or(-1, i64::from);
    let mut ends = tokenizer.ends().to_vec();
    ends.sort_unstable();
    let ends: Vec<String> = ends.iter().map(u32::to_string).collect();
    let control = (0..tokenizer.n_vocab() as u32).filter(|&token| tokenizer.is_control(token));
    format!(
        "bos={} eos={} add_bos={} add_eos={} control={:08x} ends={}",
        id(tokenizer.bos()),
        id(tokenizer.eos()),
        u8::from(tokenizer.add_bos()),
        u8::from(tokenizer.add_eos()),
        fold(control.flat_map(u32::to_le_bytes)),
        ends.join(",")
    )
}

/// Memory for an index.
pub(crate) struct Kept(Vec<u8>);

impl Kept {
    /// As much as the plan says.
    pub(crate) fn new(gguf: &Gguf<'_>) -> Self {
        let TokenizerPlan { bytes, .. } = Tokenizer::plan(gguf).unwrap();
        Self(vec![0; bytes])
    }

    /// The memory to lend.
    pub(crate) fn memory(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Returns a GGUF file without tensors, with a string entry put first in its metadata.
pub(crate) fn with_string(file: &[u8], key: &str, value: &str) -> Vec<u8> {
    let (head, rest) = file.split_at(24);
    let count = u64::from_le_bytes(head[16..].try_into().unwrap()) + 1;
    let mut changed = head[..16].to_vec();
    changed.extend(count.to_le_bytes());
    changed.extend((key.len() as u64).to_le_bytes());
    changed.extend(key.as_bytes());
    changed.extend(8u32.to_le_bytes());
    changed.extend((value.len() as u64).to_le_bytes());
    changed.extend(value.as_bytes());
    changed.extend(rest);
    changed
}

/// A GGUF file in the making, of metadata alone.
#[derive(Clone, Default)]
pub(crate) struct Metadata {
    count: u64,
    bytes: Vec<u8>,
}

impl Metadata {
    fn entry(mut self, key: &str, ty: u32, value: &[u8]) -> Self {
        self.count += 1;
        self.bytes.extend((key.len() as u64).to_le_bytes());
        self.bytes.extend(key.as_bytes());
        self.bytes.extend(ty.to_le_bytes());
        self.bytes.extend(value);
        self
    }

    fn array(self, key: &str, ty: u32, len: usize, value: &[u8]) -> Self {
        let head = [&ty.to_le_bytes()[..], &(len as u64).to_le_bytes()].concat();
        self.entry(key, 9, &[&head, value].concat())
    }

    pub(crate) fn string(self, key: &str, value: &str) -> Self {
        let value = [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat();
        self.entry(key, 8, &value)
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.entry(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn bool(self, key: &str, value: bool) -> Self {
        self.entry(key, 7, &[u8::from(value)])
    }

    pub(crate) fn strings(self, key: &str, values: &[&[u8]]) -> Self {
        let bytes: Vec<u8> =
            values.iter().flat_map(|v| [&(v.len() as u64).to_le_bytes()[..], v].concat()).collect();
        self.array(key, 8, values.len(), &bytes)
    }

    pub(crate) fn f32s(self, key: &str, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.array(key, 6, values.len(), &bytes)
    }

    pub(crate) fn i32s(self, key: &str, values: &[i32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.array(key, 5, values.len(), &bytes)
    }

    /// The file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend(self.count.to_le_bytes());
        file.extend(&self.bytes);
        file
    }
}
