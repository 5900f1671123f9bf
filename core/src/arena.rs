//! Carves one caller-lent slice into aligned typed slices.
//!
//! Every slice begins at a multiple of [`ALIGN`], so that what a plan adds up with [`bytes_for`]
//! is exactly what [`Arena::take`] uses when the lent memory itself begins at such a multiple.

#![allow(unsafe_code)] // the one place where raw working memory becomes typed

use core::fmt;

/// Every carved slice begins at a multiple of this many bytes: one cache line.
pub const ALIGN: usize = 64;

/// Types for which any bytes, all zero included, are a value, and which need no drop.
///
/// # Safety
/// Every bit pattern must be a valid value, and alignment must not exceed [`ALIGN`].
pub unsafe trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($t:ty),*) => {$(
        // SAFETY: primitive numbers accept every bit pattern and are aligned to 8 at most.
        unsafe impl Plain for $t {}
    )*};
}
plain!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

/// The lent memory is too small: bytes needed in all up to the failing slice, bytes given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaError {
    /// Bytes that would have been needed, counted from the start of the lent memory.
    pub needed: usize,
    /// Bytes lent.
    pub given: usize,
}

impl fmt::Display for ArenaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "working memory of {} bytes is too small, at least {} are needed (start it at a multiple of {ALIGN})",
            self.given, self.needed
        )
    }
}

impl core::error::Error for ArenaError {}

/// Bytes that `n` values of `T` take in an arena; saturates instead of overflowing.
pub const fn bytes_for<T>(n: usize) -> usize {
    room_for(n, size_of::<T>())
}

// Not part of the generic function, of which there would be a copy for each type and call.
#[inline(never)]
const fn room_for(n: usize, size: usize) -> usize {
    n.saturating_mul(size).saturating_add(ALIGN - 1) / ALIGN * ALIGN
}

/// A slice of lent memory that hands out disjoint parts of itself.
#[derive(Debug)]
pub struct Arena<'b> {
    rest: &'b mut [u8],
    given: usize,
}

impl<'b> Arena<'b> {
    /// An arena over all of `memory`; up to `ALIGN - 1` bytes are skipped if it begins unaligned.
    pub fn new(memory: &'b mut [u8]) -> Self {
        let given = memory.len();
        let skip = memory.as_ptr().align_offset(ALIGN).min(given);
        let (_, rest) = memory.split_at_mut(skip);
        Arena { rest, given }
    }

