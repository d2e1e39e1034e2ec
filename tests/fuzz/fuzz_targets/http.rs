//! Any bytes from whoever connects to the page; what is kept of them in memory is little.

#![no_main]

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

libfuzzer_sys::fuzz_target!(
    // The server begins with the first visit.
    init: drop(frames::fuzz::http(b"..")),
    |data: &[u8]| {
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        drop(frames::fuzz::http(data));
        let more = MEMORY.peak_usage().saturating_sub(before);
        assert!(more < MOST, "{more} bytes of memory");
    }
);

/// Bytes of memory that a visit may take for a while, with those that the visitor keeps: 0.5 MiB at most.
const MOST: usize = 1 << 20;
