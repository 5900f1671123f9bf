//! The least that answers a sentence: no log, no tests, no second model. What its code and memory
//! take is what core costs a product.

#![no_std]
#![no_main]

use bantam_core::gguf::Gguf;
use bantam_core::model::Model;
use bantam_firmware::status;
use bantam_firmware::{Board as _, Commander, EXPECTED, Expected, Failure, Memory, Mps2, Q8_0};
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    let Some((mut board, stack)) = Mps2::take("qemu-m7", 25_000_000) else { unreachable!() };
    stack.paint();
    let result = answer(&mut board).and_then(|()| stack.check());
    board.stop(result.map_or_else(|failure| failure.status(), |()| status::OK))
}

fn answer(board: &mut Mps2) -> Result<(), Failure> {
    let gguf = Gguf::parse(Q8_0.bytes)?;
    let parsed = Model::new(&gguf)?;
    let mut commander = Commander::new(&gguf, &parsed, Memory::take())?;
    let expected = EXPECTED.lines().find_map(Expected::parse).ok_or(Failure::Differs)?;
    let answer = commander.answer(board, expected.sentence)?;
    if answer.hash == expected.hash { Ok(()) } else { Err(Failure::Differs) }
}
