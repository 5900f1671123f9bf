//! What the firmware says over the serial line of a model that is damaged in flash: to every
//! sentence the same error.

#![no_std]
#![no_main]

use bantam_firmware::{MODELS, Memory, ModelInFlash, Mps2Serial, serve};
use cortex_m_rt::entry;
use static_cell::ConstStaticCell;

/// The smallest model's bytes, in RAM, where they can be damaged.
static COPY: ConstStaticCell<[u8; COPY_BYTES]> = ConstStaticCell::new([0; COPY_BYTES]);
const COPY_BYTES: usize = 1_200_000;

/// In the length of the first key.
const DAMAGED: usize = 24;

#[entry]
fn main() -> ! {
    let Some((mut board, _)) = Mps2Serial::take("qemu-m7", 25_000_000) else { unreachable!() };
    let [_, model] = MODELS;
    let copy = COPY.take();
    copy.iter_mut().zip(model.bytes).for_each(|(to, from)| *to = *from);
    if let Some(byte) = copy.get_mut(DAMAGED) {
        *byte ^= 0x7F;
    }
    serve(&mut board, &ModelInFlash { name: model.name, bytes: copy }, Memory::take())
}
