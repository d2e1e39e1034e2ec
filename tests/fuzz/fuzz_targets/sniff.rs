//! Any bytes as a recording of frames, and as a frame.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| frames::fuzz::sniff(data));
