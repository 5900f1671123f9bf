//! What each fuzz target does with its bytes.
//!
//! Apart from libFuzzer, so that `core/tests/fuzz_seeds.rs` can run the same code over the
//! committed seeds with a stable compiler. A target fails by panicking, by an overflow, by
//! reading out of bounds (AddressSanitizer), or by taking too long.

use std::hint::black_box;

use bantam_core::Token;
use bantam_core::arena::ALIGN;
use bantam_core::engine::{Engine, EngineOptions};
use bantam_core::gguf::{Gguf, Value};
use bantam_core::kernels::{ActGroup, KernelSet, Product};
use bantam_core::model::{Model, PlanOptions};
use bantam_core::ops::{ActsBuffer, Runner, linear};
use bantam_core::par::Serial;
use bantam_core::quant::{GgmlType, dequantize_row, quantize_row};
use bantam_core::schema::Schema;
use bantam_core::tensor::TensorView;
use bantam_core::tokenizer::{Detokenizer, EncodeOptions, Tokenizer, TokenizerError};

/// Most working memory that a target lends; a file that plans for more is left at its plan.
const MAX_MEMORY: usize = 16 << 20;

/// Parses the bytes as a file, reads everything that a parsed file promises, and runs the model
/// in it if there is one.
pub fn gguf_parse(data: &[u8]) {
    let gguf = match Gguf::parse(data) {
        Ok(gguf) => gguf,
        Err(err) => {
            assert!(err.offset <= data.len() as u64, "{err} past the end");
            assert!(!err.to_string().contains('\n'), "{err}");
            return;
        }
    };
    let mut n_metadata = 0;
    for (key, value) in gguf.metadata() {
        n_metadata += 1;
        assert!(gguf.get(key).is_some(), "{key:?} is listed but not found");
        if let Value::Array(array) = value {
            let start = array.offset() as usize;
            assert_eq!(&data[start..start + array.bytes().len()], array.bytes());
            assert_eq!(array.iter().count(), array.len());
            if let Some(strings) = array.strings() {
                let bytes: usize = strings.map(|string| string.len() + 8).sum();
                assert_eq!(bytes, array.bytes().len());
            }
        }
    }
    assert_eq!(n_metadata, gguf.n_metadata());
    let mut end = gguf.data_offset();
    let mut n_tensors = 0;
    for tensor in gguf.tensors() {
        n_tensors += 1;
        assert!(tensor.offset >= end, "{tensor:?} overlaps");
        assert_eq!((tensor.offset - gguf.data_offset()) % gguf.alignment(), 0);
        end = tensor.offset + tensor.view.bytes().len() as u64;
        let elements: u64 = tensor.dims.iter().product();
        assert_eq!(elements, tensor.view.n_cols() as u64 * tensor.view.n_rows() as u64);
        // The lookup walks the table, so looking up each of thousands would take long.
        if n_tensors <= 16 {
            assert_eq!(gguf.tensor(tensor.name).map(|t| t.offset), Some(tensor.offset));
        }
        assert!(tensor.view.row(tensor.view.n_rows() - 1).is_some());
        assert!(tensor.view.row(tensor.view.n_rows()).is_none());
    }
    assert_eq!(n_tensors, gguf.n_tensors());
    assert!(end <= data.len() as u64);
    run_model(&gguf);
}

