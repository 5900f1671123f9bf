//! A cursor over untrusted bytes that can neither leave the file nor overflow.
//!
//! Numbers are little-endian, whatever the machine. Each failure carries the byte offset of
//! the field that could not be read.

use super::error::{Counted, ParseError, ParseErrorKind};

/// Bytes of a string's or array's length field.
pub(super) const LENGTH_BYTES: u64 = 8;

/// Reads fields one after the other from a slice of the file.
#[derive(Clone, Copy)]
pub(super) struct Reader<'m> {
    rest: &'m [u8],
    /// Offset in the file of the first byte of `rest`.
    offset: u64,
}

impl<'m> Reader<'m> {
    /// Returns a reader of `bytes`, which lie at `offset` in the file.
    pub(super) const fn new(bytes: &'m [u8], offset: u64) -> Self {
        Self { rest: bytes, offset }
    }

    /// Returns the file offset of the next byte.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the bytes not read yet.
    pub(super) const fn rest(&self) -> &'m [u8] {
        self.rest
    }

    /// Returns the number of bytes not read yet.
    pub(super) const fn left(&self) -> u64 {
        // Lossless: no supported target has pointers wider than 64 bits.
        self.rest.len() as u64
    }

    /// Returns `kind` as an error at the next byte.
    pub(super) const fn error(&self, kind: ParseErrorKind) -> ParseError {
        ParseError::new(kind, self.offset)
    }

    #[cold]
    fn truncated(&self, needed: u64) -> ParseError {
        self.error(ParseErrorKind::Truncated { needed, left: self.left() })
    }

    /// Returns the next `n` bytes.
    pub(super) fn take(&mut self, n: u64) -> Result<&'m [u8], ParseError> {
        let split = usize::try_from(n).ok().and_then(|n| self.rest.split_at_checked(n));
        let Some((head, rest)) = split else { return Err(self.truncated(n)) };
        self.rest = rest;
        // Cannot wrap: bounded by the length of the file.
        self.offset += n;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(N as u64));
        };
        self.rest = rest;
        self.offset += N as u64;
        Ok(*head)
    }

    pub(super) fn magic(&mut self) -> Result<[u8; 4], ParseError> {
        self.array()
    }

    pub(super) fn u8(&mut self) -> Result<u8, ParseError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ParseError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ParseError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ParseError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Returns the bytes of a length-prefixed string.
    pub(super) fn string(&mut self) -> Result<&'m [u8], ParseError> {
        let len = self.u64()?;
        self.take(len)
    }

    /// Returns a length-prefixed string that must be UTF-8.
    pub(super) fn text(&mut self) -> Result<&'m str, ParseError> {
        let bytes = self.string()?;
        core::str::from_utf8(bytes).map_err(|err| {
            let back = (bytes.len() - err.valid_up_to()) as u64;
            ParseError::new(ParseErrorKind::InvalidUtf8, self.offset - back)
        })
    }

    /// Checks that `count` entries of at least `entry_bytes` each can follow, so that nothing
    /// ever loops over a count that the file merely claims.
    ///
    /// The error is for the caller to place: it concerns the count's field, which is behind.
    pub(super) fn check_count(
        &self,
        what: Counted,
        count: u64,
        entry_bytes: u64,
    ) -> Result<(), ParseErrorKind> {
        let left = self.left();
        match count.checked_mul(entry_bytes) {
            Some(needed) if needed <= left => Ok(()),
            _ => Err(ParseErrorKind::CountTooLarge { what, count, entry_bytes, left }),
        }
    }

    /// Returns the bytes that `count` strings take together, prefixes included.
    ///
    /// The loop ends with the file at the latest, as each string takes bytes of it.
    pub(super) fn strings(&mut self, count: u64) -> Result<&'m [u8], ParseError> {
        let all = self.rest;
        let start = self.offset;
        // A vocabulary has hundreds of thousands of these: the loop keeps nothing but a slice.
        let mut rest = all;
        for _ in 0..count {
            let Some((_, next)) = split_string(rest) else {
                self.rest = rest;
                self.offset = start + (all.len() - rest.len()) as u64;
                // Reading the string again gives the exact error.
                self.string()?;
                break;
            };
            rest = next;
        }
        self.rest = rest;
        let len = all.len() - rest.len();
        self.offset = start + len as u64;
        Ok(all.get(..len).unwrap_or_default())
    }
}

/// Returns a length-prefixed string and what follows it, or `None` when `bytes` ends first.
#[inline]
pub(super) fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)
}
