//! How long things take, in cycles of the processor's clock.

use cortex_m::peripheral::{DCB, DWT};

/// The processor's cycle counter, CYCCNT of its DWT unit, with 64 bits instead of 32.
///
/// It has to be read before the counter has gone round once: that takes 2^32 cycles, ten seconds
/// at 400 MHz.
pub struct Cycles {
    last: u32,
    total: u64,
}

impl Cycles {
    /// Starts to count.
    pub fn start(dcb: &mut DCB, dwt: &mut DWT) -> Self {
        dcb.enable_trace();
        // A Cortex-M7's is locked where no debugger has unlocked it.
        DWT::unlock();
        dwt.enable_cycle_counter();
        Cycles { last: DWT::cycle_count(), total: 0 }
    }

    /// Returns the cycles since the start.
    pub fn read(&mut self) -> u64 {
        let now = DWT::cycle_count();
        self.total += u64::from(now.wrapping_sub(self.last));
        self.last = now;
        self.total
    }
}
