//! Any bytes from the other end of the peer link.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| frames::fuzz::peer_link(data));
