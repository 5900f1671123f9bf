//! What an engine refuses.

use core::fmt;

use crate::Token;
use crate::arena::ArenaError;
use crate::cache::CacheType;

/// Why an engine did not do what it was asked; its state is then as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// The lent memory is smaller than the plan.
    Memory(ArenaError),
    /// The plan was made for a model of another shape.
    PlanMismatch,
    /// The tokens do not fit into the context: positions used, tokens given, context.
    ContextFull(usize, usize, usize),
    /// No tokens were given.
    NoTokens,
    /// A token is not in the vocabulary: its index, itself, the vocabulary's size.
    Token(usize, Token, usize),
    /// An earlier prompt is not finished; call `step` until it is, or `truncate`.
    Busy,
    /// A position to go back to lies ahead: asked for, current.
    Ahead(usize, usize),
    /// The buffer for saved state has the wrong size: needed, given.
    StateSize(usize, usize),
    /// The bytes are no saved state, or not one of this version.
    NotState,
    /// The saved state belongs to another model: its fingerprint, this model's.
    StateModel(u64, u64),
    /// The saved state's cache has another type: its, this engine's.
    StateCache(CacheType, CacheType),
    /// The saved state is damaged.
    StateDamaged,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Memory(error) => error.fmt(f),
            Self::PlanMismatch => write!(f, "the memory plan was made for another model"),
            Self::ContextFull(used, given, n_ctx) => write!(
                f,
                "context full: {used} of {n_ctx} positions are used, {given} more do not fit; plan a larger context or start over"
            ),
            Self::NoTokens => write!(f, "no tokens were given"),
            Self::Token(index, token, n_vocab) => {
                write!(f, "token {token} at index {index} is not in the vocabulary of {n_vocab}")
            }
            Self::Busy => write!(f, "an earlier prompt is not finished"),
            Self::Ahead(to, pos) => {
                write!(f, "cannot go back to position {to}, only {pos} are filled")
            }
            Self::StateSize(needed, given) => {
                write!(f, "saved state takes {needed} bytes, {given} were given")
            }
            Self::NotState => write!(f, "not a saved state of this version"),
            Self::StateModel(theirs, ours) => {
                write!(f, "saved state belongs to model {theirs:016x}, this is {ours:016x}")
            }
            Self::StateCache(theirs, ours) => {
                write!(f, "saved state has a cache of type {theirs:?}, this engine's is {ours:?}")
            }
            Self::StateDamaged => write!(f, "saved state is damaged: its checksum does not fit"),
        }
    }
}

impl core::error::Error for EngineError {}

impl From<ArenaError> for EngineError {
    fn from(error: ArenaError) -> Self {
        Self::Memory(error)
    }
}
