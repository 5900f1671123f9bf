//! The models in flash, and what the host makes of some sentences with each.

/// A model file that is part of the program.
pub struct ModelInFlash {
    /// What [`Expected`] calls it.
    pub name: &'static str,
    /// Its GGUF file.
    pub bytes: &'static [u8],
}

/// At the start of a cache line, as weights in a file lie.
#[repr(C, align(64))]
struct Aligned<B: ?Sized>(B);

macro_rules! in_flash {
    ($name:literal) => {{
        static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/intent/",
            $name
        )));
        ModelInFlash { name: $name, bytes: &FILE.0 }
    }};
}

/// The model in `Q8_0`. One that the firmware does not name takes no flash.
pub static Q8_0: ModelInFlash = in_flash!("bantam-intent.Q8_0.gguf");

/// The model in `Q4_0`.
pub static Q4_0: ModelInFlash = in_flash!("bantam-intent.Q4_0.gguf");

/// Every model.
pub static MODELS: [&ModelInFlash; 2] = [&Q8_0, &Q4_0];

/// Sentences with the host's answers; `cargo xtask firmware --bless` makes them again.
pub static EXPECTED: &str = include_str!("../expected.tsv");

/// A sentence, and what the host makes of it.
pub struct Expected {
    /// File name of the model.
    pub model: &'static str,
    /// What was said.
    pub sentence: &'static str,
    /// The device command.
    pub answer: &'static str,
    /// Hash of the logits behind the sentence and each token of the answer but the last.
    pub hash: u64,
}

impl Expected {
    /// Returns what a line of [`EXPECTED`] says.
    pub fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(Expected {
            model: fields.next()?,
            sentence: fields.next()?,
            answer: fields.next()?,
            hash: u64::from_str_radix(fields.next()?, 16).ok()?,
        })
    }
}