/// Runs a few tokens on two kernel sets, if the file is a model whose shapes fit together.
///
/// Its weights may be any bits at all. As long as the results are finite they must be equal.
fn run_model(gguf: &Gguf<'_>) {
    let model = match Model::new(gguf) {
        Ok(model) => model,
        Err(err) => {
            assert!(!err.to_string().contains('\n'), "{err}");
            return;
        }
    };
    let options = PlanOptions { n_batch: 3, ..PlanOptions::new(6) };
    let Ok(plan) = model.plan(&options) else { return };
    if plan.bytes() > MAX_MEMORY {
        return;
    }
    let n_vocab = model.config().n_vocab;
    let tokens = [0, n_vocab as Token / 2, n_vocab as Token - 1, 0];
    let run = |kernels: KernelSet| -> Vec<f32> {
        let mut memory = vec![0xa5; plan.bytes() + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN);
        let memory = &mut memory[start..start + plan.bytes()];
        let options = EngineOptions { kernels, parallel: &Serial };
        let mut engine = Engine::new(&model, &plan, memory, options).expect("planned memory");
        engine.prefill(&tokens).expect("tokens of the vocabulary, fewer than the context");
        let logits = engine.decode(tokens[1]).expect("room for one more").to_vec();
        assert_eq!(logits.len(), n_vocab);
        assert!(engine.decode(n_vocab as Token).is_err(), "a token past the vocabulary");
        logits
    };
    let (scalar, best) = (run(KernelSet::scalar()), run(KernelSet::best()));
    if scalar.iter().all(|x| x.is_finite()) {
        for (i, (a, b)) in scalar.iter().zip(&best).enumerate() {
            assert_eq!(a.to_bits(), b.to_bits(), "logit {i}: {a} scalar, {b} best");
        }
    }
}

/// Reads bytes as weights of one format, and bytes as floats to be written in it.
///
/// The first byte is the format, by its place in [`GgmlType::ALL`]; the rest are its blocks.
pub fn dequantize(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let ty = GgmlType::ALL[usize::from(first) % GgmlType::ALL.len()];
    let n_blocks = (bytes.len() / ty.block_bytes()).min(8);
    let blocks = &bytes[..n_blocks * ty.block_bytes()];

    // A value left unwritten shows as this one.
    const UNWRITTEN: u32 = 0xffc0_dead;
    let mut out = vec![f32::from_bits(UNWRITTEN); n_blocks * ty.block_elems()];
    dequantize_row(ty, blocks, &mut out).expect("whole blocks");
    let mut one = vec![0.0; ty.block_elems()];
    for (block, values) in
        blocks.chunks_exact(ty.block_bytes()).zip(out.chunks_exact(ty.block_elems()))
    {
        dequantize_row(ty, block, &mut one).expect("one block");
        for (a, b) in one.iter().zip(values) {
            assert_eq!(a.to_bits(), b.to_bits(), "{ty:?} by block and by row");
            assert!(ty.block_elems() == 1 || b.to_bits() != UNWRITTEN, "{ty:?} left a value out");
        }
    }

    // Lengths that do not fit are refused, never read past.
    let wrong = bytes.len() % 700;
    let mut out = vec![0.0; wrong];
    let fits = ty.row_bytes(wrong) == Some(bytes.len());
    assert_eq!(dequantize_row(ty, bytes, &mut out).is_ok(), fits, "{ty:?} {wrong}");

    // Any floats can be written, whatever they are, and what is written can be read.
    let floats: Vec<f32> =
        bytes.as_chunks::<4>().0.iter().take(512).map(|b| f32::from_le_bytes(*b)).collect();
    let n = floats.len() / ty.block_elems() * ty.block_elems();
    let mut packed = vec![0; ty.row_bytes(n).expect("whole blocks")];
    if quantize_row(ty, &floats[..n], &mut packed).is_ok() {
        let mut out = vec![0.0; n];
        dequantize_row(ty, &packed, &mut out).expect("whole blocks");
        black_box(out);
    }
}

