//! The watch for silence: what the agent sets and what the kernel program counts down.

use super::WatchKey;
use crate::wire::carp;

/// How long a master may be silent, of one [`Watch::slot`](super::Watch::slot). Written by the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Patience {
    /// From the last authentic frame to the silence, in ns; 0 if the agent watches by itself.
    pub dead_ns: u64,
    /// From one advertisement to the next, in ns.
    pub interval_ns: u64,
}

impl Patience {
    /// How late the timer may fire and still be believed, in ns: a quarter of an interval.
    #[inline(always)]
    #[must_use]
    pub fn tolerance_ns(&self) -> u64 {
        self.interval_ns / 4
    }

    /// When it is looked whether this machine runs, before a deadline, in ns: half an interval.
    #[inline(always)]
    #[must_use]
    pub fn eve_ns(&self, deadline_ns: u64) -> u64 {
        deadline_ns.saturating_sub(self.interval_ns / 2)
    }

    /// How long is listened anew where this machine did not run, in ns: two intervals, because the master may have
    /// stood still at the same time, and then listens for one before it speaks.
    #[inline(always)]
    #[must_use]
    pub fn after_stall_ns(&self) -> u64 {
        self.interval_ns.saturating_mul(2)
    }
}

/// A timer that every authentic frame sets back, of one slot. The kernel program's own.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Countdown {
    /// The kernel's.
    pub timer: bpf_timer,
    /// When the last authentic frame arrived, in ns of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
    /// When the silence is too long, in ns.
    pub deadline_ns: u64,
    /// When the timer is to judge next: on the deadline's [eve](Patience::eve_ns), at the deadline, or a little later
    /// where the ring was full; in ns.
    pub due_ns: u64,
    /// When it fires, in ns; if that is before it is to judge, it is set anew then.
    pub looks_ns: u64,
    /// The watch of the last frame.
    pub watch: WatchKey,
    /// How often in a row it fired too late.
    pub stalls: u32,
    /// Whether the timer has its callback.
    pub ready: u32,
    /// What the last frame [said](said) of its sender; 0 after a silence.
    pub said: u32,
    /// The processor on which it fires, counted from 1; 0 if it is not set, or to fire on any.
    pub looks_on: u32,
}

/// What an advertisement says of its sender that could make others act: priority and demotion. Never 0.
#[inline(always)]
#[must_use]
pub fn said(carp: carp::Header<'_>) -> u32 {
    u32::from_be_bytes([1, carp.demote(), carp.advbase(), carp.advskew()])
}

/// The kernel finds a timer in a map's value by the name of its type.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct bpf_timer {
    /// The kernel's.
    pub opaque: [u64; 2],
}

/// How long a frame that says nothing new may wait in the ring before the agent is woken for it, in ns. It costs more
/// to wake it than to receive a frame.
pub const UNREAD_NS: u64 = 10_000_000;

/// How often in a row the timer may fire too late to be believed; then it is believed all the same.
pub const MOST_STALLS: u32 = 5;

const _: () = {
    assert!(size_of::<bpf_timer>() == 16 && align_of::<bpf_timer>() == 8);
    assert!(size_of::<Countdown>() == 80 && core::mem::offset_of!(Countdown, timer) == 0);
    assert!(size_of::<Patience>() == 16);
};
