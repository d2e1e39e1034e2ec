//! The maps. Their names are what `bpftool map` shows: at most 15 characters.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
    helpers::{bpf_ktime_get_ns, bpf_ringbuf_query, bpf_spin_lock, bpf_spin_unlock},
    macros::btf_map,
};
use ha_common::{
    abi::{
        Address, Advert, Asked, COUNTER_SLOTS, Countdown, Counters, EchoWatch, GivenKey, Guarded, HeardKey,
        KEY_SETS, Keys, Lease, ListKey, MAX_GIVEN, MAX_GUARDED, MAX_HEARD, MAX_HOSTS, MAX_LISTED, MAX_PATHS,
        MAX_WATCHES, Oneself, Path, PathKey, Patience, RING_BYTES, Remembered, Sightings, Standing,
        UNREAD_NS, Watch, WatchKey,
    },
    auth::{DIGEST_LEN, Scratch},
    echo::{self, EchoCounters},
    fresh::Heard,
    judge::{Desk, World},
    reason::Reason,
};

/// Our virtual hosts. Written by the agent.
#[btf_map]
static HA_WATCH: HashMap<WatchKey, Watch, MAX_WATCHES> = HashMap::new();

/// Their keys, by [`Watch::keys`]. Written by the agent, never while they are in use.
#[btf_map]
static HA_KEYS: Array<Keys, KEY_SETS> = Array::new();

/// Their lists of addresses. Written by the agent.
#[btf_map]
static HA_LISTED: HashMap<ListKey, u32, MAX_LISTED> = HashMap::new();

/// What to add to `CLOCK_MONOTONIC` for the time since 2025-01-01, in ns. Written by the agent.
#[btf_map]
static HA_CLOCK: Array<u64, 1> = Array::new();

/// Strict mode: what was heard. The agent carries it over a restart.
#[btf_map]
static HA_HEARD: HashMap<HeardKey, Remembered, MAX_HEARD> = HashMap::new();

/// Memory that the stack has no room for.
#[btf_map]
static HA_DESK: PerCpuArray<Desk, 1> = PerCpuArray::new();

/// Strict mode: our own advertisements. Written by the agent before it sends them.
#[btf_map]
static HA_GIVEN: LruHashMap<GivenKey, u32, MAX_GIVEN> = LruHashMap::new();

/// How long a master may be silent, by [`Watch::slot`]. Written by the agent.
#[btf_map]
pub(crate) static HA_PATIENCE: Array<Patience, COUNTER_SLOTS> = Array::new();

/// The watch for silence, by [`Watch::slot`]. The program's own: whoever writes a value stops its timer.
#[btf_map]
pub(crate) static HA_COUNTDOWN: Array<Countdown, COUNTER_SLOTS> = Array::new();

/// When the agent was last woken for frames that it knew, in ns of `CLOCK_MONOTONIC`. The program's own.
#[btf_map]
static HA_WOKEN: Array<u64, 1> = Array::new();

/// Until when the agent vouches for this node. Written by the agent.
#[btf_map]
pub(crate) static HA_LEASE: Array<Lease, 1> = Array::new();

/// The addresses that it is about. Written by the agent.
#[btf_map]
pub(crate) static HA_GUARDED: HashMap<Guarded, u32, MAX_GUARDED> = HashMap::new();

/// When another one last said that it serves, in ns of `CLOCK_BOOTTIME`. The program's own.
#[btf_map]
pub(crate) static HA_DOUBT: Array<u64, 1> = Array::new();

/// How many frames were dropped because the lease was over, by processor. Read by the agent.
#[btf_map]
pub(crate) static HA_SILENCED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Of which virtual hosts this node is master. Written by the agent, for the one after it; not read by the program.
#[btf_map]
static HA_STANDING: Array<Standing, MAX_HOSTS> = Array::new();

/// What this node says of itself where a peer's kernel asks. Written by the agent.
#[btf_map]
pub(crate) static HA_ECHO_SELF: Array<Oneself, 1> = Array::new();

/// From where peers may ask. Written by the agent.
#[btf_map]
pub(crate) static HA_ECHO_PATH: HashMap<PathKey, Path, MAX_PATHS> = HashMap::new();

/// What they have asked, by [`Path::slot`]. The program's own.
#[btf_map]
pub(crate) static HA_ECHO_ASKED: Array<Asked, MAX_PATHS> = Array::new();

/// The watch for the answers to our own probes, likewise. The program's own: whoever writes a value stops its timer.
#[btf_map]
pub(crate) static HA_ECHO_WATCH: Array<EchoWatch, MAX_PATHS> = Array::new();

/// What the virtual hosts are that they ask for. Written by the agent.
#[btf_map]
pub(crate) static HA_ECHO_ROLE: HashMap<u32, u32, MAX_HOSTS> = HashMap::new();

/// What was counted of that, by [`Path::slot`] and processor; last what came on no path. Read by the agent.
#[btf_map]
pub(crate) static HA_ECHO_COUNT: PerCpuArray<EchoCounters, { MAX_PATHS + 1 }> = PerCpuArray::new();

