//! Pushing records into the ring.
//!
//! The agent is woken for a record that may make it act. One that says what the agent knows waits for the next of these,
//! or until it has been in the ring for [`UNREAD_NS`].

use aya_ebpf::EbpfContext;
use aya_log_ebpf::warn;
use ha_common::{abi::Advert, judge::Desk, reason::Reason};

use crate::{
    countdown::Heard,
    maps::{self, HA_EVENTS},
};

/// Pushes an advertisement, or counts its loss where the ring is full. A function of its own, since the stack is small: its record
/// is made there.
#[inline(never)]
pub(crate) fn advert(ctx: &impl EbpfContext, desk: &Desk, stamp_ns: u64, signer: u32, heard: &Heard) {
    let slot = desk.watch.slot;
    match HA_EVENTS.reserve(0) {
        Some(mut entry) => {
            entry.write(Advert::new(stamp_ns, desk.key, desk.source, signer, desk.carp, heard.watched));
            entry.submit(if heard.known && !maps::is_wake_due(stamp_ns) { DO_NOT_WAKE } else { WAKE });
            maps::count_accepted(slot);
        }
        None => {
            let lost = maps::count_refused(slot, Reason::RingFull);
            // Said at the first loss and whenever the number has doubled: rare, however many there are.
            if lost & lost.wrapping_sub(1) == 0 {
                warn!(ctx, "the event ring is full: {} advertisements lost", lost);
            }
        }
    }
}

/// `BPF_RB_FORCE_WAKEUP` (`linux/bpf.h`): else the kernel wakes nobody as long as anything is unread.
pub(crate) const WAKE: u64 = 2;
/// `BPF_RB_NO_WAKEUP` (`linux/bpf.h`).
const DO_NOT_WAKE: u64 = 1;
