//! The clock of the kernel's stamps.

use std::time::Duration;

use ha_common::fresh::EPOCH_S;
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

/// How long the machine has slept since it started: meanwhile [`now`] stands still.
#[must_use]
pub fn asleep() -> Duration {
    // Asked before the other one: what passes in between is not taken for sleep. The kernel never refuses this clock.
    let with_sleep = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    with_sleep.saturating_sub(Duration::from_nanos(now().as_nanos()))
}

/// Now, in ns of `CLOCK_BOOTTIME`, which goes on while the machine sleeps: the same clock as `bpf_ktime_get_boot_ns`.
#[must_use]
pub fn boot_ns() -> u64 {
    // The kernel never refuses this clock.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The time of day, in ns since 1970.
#[must_use]
pub fn unix_ns() -> u64 {
    // The kernel never refuses this clock.
    let time = clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Duration::from);
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether somebody keeps the time of day right, as the kernel is told (`adjtimex(2)`); `None` if it does not say.
#[must_use]
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: a timex is plain integers, for which zero is valid; with no modes, the call changes nothing and fills it in.
    let (state, status) = unsafe {
        let mut asked: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut asked), asked.status)
    };
    (state >= 0).then_some(status & libc::STA_UNSYNC == 0)
}

/// The processor time that the calling thread has used, in user space and in the kernel.
#[must_use]
pub fn thread_time() -> Duration {
    // The kernel never refuses this clock.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The time of day, since 2025-01-01T00:00:00Z; zero before.
#[must_use]
pub fn wall() -> Duration {
    // The kernel never refuses this clock.
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec()).unwrap_or_default();
        Duration::new(seconds, nanos).saturating_sub(Duration::from_secs(EPOCH_S))
    })
}
