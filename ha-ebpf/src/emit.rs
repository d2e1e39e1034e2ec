//! Pushing records into the ring.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::warn;
use ha_common::{
    abi::{Advert, WatchKey},
    reason::Reason,
    wire::carp,
};

use crate::maps::{self, HA_EVENTS};

/// Pushes an advertisement, or counts its loss where the ring is full.
#[inline(always)]
pub(crate) fn advert(
    ctx: &XdpContext,
    slot: u32,
    stamp_ns: u64,
    key: &WatchKey,
    source: [u8; 4],
    carp: &[u8; carp::LEN],
) {
    match HA_EVENTS.reserve(0) {
        Some(mut entry) => {
            entry.write(Advert::new(stamp_ns, *key, source, *carp));
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
