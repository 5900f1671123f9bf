//! Token ids and text against llama.cpp's, for every line of `fixtures/tokens/corpus.txt`.

mod tokens;

use tokens::{Golden, Kept, corpus, fold, model};

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

fn check(name: &str, file: &[u8]) {
    let golden = Golden::read(name);
    let gguf = Gguf::parse(file).unwrap();
    let mut kept = Kept::new(&gguf);
    let tokenizer = Tokenizer::new_in(&gguf, kept.memory()).unwrap();
    assert_eq!(tokens::facts(&tokenizer), golden.facts, "{name}");

    let texts = corpus();
    assert!(texts.len() >= 10_000);
    assert_eq!(texts.len(), golden.hashes.len(), "{name}");
    let mut wrong = Vec::new();
    for (line, text) in texts.iter().enumerate() {
        let special = encode(&tokenizer, text, SPECIAL);
        if let Some(expected) = golden.full.get(line) {
            assert_eq!(&special, expected, "{name}, line {}: {text:?}", line + 1);
        }
        let plain = encode(&tokenizer, text, PLAIN);
        let back = decode(&tokenizer, &plain);
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
