//! What real boards with a Cortex-M share: the log over RTT, how a firmware ends, cycles, and lines
//! to a host.
//!
//! Whatever cannot go on is logged with its status and then waits for the watchdog, which resets
//! the board: that leaves a probe the watchdog's period to read the log, and ends what hangs
//! without a word, a stack that has overflowed among them, in the same way.

mod cdc;
mod cycles;
mod device;
mod inbox;
mod uart;

pub use cdc::Cdc;
pub use cycles::Cycles;
pub use device::{Device, Line};
pub use inbox::Inbox;
pub use uart::Uart;

use crate::{panic, status};
use core::panic::PanicInfo;
use cortex_m::{asm, interrupt};
use cortex_m_rt::{ExceptionFrame, exception};
use defmt_rtt as _;

/// Waits for the watchdog with nothing else going on.
fn wait_for_watchdog() -> ! {
    interrupt::disable();
    loop {
        asm::nop();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    panic::report(info);
    wait_for_watchdog()
}

#[defmt::panic_handler]
fn defmt_panic() -> ! {
    wait_for_watchdog()
}

/// Logs a fault. A stack that has overflowed leaves no room for this: the processor locks up.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    defmt::error!("error {=u8}: hard fault at {=u32:#x}", status::EXCEPTION, frame.pc());
    wait_for_watchdog()
}
