//! The fence of one volume: its disks, as they are known last; and what goes with it while it is taken.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::FenceLevel;
use crate::fence::command::PowerOff;
use crate::fence::heartbeat::{Heartbeat, Lost, Proof, Rhythm};
use crate::fence::{Disk, DiskState, Enough, Fence, Identity, PathDisk, Reservation, Strangers, all};
use crate::resource::{Failure, Finding, Resource, Taken, Within};
use crate::storage::zfs::Pool;

/// What all fences of a node have in common.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) identity: Identity,
    pub(super) levels: Vec<FenceLevel>,
    pub(super) strangers: Strangers,
    /// There is one if `levels` has it.
    pub(super) power_off: Option<Arc<PowerOff>>,
    pub(super) rhythm: Rhythm,
    /// Called when this node's key is gone from a disk that it had taken.
    pub(super) lost: Lost,
    /// What it proves that disks are renewed.
    pub(super) proof: Proof,
}

/// The fence of a volume.
pub(super) struct VolumeFence {
    name: String,
    terms: Terms,
    /// Those of the configuration; if there are none, the pool's labels say which.
    named: Vec<PathBuf>,
    pool: Option<Arc<Pool>>,
    now: Mutex<Now>,
}

/// The fence as it is now.
#[derive(Clone)]
struct Now {
    paths: Vec<PathBuf>,
    reservation: Arc<Reservation>,
    /// Those of them that keys are renewed on.
    chosen: Vec<Arc<Disk>>,
    fence: Arc<Fence>,
    /// While it is taken.
    beat: Option<Arc<Heartbeat>>,
}

impl VolumeFence {
    /// Of the volume of this name, on the disks that are `named`, or those of the pool.
    pub(super) fn new(volume: &str, terms: Terms, named: Vec<PathBuf>, pool: Option<Arc<Pool>>) -> Self {
        let name = format!("fence {volume}");
        let now = Now::new(&name, &terms, named.clone(), pool.as_ref());
        Self { name, terms, named, pool, now: Mutex::new(now) }
    }

    /// The disks that keys are renewed on, as of the last survey.
    pub(super) fn chosen(&self) -> Vec<Arc<Disk>> {
        self.now().chosen.clone()
    }

    /// Finds out which disks there are. What is taken stays as it is.
    pub(super) fn survey(&self, within: &Within) -> Result<(), Failure> {
        if let Some(pool) = &self.pool {
            pool.survey_if_older(FRESH, within)?;
            let found: BTreeSet<PathBuf> = pool.disks().into_iter().map(|disk| disk.disk).collect();
            let paths = if self.named.is_empty() { found.into_iter().collect() } else { self.named.clone() };
            let mut now = self.now();
            if now.beat.is_none() && now.paths != paths {
                *now = Now::new(&self.name, &self.terms, paths, Some(pool));
            }
        }
        if self.terms.levels.contains(&FenceLevel::Reservation) {
            let reservation = Arc::clone(&self.now().reservation);
            let chosen = reservation.spread(BEATS, within);
            self.now().chosen = chosen;
        }
        Ok(())
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fence(&self) -> Arc<Fence> {
        Arc::clone(&self.now().fence)
    }
}

impl Now {
    fn new(name: &str, terms: &Terms, paths: Vec<PathBuf>, pool: Option<&Arc<Pool>>) -> Self {
        let disk = |path: &PathBuf| {
            let device = Box::new(PathDisk::new(path.clone()));
            Arc::new(Disk::new(device, terms.identity).with_strangers(terms.strangers))
        };
        let disks: Vec<_> = paths.iter().map(disk).collect();
        let reserve = || Reservation::new("reservation", disks.clone(), enough(pool.cloned()), PATIENCE);
        let level = |level: &FenceLevel| -> Option<Box<dyn Resource>> {
            match level {
                FenceLevel::Reservation => Some(Box::new(reserve())),
                FenceLevel::Command => {
                    let power_off = terms.power_off.clone()?;
                    Some(Box::new(power_off))
                }
            }
        };
        let fence = Arc::new(Fence::new(name, terms.levels.iter().filter_map(level).collect()));
        Self { paths, reservation: Arc::new(reserve()), chosen: Vec::new(), fence, beat: None }
    }
}

impl Resource for VolumeFence {
    fn name(&self) -> &str {
        &self.name
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        if self.terms.levels.contains(&FenceLevel::Reservation) && self.chosen().is_empty() {
            self.survey(within)?;
        }
        let taken = self.fence().take(within)?;
        let Terms { rhythm, lost, proof, .. } = &self.terms;
        let beat = Heartbeat::start(&self.chosen(), *rhythm, lost, proof)
            .map_err(|error| Failure::system("the keys on the disks can't be renewed", &error))?;
        self.now().beat = Some(Arc::new(beat));
        if let Some(pool) = &self.pool {
            pool.set_forced(true);
        }
        Ok(taken)
    }

    fn release(&self, within: &Within) -> Result<(), Failure> {
        // What is given back is not lost.
        self.now().beat = None;
        self.fence().release(within)?;
        if let Some(pool) = &self.pool {
            pool.set_forced(false);
        }
        Ok(())
    }

    fn is_here(&self, within: &Within) -> Result<bool, Failure> {
        if self.now().paths.is_empty() {
            self.survey(within)?;
        }
        self.fence().is_here(within)
    }

    fn check(&self, within: &Within) -> Result<(), Failure> {
        self.fence().check(within)
    }

    fn examine(&self, within: &Within) -> Vec<Finding> {
        // The disks are asked whether they can be reserved also if their labels take long.
        match self.survey(&within.at_most(within.left() / 2)) {
            Ok(()) => self.fence().examine(within),
            Err(failure) => vec![Finding::Bad(failure)],
        }
    }
}

impl std::fmt::Debug for VolumeFence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VolumeFence").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Which disks must be taken: of a pool as many as its redundancy asks for, of anything else all.
fn enough(pool: Option<Arc<Pool>>) -> Enough {
    let Some(pool) = pool else { return all() };
    let all = all();
    Arc::new(move |states: &[DiskState]| {
        let Some(layout) = pool.layout() else { return all(states) };
        let fenced: BTreeSet<PathBuf> = states
            .iter()
            .filter(|state| state.outcome.is_ok())
            .map(|state| fs::canonicalize(&state.name).unwrap_or_else(|_| Path::new(&state.name).to_owned()))
            .collect();
        let disks = pool.disks();
        let suffices = layout.suffices(|guid| {
            let mut those = disks.iter().filter(|disk| disk.guid == Some(guid));
            those.any(|disk| fenced.contains(&disk.disk) || fenced.contains(&disk.device))
        });
        // The disk that failed says more of the reason.
        let first = states.iter().find_map(|state| state.outcome.as_ref().err());
        suffices.map_err(|failure| match first {
            Some(first) => Failure { what: format!("{}; {}", failure.what, first.what), ..first.clone() },
            None => failure,
        })
    })
}

/// On so many disks of a volume keys are renewed, and watched.
const BEATS: usize = 3;
/// What a survey of a pool has found counts for so long: several ask for it at about the same time.
const FRESH: Duration = Duration::from_secs(8);
/// What takes a disk longer than this is given up.
const PATIENCE: Duration = Duration::from_secs(5);
