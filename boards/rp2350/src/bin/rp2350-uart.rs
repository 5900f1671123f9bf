//! The firmware of the Raspberry Pi Pico 2, which answers over UART0.

#![no_std]
#![no_main]

use bantam_firmware::{Memory, Q8_0, serve};
use rp235x_hal::entry;

#[entry]
fn main() -> ! {
    serve(&mut pico2::with_uart(), &Q8_0, Memory::take())
}
