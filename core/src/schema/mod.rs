//! Answers in JSON of a known shape, whatever the model says: decoding held to a schema.
//!
//! A schema lists intents, one a line, each with the slots that its object may have:
//!
//! ```text
//! set_brightness room? value=int:0:100
//! lock_door door
//! none
//! ```
//!
//! An answer is one compact object, `{"intent":"set_brightness","room":"attic","value":40}`: the
//! intent's name, then its slots in the order of the line. What a slot takes:
//!
//! | In the schema | Value |
//! |---|---|
//! | `name` | a string of 1 to [`MAX_WORDS`] bytes, without control characters, `"` and `\` |
//! | `name=a\|b` | one of these strings |
//! | `name=int:MIN:MAX` | a whole number from MIN to MAX |
//! | `name=dec:MIN:MAX` | such a number with one decimal at most, never `.0` |
//! | `name=time` | a string from `00:00` to `23:59` |
//! | `name?`, `name?=…` | as above, or left out |
//!
//! Numbers have no leading zeros and no `-0`, so every value has one spelling.
//!
//! [`State`] walks through such an object byte by byte and never enters a dead end: from each state
//! there is a way to the closing brace. [`Schema::choose`] takes the likeliest token whose bytes
//! keep to the walk. So, with a vocabulary that can say every byte ([`Schema::unsayable`]):
//!
//! **Whatever the logits, the answer is a valid JSON object of the schema, and it is whole after at
//! most [`Schema::max_bytes`] tokens.**
//!
//! Nothing is allocated: the schema stays the text it was read from, which may be a model file's
//! metadata, and a state is a few bytes.
//!
//! ```
//! use bantam_core::engine::{Engine, EngineError};
//! use bantam_core::schema::Schema;
//! use bantam_core::tokenizer::Tokenizer;
//!
//! /// Writes the model's answer to the prompt that `engine` has taken in, and returns its length.
//! fn answer(
//!     engine: &mut Engine<'_, '_>,
//!     tokenizer: &Tokenizer<'_, '_>,
//!     schema: &Schema<'_>,
//!     out: &mut [u8],
//! ) -> Result<usize, EngineError> {
//!     let (mut state, mut len) = (schema.start(), 0);
//!     while !state.is_whole() {
//!         let chosen = schema.choose(state, tokenizer, engine.logits());
//!         let (token, next) = chosen.expect("a vocabulary that can say every byte");
//!         for byte in tokenizer.bytes(token) {
//!             out[len] = byte;
//!             len += 1;
//!         }
//!         state = next;
//!         engine.decode(token)?;
//!     }
//!     Ok(len)
//! }
//! # use bantam_core::{engine::EngineOptions, gguf::Gguf, model::{Model, PlanOptions}};
//! # let flash = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/models/llama.gguf"));
//! #
//! // A model of random weights has nothing to say, and says it in the form asked for.
//! let schema = Schema::parse("set_brightness room? value=int:0:100\nlock_door door\nnone")?;
//! let gguf = Gguf::parse(flash)?;
//! let model = Model::new(&gguf)?;
//! let plan = model.plan(&PlanOptions::new(4 + schema.max_bytes()))?;
//! let (mut memory, mut index) = ([0; 512 << 10], [0; 32 << 10]);
//! let mut engine = Engine::new(&model, &plan, &mut memory, EngineOptions::default())?;
//! let tokenizer = Tokenizer::new_in(&gguf, &mut index)?;
//! assert_eq!(schema.unsayable(&tokenizer), None);
//! engine.prefill(&[4, 1, 3, 2])?;
//! let mut json = [0; 256]; // `schema.max_bytes()`, or more
//! let len = answer(&mut engine, &tokenizer, &schema, &mut json)?;
//! assert!(json[..len].starts_with(b"{\"intent\":\""));
//! assert!(json[..len].ends_with(b"}"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod choose;
mod error;
mod number;
mod parse;
mod state;

pub use error::{SchemaError, SchemaErrorKind};
pub use parse::Schema;
pub use state::State;

/// Longest text of a schema, in bytes.
pub const MAX_TEXT: usize = 16 << 10;
/// Most intents.
pub const MAX_INTENTS: usize = 256;
/// Most slots of an intent.
pub const MAX_SLOTS: usize = 16;
/// Most strings that a slot may be one of.
pub const MAX_CHOICES: usize = 64;
/// Longest name of an intent or a slot, and longest string that a slot may be one of, in bytes.
pub const MAX_NAME: usize = 48;
/// Largest magnitude of a number's bounds.
pub const MAX_NUMBER: u32 = 1_000_000_000;
/// Longest free string, in bytes.
pub const MAX_WORDS: usize = 64;

#[cfg(test)]
mod tests;
