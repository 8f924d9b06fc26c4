#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| crvideo_fuzz::run("file_name", data));
