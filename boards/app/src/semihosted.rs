//! Under an emulator: the log goes to the host's standard output, and a panic ends the emulation.

use crate::status;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};
use defmt::{Display2Format, error};
use defmt_semihosting as _;

/// Logs a panic and ends the emulation. One inside the log itself ends it without a word, but with
/// the same status.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    // Not `swap`, which the smallest processors lack; nothing else runs meanwhile.
    if !PANICKED.load(Ordering::Relaxed) {
        PANICKED.store(true, Ordering::Relaxed);
        error!("error {=u8}: {}", status::PANIC, Display2Format(info));
    }
    semihosting::process::exit(status::PANIC.into())
}

#[defmt::panic_handler]
fn defmt_panic() -> ! {
    semihosting::process::exit(status::PANIC.into())
}
