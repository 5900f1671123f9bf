//! Qwen 2 and 2.5: llama with biases on queries, keys and values.

use super::{Family, Slot};

pub(super) static FAMILY: Family = Family {
    name: "qwen2",
    required: &[Slot::AttnQBias, Slot::AttnKBias, Slot::AttnVBias],
    keys: &[],
    describe: |_, _| (),
};
