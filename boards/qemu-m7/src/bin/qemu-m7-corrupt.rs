//! What the firmware says of a model that is damaged in flash: every damage is found before a token
//! is computed, and reported with its code.

#![no_std]
#![no_main]

use bantam_core::gguf::Gguf;
use bantam_core::model::Model;
use bantam_firmware::{Board as _, Commander, Failure, Memory, Mps2, Q4_0, status};
use cortex_m_rt::entry;
use defmt::info;
use static_cell::ConstStaticCell;

/// The smallest model's bytes, in RAM, where they can be damaged.
static COPY: ConstStaticCell<[u8; COPY_BYTES]> = ConstStaticCell::new([0; COPY_BYTES]);
const COPY_BYTES: usize = 1_200_000;

/// What is done to one byte: its place, and the value it is changed to.
const DAMAGES: [(&str, usize, u8); 5] = [
    ("magic number", 0, b'g'),
    ("version", 4, 9),
    ("number of tensors", 8, 0xFF),
    ("number of metadata", 23, 0x80),
    ("length of the first key", 24, 0x7F),
];

/// Every so many bytes of the header one bit is turned.
const STRIDE: usize = 61;
/// Bytes before the weights, about.
const HEADER: usize = 29_000;

#[entry]
fn main() -> ! {
    let Some((mut board, _)) = Mps2::take("qemu-m7", 25_000_000) else { unreachable!() };
    let status = corrupt();
    board.stop(status)
}

/// Returns the status of the last damage, which is that of a damaged file.
fn corrupt() -> u8 {
    let Some(copy) = COPY.take().get_mut(..Q4_0.bytes.len()) else { return status::OK };
    copy.copy_from_slice(Q4_0.bytes);
    let memory = Memory::take();

    // One bit at a time, all over the header: refused or not, nothing panics.
    let (mut refused, mut taken) = (0, 0);
    for at in (0..HEADER).step_by(STRIDE) {
        turn(copy, at, 1 << (at % 8));
        match open(copy, memory) {
            Ok(()) => taken += 1,
            Err(_) => refused += 1,
        }
        turn(copy, at, 1 << (at % 8));
    }
    info!("bits turned in the header: {=u32} refused, {=u32} change no structure", refused, taken);

    let mut status = status::OK;
    for (what, at, value) in DAMAGES {
        let Some(&before) = copy.get(at) else { return status::OK };
        turn(copy, at, before ^ value);
        info!("{=str}", what);
        match open(copy, memory) {
            Ok(()) => return status::OK,
            Err(failure) => {
                failure.report();
                status = failure.status();
            }
        }
        turn(copy, at, before ^ value);
    }
    status
}

fn turn(bytes: &mut [u8], at: usize, bits: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= bits;
    }
}

/// Does all that is done before the first token.
fn open(bytes: &[u8], memory: &mut Memory) -> Result<(), Failure> {
    let gguf = Gguf::parse(bytes)?;
    let model = Model::new(&gguf)?;
    Commander::new(&gguf, &model, memory).map(drop)
}
