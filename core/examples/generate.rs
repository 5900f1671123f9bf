//! The shortest whole program: a file, a prompt, and an answer, in arrays of fixed size.
//!
//! ```text
//! cargo run --release -p bantam-core --features std --example generate -- MODEL.gguf "Once upon"
//! ```

use bantam_core::engine::{Engine, EngineOptions};
use bantam_core::gguf::Gguf;
use bantam_core::model::{Model, PlanOptions};
use bantam_core::sampler::{Sampler, SamplerOptions};
use bantam_core::tokenizer::{Detokenizer, EncodeOptions, Tokenizer};

/// Working memory as firmware would reserve it; big enough for the models in the README.
static mut MEMORY: [u8; 96 << 20] = [0; 96 << 20];
static mut INDEX: [u8; 16 << 20] = [0; 16 << 20];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [_, path, prompt] = &std::env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: generate MODEL.gguf PROMPT".into());
    };
    // The only allocation: firmware has its model in flash.
    let file = std::fs::read(path)?;
    let gguf = Gguf::parse(&file)?;

    // SAFETY: `main` runs once, and nothing else names these two.
    let (memory, index) = unsafe { (&mut *(&raw mut MEMORY), &mut *(&raw mut INDEX)) };
    let model = Model::new(&gguf)?;
    let plan = model.plan(&PlanOptions { n_batch: 32, ..PlanOptions::new(256) })?;
    let mut engine = Engine::new(&model, &plan, memory, EngineOptions::default())?;
    let tokenizer = Tokenizer::new_in(&gguf, index)?;

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