/// Multiplies weights of any bits with activations on every kernel set of this CPU.
///
/// The first bytes choose format, rows, tokens, blocks in a row and whether activations are tame
/// or any floats at all; the rest, repeated as often as it takes, are weights and activations.
pub fn parity(data: &[u8]) {
    let Some((&[ty, n_rows, n_tokens, n_blocks, tame], rest)) = data.split_first_chunk() else {
        return;
    };
    if rest.is_empty() {
        return;
    }
    let ty = GgmlType::ALL[usize::from(ty) % GgmlType::ALL.len()];
    let (n_rows, n_tokens) = (usize::from(n_rows) % 40 + 1, usize::from(n_tokens) % 9 + 1);
    // The plain formats in rows of 32, as activations are.
    let block = ty.block_elems().max(32);
    let n_cols = (usize::from(n_blocks) % 5 + 1) * block;
    let mut bytes = rest.iter().copied().cycle();
    let n_bytes = n_rows * ty.row_bytes(n_cols).expect("whole blocks");
    let weights: Vec<u8> = bytes.by_ref().take(n_bytes).collect();
    let weights = TensorView::new(ty, n_cols, n_rows, &weights).expect("as long as it must be");
    let mut float = || {
        let any: [u8; 4] = std::array::from_fn(|_| bytes.next().unwrap_or(0));
        if tame & 1 == 0 { f32::from(any[0] as i8) / 16.0 } else { f32::from_le_bytes(any) }
    };
    let x: Vec<f32> = (0..n_tokens * n_cols).map(|_| float()).collect();

    let run = |kernels: KernelSet| {
        let mut out = vec![f32::NAN; n_tokens * n_rows];
        let (mut qs, mut groups) = (vec![0; x.len()], vec![ActGroup::default(); x.len() / 32]);
        let mut acts = ActsBuffer { qs: &mut qs, groups: &mut groups };
        let runner = Runner { kernels, parallel: &Serial };
        let mut x = x.clone();
        linear(
            runner,
            &mut acts,
            &mut x,
            n_tokens,
            &|_, _| {},
            &mut [Product::new(weights, &mut out)],
        );
        out
    };
    let scalar = run(KernelSet::scalar());
    for kernels in KernelSet::available() {
        for (i, (a, b)) in scalar.iter().zip(run(kernels)).enumerate() {
            // Which NaN it is, is not promised.
            let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(same, "{ty:?} {i}: scalar {a:e}, {} {b:e}", kernels.name());
        }
    }
}

/// Builds a tokenizer and takes text to tokens and back.
///
/// Bytes that start as a GGUF file are the file of the tokenizer to build; its last bytes are
/// also a text for it. Of other bytes the first chooses a vocabulary of the fixtures and options,
/// and the rest are a text.
pub fn tokenizer(data: &[u8]) {
    if data.starts_with(b"GGUF") {
        let tail = String::from_utf8_lossy(&data[data.len().saturating_sub(64)..]);
        let texts = ["", " the theing 01\u{e9}<|im_end|>\n\n  \t\u{2581}x", &tail];
        let Ok(gguf) = Gguf::parse(data) else { return };
        with_tokenizer(&gguf, false, |tokenizer| {
            for text in texts {
                for bits in 0..4 {
                    check_text(tokenizer, text, bits, false);
                }
            }
        });
    } else if let Some((&bits, text)) = data.split_first() {
        let text = String::from_utf8_lossy(text);
        let file = VOCABULARIES[usize::from(bits >> 3) % VOCABULARIES.len()];
        let gguf = Gguf::parse(file).expect("a fixture");
        with_tokenizer(&gguf, true, |tokenizer| check_text(tokenizer, &text, bits, true));
    }
}

/// Reads the bytes up to the first zero as a schema, and walks through an answer as the bytes behind
/// it say, while there are some.
pub fn schema(data: &[u8]) {
    let mut parts = data.splitn(2, |&b| b == 0);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let schema = match Schema::parse(&text) {
        Ok(schema) => schema,
        Err(err) => {
            assert!(err.line as usize <= text.lines().count() + 1, "{err}");
            assert!(!err.to_string().contains('\n'), "{err}");
            return;
        }
    };
    let mut turns = parts.next().unwrap_or_default().iter();
    let (mut state, mut answer) = (schema.start(), Vec::new());
    while !state.is_whole() {
        let bytes: Vec<u8> = (0..=255).filter(|&b| schema.allows(state, [b]).is_some()).collect();
        assert!(!bytes.is_empty(), "a dead end behind {}", String::from_utf8_lossy(&answer));
        let turn = turns.next().copied().unwrap_or(0);
        let byte = bytes[usize::from(turn) % bytes.len()];
        answer.push(byte);
        state = schema.allows(state, [byte]).expect("one of those that are allowed");
    }
    assert!(answer.len() <= schema.max_bytes(), "{}", answer.len());
    assert!(std::str::from_utf8(&answer).is_ok());
}

