//! What every board does: sentences in, device commands out, with a model in flash and memory
//! that was laid out when the firmware was built.
//!
//! A board's own program is a [`Board`] and a call of [`run`]. Nothing here allocates.

#![no_std]

mod commands;
mod failure;
mod memory;
mod models;
#[cfg(feature = "semihosting")]
mod semihosted;
mod stack;
#[cfg(target_arch = "arm")]
pub mod systick;

pub use commands::Commander;
pub use failure::{Failure, status};
pub use memory::{
    ENCODE_BYTES, INDEX_BYTES, MAX_ANSWER, MAX_PROMPT, MAX_SENTENCE, Memory, N_MACS, PLAN, SHAPE,
};
pub use models::{EXPECTED, Expected, MODELS, ModelInFlash};
pub use stack::Stack;

use bantam_core::kernels::KernelSet;
use defmt::{error, info};

/// What differs from board to board.
pub trait Board {
    /// Its name: that of its folder.
    const NAME: &'static str;

    /// Returns the instructions executed since some moment, as finely as a timer tells.
    fn instructions(&mut self) -> u64;

    /// Tells a watchdog that work goes on: after each bounded step.
    fn feed_watchdog(&mut self) {}

    /// Ends the firmware, for good or by a reset. The status is one of [`status`].
    fn stop(&mut self, status: u8) -> !;
}

/// Runs every model in flash on its sentences and stops the board.
pub fn run<B: Board>(mut board: B, stack: Stack) -> ! {
    info!("{=str}: kernels {=str}", B::NAME, KernelSet::best().name());
    let memory = Memory::take();
    for model in MODELS {
        if let Err(failure) = answer_all(&mut board, memory, model) {
            let status = failure.report();
            board.stop(status);
        }
    }
    info!("about {=usize} bytes of stack used", stack.used());
    board.stop(status::OK)
}

/// Answers the sentences that the host has answered with this model, in the same bits.
///
/// # Errors
/// What went wrong first.
pub fn answer_all<B: Board>(
    board: &mut B,
    memory: &mut Memory,
    model: &ModelInFlash,
) -> Result<(), Failure> {
    info!(
        "{=str}: {=usize} bytes in flash; RAM {=usize}: {=usize} keys and values, {=usize} \
         scratch, {=usize} tensor table, {=usize} tokenizer",
        model.name,
        model.bytes.len(),
        size_of::<Memory>(),
        PLAN.kv_bytes,
        PLAN.scratch_bytes,
        PLAN.layers_bytes,
        INDEX_BYTES + ENCODE_BYTES,
    );
    let gguf = bantam_core::gguf::Gguf::parse(model.bytes)?;
    let parsed = bantam_core::model::Model::new(&gguf)?;
    let mut commander = Commander::new(&gguf, &parsed, memory)?;
    for expected in EXPECTED.lines().filter_map(Expected::parse) {
        if expected.model != model.name {
            continue;
        }
        info!("> {=str}", expected.sentence);
        let answer = commander.answer(board, expected.sentence)?;
        info!("{=[u8]:a}", &answer.text[..]);
        info!("logits {=u64:016x} of {=usize} tokens", answer.hash, answer.n_tokens);
        if answer.hash != expected.hash || answer.text[..] != *expected.answer.as_bytes() {
            error!("on the host: {=str} {=u64:016x}", expected.answer, expected.hash);
            return Err(Failure::Differs);
        }
        let per_token = answer.instructions / answer.n_tokens.max(1) as u64;
        info!(
            "about {=u64} instructions a token: {=u64} for 100 multiply-accumulates",
            per_token,
            per_token * 100 / N_MACS as u64,
        );
    }
    Ok(())
}
