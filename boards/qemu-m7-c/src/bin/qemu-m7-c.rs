//! Starts the board for the C in `c/answer.c`, which does the work, and logs what it says.

#![no_std]
#![no_main]

use bantam_c::Status;
use bantam_firmware::{Board as _, MAX_ANSWER, MODELS, Mps2, status};
use cortex_m_rt::entry;
use defmt::info;

unsafe extern "C" {
    fn answer(
        model: *const u8,
        model_len: usize,
        sentence: *const u8,
        sentence_len: usize,
        json: *mut u8,
        max_json: usize,
        json_len: *mut usize,
    ) -> Status;
}

/// What is to be answered, with some of the model's file; all of it but for one.
const CASES: [(&str, Option<usize>); 3] = [
    ("play taylor swift on the speaker in the loft\n", None),
    ("oven to 180 please\n", None),
    ("oven to 180 please\n", Some(20_000)),
];

#[entry]
fn main() -> ! {
    let Some((mut board, _)) = Mps2::take("qemu-m7", 25_000_000) else { unreachable!() };
    let [model, _] = MODELS;
    for (sentence, part) in CASES {
        let file = model.bytes.get(..part.unwrap_or(model.bytes.len())).unwrap_or_default();
        let (mut json, mut n) = ([0; MAX_ANSWER], 0);
        // SAFETY: every pointer leads to as many bytes as said, and the C keeps none of them.
        let got = unsafe {
            answer(
                file.as_ptr(),
                file.len(),
                sentence.as_ptr(),
                sentence.len(),
                json.as_mut_ptr(),
                json.len(),
                &mut n,
            )
        };
        let text = json.get(..n).unwrap_or_default();
        info!("{=str}: status {=i32}, {=[u8]:a}", sentence.trim_end(), got as i32, text);
    }
    board.stop(status::OK)
}
