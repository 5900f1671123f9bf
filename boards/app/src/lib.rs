//! What every board does: sentences in, device commands out, with a model in flash and memory
//! that was laid out when the firmware was built.
//!
//! A board's own program is a [`Board`] and a call of [`run`], or a [`Port`] and a call of
//! [`serve`](serve()). Nothing here allocates.

#![no_std]

mod commands;
mod failure;
#[cfg(all(target_arch = "arm", feature = "hardware"))]
pub mod hardware;
mod hash;
mod memory;
mod models;
#[cfg(all(target_arch = "arm", feature = "semihosting"))]
mod mps2;
#[cfg(all(target_arch = "arm", feature = "semihosting"))]
mod mps2_serial;
#[cfg(any(feature = "semihosting", all(target_arch = "arm", feature = "hardware")))]
mod panic;
mod port;
mod self_test;
#[cfg(feature = "semihosting")]
mod semihosted;
mod serve;
mod stack;

pub use commands::Commander;
pub use failure::{Failure, status};
pub use memory::{
    ENCODE_BYTES, INDEX_BYTES, MAX_ANSWER, MAX_PROMPT, MAX_SENTENCE, Memory, N_MACS, PLAN, SHAPE,
};
pub use models::{EXPECTED, Expected, MODELS, ModelInFlash, Q4_0, Q8_0};
#[cfg(all(target_arch = "arm", feature = "semihosting"))]
pub use mps2::Mps2;
#[cfg(all(target_arch = "arm", feature = "semihosting"))]
pub use mps2_serial::Mps2Serial;
pub use port::Port;
pub use serve::serve;
pub use stack::{STACK_BYTES, Stack};

use bantam_core::gguf::Gguf;
use bantam_core::kernels::KernelSet;
use bantam_core::model::Model;
use defmt::{error, info};

/// What differs from board to board.
pub trait Board {
    /// Returns its name: that of its folder.
    fn name(&self) -> &'static str;

    /// Returns the instructions executed since some moment, as finely as a timer tells. Real boards
    /// do not count these, but cycles of the processor's clock.
    fn instructions(&mut self) -> u64;

    /// Tells a watchdog that work goes on: after each bounded step.
    fn feed_watchdog(&mut self) {}

    /// Ends the firmware, for good or by a reset. The status is one of [`status`].
    fn stop(&mut self, status: u8) -> !;
}

/// Tests the kernels, runs every model in flash on its sentences, and stops the board.
pub fn run(board: &mut dyn Board, stack: &Stack) -> ! {
    info!("{=str}: kernels {=str}", board.name(), KernelSet::best().name());
    let result = self_test::self_test().and_then(|()| {
        stack.paint();
        let memory = Memory::take();
        MODELS.iter().try_for_each(|model| answer_all(board, memory, model))?;
        stack.check()
    });
    if let Err(failure) = &result {
        failure.report();
    }
    board.stop(result.map_or_else(|failure| failure.status(), |()| status::OK))
}

/// Answers the sentences that the host has answered with this model, in the same bits.
///
/// # Errors
/// What went wrong first.
pub fn answer_all(
    board: &mut dyn Board,
    memory: &mut Memory,
    model: &ModelInFlash,
) -> Result<(), Failure> {
    info!(
        "{=str}: {=usize} bytes in flash; {=usize} in RAM: {=usize} keys and values, {=usize} \
         scratch, {=usize} tensor table, {=usize} tokenizer",
        model.name,
        model.bytes.len(),
        size_of::<Memory>(),
        PLAN.kv_bytes,
        PLAN.scratch_bytes,
        PLAN.layers_bytes,
        INDEX_BYTES + ENCODE_BYTES,
    );
    let gguf = Gguf::parse(model.bytes)?;
    let parsed = Model::new(&gguf)?;
    let mut commander = Commander::new(&gguf, &parsed, memory)?;
    let (mut instructions, mut n_tokens) = (0, 0);
    let expected = EXPECTED.lines().filter_map(Expected::parse);
    for expected in expected.filter(|expected| expected.model == model.name) {
        info!("{=str}", expected.sentence);
        let answer = commander.answer(board, expected.sentence)?;
        info!("{=[u8]:a}, logits {=u64:016x}", &answer.text[..], answer.hash);
        if answer.hash != expected.hash || answer.text[..] != *expected.answer.as_bytes() {
            error!("the host: {=str}, logits {=u64:016x}", expected.answer, expected.hash);
            return Err(Failure::Differs);
        }
        instructions += answer.instructions;
        n_tokens += answer.n_tokens;
    }
    let per_token = instructions / n_tokens.max(1);
    info!(
        "about {=u64} instructions a token of an answer, {=u64} for 100 multiply-accumulates",
        per_token,
        per_token * 100 / N_MACS as u64,
    );
    Ok(())
}
