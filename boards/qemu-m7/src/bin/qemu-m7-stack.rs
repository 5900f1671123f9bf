//! What the firmware does when it has used more of the stack than it may: it says so, and stops
//! with a status.

#![no_std]
#![no_main]

use bantam_firmware::{Board as _, Mps2, STACK_BYTES, status};
use core::hint::black_box;
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    let Some((mut board, stack)) = Mps2::take("qemu-m7", 25_000_000) else { unreachable!() };
    stack.paint();
    use_all();
    let result = stack.check();
    if let Err(failure) = &result {
        failure.report();
    }
    board.stop(result.map_or_else(|failure| failure.status(), |()| status::OK))
}

/// Writes to as much as may be used, beside what is in use already.
#[inline(never)]
fn use_all() {
    black_box(&mut [0u8; STACK_BYTES]);
}
