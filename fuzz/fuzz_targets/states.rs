//! The entry point of `states`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::states(data));
