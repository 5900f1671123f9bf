//! Qwen 3, dense: queries and keys are normalized per head before RoPE.

use super::{Family, Slot};

pub(super) static FAMILY: Family = Family {
    name: "qwen3",
    required: &[Slot::AttnQNorm, Slot::AttnKNorm],
    keys: &[],
    describe: |_, _| (),
};
