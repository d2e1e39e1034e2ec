//! The receiver of last resort: a packet socket. The agent itself judges what it hears, by the same code and the same maps as
//! the kernel program, and makes the same records of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData};
use ha_common::abi::{
    Advert, COMMON_SLOT, Counters as Counts, GivenKey, HeardKey, Keys, ListKey, Record, Remembered, Sighting,
    Sightings, Watch, WatchKey,
};
use ha_common::auth::{DIGEST_LEN, Scratch};
use ha_common::decode::{Cursor, Frame, decode};
use ha_common::fresh::Heard;
use ha_common::judge::{Desk, Judgement, World, judge};
use ha_common::reason::Reason;
use ha_common::wire::ethernet::VLAN_MASK;

use super::{LoadError, take};
use crate::sys::clock;
use crate::sys::packet_listener::{self, PacketListener, SNAP};

/// What the agent itself counted, by slot.
pub(super) type Counted = Arc<Mutex<BTreeMap<u32, Counts>>>;

/// What is heard of the interfaces that are received from in this way.
pub struct Packets {
    listener: PacketListener,
    on: Arc<Mutex<BTreeSet<u32>>>,
    counted: Counted,
    maps: Maps,
    refused: Array<MapData, Sightings>,
    desk: Box<Desk>,
    /// When the socket was last seen empty, in ns: what is in it came later.
    empty_ns: u64,
}

/// Says from which interfaces it is received in this way.
#[derive(Debug)]
pub(super) struct Switch {
    listener: PacketListener,
    on: Arc<Mutex<BTreeSet<u32>>>,
}

impl Packets {
    /// Opens the socket, which hears nothing yet.
    pub(super) fn open(bpf: &mut Ebpf, counted: Counted) -> Result<(Self, Switch), OpenError> {
        let listener = PacketListener::open()?;
        let on = Arc::default();
        let switch = Switch { listener: listener.try_clone()?, on: Arc::clone(&on) };
        let maps = Maps {
            now_ns: Cell::default(),
            watches: take(bpf, "HA_WATCH")?,
            keys: take(bpf, "HA_KEYS")?,
            lists: take(bpf, "HA_LISTED")?,
            clock: take(bpf, "HA_CLOCK")?,
            given: take(bpf, "HA_GIVEN")?,
            heard: RefCell::new(take(bpf, "HA_HEARD")?),
        };
        let refused = take(bpf, "HA_REFUSED")?;
        let (desk, empty_ns) = (Box::default(), clock::now().as_nanos());
        Ok((Self { listener, on, counted, maps, refused, desk, empty_ns }, switch))
    }

    /// The oldest advertisement that was not read; `None` when nothing more is there.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: more may follow after None")]
    pub fn next(&mut self) -> Option<Record> {
        let mut buffer = [0; SNAP];
        loop {
            let asked_ns = clock::now().as_nanos();
            let frame = match self.listener.receive(&mut buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.empty_ns = asked_ns;
                    return None;
                }
                // As if it were empty: the next frame wakes the agent again.
                Err(error) => {
                    tracing::debug!(%error, "the packet socket");
                    return None;
                }
            };
            if lock(&self.on).contains(&frame.ifindex)
                && let Some(record) = self.judge(&frame)
            {
                return Some(record);
            }
        }
    }

    fn judge(&mut self, frame: &packet_listener::Frame<'_>) -> Option<Record> {
        let bytes = Received { bytes: frame.bytes, tag: frame.tag.map(|tag| tag & VLAN_MASK) };
        let candidate = match decode(&bytes) {
            Frame::Foreign => return None,
            Frame::NotCarp(reason) => return self.count(COMMON_SLOT, |counts| counts.count(reason)),
            Frame::Carp(candidate) => candidate,
        };
        self.maps.now_ns.set(self.stamp(frame.wall_ns));
        let desk = &mut *self.desk;
        match judge(&candidate, frame.ifindex, &self.maps, desk) {
            Judgement::Others(reason) => self.count(COMMON_SLOT, |counts| counts.count(reason)),
            Judgement::Refused(reason) => {
                let slot = desk.watch.slot;
                self.sight(slot, reason);
                self.count(slot, |counts| counts.count(reason))
            }
            Judgement::Accepted { stamp_ns, signer } => {
                let advert = Advert::new(stamp_ns, desk.key, desk.source, signer, desk.carp, false);
                let slot = desk.watch.slot;
                let _ = self.count(slot, |counts| {
                    counts.accepted += 1;
                    counts.accepted
                });
                Some(Record::Advert(advert))
            }
        }
    }

    /// When a frame was received, in ns of `CLOCK_MONOTONIC`. The kernel's stamp is the time of day, which may be set anew
    /// meanwhile: it was in any case after the socket was last empty, and before now.
    fn stamp(&self, wall_ns: Option<u64>) -> u64 {
        let (now_ns, now_wall_ns) = (clock::now().as_nanos(), clock::unix_ns());
        let age_ns = wall_ns.map_or(0, |wall_ns| now_wall_ns.saturating_sub(wall_ns));
        now_ns.saturating_sub(age_ns).max(self.empty_ns.min(now_ns))
    }

    fn count(&self, slot: u32, count: impl FnOnce(&mut Counts) -> u64) -> Option<Record> {
        let mut counted = lock(&self.counted);
        let counts = counted.entry(slot).or_default();
        counts.received += 1;
        count(counts);
        None
    }

    fn sight(&mut self, slot: u32, reason: Reason) {
        let Ok(mut sightings) = self.refused.get(&slot, 0) else { return };
        if let Some(sighting) = sightings.0.get_mut(reason as usize) {
            *sighting = Sighting { at_ns: self.maps.now_ns.get(), source: self.desk.source };
        }
        if let Err(error) = self.refused.set(slot, sightings, 0) {
            tracing::debug!(%error, "who was refused is not written down");
        }
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl fmt::Debug for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packets").field("on", &self.on).finish_non_exhaustive()
    }
}

