//! The entry point of `upgrade`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::upgrade(data));
