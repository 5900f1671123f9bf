//! All memory that models are run in: one static, its size known when the firmware is built.

use bantam_core::model::{MemoryPlan, PlanOptions};
use static_cell::ConstStaticCell;

include!(concat!(env!("OUT_DIR"), "/model.rs"));

/// Tokens of a sentence that are worked on together. One keeps memory least; more would not be
/// faster here, as these kernels read weights from flash that is as near as RAM.
const N_BATCH: usize = 1;

/// The engine's memory, to the byte.
pub const PLAN: MemoryPlan = {
    let n_ctx = MAX_PROMPT + MAX_ANSWER;
    match MemoryPlan::of_shape(&SHAPE, &PlanOptions { n_batch: N_BATCH, ..PlanOptions::new(n_ctx) })
    {
        Ok(plan) => plan,
        Err(_) => panic!("no board has so much memory"),
    }
};

/// What a model at work writes to, beside the stack.
#[repr(C, align(64))]
pub struct Memory {
    pub(crate) engine: [u8; PLAN.bytes()],
    pub(crate) index: [u8; INDEX_BYTES],
    pub(crate) encode: [u8; ENCODE_BYTES],
}

static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory {
    engine: [0; PLAN.bytes()],
    index: [0; INDEX_BYTES],
    encode: [0; ENCODE_BYTES],
});

impl Memory {
    /// Returns the memory, once.
    pub fn take() -> &'static mut Self {
        MEMORY.take()
    }
}
