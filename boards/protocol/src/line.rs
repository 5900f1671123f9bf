//! Whole lines in a stream of bytes: marks, lengths and checksums.

use crate::text::hex_digit;
use crate::{MAX_LINE, Text};
use core::fmt;

/// What stands before a line's checksum.
pub(crate) const STAR: u8 = b'*';
/// What stands between its fields.
pub(crate) const BAR: u8 = b'|';
/// Bytes of `*` and the checksum.
pub(crate) const CHECKSUM: usize = 5;

/// Who writes a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Lines begin with `>`.
    Host,
    /// Lines begin with `<`.
    Board,
}

impl Side {
    /// Returns the mark that its lines begin with. It stands nowhere else.
    pub const fn mark(self) -> u8 {
        match self {
            Self::Host => b'>',
            Self::Board => b'<',
        }
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineError {
    /// It is not what was written: its checksum says so.
    Damaged,
    /// It has more than [`MAX_LINE`] bytes.
    TooLong,
    /// It is as it was written, but of no kind that this side knows.
    Unknown {
        /// The request that it is about; 0 if even that cannot be read.
        id: u16,
    },
    /// A board's hello in another version of the protocol.
    Version {
        /// The board's version.
        version: u16,
    },
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("a damaged line"),
            Self::TooLong => write!(f, "a line of more than {MAX_LINE} bytes"),
            Self::Unknown { .. } => f.write_str("a line of no known kind"),
            Self::Version { version } => write!(f, "version {version} of the protocol"),
        }
    }
}

impl core::error::Error for LineError {}

/// A line as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The request that it is about: 0 is none.
    pub id: u16,
    /// What is behind the number, bars included.
    fields: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line, from its mark to its checksum.
    fn read(bytes: &'a [u8]) -> Result<Self, LineError> {
        let split = bytes.len().checked_sub(CHECKSUM).and_then(|at| bytes.split_at_checked(at));
        let (body, written) = split.ok_or(LineError::Damaged)?;
        if written != checksum(body) {
            return Err(LineError::Damaged);
        }
        let inner = body.get(1..).unwrap_or_default();
        let end = inner.iter().position(|&byte| byte == BAR).unwrap_or(inner.len());
        let (id, fields) = inner.split_at_checked(end).ok_or(LineError::Damaged)?;
        let id = number(id).and_then(|id| u16::try_from(id).ok());
        Ok(Line { id: id.ok_or(LineError::Unknown { id: 0 })?, fields })
    }

    /// Returns its fields in order.
    pub(crate) fn fields(self) -> Fields<'a> {
        Fields { rest: self.fields }
    }

    /// Returns the error for a line that is of no known kind.
    pub(crate) const fn unknown(self) -> LineError {
        LineError::Unknown { id: self.id }
    }
}

/// The fields of a line.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Returns the next field as it was written.
    pub(crate) fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.strip_prefix(&[BAR])?;
        let end = rest.iter().position(|&byte| byte == BAR).unwrap_or(rest.len());
        let (field, rest) = rest.split_at_checked(end)?;
        self.rest = rest;
        Some(field)
    }

    pub(crate) fn text(&mut self) -> Option<Text<'a>> {
        Text::read(self.next()?)
    }

    pub(crate) fn number<N: TryFrom<u64>>(&mut self) -> Option<N> {
        number(self.next()?).and_then(|number| number.try_into().ok())
    }

    /// Returns a number of sixteen hexadecimal digits.
    pub(crate) fn hash(&mut self) -> Option<u64> {
        let digits = self.next().filter(|digits| digits.len() == 16)?;
        digits.iter().try_fold(0, |hash, &digit| Some(hash << 4 | u64::from(hex_digit(digit)?)))
    }

    /// Returns something if there is no further field.
    pub(crate) fn end<T>(&self, all: T) -> Option<T> {
        self.rest.is_empty().then_some(all)
    }
}

/// Reads a decimal number, which has one spelling.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with(b"0")) {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Returns a star and the checksum of what stands before it: CRC-16/IBM-3740, polynomial 0x1021,
/// begun with 0xFFFF.
pub(crate) fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let crc = body.iter().fold(0xFFFF, |crc: u16, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    });
    let [high, low] = crc.to_be_bytes();
    let ([a, b], [c, d]) = (crate::text::hex(high), crate::text::hex(low));
    [STAR, a, b, c, d]
}

/// Finds one side's lines in a stream of bytes.
pub struct Receiver {
    from: Side,
    bytes: [u8; MAX_LINE],
    /// Bytes of the line that has begun; 0 between lines.
    len: usize,
}

impl Receiver {
    /// Returns what receives the lines of one side; those of the other, echoed say, are no lines.
    pub const fn new(from: Side) -> Self {
        Receiver { from, bytes: [0; MAX_LINE], len: 0 }
    }

    /// Takes a byte in, and returns the line that it ends.
    ///
    /// What is between lines is dropped without a word, and so is a line that another one cuts
    /// off. One that is too long is told as soon as it is; the rest of it is dropped.
    pub fn push(&mut self, byte: u8) -> Option<Result<Line<'_>, LineError>> {
        match byte {
            _ if byte == self.from.mark() => self.len = 0,
            b'<' | b'>' => {
                self.len = 0;
                return None;
            }
            // A terminal in between may have added one.
            b'\r' => return None,
            _ if self.len == 0 => return None,
            b'\n' => {
                let line = self.bytes.get(..self.len).unwrap_or_default();
                self.len = 0;
                return Some(Line::read(line));
            }
            _ => {}
        }
        // The last byte is the line feed's.
        if self.len + 1 >= MAX_LINE {
            self.len = 0;
            return Some(Err(LineError::TooLong));
        }
        if let Some(next) = self.bytes.get_mut(self.len) {
            *next = byte;
            self.len += 1;
        }
        None
    }
}
