//! Any bytes as a recording.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| frames::fuzz::replay(data));
