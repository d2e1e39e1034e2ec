//! Asking: the watch for the answers to our own probes.
//!
//! A probe's time begins when it leaves, not when a process meant to send it; whose answer is missing is judged by a timer, as
//! the [countdown](crate::countdown) is, and with the same doubt: where the timer fires late, it was this machine that did not
//! run.

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_timer_init, bpf_timer_set_callback, bpf_timer_start};
use core::ffi::{c_int, c_void};
use ha_common::{
    abi::{Answer, Departure, EchoWatch, MOST_STALLS, Path, PathKey, Timeout, place},
    echo::{self, Desk},
    wire::echo::{Header, Kind},
};

use crate::{
    countdown::{ABSOLUTE, CLOCK_MONOTONIC, PINNED, RETRY_NS},
    emit::WAKE,
    maps::{HA_ECHO_PATH, HA_ECHO_SELF, HA_ECHO_WATCH, HA_EVENTS},
    packet::Packet,
};

/// A frame leaves. If it is a probe of ours, its time begins.
#[inline(always)]
pub(crate) fn departs(ifindex: u32, frame: &Packet<'_>) {
    let Some(oneself) = HA_ECHO_SELF.get(0) else { return };
    if oneself.port == 0 {
        return;
    }
    let Some(candidate) = echo::find(frame, oneself.port as u16) else { return };
    let Some(message) = candidate.message() else { return };
    let probe = Header(message);
    if !probe.is_of(Kind::Probe) || u32::from(probe.sender()) != oneself.node {
        return;
    }
    let nonce = probe.nonce();
    let key = candidate.way(ifindex);
    // SAFETY: the agent replaces values whole; one that is replaced meanwhile is still there.
    let Some(path) = (unsafe { HA_ECHO_PATH.get(&key) }) else { return };
    let Some(watch) = HA_ECHO_WATCH.get_ptr_mut(path.slot) else { return };
    // SAFETY: the pointer is to a map's value, which stays while the program runs; the helper has no preconditions. The agent
    // sends from one thread, so that nobody else writes this.
    unsafe {
        let now_ns = bpf_ktime_get_ns();
        (*watch).key = key;
        (*watch).departures[place(nonce)] = Departure { nonce, at_ns: now_ns };
        if path.patience.dead_ns == 0 || (*watch).state != EchoWatch::IDLE {
            return;
        }
        if (*watch).ready == 0 {
            bpf_timer_init(timer(watch), (&raw const HA_ECHO_WATCH).cast_mut().cast(), CLOCK_MONOTONIC);
            if bpf_timer_set_callback(timer(watch), fired as *mut c_void) != 0 {
                return;
            }
            (*watch).ready = 1;
        }
        (*watch).state = EchoWatch::ARMED;
        (*watch).stalls = 0;
        (*watch).deadline_ns = now_ns + path.patience.dead_ns;
        look(watch, path.patience.eve_ns(now_ns + path.patience.dead_ns), now_ns);
    }
}

/// When a probe of ours left that is not answered yet.
#[inline(always)]
pub(crate) fn departed(slot: u32, nonce: u64) -> Option<u64> {
    HA_ECHO_WATCH.get(slot)?.departed(nonce)
}

/// A probe of ours was answered.
#[inline(always)]
pub(crate) fn answered(slot: u32, nonce: u64) {
    let Some(watch) = HA_ECHO_WATCH.get_ptr_mut(slot) else { return };
    // SAFETY: the pointer is to a map's value, which stays while the program runs. Of two processors that receive at once,
    // either may write last: then one answer counts for as much as the one before it.
    unsafe {
        (*watch).answered = nonce;
        if (*watch).state == EchoWatch::SILENT {
            (*watch).state = EchoWatch::IDLE;
        }
    }
}

/// Pushes the answer that is on the desk. Its loss, where the ring is full, is that of any answer. A function of its own, since
/// the stack is small.
#[inline(never)]
pub(crate) fn tell(slot: u32, desk: &Desk, departed_ns: u64, now_ns: u64) {
    let desk = core::hint::black_box(desk);
    if let Some(mut entry) = HA_EVENTS.reserve_untyped::<Answer>(0) {
        entry.write(Answer::new(now_ns, &desk.key, slot, departed_ns, desk.message));
        entry.submit(WAKE);
    }
}

/// The timer of a path has fired.
unsafe extern "C" fn fired(_map: *mut c_void, slot: *const u32, watch: *mut EchoWatch) -> c_int {
    // SAFETY: the kernel calls it with a key and a value of the map; the helper has no preconditions.
    let (slot, now_ns) = unsafe { (*slot, bpf_ktime_get_ns()) };
    // SAFETY: the pointer is to a map's value, which stays while the program runs.
    unsafe {
        let key = (*watch).key;
        let Some(path) = HA_ECHO_PATH.get(&key) else {
            (*watch).state = EchoWatch::IDLE;
            return 0;
        };
        judge(slot, &key, path, watch, now_ns);
    }
    0
}

/// # Safety
///
/// The pointer is to a value of `HA_ECHO_WATCH` whose timer has its callback.
#[inline(always)]
unsafe fn judge(slot: u32, key: &PathKey, path: &Path, watch: *mut EchoWatch, now_ns: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        let oldest_ns = (*watch).oldest_ns();
        if oldest_ns == u64::MAX {
            // All is answered. What leaves next sets the timer.
            (*watch).state = EchoWatch::IDLE;
            return;
        }
        let deadline_ns = oldest_ns + path.patience.dead_ns;
        let EchoWatch { due_ns, stalls, .. } = *watch;
        if deadline_ns > (*watch).deadline_ns {
            // The one that it was set for is answered.
            (*watch).deadline_ns = deadline_ns;
            (*watch).stalls = 0;
            look(watch, path.patience.eve_ns(deadline_ns), now_ns);
        } else if now_ns - due_ns > path.patience.tolerance_ns() && stalls < MOST_STALLS {
            // This machine did not run: an answer may wait in the card.
            let deadline_ns = now_ns + path.patience.after_stall_ns();
            (*watch).deadline_ns = deadline_ns;
            (*watch).stalls = stalls + 1;
            look(watch, path.patience.eve_ns(deadline_ns), now_ns);
        } else if due_ns < (*watch).deadline_ns {
            look(watch, (*watch).deadline_ns, now_ns);
        } else if let Some(mut entry) = HA_EVENTS.reserve_untyped::<Timeout>(0) {
            (*watch).state = EchoWatch::SILENT;
            entry.write(Timeout::unanswered(now_ns, key, slot, oldest_ns, (*watch).deadline_ns));
            entry.submit(WAKE);
        } else {
            look(watch, now_ns + RETRY_NS, now_ns);
        }
    }
}

/// The timer is to fire at a moment, and to judge then.
///
/// # Safety
///
/// As [`judge`].
#[inline(always)]
unsafe fn look(watch: *mut EchoWatch, due_ns: u64, now_ns: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        (*watch).due_ns = due_ns;
        if bpf_timer_start(timer(watch), due_ns, ABSOLUTE | PINNED) != 0 {
            // Before Linux 6.7 it knows no such flags.
            bpf_timer_start(timer(watch), due_ns.saturating_sub(now_ns), 0);
        }
    }
}

/// # Safety
///
/// The pointer is to a map's value.
#[inline(always)]
unsafe fn timer(watch: *mut EchoWatch) -> *mut aya_ebpf::bindings::bpf_timer {
    // SAFETY: as the caller promises.
    unsafe { (&raw mut (*watch).timer).cast() }
}
