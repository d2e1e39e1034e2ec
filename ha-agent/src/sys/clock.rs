//! The clock of the kernel's stamps.

use nix::time::{ClockId, clock_gettime};

use crate::core::Instant;

/// Now, on `CLOCK_MONOTONIC`: the same clock as `bpf_ktime_get_ns` and the timers.
#[must_use]
pub fn now() -> Instant {
    // The kernel never refuses this clock.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Instant::from_nanos(0), |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or_default();
        Instant::from_nanos(seconds * 1_000_000_000 + nanos)
    })
}
