//! Ctrl-C as a question that work in progress asks now and then.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, exit};

static PRESSED: AtomicUsize = AtomicUsize::new(0);

/// From now on Ctrl-C is counted instead of ending the program; the second press that nobody has
/// answered ends it all the same.
pub fn watch() {
    static WATCHED: OnceLock<bool> = OnceLock::new();
    WATCHED.get_or_init(|| {
        ctrlc::set_handler(|| {
            if PRESSED.fetch_add(1, Ordering::Relaxed) >= 1 {
                std::process::exit(exit::INTERRUPTED.into());
            }
        })
        .is_ok()
    });
}

/// Returns whether Ctrl-C was pressed since the last [`clear`].
pub fn pressed() -> bool {
    PRESSED.load(Ordering::Relaxed) > 0
}

/// Forgets what was pressed so far.
pub fn clear() {
    PRESSED.store(0, Ordering::Relaxed);
}

/// # Errors
/// [`Error::Interrupted`] if Ctrl-C was pressed.
pub fn check() -> Result<(), Error> {
    if pressed() {
        return Err(Error::Interrupted);
    }
    Ok(())
}