    /// `n` zeroed values.
    ///
    /// # Errors
    /// [`ArenaError`] if the memory left is too small; nothing is taken then.
    pub fn take<T: Plain>(&mut self, n: usize) -> Result<&'b mut [T], ArenaError> {
        let bytes = self.cut(n, size_of::<T>())?;
        bytes.fill(0);
        // SAFETY: `cut` returns at least `n * size_of::<T>()` bytes at a multiple of ALIGN,
        // borrowed for 'b and given to nobody else; T is Plain, so zeroed bytes are values.
        Ok(unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<T>(), n) })
    }

    /// `n` values of whatever the memory held: for what is written before it is read. Memory that
    /// the system only maps when it is touched stays untouched.
    ///
    /// # Errors
    /// [`ArenaError`] if the memory left is too small; nothing is taken then.
    pub fn take_unzeroed<T: Plain>(&mut self, n: usize) -> Result<&'b mut [T], ArenaError> {
        let bytes = self.cut(n, size_of::<T>())?;
        // SAFETY: `cut` returns at least `n * size_of::<T>()` initialized bytes at a multiple of
        // ALIGN, borrowed for 'b and given to nobody else; T is Plain, so any bytes are values.
        Ok(unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<T>(), n) })
    }

    /// `n` values, the i-th being `init(i)`.
    ///
    /// # Errors
    /// [`ArenaError`] if the memory left is too small; `init` is not called then.
    pub fn take_with<T: Copy>(
        &mut self,
        n: usize,
        mut init: impl FnMut(usize) -> T,
    ) -> Result<&'b mut [T], ArenaError> {
        const { assert!(align_of::<T>() <= ALIGN && size_of::<T>() > 0) };
        let start = self.cut(n, size_of::<T>())?.as_mut_ptr().cast::<T>();
        for i in 0..n {
            // SAFETY: `i < n` and `cut` gave room for `n` values of T at a multiple of ALIGN.
            unsafe { start.add(i).write(init(i)) };
        }
        // SAFETY: all `n` values were just written, in memory borrowed for 'b by nobody else.
        Ok(unsafe { core::slice::from_raw_parts_mut(start, n) })
    }

    /// Bytes not handed out yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Room for `n` values of `size` bytes from the front of what is left, at a multiple of `ALIGN`
    /// even if it is none.
    #[inline(never)]
    fn cut(&mut self, n: usize, size: usize) -> Result<&'b mut [u8], ArenaError> {
        if n == 0 {
            // Memory too small to reach ALIGN leaves nothing, at an address that is no multiple.
            let nothing = core::ptr::without_provenance_mut(ALIGN);
            // SAFETY: no bytes, at an address that is not null, are valid whatever lies there.
            return Ok(unsafe { core::slice::from_raw_parts_mut(nothing, 0) });
        }
        let bytes = room_for(n, size);
        // The last slice need not be padded: its own bytes are enough.
        let least = n.saturating_mul(size);
        let used = self.given - self.rest.len();
        let room = self.rest.len();
        if least > room {
            return Err(ArenaError { needed: used.saturating_add(bytes), given: self.given });
        }
        let (head, tail) = core::mem::take(&mut self.rest).split_at_mut(bytes.min(room));
        self.rest = tail;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Aligned([u8; 1024]);

    #[test]
    fn slices_are_aligned_zeroed_and_disjoint() {
        let mut memory = Aligned([0xAA; 1024]);
        let mut arena = Arena::new(&mut memory.0);
        let a = arena.take::<u8>(3).unwrap();
        let b = arena.take::<f32>(5).unwrap();
        let c = arena.take_with::<(u8, u64)>(4, |i| (i as u8, 7)).unwrap();
        assert_eq!((a.as_ptr() as usize % ALIGN, b.as_ptr() as usize % ALIGN), (0, 0));
        assert_eq!((&*a, &*b), (&[0u8; 3][..], &[0f32; 5][..]));
        a.fill(1);
        b.fill(2.0);
        assert_eq!(c, &[(0, 7), (1, 7), (2, 7), (3, 7)]);
        assert_eq!(arena.left(), 1024 - 3 * 64);
    }

    #[test]
    fn a_plan_is_exact_and_one_byte_less_is_an_error() {
        let bytes = bytes_for::<u32>(17) + bytes_for::<u8>(1);
        assert_eq!(bytes, 192);
        let mut memory = Aligned([0; 1024]);
        let mut arena = Arena::new(&mut memory.0[..bytes]);
        arena.take::<u32>(17).unwrap();
        arena.take::<u8>(64).unwrap();
        assert_eq!(arena.left(), 0);
        assert_eq!(arena.take::<u8>(1).unwrap_err(), ArenaError { needed: 256, given: 192 });
        let mut arena = Arena::new(&mut memory.0[..67]);
        assert_eq!(arena.take::<u32>(17).unwrap_err().given, 67);
    }

    #[test]
    fn unaligned_memory_and_absurd_counts_do_not_overflow() {
        let mut memory = Aligned([0; 1024]);
        let mut arena = Arena::new(&mut memory.0[1..]);
        assert_eq!(arena.left(), 1024 - 64);
        assert!(arena.take::<u64>(usize::MAX).is_err());
        assert!(arena.take_with::<u64>(usize::MAX / 8, |_| 0).is_err());
        assert_eq!(arena.take::<u8>(0).unwrap(), &[] as &[u8]);
        // Too small to reach the first multiple of ALIGN: nothing is still a valid slice.
        for given in 0..64 {
            let mut arena = Arena::new(&mut memory.0[1..1 + given]);
            assert!(arena.take::<u64>(0).unwrap().is_empty());
            assert!(arena.take_with::<u64>(0, |_| 0).unwrap().is_empty());
            assert!(arena.take::<u8>(1).is_err());
        }
    }
}
