//! Pushing records into the ring.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::warn;
use ha_common::{abi::Advert, judge::Desk, reason::Reason, wire::carp};

use crate::maps::{self, HA_EVENTS};

/// Pushes an advertisement, or counts its loss where the ring is full.
#[inline(always)]
pub(crate) fn advert(
    ctx: &XdpContext,
    desk: &Desk,
    stamp_ns: u64,
    signer: u32,
    carp: &[u8; carp::LEN],
    watched: bool,
) {
    let slot = desk.watch.slot;
    match HA_EVENTS.reserve(0) {
        Some(mut entry) => {
            entry.write(Advert::new(stamp_ns, desk.key, desk.source, signer, *carp, watched));
            entry.submit(0);
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
