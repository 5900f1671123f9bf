//! Llama 1 to 3, SmolLM, TinyLlama, and Mistral, which GGUF files call llama too.
//!
//! Query and key rows are stored permuted, so that RoPE pairs are neighbours. Llama 3's scaling
//! comes as divisors of the frequencies in `rope_freqs.weight`.

use super::{Family, RopePairs};
use crate::gguf::keys;
use crate::model::config::Window;

pub(super) static FAMILY: Family = Family {
    name: "llama",
    required: &[],
    keys: &[keys::ATTENTION_SLIDING_WINDOW],
    describe: |keys, config| {
        config.rope_pairs = RopePairs::Norm;
        let window = keys.u32(keys::ATTENTION_SLIDING_WINDOW).filter(|&size| size != 0);
        config.window = window.map(|size| Window { size, global_every: 0 });
    },
};
