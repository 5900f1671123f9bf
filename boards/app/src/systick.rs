//! Executed instructions of an emulated Cortex-M.
//!
//! Under `qemu-system-arm -icount shift=0` an instruction takes a nanosecond of the emulated time,
//! so SysTick counts one for every so many instructions.

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

/// SysTick's largest value: it has 24 bits.
const LARGEST: u32 = 0x00FF_FFFF;

/// SysTick as a counter of instructions. It must be asked more often than it goes round.
pub struct Instructions {
    syst: SYST,
    per_tick: u64,
    last: u32,
    ticks: u64,
}

impl Instructions {
    /// Starts counting on a board whose clock has this frequency.
    pub fn new(mut syst: SYST, clock_hz: u32) -> Self {
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(LARGEST);
        syst.clear_current();
        syst.enable_counter();
        let last = SYST::get_current();
        Instructions { syst, per_tick: 1_000_000_000 / u64::from(clock_hz), last, ticks: 0 }
    }

    /// Returns the instructions until now.
    pub fn get(&mut self) -> u64 {
        let now = SYST::get_current();
        // It counts down.
        self.ticks += u64::from(self.last.wrapping_sub(now) & LARGEST);
        self.last = now;
        self.ticks * self.per_tick
    }

    /// Returns the timer.
    pub fn free(self) -> SYST {
        self.syst
    }
}
