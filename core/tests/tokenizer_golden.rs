//! Token ids and text against llama.cpp's, for every line of `fixtures/tokens/corpus.txt`.

mod tokens;

use tokens::{Golden, Kept, corpus, fixture, fold, hashes, model, with_string};

use bantam_core::Token;
use bantam_core::gguf::Gguf;
use bantam_core::tokenizer::{Detokenizer, EncodeOptions, Tokenizer};

const SPECIAL: EncodeOptions = EncodeOptions { add_special: true, parse_special: true };
const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };

fn encode(tokenizer: &Tokenizer<'_, '_>, text: &str, options: EncodeOptions) -> Vec<Token> {
    let mut scratch = vec![0; tokenizer.encode_scratch(text.len())];
    let mut out = vec![0; tokenizer.max_tokens(text.len())];
    let n = tokenizer.encode(text, options, &mut scratch, &mut out).unwrap();
    out.truncate(n);
    out
}

fn decode(tokenizer: &Tokenizer<'_, '_>, tokens: &[Token]) -> String {
    let mut text = String::new();
    let mut detokenizer = Detokenizer::new(tokenizer);
    for &token in tokens {
        detokenizer.push(tokenizer, token, true, |piece| text.push_str(piece));
    }
    detokenizer.finish(|piece| text.push_str(piece));
    text
}

fn bytes(tokens: &[Token]) -> impl Iterator<Item = u8> {
    tokens.iter().flat_map(|token| token.to_le_bytes())
}

/// What a line's golden hash is of: ids with special tokens, ids without, text of the latter.
fn hash(special: &[Token], plain: &[Token], text: &str) -> u32 {
    let separator = [u32::MAX];
    fold(
        bytes(special)
            .chain(bytes(&separator))
            .chain(bytes(plain))
            .chain(bytes(&separator))
            .chain(text.bytes()),
    )
}

/// Returns what a real model's tokens give back of a text.
fn given_back(name: &str, text: &str) -> String {
    match name {
        // A mark for a space is a space to SentencePiece.
        "gemma3" => text.replace('▁', " "),
        // These bytes are no tokens of its vocabulary, and llama.cpp drops them.
        _ => {
            let known = |b: &u8| {
                !matches!(b, 4 | 6 | 0x13 | 0x14 | 0x16 | 0x1d | 0xc0 | 0xc1 | 0xf1 | 0xf2 | 0xf5..)
            };
            let kept: Vec<u8> = text.bytes().filter(known).collect();
            String::from_utf8_lossy(&kept).into_owned()
        }
    }
}

fn check(name: &str, file: &[u8]) {
    let golden = Golden::read(name);
    let gguf = Gguf::parse(file).unwrap();
    let mut kept = Kept::new(&gguf);
    let tokenizer = Tokenizer::new_in(&gguf, kept.memory()).unwrap();
    assert_eq!(tokens::facts(&tokenizer), golden.facts, "{name}");

    let texts = corpus();
    assert!(texts.len() >= 10_000);
    assert_eq!(texts.len(), golden.hashes.len(), "{name}");
    // The small vocabularies lack bytes on purpose; what they give back is in the goldens.
    let round_trips = matches!(name, "smollm2" | "gemma3");
    let mut wrong = Vec::new();
    for (line, text) in texts.iter().enumerate() {
        let special = encode(&tokenizer, text, SPECIAL);
        if let Some(expected) = golden.full.get(line) {
            assert_eq!(&special, expected, "{name}, line {}: {text:?}", line + 1);
        }
        let plain = encode(&tokenizer, text, PLAIN);
        let back = decode(&tokenizer, &plain);
        if round_trips {
            assert_eq!(back, given_back(name, text), "{name}, line {}", line + 1);
        }
        if hash(&special, &plain, &back) != golden.hashes[line] {
            wrong.push(line);
        }
    }
    assert!(
        wrong.is_empty(),
        "{name}: {} of {} lines differ; the first are {:?}",
        wrong.len(),
        texts.len(),
        wrong.iter().take(5).map(|&line| (line + 1, &texts[line])).collect::<Vec<_>>()
    );
    println!("{name}: {} lines agree", texts.len());
}

#[test]
fn smollm2() {
    if let Some(file) = model("SmolLM2-135M-Instruct.Q4_1.gguf") {
        check("smollm2", &file);
    }
}

#[test]
fn gemma3() {
    if let Some(file) = model("gemma-3-270m.Q4_K_M.gguf") {
        check("gemma3", &file);
    }
}

fn small(name: &str, base: &str, key: &str, value: &str) {
    let file = std::fs::read(fixture(base)).unwrap();
    check(name, &with_string(&file, key, value));
}

const PRE: &str = "tokenizer.ggml.pre";

#[test]
fn gpt_2() {
    small("gpt-2", "bpe.gguf", PRE, "gpt-2");
}

#[test]
fn smollm() {
    small("smollm", "bpe.gguf", PRE, "smollm");
}

#[test]
fn llama_bpe() {
    small("llama-bpe", "bpe.gguf", PRE, "llama-bpe");
}

#[test]
fn qwen2() {
    small("qwen2", "bpe.gguf", PRE, "qwen2");
}

#[test]
fn default_pre_tokenizer() {
    small("default", "bpe.gguf", PRE, "default");
}

#[test]
fn spm() {
    check("spm", &std::fs::read(fixture("spm.gguf")).unwrap());
}

#[test]
fn spm_that_strips_after_special_tokens() {
    small("spm-phi3", "spm.gguf", "general.name", "Tiny Phi-3");
}

/// Every code point, in every context where a word may end; of the planes that hold nothing
/// but unassigned and private ones, a part, unless `BANTAM_FULL_SWEEP` is set.
fn sweep(name: &str) {
    let full = std::env::var_os("BANTAM_FULL_SWEEP").is_some();
    let file = with_string(&std::fs::read(fixture("sweep.gguf")).unwrap(), PRE, name);
    let gguf = Gguf::parse(&file).unwrap();
    let mut kept = Kept::new(&gguf);
    let tokenizer = Tokenizer::new_in(&gguf, kept.memory()).unwrap();
    let golden = hashes(&format!("{name}.sweep"));
    assert_eq!(golden.len(), 0x11_0000 / 1024);
    let mut scratch = vec![0; tokenizer.encode_scratch(128)];
    let mut out = vec![0; tokenizer.max_tokens(128)];
    for (block, &expected) in (0u32..).zip(&golden) {
        let first = block * 1024;
        let assigned = (0..0x3_4000).contains(&first) || (0xe_0000..0xe_1000).contains(&first);
        if !full && !assigned && !block.is_multiple_of(32) {
            continue;
        }
        let mut data = Vec::new();
        for c in (first..first + 1024).filter_map(char::from_u32) {
            let text = format!("a{c}b {c}1{c}2 {c}{c} '{c}!{c} ");
            let n = tokenizer.encode(&text, PLAIN, &mut scratch, &mut out).unwrap();
            data.extend(bytes(&out[..n]).chain([0xff; 4]));
        }
        assert_eq!(fold(data.into_iter()), expected, "{name}, from U+{first:04X}");
    }
}

#[test]
fn sweep_gpt_2() {
    sweep("gpt-2");
}

#[test]
fn sweep_smollm() {
    sweep("smollm");
}

#[test]
fn sweep_llama_bpe() {
    sweep("llama-bpe");
}

#[test]
fn sweep_qwen2() {
    sweep("qwen2");
}

#[test]
fn sweep_default() {
    sweep("default");
}
