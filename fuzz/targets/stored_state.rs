#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| crvideo_fuzz::run("stored_state", data));
