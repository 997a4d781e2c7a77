//! The entry point of `origins`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::origins(data));
