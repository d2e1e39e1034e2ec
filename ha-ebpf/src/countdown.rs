//! The watch for silence: a deadline of each slot that every authentic frame sets back, and a timer that looks at it.
//!
//! The timer fires twice before a silence is told: half an interval before the deadline, and at it. Late at either
//! (by a quarter), it is this machine that did not run, and says nothing of the peer. A frame only moves the deadline
//! where the timer fires on the same processor before it anyway: to set the timer costs several times what all the rest
//! does.
//!
//! It is pinned to the processor that received the frame, where it runs after the frames that wait there: the kernel
//! takes its timers of this kind last of all that an interrupt leaves to do. So a machine that comes too late for
//! both still sees the frame first.

use aya_ebpf::{
    bindings::bpf_timer,
    helpers::{
        bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_timer_init, bpf_timer_set_callback, bpf_timer_start,
    },
};
use core::ffi::{c_int, c_void};
use ha_common::{
    abi::{Countdown, Kind, MOST_STALLS, Patience, Timeout, WatchKey, said},
    wire::carp,
};

use crate::{
    emit::WAKE,
    maps::{HA_COUNTDOWN, HA_EVENTS, HA_PATIENCE},
};

/// What became of a frame's countdown.
pub(crate) struct Heard {
    /// Whether it counts down from the frame of now on: not where the agent watches by itself, or the kernel has no
    /// timer to give.
    pub(crate) watched: bool,
    /// Whether the frame says the same as the one before it, and the silence between them was not too long.
    pub(crate) known: bool,
}

/// Counts down from a frame of now on.
#[inline(always)]
pub(crate) fn set_back(slot: u32, watch: &WatchKey, stamp_ns: u64, carp: carp::Header<'_>) -> Heard {
    const NOT: Heard = Heard { watched: false, known: false };
    let Some(patience) = HA_PATIENCE.get(slot).copied() else { return NOT };
    let Patience { dead_ns, .. } = patience;
    if dead_ns == 0 {
        return NOT;
    }
    let Some(countdown) = HA_COUNTDOWN.get_ptr_mut(slot) else { return NOT };
    let said = said(carp);
    let deadline_ns = stamp_ns.wrapping_add(dead_ns);
    let eve_ns = patience.eve_ns(deadline_ns);
    // SAFETY: the pointer is to a map's value, which stays while the program runs. Two processors that receive at
    // once may mix two frames of the same moment.
    unsafe {
        (*countdown).watch = *watch;
        (*countdown).last_ns = stamp_ns;
        (*countdown).stalls = 0;
        (*countdown).deadline_ns = deadline_ns;
        (*countdown).due_ns = eve_ns;
        let known = (*countdown).said == said;
        (*countdown).said = said;
        if (*countdown).ready == 0 {
            // Already there, if another processor was faster.
            bpf_timer_init(timer(countdown), (&raw const HA_COUNTDOWN).cast_mut().cast(), CLOCK_MONOTONIC);
            if bpf_timer_set_callback(timer(countdown), fired as *mut c_void) != 0 {
                return NOT;
            }
            (*countdown).ready = 1;
        }
        // On one processor a frame and the timer can't meet; on two, the timer might just be about to stop.
        let looks = (*countdown).looks_on == here() && (*countdown).looks_ns <= eve_ns;
        let watched = looks || start(countdown, eve_ns, stamp_ns);
        Heard { watched, known: watched && known }
    }
}

