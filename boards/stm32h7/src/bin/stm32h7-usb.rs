//! The firmware of the Nucleo-H743ZI2, which answers over USB.

#![no_std]
#![no_main]

use bantam_firmware::{Memory, Q4_0, serve};
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    serve(&mut nucleo_h743::with_usb(), &Q4_0, Memory::take())
}
