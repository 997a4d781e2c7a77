//! The entry point of `lifecycle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::lifecycle(data));