/// The timer of a slot has fired.
unsafe extern "C" fn fired(_map: *mut c_void, slot: *const u32, countdown: *mut Countdown) -> c_int {
    // SAFETY: the kernel calls it with a key and a value of the map; the helper has no preconditions.
    let (slot, now_ns) = unsafe { (*slot, bpf_ktime_get_ns()) };
    let Some(patience) = HA_PATIENCE.get(slot) else { return 0 };
    // SAFETY: the pointer is to a map's value, which stays while the program runs.
    unsafe {
        (*countdown).looks_on = 0;
        let Countdown { due_ns, deadline_ns, stalls, .. } = *countdown;
        if now_ns < due_ns {
            // A frame has moved it.
            start(countdown, due_ns, now_ns);
            return 0;
        }
        let late = now_ns - due_ns > patience.tolerance_ns() && stalls < MOST_STALLS;
        if late {
            // Whether it is told or not: that the machine slept decides nothing.
            tell(Kind::Stall, now_ns, countdown, due_ns);
            let deadline_ns = now_ns + patience.after_stall_ns();
            (*countdown).stalls = stalls + 1;
            (*countdown).deadline_ns = deadline_ns;
            look(countdown, patience.eve_ns(deadline_ns), now_ns);
        } else if due_ns < deadline_ns {
            look(countdown, deadline_ns, now_ns);
        } else if !tell(Kind::Silence, now_ns, countdown, deadline_ns) {
            look(countdown, now_ns + RETRY_NS, now_ns);
        }
        if late || due_ns >= deadline_ns {
            (*countdown).said = 0;
        }
    }
    0
}

/// The timer is to fire at a moment, and to judge then.
///
/// # Safety
///
/// The pointer is to a value of `HA_COUNTDOWN` whose timer has its callback.
#[inline(always)]
unsafe fn look(countdown: *mut Countdown, due_ns: u64, now_ns: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        (*countdown).due_ns = due_ns;
        start(countdown, due_ns, now_ns);
    }
}

/// Pushes a record about the countdown. Returns whether there was room.
///
/// # Safety
///
/// The pointer is to a map's value.
#[inline(always)]
unsafe fn tell(kind: Kind, now_ns: u64, countdown: *const Countdown, deadline_ns: u64) -> bool {
    // SAFETY: as the caller promises.
    let Countdown { watch, last_ns, .. } = unsafe { &*countdown };
    let Some(mut entry) = HA_EVENTS.reserve_untyped::<Timeout>(0) else { return false };
    entry.write(Timeout::new(kind, now_ns, *watch, *last_ns, deadline_ns));
    entry.submit(WAKE);
    true
}

/// Arms the timer for a moment. Returns whether the kernel did.
///
/// # Safety
///
/// The pointer is to a value of `HA_COUNTDOWN` whose timer has its callback.
#[inline(always)]
unsafe fn start(countdown: *mut Countdown, at_ns: u64, now_ns: u64) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        if bpf_timer_start(timer(countdown), at_ns, ABSOLUTE | PINNED) == 0 {
            (*countdown).looks_ns = at_ns;
            (*countdown).looks_on = here();
            return true;
        }
        // Before Linux 6.7 it knows no such flags, and fires on any processor.
        (*countdown).looks_on = 0;
        bpf_timer_start(timer(countdown), at_ns.saturating_sub(now_ns), 0) == 0
    }
}

/// This processor, counted from 1.
#[inline(always)]
fn here() -> u32 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_smp_processor_id() }.wrapping_add(1)
}

/// # Safety
///
/// The pointer is to a map's value.
#[inline(always)]
unsafe fn timer(countdown: *mut Countdown) -> *mut bpf_timer {
    // SAFETY: as the caller promises.
    unsafe { (&raw mut (*countdown).timer).cast() }
}

/// `CLOCK_MONOTONIC` (`linux/time.h`).
pub(crate) const CLOCK_MONOTONIC: u64 = 1;
/// `BPF_F_TIMER_ABS` (`linux/bpf.h`, since 6.4).
pub(crate) const ABSOLUTE: u64 = 1;
/// `BPF_F_TIMER_CPU_PIN` (`linux/bpf.h`, since 6.7).
pub(crate) const PINNED: u64 = 2;
/// When it is told again, where the ring was full, in ns.
pub(crate) const RETRY_NS: u64 = 1_000_000;
