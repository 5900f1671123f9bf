//! Arm's MPS2 boards with a Cortex-M, as QEMU emulates them.

use crate::stack::Stack;
use crate::{Board, status};
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{ExceptionFrame, exception};

/// SysTick's largest value: it has 24 bits.
const LARGEST: u32 = 0x00FF_FFFF;

/// An emulated board. Its SysTick counts instructions.
///
/// Under `-icount shift=0` an instruction takes a nanosecond of the emulated time, so the timer
/// counts one for every so many. It goes round after hundreds of millions, and is asked after each
/// step.
pub struct Mps2 {
    name: &'static str,
    per_tick: u64,
    last: u32,
    ticks: u64,
}

unsafe extern "C" {
    static mut _stack_end: u32;
    static mut _stack_start: u32;
}

impl Mps2 {
    /// Returns the board and its stack, once.
    pub fn take(name: &'static str, clock_hz: u32) -> Option<(Self, Stack)> {
        let mut syst = cortex_m::Peripherals::take()?.SYST;
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(LARGEST);
        syst.clear_current();
        syst.enable_counter();
        let per_tick = 1_000_000_000 / u64::from(clock_hz);
        // SAFETY: the linker places the only stack between the two.
        let stack = unsafe { Stack::new(&raw mut _stack_end, &raw mut _stack_start) };
        Some((Mps2 { name, per_tick, last: SYST::get_current(), ticks: 0 }, stack))
    }
}

impl Board for Mps2 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn instructions(&mut self) -> u64 {
        let now = SYST::get_current();
        // It counts down.
        self.ticks += u64::from(self.last.wrapping_sub(now) & LARGEST);
        self.last = now;
        self.ticks * self.per_tick
    }

    fn stop(&mut self, status: u8) -> ! {
        semihosting::process::exit(status.into())
    }
}

/// Reports a fault and ends the emulation. A stack that has overflowed leaves no room for this: the
/// processor locks up, whereupon QEMU aborts, and a watchdog would reset a board.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    defmt::error!("error {=u8}: hard fault at {=u32:#x}", status::EXCEPTION, frame.pc());
    semihosting::process::exit(status::EXCEPTION.into())
}
