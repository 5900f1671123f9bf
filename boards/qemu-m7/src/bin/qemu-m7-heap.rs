//! Firmware that opts in to a heap: the memory of a model is asked for when the model is known,
//! not when the firmware is built. Core does without in either case.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use bantam_core::arena::ALIGN;
use bantam_core::engine::{Engine, EngineOptions};
use bantam_core::gguf::Gguf;
use bantam_core::model::{Model, PlanOptions};
use bantam_core::tokenizer::{EncodeOptions, Tokenizer};
use bantam_firmware::{Board as _, Failure, MODELS, Mps2, status};
use cortex_m_rt::entry;
use defmt::info;
use embedded_alloc::LlffHeap as Heap;

#[global_allocator]
static HEAP: Heap = Heap::empty();

const HEAP_BYTES: usize = 256 << 10;

#[entry]
fn main() -> ! {
    // SAFETY: called once, before anything is allocated.
    unsafe {
        embedded_alloc::init!(HEAP, HEAP_BYTES);
    }
    let Some((mut board, _)) = Mps2::take("qemu-m7", 25_000_000) else { unreachable!() };
    let result = likeliest_tokens();
    if let Err(failure) = &result {
        failure.report();
    }
    board.stop(result.map_or_else(|failure| failure.status(), |()| status::OK))
}

/// Says what each model would begin an answer with.
fn likeliest_tokens() -> Result<(), Failure> {
    for model in MODELS {
        let gguf = Gguf::parse(model.bytes)?;
        let parsed = Model::new(&gguf)?;
        let mut index = vec![0; Tokenizer::plan(&gguf)?.bytes];
        let tokenizer = Tokenizer::new_in(&gguf, &mut index)?;
        let text = "play some jazz\n";
        let mut tokens = vec![0; tokenizer.max_tokens(text.len())];
        let mut scratch = vec![0; tokenizer.encode_scratch(text.len())];
        let n = tokenizer.encode(text, EncodeOptions::default(), &mut scratch, &mut tokens)?;
        tokens.truncate(n);

        // As much as this text needs.
        let plan = parsed.plan(&PlanOptions::new(n))?;
        let mut memory = vec![0; plan.bytes() + ALIGN];
        let mut engine = Engine::new(&parsed, &plan, &mut memory, EngineOptions::default())?;
        let logits = engine.prefill(&tokens)?;
        let likeliest = logits.iter().zip(0u32..).max_by(|(a, _), (b, _)| a.total_cmp(b));
        let piece = likeliest.map_or(&[][..], |(_, token)| tokenizer.piece(token));
        info!(
            "{=str}: {=usize} tokens, {=usize} bytes, then {=[u8]:a}; heap {=usize} used",
            model.name,
            n,
            plan.bytes(),
            piece,
            HEAP.used(),
        );
    }
    info!("heap {=usize} used", HEAP.used());
    Ok(())
}
