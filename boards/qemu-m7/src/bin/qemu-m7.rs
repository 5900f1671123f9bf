//! The firmware of the emulated Cortex-M7.

#![no_std]
#![no_main]

use bantam_firmware::systick::Instructions;
use bantam_firmware::{Board, Stack, run, status};
use cortex_m_rt::{ExceptionFrame, entry, exception};

/// Frequency of the board's clock.
const CLOCK_HZ: u32 = 25_000_000;

struct QemuM7 {
    instructions: Instructions,
}

impl Board for QemuM7 {
    const NAME: &'static str = "qemu-m7";

    fn instructions(&mut self) -> u64 {
        self.instructions.get()
    }

    fn stop(&mut self, status: u8) -> ! {
        semihosting::process::exit(status.into())
    }
}

unsafe extern "C" {
    static mut _stack_end: u32;
    static mut _stack_start: u32;
}

#[entry]
fn main() -> ! {
    // SAFETY: the linker places the stack, which this runs on, between the two.
    let stack = unsafe { Stack::paint(&raw mut _stack_end, &raw mut _stack_start) };
    let Some(peripherals) = cortex_m::Peripherals::take() else { unreachable!() };
    run(QemuM7 { instructions: Instructions::new(peripherals.SYST, CLOCK_HZ) }, stack)
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    defmt::error!("error {=u8}: hard fault at {=u32:#x}", status::EXCEPTION, frame.pc());
    semihosting::process::exit(status::EXCEPTION.into())
}
