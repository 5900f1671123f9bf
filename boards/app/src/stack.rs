//! How much stack was used: the free part is painted, and what is left of the paint counted.

use core::ptr;

const PAINT: u32 = 0x5AFE_57AC;
/// What painting itself may use below its own frame.
const MARGIN: usize = 512;

/// The stack, painted below what was in use.
pub struct Stack {
    lowest: *mut u32,
    highest: *mut u32,
}

impl Stack {
    /// Paints the free part of the stack that lies between two addresses.
    ///
    /// # Safety
    /// The caller must run on this stack, and it must grow downwards; `lowest` and `highest` must
    /// be multiples of four.
    #[inline(never)]
    pub unsafe fn paint(lowest: *mut u32, highest: *mut u32) -> Self {
        let here = 0u32;
        let end = ptr::from_ref(&here).wrapping_byte_sub(MARGIN);
        let mut word = lowest;
        while word.cast_const() < end {
            // SAFETY: inside the stack, and below everything that is in use by `MARGIN` at least.
            unsafe { word.write_volatile(PAINT) };
            word = word.wrapping_add(1);
        }
        Stack { lowest, highest }
    }

    /// Returns the most bytes that were in use since.
    pub fn used(&self) -> usize {
        let mut word = self.lowest;
        // SAFETY: `word` stays inside the stack, which is memory that can always be read.
        while word < self.highest && unsafe { word.read_volatile() } == PAINT {
            word = word.wrapping_add(1);
        }
        self.highest as usize - word as usize
    }
}
