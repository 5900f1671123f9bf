//! Puts values of any type one after the other into lent memory.

use bantam_core::arena::{ALIGN, bytes_for};
use core::mem::MaybeUninit;

/// What is left of the memory. Values are never dropped, as they own nothing.
pub(crate) struct Place {
    rest: &'static mut [u8],
}

impl Place {
    pub(crate) fn new(memory: &'static mut [u8]) -> Self {
        let skip = memory.as_ptr().align_offset(ALIGN).min(memory.len());
        Place { rest: memory.split_at_mut(skip).1 }
    }

    /// `n` bytes from the front, at a multiple of [`ALIGN`] if everything before was in whole ones.
    pub(crate) fn bytes(&mut self, n: usize) -> Option<&'static mut [u8]> {
        let (bytes, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(n)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Room for a value.
    pub(crate) fn reserve<T>(&mut self) -> Option<&'static mut MaybeUninit<T>> {
        const { assert!(align_of::<T>() <= ALIGN) };
        let start = self.bytes(bytes_for::<T>(1))?.as_mut_ptr().cast::<MaybeUninit<T>>();
        // SAFETY: memory of a T's size that nobody else has. It is checked to be aligned, and what
        // is not initialized is allowed to be anything.
        start.is_aligned().then(|| unsafe { &mut *start })
    }

    pub(crate) fn put<T>(&mut self, value: T) -> Option<&'static mut T> {
        Some(self.reserve()?.write(value))
    }
}
