//! Times in ns, and by whose clock patience ends.

use super::*;

/// By whose clock.
#[derive(Clone, Copy)]
pub(super) enum Clock {
    Ours,
    Kernels,
    /// The kernel's has rung: for when it was set, and when it did.
    Rang(u64, u64),
}

/// The kernel's clock rings. Returns the newest stamps.
pub(super) fn ring(
    Silence { family, last_heard, deadline, fired }: Silence,
    apart: bool,
    clocks: &mut [Clock; 2],
    (v4, v6): (Option<u64>, Option<u64>),
) -> (Option<u64>, Option<u64>) {
    let alone = apart && family == Family::V6;
    let newest = match (apart, family) {
        (false, _) => v4.max(v6),
        (true, Family::V4) => v4,
        (true, Family::V6) => v6,
    };
    let (clock, last) = (&mut clocks[usize::from(alone)], Some(last_heard.as_nanos()));
    if !matches!(clock, Clock::Kernels) || newest > last {
        return (v4, v6);
    }
    *clock = Clock::Rang(deadline.as_nanos(), fired.as_nanos());
    if alone { (v4, last) } else { (last, v6) }
}

/// When we are to act on the end of our patience ourselves.
pub(super) fn rings(clock: Clock, end: u64) -> Option<u64> {
    match clock {
        Clock::Ours => Some(end),
        Clock::Rang(set, _) => Some(end.max(set)),
        Clock::Kernels => None,
    }
}

/// The advertisement interval in ns.
pub(in crate::core::vhost) fn interval(settings: Settings) -> u64 {
    match settings.pace {
        Pace::Classic => parts(number(settings.priority).max(1)),
        Pace::Fast { interval, .. } => nanos(interval).max(1_000_000),
    }
}

/// What peers of the best priority wait, in ns.
pub(super) fn dead_time(settings: Settings) -> u64 {
    match settings.pace {
        Pace::Classic if settings.priority.advbase == 0 => {
            parts(3 * u64::from(settings.priority.advskew).max(1))
        }
        Pace::Classic => parts(768 * u64::from(settings.priority.advbase)),
        Pace::Fast { detect, .. } => u64::from(detect.max(1)) * interval(settings),
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    time.as_secs() * 1_000_000_000 + u64::from(time.subsec_nanos())
}

/// `count/256` s, in ns, cut to whole µs.
pub(super) fn parts(count: u64) -> u64 {
    count * 1_000_000 / 256 * 1000
}

pub(super) fn number(priority: Priority) -> u64 {
    u64::from(priority.advbase) * 256 + u64::from(priority.advskew)
}
