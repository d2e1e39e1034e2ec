//! The program's maps, by who uses them.

use std::collections::HashMap as StdMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use ha_common::abi::{
    Counters as Counts, GivenKey, Guarded, HeardKey, Keys, ListKey, Patience, Remembered, Role, Sightings,
    Watch, WatchKey, family_of,
};
use ha_common::fresh::Heard;

use super::packets::Counted;
use super::{LoadError, take};

/// What the program is told: whom to watch for, by which keys, from whom.
pub struct Tables {
    watches: HashMap<MapData, WatchKey, Watch>,
    keys: Array<MapData, Keys>,
    lists: HashMap<MapData, ListKey, u32>,
    clock: Array<MapData, u64>,
    guarded: HashMap<MapData, Guarded, u32>,
}

/// What the program counted, and whom it refused.
pub struct Counters {
    counts: PerCpuArray<MapData, Counts>,
    /// What others had counted in a slot before whoever has it now.
    before: Mutex<StdMap<u32, Counts>>,
    refused: Array<MapData, Sightings>,
    silenced: PerCpuArray<MapData, u64>,
    /// What the agent counted itself.
    counted: Counted,
}

/// Strict mode: what the program knows to be our own.
pub struct Given(HashMap<MapData, GivenKey, u32>);

/// How long the program waits before it tells a silence.
pub struct Patiences(Array<MapData, Patience>);

/// Strict mode: what the program has heard.
pub struct Memory(HashMap<MapData, HeardKey, Remembered>);

impl Tables {
    pub(super) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            watches: take(bpf, "HA_WATCH")?,
            keys: take(bpf, "HA_KEYS")?,
            lists: take(bpf, "HA_LISTED")?,
            clock: take(bpf, "HA_CLOCK")?,
            guarded: take(bpf, "HA_GUARDED")?,
        })
    }

    /// Watches for a virtual host's advertisements, or goes on in another way. One step for the program: a frame
    /// is judged by the old watch or by the new one.
    ///
    /// # Errors
    ///
    /// If the map is full.
    pub fn watch(&mut self, key: WatchKey, watch: Watch) -> Result<(), LoadError> {
        self.watches.insert(key, watch, 0).map_err(LoadError::from_map)
    }

    /// Watches no longer. No harm if it was not watched.
    pub fn unwatch(&mut self, key: &WatchKey) {
        if let Err(error) = self.watches.remove(key) {
            tracing::debug!(?key, %error, "was not watched");
        }
    }

    /// Writes a set of keys, which no watch may be using.
    ///
    /// # Errors
    ///
    /// If the index is out of range.
    pub fn set_keys(&mut self, index: u32, keys: &Keys) -> Result<(), LoadError> {
        self.keys.set(index, keys, 0).map_err(LoadError::from_map)
    }

    /// Brings one list of a virtual host in line with these addresses: new ones are added before old ones go.
    ///
    /// # Errors
    ///
    /// If there is no room.
    pub fn list(&mut self, host: u32, role: Role, addresses: &[IpAddr]) -> Result<(), LoadError> {
        let key = |address: IpAddr| ListKey {
            host,
            role,
            family: family_of(address),
            reserved: [0; 2],
            address: address.into(),
        };
        let wanted: Vec<_> = addresses.iter().copied().map(key).collect();
        for key in &wanted {
            self.lists.insert(key, 1, 0).map_err(LoadError::from_map)?;
        }
        let old: Vec<_> =
            self.lists.keys().flatten().filter(|key| (key.host, key.role) == (host, role)).collect();
        for key in old.iter().filter(|key| !wanted.contains(key)) {
            self.lists.remove(key).map_err(LoadError::from_map)?;
        }
        Ok(())
    }

    /// Says for which addresses this node may answer only as long as the lease holds.
    ///
    /// # Errors
    ///
    /// If there is no room.
    pub fn guard(&mut self, addresses: &[IpAddr]) -> Result<(), LoadError> {
        let key = |&address: &IpAddr| Guarded { address: address.into(), family: family_of(address).into() };
        let wanted: Vec<_> = addresses.iter().map(key).collect();
        for key in &wanted {
            self.guarded.insert(key, 1, 0).map_err(LoadError::from_map)?;
        }
        let old: Vec<_> = self.guarded.keys().flatten().filter(|key| !wanted.contains(key)).collect();
        old.iter().try_for_each(|key| self.guarded.remove(key).map_err(LoadError::from_map))
    }

    /// Sets what to add to `CLOCK_MONOTONIC` for the time since 2025-01-01, in ns.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn set_clock(&mut self, offset_ns: u64) -> Result<(), LoadError> {
        self.clock.set(0, offset_ns, 0).map_err(LoadError::from_map)
    }
}

