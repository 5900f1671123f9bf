//! How much stack was used: the free part is painted, and what is left of the paint counted.

use crate::Failure;
use core::ptr;
use defmt::info;

/// The most of the stack that a program may use, and so what a product sets aside for it. Kernels
/// for 64-bit Arm unpack a tile of weights there.
pub const STACK_BYTES: usize = if cfg!(target_pointer_width = "64") { 80 << 10 } else { 16 << 10 };

const PAINT: u32 = 0x5AFE_57AC;
/// What painting itself may use below its own frame.
const MARGIN: usize = 512;

/// The stack that the firmware runs on.
pub struct Stack {
    lowest: *mut u32,
    highest: *mut u32,
}

impl Stack {
    /// Returns the stack between two addresses.
    ///
    /// # Safety
    /// Who uses the value must run on this stack, it must grow downwards, and both addresses must
    /// be multiples of four.
    pub const unsafe fn new(lowest: *mut u32, highest: *mut u32) -> Self {
        Stack { lowest, highest }
    }

    /// Paints what is free.
    #[inline(never)]
    pub fn paint(&self) {
        let here = 0u32;
        let end = ptr::from_ref(&here).wrapping_byte_sub(MARGIN);
        let mut word = self.lowest;
        while word.cast_const() < end {
            // SAFETY: inside the stack, and below everything that is in use by `MARGIN` at least.
            unsafe { word.write_volatile(PAINT) };
            word = word.wrapping_add(1);
        }
    }

    /// Returns the most bytes that were in use since it was painted.
    pub fn used(&self) -> usize {
        let mut word = self.lowest;
        // SAFETY: `word` stays inside the stack, which is memory that can always be read.
        while word < self.highest && unsafe { word.read_volatile() } == PAINT {
            word = word.wrapping_add(1);
        }
        self.highest as usize - word as usize
    }
    /// Logs how much was in use since it was painted, and that it is no more than may be.
    ///
    /// # Errors
    /// [`Failure::Stack`] if it is more than [`STACK_BYTES`].
    pub fn check(&self) -> Result<(), Failure> {
        let used = self.used();
        info!("about {=usize} bytes of stack used, of {=usize} at most", used, STACK_BYTES);
        if used <= STACK_BYTES { Ok(()) } else { Err(Failure::Stack) }
    }
}
