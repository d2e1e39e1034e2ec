//! Any frame through the decoder and the judge.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| frames::fuzz::decode(data));
