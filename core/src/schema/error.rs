use core::fmt;

use super::{MAX_CHOICES, MAX_INTENTS, MAX_NAME, MAX_NUMBER, MAX_SLOTS, MAX_TEXT};

/// Where a text is no schema, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaError {
    /// The line, from 1.
    pub line: u32,
    /// The character in the line, from 1.
    pub column: u32,
    /// What is wrong there.
    pub kind: SchemaErrorKind,
}

/// Why a text is no schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaErrorKind {
    /// The text is longer than [`MAX_TEXT`].
    TextTooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// There is no intent.
    NoIntent,
    /// There are more intents than [`MAX_INTENTS`].
    TooManyIntents,
    /// The intent has more slots than [`MAX_SLOTS`].
    TooManySlots,
    /// The slot has more strings to choose from than [`MAX_CHOICES`].
    TooManyChoices,
    /// A name is missing, too long, or has other characters than names may have.
    Name,
    /// A name or a string was there before.
    Repeated,
    /// A string to choose from is missing, too long, or has characters it may not have.
    Choice,
    /// What follows the name is neither `?` nor `=`, or `=` is not followed by a known kind.
    Kind,
    /// A bound is missing, is no number of the kind, or too large.
    Bound,
    /// The lower bound is above the upper one.
    NoNumber,
}

impl SchemaError {
    /// What is wrong at a byte of a text.
    pub(super) fn at(text: &str, at: usize, kind: SchemaErrorKind) -> Self {
        let (mut line, mut column) = (1, 1);
        for byte in text.bytes().take(at) {
            match byte {
                b'\n' => (line, column) = (line + 1, 1),
                // Bytes of a character other than its first.
                0x80..=0xbf => {}
                _ => column += 1,
            }
        }
        SchemaError { line, column, kind }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema, line {}, column {}: {}", self.line, self.column, self.kind)
    }
}

impl fmt::Display for SchemaErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TextTooLong { bytes } => {
                write!(f, "the text has {bytes} bytes, {MAX_TEXT} are allowed")
            }
            Self::NoIntent => write!(f, "there is no intent"),
            Self::TooManyIntents => write!(f, "more than {MAX_INTENTS} intents"),
            Self::TooManySlots => write!(f, "more than {MAX_SLOTS} slots of one intent"),
            Self::TooManyChoices => write!(f, "more than {MAX_CHOICES} strings to choose from"),
            Self::Name => write!(
                f,
                "a name is 1 to {MAX_NAME} letters, digits and underscores, after one space"
            ),
            Self::Repeated => write!(f, "this was there before"),
            Self::Choice => write!(
                f,
                "a string to choose from is 1 to {MAX_NAME} printable ASCII characters other \
                 than '\"', '\\', '|' and ':'"
            ),
            Self::Kind => write!(
                f,
                "a name is followed by '?', by '=' and a kind (a|b, int:MIN:MAX, dec:MIN:MAX or \
                 time), by both, or by nothing"
            ),
            Self::Bound => write!(
                f,
                "a bound is a number from -{MAX_NUMBER} to {MAX_NUMBER}, whole or, for dec, with \
                 one decimal"
            ),
            Self::NoNumber => write!(f, "the lower bound is above the upper one"),
        }
    }
}

impl core::error::Error for SchemaError {}