/// One vocabulary for each pre-tokenizer and algorithm.
const VOCABULARIES: [&[u8]; 6] = [
    include_bytes!("../../../fixtures/gguf/valid/tiny_llama.gguf"),
    include_bytes!("../../../fixtures/gguf/valid/tiny_gemma3.gguf"),
    include_bytes!("../../../fixtures/gguf/valid/vocabulary_default.gguf"),
    include_bytes!("../../../fixtures/gguf/valid/vocabulary_gpt_2.gguf"),
    include_bytes!("../../../fixtures/gguf/valid/vocabulary_llama_bpe.gguf"),
    include_bytes!("../../../fixtures/gguf/valid/vocabulary_qwen2.gguf"),
];

/// Calls `check` with the tokenizer of a file, if the file has one.
fn with_tokenizer(gguf: &Gguf<'_>, complete: bool, check: impl Fn(&Tokenizer<'_, '_>)) {
    let plan = match Tokenizer::plan(gguf) {
        Ok(plan) => plan,
        Err(err) => {
            assert!(!complete && !err.to_string().contains('\n'), "{err}");
            return;
        }
    };
    if plan.bytes > MAX_MEMORY {
        return;
    }
    let mut memory = vec![0xa5; plan.bytes];
    match Tokenizer::new_in(gguf, &mut memory) {
        Ok(tokenizer) => check(&tokenizer),
        Err(err) => {
            assert!(!matches!(err, TokenizerError::MemoryTooSmall { .. }), "{err}");
            assert!(!complete && !err.to_string().contains('\n'), "{err}");
        }
    }
}

/// Encodes `text`, checks every bound that was promised, and decodes it again.
///
/// A `complete` vocabulary has all bytes, so that any text can be encoded and comes back equal.
fn check_text(tokenizer: &Tokenizer<'_, '_>, text: &str, bits: u8, complete: bool) {
    let options = EncodeOptions { add_special: bits & 1 != 0, parse_special: bits & 2 != 0 };
    let mut scratch = vec![0xa5; tokenizer.encode_scratch(text.len())];
    let mut out = vec![Token::MAX; tokenizer.max_tokens(text.len())];
    let n = match tokenizer.encode(text, options, &mut scratch, &mut out) {
        Ok(n) => n,
        Err(err) => {
            use TokenizerError::{MissingByte, MissingSpecial};
            assert!(matches!(err, MissingByte { .. } | MissingSpecial { .. }), "{err}");
            assert!(!complete, "{err}");
            return;
        }
    };
    let tokens = &out[..n];
    assert!(tokens.iter().all(|&token| (token as usize) < tokenizer.n_vocab()), "{tokens:?}");

    // A token too few in the output, or less scratch, is refused or makes no difference.
    if let Some(short) = n.checked_sub(1) {
        let mut short = vec![0; short];
        let full = tokenizer.encode(text, options, &mut scratch, &mut short);
        assert!(matches!(full, Err(TokenizerError::OutputFull { .. })), "{full:?}");
    }
    let less = scratch.len() * usize::from(bits) / 256;
    let mut again = vec![Token::MAX; n];
    if let Ok(n) = tokenizer.encode(text, options, &mut scratch[..less], &mut again) {
        assert_eq!(&again[..n], tokens, "with {less} bytes of scratch");
    }

    let mut back = String::new();
    let mut detokenizer = Detokenizer::mid_text();
    for &token in tokens {
        detokenizer.push(tokenizer, token, bits & 4 != 0, |piece| back.push_str(piece));
    }
    detokenizer.finish(|piece| back.push_str(piece));
    // U+2581 is how SentencePiece writes a space, and there is no telling them apart after.
    let special = options.add_special || options.parse_special;
    if complete && !special && !text.contains('\u{2581}') {
        assert_eq!(back, text);
    }
}