/// Memory for an answer, which the stack has no room for.
#[btf_map]
pub(crate) static HA_ECHO_DESK: PerCpuArray<echo::Desk, 1> = PerCpuArray::new();

/// What was counted, by [`Watch::slot`] and processor. Read by the agent.
#[btf_map]
static HA_COUNTERS: PerCpuArray<Counters, COUNTER_SLOTS> = PerCpuArray::new();

/// Who was refused last, by [`Watch::slot`]. Read by the agent.
#[btf_map]
static HA_REFUSED: Array<Sightings, COUNTER_SLOTS> = Array::new();

/// Everything that the agent is told, in order. Read by the agent.
#[btf_map]
pub(crate) static HA_EVENTS: RingBuf<Advert, RING_BYTES> = RingBuf::new();

/// What the maps know.
pub(crate) struct Maps;

impl World for Maps {
    #[inline(always)]
    fn watch(&self, key: &WatchKey) -> Option<Watch> {
        // SAFETY: the value is copied out at once; the agent replaces values whole.
        unsafe { HA_WATCH.get(key) }.copied()
    }

    #[inline(always)]
    fn lists(&self, key: &ListKey) -> bool {
        HA_LISTED.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn signer(
        &self,
        keys: u32,
        scratch: &mut Scratch,
        counter: u64,
        digest: &[u8; DIGEST_LEN],
    ) -> Option<u32> {
        HA_KEYS.get(keys)?.signer(scratch, counter, digest)
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn wall_ms(&self, now_ns: u64) -> u64 {
        let offset_ns = HA_CLOCK.get(0).copied().unwrap_or(0);
        now_ns.wrapping_add(offset_ns) / 1_000_000
    }

    #[inline(always)]
    fn gave(&self, key: &GivenKey) -> bool {
        HA_GIVEN.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn heard(&self, key: &HeardKey) -> Option<Heard> {
        // SAFETY: the value is copied out at once. Another processor may change it meanwhile: `hear` judges
        // again, under the lock.
        unsafe { HA_HEARD.get(key) }.map(|remembered| remembered.heard)
    }

    #[inline(always)]
    fn hear(&self, key: &HeardKey, ms: u64, now_ns: u64) -> Result<(), Reason> {
        let remembered = match HA_HEARD.get_ptr_mut(key) {
            Some(remembered) => remembered,
            None => {
                // Another processor may have been faster: what counts is that it is there.
                let _ = HA_HEARD.insert(key, Remembered::default(), BPF_NOEXIST.into());
                HA_HEARD.get_ptr_mut(key).ok_or(Reason::NoRoom)?
            }
        };
        // SAFETY: the pointer is to a map's value, which stays while the program runs; nobody touches `heard`
        // without the lock but to copy it.
        unsafe {
            bpf_spin_lock((&raw mut (*remembered).lock).cast());
            let heard = &mut (*remembered).heard;
            let known = heard.has(ms);
            if !known {
                heard.record(ms, now_ns);
            }
            bpf_spin_unlock((&raw mut (*remembered).lock).cast());
            if known { Err(Reason::Replay) } else { Ok(()) }
        }
    }
}

/// This processor's own desk.
#[inline(always)]
pub(crate) fn desk<'a>() -> Option<&'a mut Desk> {
    let desk = HA_DESK.get_ptr_mut(0)?;
    // SAFETY: nothing else uses this processor's copy while the program runs on it, and the program asks once.
    Some(unsafe { &mut *desk })
}

/// Whether the agent is to be woken for a frame that it knows: now and then, and before the ring is full. Asked only if
/// that is done then.
#[inline(always)]
pub(crate) fn is_wake_due(now_ns: u64) -> bool {
    let Some(woken) = HA_WOKEN.get_ptr_mut(0) else { return true };
    // SAFETY: the pointer is to a map's value, which stays while the program runs. Two processors that ask at once may
    // both wake it.
    unsafe {
        let due = now_ns.wrapping_sub(*woken) >= UNREAD_NS
            || bpf_ringbuf_query((&raw const HA_EVENTS).cast_mut().cast(), UNREAD) > RING_BYTES as u64 / 4;
        if due {
            *woken = now_ns;
        }
        due
    }
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

/// Writes down who was refused; now and then, where there are many.
#[inline(always)]
pub(crate) fn sight(slot: u32, reason: Reason, source: Address) {
    let Some(sightings) = HA_REFUSED.get_ptr_mut(slot) else { return };
    // SAFETY: the pointer is to a map's value, which stays while the program runs. Two processors that write at
    // once may mix two addresses: it serves to show, and decides nothing.
    unsafe {
        let Some(sighting) = (&mut (*sightings).0).get_mut(reason as usize) else { return };
        let now_ns = bpf_ktime_get_ns();
        if now_ns.wrapping_sub(sighting.at_ns) > SIGHT_NS {
            sighting.source = source;
            sighting.at_ns = now_ns;
        }
    }
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

/// `BPF_RB_AVAIL_DATA` (`linux/bpf.h`): bytes that the agent has not read.
const UNREAD: u64 = 0;
/// The least time between two sightings for one reason, in ns.
const SIGHT_NS: u64 = 10_000_000;
