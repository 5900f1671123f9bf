#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bantam_core_fuzz::schema(data));
