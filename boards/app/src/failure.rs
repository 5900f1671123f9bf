//! What can go wrong on a board, how it is told, and the status that the board stops with.

use bantam_core::engine::EngineError;
use bantam_core::gguf::ParseError;
use bantam_core::model::ModelError;
use bantam_core::schema::SchemaError;
use bantam_core::tokenizer::TokenizerError;
use bantam_protocol::MAX_LINE;
use core::fmt;
use defmt::{Display2Format, error};

/// Why a board stopped: the status it ends an emulation with, and the code in its log.
pub mod status {
    /// All is well.
    pub const OK: u8 = 0;
    /// What is in flash is no GGUF file, or a damaged one.
    pub const FILE: u8 = 10;
    /// The file is no model that can be run.
    pub const MODEL: u8 = 11;
    /// The model is of another shape than the firmware's memory was planned for.
    pub const ENGINE: u8 = 12;
    /// The model has no tokenizer that can be used, or a text cannot be encoded: a sentence that is
    /// no UTF-8, say.
    pub const TOKENIZER: u8 = 13;
    /// The model gives no device commands.
    pub const SCHEMA: u8 = 14;
    /// A sentence is longer than the firmware has room for.
    pub const SENTENCE: u8 = 15;
    /// A request was given up for another one.
    pub const GIVEN_UP: u8 = 16;
    /// A line of the host was damaged on its way.
    pub const DAMAGED_LINE: u8 = 17;
    /// A line of the host is longer than any of the protocol.
    pub const LINE_TOO_LONG: u8 = 18;
    /// A line of the host is no request that this firmware knows.
    pub const NO_SUCH_REQUEST: u8 = 19;
    /// The board does not compute what the host computes.
    pub const DIFFERS: u8 = 20;
    /// A kernel does not compute what the scalar one computes.
    pub const SELF_TEST: u8 = 21;
    /// More of the stack is used than may be.
    pub const STACK: u8 = 22;
    /// A panic: a mistake in the firmware.
    pub const PANIC: u8 = 101;
    /// The processor took an exception.
    pub const EXCEPTION: u8 = 102;
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Failure {
    /// As [`status::FILE`].
    File(ParseError),
    /// As [`status::MODEL`].
    Model(ModelError),
    /// As [`status::ENGINE`].
    Engine(EngineError),
    /// As [`status::TOKENIZER`].
    Tokenizer(TokenizerError),
    /// As [`status::SCHEMA`].
    Schema(SchemaError),
    /// As [`status::SCHEMA`].
    NoSchema,
    /// As [`status::SENTENCE`].
    SentenceTooLong,
    /// As [`status::TOKENIZER`].
    NotUtf8,
    /// As [`status::GIVEN_UP`].
    GivenUp,
    /// As [`status::DAMAGED_LINE`].
    DamagedLine,
    /// As [`status::LINE_TOO_LONG`].
    LineTooLong,
    /// As [`status::NO_SUCH_REQUEST`].
    NoSuchRequest,
    /// As [`status::DIFFERS`].
    Differs,
    /// As [`status::SELF_TEST`].
    SelfTest,
    /// As [`status::STACK`].
    Stack,
}

impl Failure {
    /// Returns the status to stop with.
    pub const fn status(&self) -> u8 {
        match self {
            Self::File(_) => status::FILE,
            Self::Model(_) => status::MODEL,
            Self::Engine(_) => status::ENGINE,
            Self::Tokenizer(_) | Self::NotUtf8 => status::TOKENIZER,
            Self::Schema(_) | Self::NoSchema => status::SCHEMA,
            Self::SentenceTooLong => status::SENTENCE,
            Self::GivenUp => status::GIVEN_UP,
            Self::DamagedLine => status::DAMAGED_LINE,
            Self::LineTooLong => status::LINE_TOO_LONG,
            Self::NoSuchRequest => status::NO_SUCH_REQUEST,
            Self::Differs => status::DIFFERS,
            Self::SelfTest => status::SELF_TEST,
            Self::Stack => status::STACK,
        }
    }

    /// Logs what went wrong, with the status to stop with.
    pub fn report(&self) {
        error!("error {=u8}: {}", self.status(), Display2Format(self));
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => write!(f, "the model in flash is damaged: {error}"),
            Self::Model(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
            Self::Tokenizer(error) => error.fmt(f),
            Self::Schema(error) => write!(f, "bantam.schema: {error}"),
            Self::NoSchema => write!(f, "the model gives no device commands"),
            Self::SentenceTooLong => {
                write!(f, "a sentence has at most {} bytes", crate::MAX_SENTENCE - 1)
            }
            Self::NotUtf8 => write!(f, "a sentence is no UTF-8"),
            Self::GivenUp => write!(f, "given up for another request"),
            Self::DamagedLine => write!(f, "a damaged line"),
            Self::LineTooLong => write!(f, "a line has at most {MAX_LINE} bytes"),
            Self::NoSuchRequest => write!(f, "no such request"),
            Self::Differs => write!(f, "the board does not compute what the host computes"),
            Self::SelfTest => write!(f, "a kernel does not compute what the scalar one computes"),
            Self::Stack => write!(f, "more of the stack is used than {} bytes", crate::STACK_BYTES),
        }
    }
}

impl core::error::Error for Failure {}

macro_rules! from {
    ($($error:ty => $variant:ident),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}
from!(
    ParseError => File,
    ModelError => Model,
    EngineError => Engine,
    TokenizerError => Tokenizer,
    SchemaError => Schema
);
