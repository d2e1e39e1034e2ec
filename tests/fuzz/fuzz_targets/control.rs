//! Any bytes from whoever connects to the control socket.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| frames::fuzz::control(data));
