//! The entry point of `http2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::http2(data));
