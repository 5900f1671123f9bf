//! Under an emulator: the log goes to the host's standard output, and a panic ends the emulation.

use crate::{panic, status};
use core::panic::PanicInfo;
use defmt_semihosting as _;

/// Logs a panic and ends the emulation. One inside the log itself ends it without a word, but with
/// the same status.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    panic::report(info);
    semihosting::process::exit(status::PANIC.into())
}

#[defmt::panic_handler]
fn defmt_panic() -> ! {
    semihosting::process::exit(status::PANIC.into())
}
