//! Frames through the loaded program and the judge in user space, which must agree. As root.

#![no_main]

// Loaded beforehand: what that does is not what the first input reaches.
libfuzzer_sys::fuzz_target!(init: frames::fuzz::kernel_of_this_thread(&[]), |data: &[u8]| {
    frames::fuzz::kernel_of_this_thread(data);
});
