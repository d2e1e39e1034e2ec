//! The heartbeat on the disks: who holds them moves its key on a few, who stands by reads whether it moves.
//!
//! Each disk has a thread, since any may hang. All of them end when the value is dropped; one that hangs, when it comes back.

mod proof;
mod seen;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use self::proof::Proof;
use self::proof::Volume;
pub use self::seen::{Seen, Word};
use super::device::DeviceError;
use super::disk::Disk;
use crate::resource::{Failure, Stop, Within};
use crate::sys::clock;

/// How it beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// How often keys are moved, and read. More than 0.
    pub interval: Duration,
    /// After how many intervals without a change a key is still.
    pub patience: u32,
}

/// Told when this node's key is gone from a disk.
pub type Lost = Arc<dyn Fn(Failure) + Send + Sync>;

/// Moves this node's keys for as long as it lives.
#[derive(Debug)]
pub struct Heartbeat {
    stop: Stop,
    /// There is one if there are disks.
    _volume: Option<Arc<Volume>>,
}

/// Reads the other node's keys for as long as it lives.
pub struct Watcher {
    stop: Stop,
    seen: Arc<Mutex<Seen>>,
}

impl Default for Rhythm {
    /// 200 ms, and still after three of them.
    fn default() -> Self {
        Self { interval: Duration::from_millis(200), patience: 3 }
    }
}

impl Heartbeat {
    /// Begins to move the keys on these disks, which must be taken. Those that are released are left alone until they are
    /// taken again. One that is lost is told of once, and not looked at any more. The others are a part of the proof.
    ///
    /// # Errors
    ///
    /// If the system has no threads left.
    pub fn start(disks: &[Arc<Disk>], rhythm: Rhythm, lost: &Lost, proof: &Proof) -> io::Result<Self> {
        let volume = (!disks.is_empty()).then(|| proof.volume());
        let beat = Self { stop: Stop::new()?, _volume: volume.clone() };
        // Of a disk that hangs beyond the end, nothing is to be proven.
        let volume = volume.as_ref().map(Arc::downgrade).unwrap_or_default();
        for disk in disks {
            let (disk, lost, mut is_well) = (Arc::clone(disk), Arc::clone(lost), true);
            let volume = volume.clone();
            every(rhythm.interval, beat.stop.clone(), move |within| {
                let asked_ns = clock::boot_ns();
                let result = disk.beat(within);
                if let (Ok(true), Some(volume)) = (&result, volume.upgrade()) {
                    volume.show(asked_ns);
                }
                if result == Err(DeviceError::Conflict) {
                    lost(DeviceError::Conflict.failure(disk.name(), "has the key of this node no more"));
                    return false;
                }
                report(&disk, "moved", &mut is_well, result.err());
                true
            })?;
        }
        Ok(beat)
    }
}

impl Watcher {
    /// Begins to read the keys on these disks.
    ///
    /// # Errors
    ///
    /// If the system has no threads left.
    pub fn start(disks: &[Arc<Disk>], rhythm: Rhythm) -> io::Result<Self> {
        let seen = Seen::new(disks.len(), rhythm.interval * rhythm.patience);
        let watcher = Self { stop: Stop::new()?, seen: Arc::new(Mutex::new(seen)) };
        for (at, disk) in disks.iter().enumerate() {
            let (disk, seen, mut is_well) = (Arc::clone(disk), Arc::clone(&watcher.seen), true);
            every(rhythm.interval, watcher.stop.clone(), move |within| {
                let began = clock::now();
                let error = match disk.peers_keys(within) {
                    Ok(keys) => {
                        lock(&seen).note(at, began, clock::now(), keys);
                        None
                    }
                    Err(error) => Some(error),
                };
                report(&disk, "read", &mut is_well, error);
                true
            })?;
        }
        Ok(watcher)
    }

    /// What the keys say now.
    #[must_use]
    pub fn word(&self) -> Word {
        lock(&self.seen).word(clock::now())
    }
}

/// Says each change for the worse or the better once.
fn report(disk: &Disk, what: &str, is_well: &mut bool, error: Option<DeviceError>) {
    let was_well = std::mem::replace(is_well, error.is_none());
    match error {
        Some(error) if was_well => tracing::warn!("the keys of {} can't be {what}: {error}", disk.name()),
        None if !was_well => tracing::info!("the keys of {} can be {what} again", disk.name()),
        Some(_) | None => {}
    }
}

/// Does something every interval, until it says that it does not go on, or it is to stop.
fn every(
    interval: Duration,
    stop: Stop,
    mut act: impl FnMut(&Within) -> bool + Send + 'static,
) -> io::Result<()> {
    let turns = move || {
        let ever = Within::new(Duration::MAX, stop);
        let mut next = Instant::now();
        while act(&ever.at_most(interval.max(LEAST))) {
            // What was missed is not made up for.
            next = (next + interval).max(Instant::now());
            if !ever.pause(next.saturating_duration_since(Instant::now())) {
                return;
            }
        }
    };
    thread::Builder::new().name("disk-beat".to_owned()).stack_size(STACK).spawn(turns).map(drop)
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.give();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.give();
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*lock(&self.seen), f)
    }
}

const STACK: usize = 128 << 10;
/// A disk is given so much time for an answer at least.
const LEAST: Duration = Duration::from_secs(1);