impl Switch {
    /// Receives from an interface from now on.
    pub(super) fn add(&self, ifindex: u32) -> io::Result<()> {
        lock(&self.on).insert(ifindex);
        self.listener.listen()
    }

    /// And no longer.
    pub(super) fn remove(&self, ifindex: u32) {
        lock(&self.on).remove(&ifindex);
    }
}

/// Why it can't be received in this way.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The socket.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The maps.
    #[error(transparent)]
    Maps(#[from] LoadError),
}

/// A frame beside which a tag may lie.
struct Received<'a> {
    bytes: &'a [u8],
    tag: Option<u16>,
}

impl Cursor for Received<'_> {
    fn get<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        Cursor::get(&self.bytes, offset)
    }

    fn tag(&self) -> Option<u16> {
        self.tag
    }
}

/// The maps by which the kernel program judges; what can't be read is not there.
struct Maps {
    /// When the frame was received that is judged.
    now_ns: Cell<u64>,
    watches: HashMap<MapData, WatchKey, Watch>,
    keys: Array<MapData, Keys>,
    lists: HashMap<MapData, ListKey, u32>,
    clock: Array<MapData, u64>,
    given: HashMap<MapData, GivenKey, u32>,
    heard: RefCell<HashMap<MapData, HeardKey, Remembered>>,
}

impl World for Maps {
    fn watch(&self, key: &WatchKey) -> Option<Watch> {
        self.watches.get(key, 0).ok()
    }

    fn lists(&self, key: &ListKey) -> bool {
        self.lists.get(key, 0).is_ok()
    }

    fn signer(
        &self,
        keys: u32,
        scratch: &mut Scratch,
        counter: u64,
        digest: &[u8; DIGEST_LEN],
    ) -> Option<u32> {
        self.keys.get(&keys, 0).ok()?.signer(scratch, counter, digest)
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn wall_ms(&self, now_ns: u64) -> u64 {
        now_ns.wrapping_add(self.clock.get(&0, 0).unwrap_or_default()) / 1_000_000
    }

    fn gave(&self, key: &GivenKey) -> bool {
        self.given.get(key, 0).is_ok()
    }

    fn heard(&self, key: &HeardKey) -> Option<Heard> {
        Some(self.heard.borrow().get(key, 0).ok()?.heard)
    }

    /// Nobody else writes what is heard on an interface that is received from in this way.
    fn hear(&self, key: &HeardKey, ms: u64, now_ns: u64) -> Result<(), Reason> {
        let mut heard = self.heard(key).unwrap_or_default();
        if heard.has(ms) {
            return Err(Reason::Replay);
        }
        heard.record(ms, now_ns);
        let remembered = Remembered { heard, ..Remembered::default() };
        self.heard.borrow_mut().insert(key, remembered, 0).map_err(|_| Reason::NoRoom)
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
