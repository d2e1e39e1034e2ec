//! Bytes through the views and what they are made from.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| frames::fuzz::carp_header(data));