impl Counters {
    pub(super) fn take(bpf: &mut Ebpf, counted: Counted) -> Result<Self, LoadError> {
        Ok(Self {
            counts: take(bpf, "HA_COUNTERS")?,
            before: Mutex::default(),
            refused: take(bpf, "HA_REFUSED")?,
            silenced: take(bpf, "HA_SILENCED")?,
            counted,
        })
    }

    /// What all processors together, and the agent itself, counted in a slot: see [`Watch::slot`].
    ///
    /// # Errors
    ///
    /// If the slot is out of range.
    pub fn read(&self, slot: u32) -> Result<Counts, LoadError> {
        let sum = self.sum(slot)?;
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(before.get(&slot).map_or(sum, |before| sum.since(before)))
    }

    /// Counts from zero in a slot.
    ///
    /// # Errors
    ///
    /// If the slot is out of range.
    pub fn restart(&self, slot: u32) -> Result<(), LoadError> {
        let sum = self.sum(slot)?;
        self.before.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, sum);
        Ok(())
    }

    fn sum(&self, slot: u32) -> Result<Counts, LoadError> {
        let values = self.counts.get(&slot, 0).map_err(LoadError::from_map)?;
        let mut sum = Counts::default();
        values.iter().for_each(|counts| sum.add(counts));
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.get(&slot).into_iter().for_each(|counts| sum.add(counts));
        Ok(sum)
    }

    /// How many frames all processors together have dropped because the lease was over.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn silenced(&self) -> Result<u64, LoadError> {
        let values = self.silenced.get(&0, 0).map_err(LoadError::from_map)?;
        Ok(values.iter().sum())
    }

    /// Who was refused last in a slot, by reason.
    ///
    /// # Errors
    ///
    /// If the slot is out of range.
    pub fn sightings(&self, slot: u32) -> Result<Sightings, LoadError> {
        self.refused.get(&slot, 0).map_err(LoadError::from_map)
    }
}

impl Given {
    pub(super) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        take(bpf, "HA_GIVEN").map(Self)
    }

    /// Lets the program know an advertisement that is about to be sent. Takes a microsecond; the oldest makes room.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn add(&mut self, host: u32, counter: u64) -> Result<(), LoadError> {
        self.0.insert(GivenKey { counter, host, reserved: 0 }, 1, 0).map_err(LoadError::from_map)
    }
}

impl Patiences {
    pub(super) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        take(bpf, "HA_PATIENCE").map(Self)
    }

    /// Sets how long a master may be silent, in a slot: see [`Watch::slot`]. It counts from the next advertisement
    /// on. Takes a microsecond.
    ///
    /// # Errors
    ///
    /// If the slot is out of range.
    pub fn set(&mut self, slot: u32, patience: Patience) -> Result<(), LoadError> {
        self.0.set(slot, patience, 0).map_err(LoadError::from_map)
    }
}

impl Memory {
    pub(super) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        take(bpf, "HA_HEARD").map(Self)
    }

    /// Everything that was heard.
    #[must_use]
    pub fn all(&self) -> Vec<(HeardKey, Heard)> {
        // One that is removed meanwhile is no error.
        let heard = |key| Some((key, self.0.get(&key, BPF_F_LOCK).ok()?.heard));
        self.0.keys().flatten().filter_map(heard).collect()
    }

    /// Lets the program know what an earlier life of the agent had heard.
    ///
    /// # Errors
    ///
    /// If there is no room.
    pub fn restore(&mut self, key: HeardKey, heard: Heard) -> Result<(), LoadError> {
        let remembered = Remembered { heard, ..Remembered::default() };
        self.0.insert(key, remembered, 0).map_err(LoadError::from_map)
    }

    /// Forgets what was heard under a key. No harm if nothing was.
    pub fn forget(&mut self, key: &HeardKey) {
        if let Err(error) = self.0.remove(key) {
            tracing::debug!(?key, %error, "was not remembered");
        }
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").field("slots", &self.counts.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").finish_non_exhaustive()
    }
}

impl fmt::Debug for Patiences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patiences").finish_non_exhaustive()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

/// Waits for the lock that the program takes (`linux/bpf.h`, since 5.1).
const BPF_F_LOCK: u64 = 4;
