//! Device commands with hashes of the logits they were chosen by: what firmware is held to.
//!
//! ```text
//! cargo run --release -p bantam-core --features std --example commands -- SENTENCES MODEL.gguf…
//! ```
//!
//! For each model and each line of the file of sentences, a line: the model's file name, the sentence,
//! the command, and FNV-1a over the bits of the logits behind the sentence and behind each token
//! of the command but the last. Every kernel set of this CPU is asked, and all must agree.

use bantam_core::engine::{Engine, EngineOptions};
use bantam_core::gguf::{Gguf, keys};
use bantam_core::kernels::KernelSet;
use bantam_core::model::{Model, PlanOptions};
use bantam_core::par::Serial;
use bantam_core::schema::Schema;
use bantam_core::tokenizer::{EncodeOptions, Tokenizer};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (sentences, models) = args.split_first().ok_or("usage: commands SENTENCES MODEL.gguf…")?;
    let sentences = std::fs::read_to_string(sentences).map_err(|e| format!("{sentences}: {e}"))?;
    for path in models {
        let file = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        for sentence in sentences.lines() {
            let mut answers =
                KernelSet::available().map(|kernels| (kernels, answer(&file, sentence, kernels)));
            let (_, first) = answers.next().ok_or("no kernels")?;
            let first = first?;
            for (kernels, other) in answers {
                if other? != first {
                    return Err(
                        format!("{name}: {kernels:?} answers {sentence:?} otherwise").into()
                    );
                }
            }
            println!("{name}\t{sentence}\t{}\t{:016x}", first.0, first.1);
        }
    }
    Ok(())
}

/// Returns a command and the hash of its logits.
fn answer(
    file: &[u8],
    sentence: &str,
    kernels: KernelSet,
) -> Result<(String, u64), Box<dyn Error>> {
    let gguf = Gguf::parse(file)?;
    let schema = gguf.get(keys::BANTAM_SCHEMA).and_then(|value| value.as_str());
    let schema = Schema::parse(schema.ok_or("the model has no schema")?)?;
    let model = Model::new(&gguf)?;
    let mut index = vec![0; Tokenizer::plan(&gguf)?.bytes];
    let tokenizer = Tokenizer::new_in(&gguf, &mut index)?;

    // As the model's chat template has it: in lower case, and with a line feed behind it.
    let text = format!("{}\n", sentence.trim()).to_ascii_lowercase();
    let mut prompt = vec![0; tokenizer.max_tokens(text.len())];
    let mut scratch = vec![0; tokenizer.encode_scratch(text.len())];
    let n = tokenizer.encode(&text, EncodeOptions::default(), &mut scratch, &mut prompt)?;

    let plan = model.plan(&PlanOptions::new(n + schema.max_bytes()))?;
    let mut memory = vec![0; plan.bytes() + bantam_core::arena::ALIGN];
    let options = EngineOptions { kernels, parallel: &Serial };
    let mut engine = Engine::new(&model, &plan, &mut memory, options)?;
    engine.prefill(&prompt[..n])?;

    let (mut json, mut state, mut hash) = (Vec::new(), schema.start(), 0xcbf2_9ce4_8422_2325u64);
    loop {
        for byte in engine.logits().iter().flat_map(|value| value.to_bits().to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let chosen = schema.choose(state, &tokenizer, engine.logits());
        let (token, next) = chosen.ok_or("the vocabulary lacks a byte")?;
        json.extend(tokenizer.bytes(token));
        state = next;
        if state.is_whole() {
            return Ok((String::from_utf8(json)?, hash));
        }
        engine.decode(token)?;
    }
}
