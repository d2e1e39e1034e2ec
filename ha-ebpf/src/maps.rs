//! The maps. Their names are what `bpftool map` shows: at most 15 characters.

use aya_ebpf::{
    btf_maps::{HashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use ha_common::{
    abi::{Advert, COUNTER_SLOTS, Counters, MAX_WATCHES, RING_BYTES, Watch, WatchKey},
    reason::Reason,
};

/// Our virtual hosts. Written by the agent.
#[btf_map]
static HA_WATCH: HashMap<WatchKey, Watch, MAX_WATCHES> = HashMap::new();

/// What was counted, by [`Watch::slot`] and processor. Read by the agent.
#[btf_map]
static HA_COUNTERS: PerCpuArray<Counters, COUNTER_SLOTS> = PerCpuArray::new();

/// Everything that the agent is told, in order. Read by the agent.
#[btf_map]
pub(crate) static HA_EVENTS: RingBuf<Advert, RING_BYTES> = RingBuf::new();

/// The watch that a frame belongs to, if it is ours.
#[inline(always)]
pub(crate) fn watch(key: &WatchKey) -> Option<Watch> {
    // SAFETY: the value is copied out at once; the agent replaces values whole.
    unsafe { HA_WATCH.get(key) }.copied()
}

/// Counts a frame that was not taken, and returns how many there were on this processor.
#[inline(always)]
pub(crate) fn count_refused(slot: u32, reason: Reason) -> u64 {
    update(slot, |counters| counters.count(reason))
}

/// Counts a frame that was taken.
#[inline(always)]
pub(crate) fn count_accepted(slot: u32) {
    update(slot, |counters| {
        counters.accepted += 1;
        counters.accepted
    });
}

#[inline(always)]
fn update(slot: u32, change: impl FnOnce(&mut Counters) -> u64) -> u64 {
    // Every slot that the agent hands out exists.
    let Some(counters) = HA_COUNTERS.get_ptr_mut(slot) else { return 0 };
    // SAFETY: the pointer is to this processor's own copy, which nothing else writes while the program
    // runs on it.
    let counters = unsafe { &mut *counters };
    counters.received += 1;
    change(counters)
}
