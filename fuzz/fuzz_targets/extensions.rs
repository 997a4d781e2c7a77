//! The entry point of `extensions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::extensions(data));
