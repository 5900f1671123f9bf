//! Sentences in and tokens out over the serial line: with `bantam serial`, or as `qemu-m7-serial.in`
//! has it.

#![no_std]
#![no_main]

use bantam_firmware::{MODELS, Memory, Mps2Serial, serve};
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    let Some((mut board, _)) = Mps2Serial::take("qemu-m7", 25_000_000) else { unreachable!() };
    let [model, _] = MODELS;
    serve(&mut board, model, Memory::take())
}
