//! How a panic is told.

use crate::status;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};
use defmt::{Display2Format, error};

/// Logs a panic. Nothing is said of one inside the log itself.
pub(crate) fn report(info: &PanicInfo<'_>) {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    // Not `swap`, which the smallest processors lack; nothing else runs meanwhile.
    if !PANICKED.load(Ordering::Relaxed) {
        PANICKED.store(true, Ordering::Relaxed);
        error!("error {=u8}: {}", status::PANIC, Display2Format(info));
    }
}
