//! Random access to an array of strings as a GGUF file stores it.

use crate::gguf::Array;

use super::error::Fault;
use super::meta::Key;

/// One offset is kept for this many strings; the others are walked to.
///
/// The strings of a stride lie in two or three cache lines that a lookup reads anyway, and the
/// table shrinks from four bytes per token to half a byte.
const STRIDE: usize = 8;

/// Returns the number of offsets kept for `n` strings.
pub(super) const fn checkpoints_for(n: usize) -> usize {
    n.div_ceil(STRIDE)
}

/// Strings by number: the file's bytes and every eighth offset into them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strings<'m, 'b> {
    bytes: &'m [u8],
    checkpoints: &'b [u32],
    len: usize,
}

impl<'m, 'b> Strings<'m, 'b> {
    /// Walks the array once and keeps every eighth offset.
    ///
    /// # Errors
    /// [`Fault::WrongType`] if the bytes are not `array.len()` strings,
    /// [`Fault::TooLarge`] if an offset does not fit in 32 bits.
    pub(super) fn new(
        key: &'static Key,
        array: &Array<'m>,
        checkpoints: &'b mut [u32],
    ) -> Result<Self, Fault> {
        let bytes = array.bytes();
        let len = array.len();
        let mut rest = bytes;
        for number in 0..len {
            if number % STRIDE == 0 {
                let offset = u32::try_from(bytes.len() - rest.len())
                    .map_err(|_| Fault::TooLarge { key, len })?;
                if let Some(kept) = checkpoints.get_mut(number / STRIDE) {
                    *kept = offset;
                }
            }
            (_, rest) = split_string(rest).ok_or(Fault::WrongType(key))?;
        }
        Ok(Self { bytes, checkpoints, len })
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns string `number`.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn get(&self, number: u32) -> Option<&'m [u8]> {
        let number = number as usize;
        if number >= self.len {
            return None;
        }
        let offset = *self.checkpoints.get(number / STRIDE)?;
        let mut rest = self.bytes.get(offset as usize..)?;
        for _ in 0..number % STRIDE {
            (_, rest) = split_string(rest)?;
        }
        split_string(rest).map(|(text, _)| text)
    }

    /// Returns the strings in order, without the cost of finding each.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'m [u8]> + use<'m> {
        let mut rest = self.bytes;
        (0..self.len).map_while(move |_| {
            let (text, after) = split_string(rest)?;
            rest = after;
            Some(text)
        })
    }
}

/// Splits a length-prefixed string from what follows it.
///
/// Where a `usize` has four bytes, those of the eight are enough: the file is not longer, and the
/// parser has compared all eight.
#[cfg_attr(target_pointer_width = "64", inline)]
fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::from_le_bytes(*len.first_chunk()?))
}
