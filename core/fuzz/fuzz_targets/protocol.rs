#![no_main]

#[path = "../src/protocol.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::protocol(data));
