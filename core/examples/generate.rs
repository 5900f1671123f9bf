//! The shortest whole program: a file, a prompt, and an answer, in memory of fixed size.
//!
//! ```text
//! cargo run --release -p bantam-core --features std --example generate -- MODEL.gguf "Once upon"
//! ```

use bantam_core::engine::{Engine, EngineOptions};
use bantam_core::gguf::Gguf;
use bantam_core::model::{Model, PlanOptions};
use bantam_core::sampler::{Sampler, SamplerOptions};
use bantam_core::tokenizer::{Detokenizer, EncodeOptions, Tokenizer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [_, path, prompt] = &std::env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: generate MODEL.gguf PROMPT".into());
    };
    let file = std::fs::read(path)?;
    // Firmware has its model in flash, and these two in arrays.
    let (mut memory, mut index) = (vec![0; 96 << 20], vec![0; 16 << 20]);

    let gguf = Gguf::parse(&file)?;
    let model = Model::new(&gguf)?;
    let plan = model.plan(&PlanOptions { n_batch: 32, ..PlanOptions::new(256) })?;
    let mut engine = Engine::new(&model, &plan, &mut memory, EngineOptions::default())?;
    let tokenizer = Tokenizer::new_in(&gguf, &mut index)?;

    let (mut scratch, mut tokens) = ([0; 64 << 10], [0; 128]);
    let options = EncodeOptions { add_special: true, parse_special: false };
    let n = tokenizer.encode(prompt, options, &mut scratch, &mut tokens)?;
    engine.prefill(&tokens[..n])?;

    let mut greedy = Sampler::new(SamplerOptions { temperature: 0.0, ..Default::default() });
    let mut text = Detokenizer::mid_text();
    for _ in 0..64 {
        let token = greedy.sample(engine.logits(), &[], &mut []);
        if tokenizer.is_end(token) {
            break;
        }
        text.push(&tokenizer, token, false, |piece| print!("{piece}"));
        engine.decode(token)?;
    }
    text.finish(|piece| println!("{piece}"));
    Ok(())
}
