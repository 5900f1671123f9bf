//! A cursor over untrusted bytes that can neither leave the file nor overflow.
//!
//! Numbers are little-endian, whatever the machine. What cannot be read or is refused is noted
//! with its place, once, and leaves nothing to read: from then on numbers are 0 and strings are
//! empty. So code that reads several fields need ask only once whether all were there, which in a
//! parser for microcontrollers takes half the flash of asking behind every field.

use super::error::{Counted, ParseErrorKind};

/// Bytes of a string's or array's length field.
pub(super) const LENGTH_BYTES: usize = 8;

/// Reads fields one after the other from a slice of the file.
#[derive(Clone)]
pub(super) struct Reader<'m> {
    rest: &'m [u8],
    /// Offset in the file of the end of `rest`.
    end: usize,
    /// Offset of the field read last.
    field: usize,
    /// The first failure, and the offset of the field that it is about.
    failure: Option<(usize, ParseErrorKind)>,
}

impl<'m> Reader<'m> {
    /// Returns a reader of `bytes`, which end at `end` in the file.
    pub(super) const fn new(bytes: &'m [u8], end: usize) -> Self {
        Self { rest: bytes, end, field: 0, failure: None }
    }

    /// Returns the file offset of the next byte.
    pub(super) const fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// Returns the bytes not read yet; none behind a failure.
    pub(super) const fn rest(&self) -> &'m [u8] {
        self.rest
    }

    /// Returns the first failure and its offset.
    pub(super) const fn failure(&self) -> Option<(usize, ParseErrorKind)> {
        self.failure
    }

    /// Returns whether something could not be read or was refused.
    pub(super) const fn failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Notes that the field read last is wrong, unless something before it was.
    #[cold]
    #[inline(never)]
    pub(super) fn fail(&mut self, kind: ParseErrorKind) {
        self.fail_at(self.field, kind);
    }

    /// As [`Self::fail`], of what is at `offset`.
    #[cold]
    #[inline(never)]
    pub(super) fn fail_at(&mut self, offset: usize, kind: ParseErrorKind) {
        if !self.failed() {
            self.failure = Some((offset, kind));
            self.rest = &[];
        }
    }

    /// Returns the next `n` bytes, or none of them if there are fewer.
    #[inline(never)]
    pub(super) fn take(&mut self, n: u64) -> &'m [u8] {
        self.field = self.offset();
        let split = usize::try_from(n).ok().and_then(|n| self.rest.split_at_checked(n));
        let Some((head, rest)) = split else {
            self.fail(ParseErrorKind::Truncated { needed: n, left: self.rest.len() as u64 });
            return &[];
        };
        self.rest = rest;
        head
    }

    /// Returns the next `bytes` bytes, eight at most, as a number.
    #[inline(never)]
    pub(super) fn number(&mut self, bytes: usize) -> u64 {
        let bytes = self.take(bytes as u64).iter().rev();
        bytes.fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    pub(super) fn u32(&mut self) -> u32 {
        self.number(4) as u32
    }

    pub(super) fn u64(&mut self) -> u64 {
        self.number(8)
    }

    /// Returns the bytes of a length-prefixed string.
    pub(super) fn string(&mut self) -> &'m [u8] {
        let len = self.u64();
        self.take(len)
    }

    /// Returns the next `len` bytes, which must be UTF-8.
    pub(super) fn text(&mut self, len: u64) -> &'m str {
        core::str::from_utf8(self.take(len)).unwrap_or_else(|err| {
            self.fail_at(self.field + err.valid_up_to(), ParseErrorKind::InvalidUtf8);
            ""
        })
    }

    /// Returns `count`, the field at `offset`, once so many entries of at least `entry_bytes` each
    /// can follow; 0 if not, so that nothing ever loops over a count that the file merely claims.
    pub(super) fn count(
        &mut self,
        offset: usize,
        what: Counted,
        count: u64,
        entry_bytes: usize,
    ) -> usize {
        let left = self.rest.len();
        match usize::try_from(count) {
            Ok(count) if count <= left / entry_bytes.max(1) => count,
            _ => {
                let (entry_bytes, left) = (entry_bytes as u64, left as u64);
                let kind = ParseErrorKind::CountTooLarge { what, count, entry_bytes, left };
                self.fail_at(offset, kind);
                0
            }
        }
    }

    /// Returns the bytes that `count` strings take together, prefixes included.
    ///
    /// The loop ends with the file at the latest, as each string takes bytes of it.
    pub(super) fn strings(&mut self, count: usize) -> &'m [u8] {
        let all = self.rest;
        // A vocabulary has hundreds of thousands of these: the loop keeps nothing but a slice.
        for _ in 0..count {
            match split_string(self.rest) {
                Some((_, rest)) => self.rest = rest,
                None => {
                    // Reading the string again tells what is missing.
                    self.string();
                    return &[];
                }
            }
        }
        all.get(..all.len() - self.rest.len()).unwrap_or_default()
    }
}

/// Returns a length-prefixed string and what follows it, or `None` when `bytes` ends first.
#[inline]
pub(super) fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)
}
