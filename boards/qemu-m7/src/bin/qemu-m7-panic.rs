//! What the firmware does when it panics: it says where and why, and stops with a status.

#![no_std]
#![no_main]

use bantam_firmware::{Board as _, EXPECTED, Mps2, status};
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    let Some((mut board, _)) = Mps2::take("qemu-m7", 25_000_000) else { unreachable!() };
    let past_the_end = EXPECTED.len();
    defmt::info!("{=u8}", EXPECTED.as_bytes()[past_the_end]);
    board.stop(status::OK)
}
