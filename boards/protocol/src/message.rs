//! What lines mean.

use crate::line::{BAR, CHECKSUM, checksum};
use crate::{Line, LineError, MAX_LINE, Side, Text, VERSION};
use core::fmt::{self, Write as _};

/// What a host asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Who are you? The answer is [`Event::Hello`].
    Hello,
    /// A sentence. The answer is [`Event::Token`]s and [`Event::Done`], or [`Event::Error`].
    Ask(Text<'a>),
}

/// What a board says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Who it is: asked for, or, as the answer to request 0, after a start.
    Hello(Hello<'a>),
    /// A token of an answer, as soon as it is chosen.
    Token {
        /// Its place in the answer: 0 is the first.
        index: u16,
        /// What it adds to the answer.
        bytes: Text<'a>,
    },
    /// The end of an answer.
    Done(Done),
    /// There is no answer, or no more of it.
    Error {
        /// One of the statuses in `boards/README.md`.
        status: u8,
        /// Why, for people. What does not fit into the line is left out.
        text: Text<'a>,
    },
}

/// Who a board is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Most bytes of a sentence.
    pub max_sentence: u16,
    /// Name of the board.
    pub board: Text<'a>,
    /// Its kernel set.
    pub kernels: Text<'a>,
    /// Name of the model in its flash.
    pub model: Text<'a>,
}

/// What an answer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Tokens of the answer.
    pub n_tokens: u16,
    /// Hash of all logits that they were chosen by.
    pub hash: u64,
    /// Instructions that all of them but the last took, where the board can count them.
    pub instructions: u64,
}

/// What is to be said does not fit into a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it does not fit into a line of {MAX_LINE} bytes")
    }
}

impl core::error::Error for TooLong {}

impl<'a> Request<'a> {
    /// Returns what a host's line asks.
    ///
    /// # Errors
    /// [`LineError::Unknown`].
    pub fn read(line: Line<'a>) -> Result<Self, LineError> {
        let mut fields = line.fields();
        let request = match fields.next() {
            // That number is the board's own.
            _ if line.id == 0 => None,
            Some(b"hello") => Some(Self::Hello),
            Some(b"ask") => fields.text().map(Self::Ask),
            _ => None,
        };
        request.and_then(|request| fields.end(request)).ok_or(line.unknown())
    }

    /// Writes it as request `id`, which is not 0, and returns the line.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn write(self, id: u16, buffer: &mut [u8; MAX_LINE]) -> Result<&[u8], TooLong> {
        let mut out = Writer::new(Side::Host, id, buffer)?;
        match self {
            Self::Hello => out.field(format_args!("hello"))?,
            Self::Ask(text) => {
                out.field(format_args!("ask"))?;
                out.text(text)?;
            }
        }
        out.end()
    }
}

impl<'a> Event<'a> {
    /// Returns what a board's line says.
    ///
    /// # Errors
    /// [`LineError::Unknown`], and [`LineError::Version`] for a hello of another version.
    pub fn read(line: Line<'a>) -> Result<Self, LineError> {
        let mut fields = line.fields();
        let event = match fields.next() {
            Some(b"hello") => match fields.number() {
                Some(VERSION) => Hello::read(&mut fields).map(Self::Hello),
                Some(version) => return Err(LineError::Version { version }),
                None => None,
            },
            Some(b"token") => (|| {
                let index = fields.number()?;
                Some(Self::Token { index, bytes: fields.text()? })
            })(),
            Some(b"done") => (|| {
                let (n_tokens, hash) = (fields.number()?, fields.hash()?);
                Some(Self::Done(Done { n_tokens, hash, instructions: fields.number()? }))
            })(),
            Some(b"error") => (|| {
                let status = fields.number()?;
                Some(Self::Error { status, text: fields.text()? })
            })(),
            _ => None,
        };
        event.and_then(|event| fields.end(event)).ok_or(line.unknown())
    }

    /// Writes it as what the board says of request `id`, and returns the line.
    ///
    /// # Errors
    /// When it does not fit. The text of an [`Event::Error`] is cut where it would not.
    pub fn write(self, id: u16, buffer: &mut [u8; MAX_LINE]) -> Result<&[u8], TooLong> {
        let mut out = Writer::new(Side::Board, id, buffer)?;
        match self {
            Self::Hello(Hello { max_sentence, board, kernels, model }) => {
                out.field(format_args!("hello|{VERSION}|{max_sentence}"))?;
                [board, kernels, model].into_iter().try_for_each(|text| out.text(text))?;
            }
            Self::Token { index, bytes } => {
                out.field(format_args!("token|{index}"))?;
                out.text(bytes)?;
            }
            Self::Done(Done { n_tokens, hash, instructions }) => {
                out.field(format_args!("done|{n_tokens}|{hash:016x}|{instructions}"))?;
            }
            Self::Error { status, text } => {
                out.field(format_args!("error|{status}"))?;
                out.push(BAR)?;
                out.as_much_as_fits(text);
            }
        }
        out.end()
    }
}

impl<'a> Hello<'a> {
    /// Reads what follows the version.
    fn read(fields: &mut crate::line::Fields<'a>) -> Option<Self> {
        Some(Hello {
            max_sentence: fields.number()?,
            board: fields.text()?,
            kernels: fields.text()?,
            model: fields.text()?,
        })
    }
}

/// A line that is being written.
struct Writer<'b> {
    bytes: &'b mut [u8; MAX_LINE],
    len: usize,
}

impl<'b> Writer<'b> {
    fn new(side: Side, id: u16, bytes: &'b mut [u8; MAX_LINE]) -> Result<Self, TooLong> {
        let mut out = Writer { bytes, len: 0 };
        out.push(side.mark())?;
        write!(out, "{id}").map_err(|_| TooLong)?;
        Ok(out)
    }

    /// Adds a byte, if checksum and line feed still fit behind it.
    fn push(&mut self, byte: u8) -> Result<(), TooLong> {
        let room = self.bytes.get_mut(..MAX_LINE - CHECKSUM - 1).unwrap_or_default();
        *room.get_mut(self.len).ok_or(TooLong)? = byte;
        self.len += 1;
        Ok(())
    }

    fn field(&mut self, field: fmt::Arguments<'_>) -> Result<(), TooLong> {
        self.push(BAR)?;
        self.write_fmt(field).map_err(|_| TooLong)
    }

    fn text(&mut self, text: Text<'_>) -> Result<(), TooLong> {
        self.push(BAR)?;
        text.escaped().try_for_each(|byte| self.push(byte))
    }

    /// Adds the first bytes of a text, each of them whole.
    fn as_much_as_fits(&mut self, text: Text<'_>) {
        for byte in text.bytes() {
            let before = self.len;
            let one = [byte];
            if Text::new(&one).escaped().try_for_each(|byte| self.push(byte)).is_err() {
                self.len = before;
                return;
            }
        }
    }

    fn end(self) -> Result<&'b [u8], TooLong> {
        let Self { bytes, len } = self;
        let checksum = checksum(bytes.get(..len).ok_or(TooLong)?);
        let tail = checksum.into_iter().chain([b'\n']);
        bytes.iter_mut().skip(len).zip(tail).for_each(|(to, from)| *to = from);
        bytes.get(..len + CHECKSUM + 1).ok_or(TooLong)
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().try_for_each(|byte| self.push(byte)).map_err(|_| fmt::Error)
    }
}
