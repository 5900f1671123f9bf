//! A sentence to a device command, in memory of fixed size: what firmware with a microphone does
//! once it has the words.
//!
//! ```text
//! cargo run --release -p bantam-core --features std --example intent -- \
//!     fixtures/intent/bantam-intent.Q8_0.gguf "dim the kitchen lights to forty percent"
//! ```

use bantam_core::engine::{Engine, EngineOptions};
use bantam_core::gguf::{Gguf, keys};
use bantam_core::model::{Model, PlanOptions};
use bantam_core::schema::Schema;
use bantam_core::tokenizer::{EncodeOptions, Tokenizer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [_, path, sentence] = &std::env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: intent MODEL.gguf SENTENCE".into());
    };
    let file = std::fs::read(path)?;
    // Firmware has its model in flash, and these in static arrays.
    let (mut memory, mut index) = ([0; 1 << 20], [0; 64 << 10]);
    let (mut scratch, mut prompt) = ([0; 4 << 10], [0; 128]);

    let gguf = Gguf::parse(&file)?;
    let schema = gguf.get(keys::BANTAM_SCHEMA).and_then(|value| value.as_str());
    let schema = Schema::parse(schema.ok_or("the model has no schema")?)?;
    let model = Model::new(&gguf)?;
    // Room for the prompt and for every answer that there is.
    let n_ctx = prompt.len() + schema.max_bytes();
    let plan = model.plan(&PlanOptions { n_batch: 16, ..PlanOptions::new(n_ctx) })?;
    let mut engine = Engine::new(&model, &plan, &mut memory, EngineOptions::default())?;
    let tokenizer = Tokenizer::new_in(&gguf, &mut index)?;

    // As the model's chat template has it: in lower case, and with a line feed behind it.
    let mut text = [0; 256];
    let text = text.get_mut(..=sentence.len()).ok_or("the sentence is too long")?;
    text[..sentence.len()].copy_from_slice(sentence.as_bytes());
    text[sentence.len()] = b'\n';
    text.make_ascii_lowercase();
    // What is said is never read as the names of special tokens.
    let options = EncodeOptions { add_special: false, parse_special: false };
    let n = tokenizer.encode(str::from_utf8(text)?, options, &mut scratch, &mut prompt)?;
    engine.prefill(&prompt[..n])?;

    let (mut json, mut len, mut state) = ([0; 512], 0, schema.start());
    loop {
        let chosen = schema.choose(state, &tokenizer, engine.logits());
        let (token, next) = chosen.ok_or("the vocabulary lacks a byte")?;
        for byte in tokenizer.bytes(token) {
            json[len] = byte;
            len += 1;
        }
        state = next;
        if state.is_whole() {
            break;
        }
        engine.decode(token)?;
    }
    println!("{}", str::from_utf8(&json[..len])?);
    Ok(())
}
