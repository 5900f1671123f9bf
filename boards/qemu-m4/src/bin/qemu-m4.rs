//! The firmware of the emulated Cortex-M4.

#![no_std]
#![no_main]

use bantam_firmware::{Mps2, run};
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    let Some((mut board, stack)) = Mps2::take("qemu-m4", 25_000_000) else { unreachable!() };
    run(&mut board, &stack)
}
