//! Fencing: making sure that the other node can't write any more, before this one does.
//!
//! A [`Fence`] has levels that are tried in order: [reservations](Reservation) of the disks, or a
//! [command](command::PowerOff) that switches the other node off. What watches afterwards: the [`heartbeat`], by which the
//! node that has the disks shows that it lives and notices that it has lost them; a hardware [`watchdog`]; and at the end a
//! node can [reset itself](reset).
//!
//! From below: a [`Key`] is what a node registers on a disk, a [`Device`] what speaks to a disk (by [`scsi`], NVM Express, or
//! several paths that the device mapper holds together; [`emulated`] for tests), a [`Disk`] what one node does with it.

mod block;
pub mod command;
mod device;
mod disk;
pub mod emulated;
mod enough;
pub mod heartbeat;
mod key;
mod multipath;
mod nvme;
mod parallel;
mod reservation;
pub mod reset;
pub mod scsi;
mod turn;
pub mod watchdog;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::block::PathDisk;
pub use self::device::{Abilities, Device, DeviceError, Holder, Kind, Old, Registrations};
pub use self::disk::{Disk, Strangers};
pub use self::enough::{DiskState, Enough, all, at_least, percent};
pub use self::key::{Identity, Key, Whose};
pub use self::reservation::Reservation;
use crate::resource::{Cause, Failure, Finding, Resource, Taken, Within};

/// Several ways to fence, tried in order until one succeeds.
#[derive(Debug)]
pub struct Fence {
    name: String,
    levels: Vec<Box<dyn Resource>>,
    known: Mutex<Known>,
}

/// What is known of the levels.
#[derive(Clone, Debug)]
struct Known {
    /// The one that holds.
    taken: Option<usize>,
    /// Those of which something may stand. All at first: an earlier agent may have left it.
    touched: Vec<bool>,
}

impl Fence {
    /// These levels, the first one first.
    pub fn new(name: impl Into<String>, levels: Vec<Box<dyn Resource>>) -> Self {
        let touched = vec![true; levels.len()];
        Self { name: name.into(), levels, known: Mutex::new(Known { taken: None, touched }) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_touched(&self, at: usize, is_touched: bool) {
        if let Some(touched) = self.known().touched.get_mut(at) {
            *touched = is_touched;
        }
    }

    fn taken(&self) -> Option<&dyn Resource> {
        let taken = self.known().taken?;
        self.levels.get(taken).map(Box::as_ref)
    }
}

impl Resource for Fence {
    fn name(&self) -> &str {
        &self.name
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        let mut remarks = Vec::new();
        let mut last = Failure::new(Cause::Misconfigured, "there is no way to fence", "configure one");
        for (at, level) in self.levels.iter().enumerate() {
            within.go_on(&self.name)?;
            self.set_touched(at, true);
            match level.take(within) {
                Ok(taken) => {
                    self.known().taken = Some(at);
                    if !remarks.is_empty() {
                        remarks.push(format!("{} fences instead", level.name()));
                    }
                    remarks.extend(taken.remarks);
                    return Ok(Taken { remarks });
                }
                // What stands of it stays till the release: it may be what lets this node write at all.
                Err(failure) => {
                    remarks.push(format!("{} does not fence: {failure}", level.name()));
                    last = failure;
                }
            }
            // Somebody else is about to serve: nothing else will make that right.
            if last.cause == Cause::Fenced || last.cause == Cause::Stopped {
                break;
            }
        }
        if let [_, _, ..] = remarks.as_slice() {
            last.what = remarks.join("; ");
        }
        Err(last)
    }

    fn release(&self, within: &Within) -> Result<(), Failure> {
        self.known().taken = None;
        let touched = self.known().touched.clone();
        let mut result = Ok(());
        // The last one first; and the others, even if one fails.
        for ((at, level), _) in
            self.levels.iter().enumerate().zip(touched).rev().filter(|(_, touched)| *touched)
        {
            match level.release(within) {
                Ok(()) => self.set_touched(at, false),
                Err(failure) => result = Err(failure),
            }
        }
        result
    }

    fn is_here(&self, within: &Within) -> Result<bool, Failure> {
        let mut result = Ok(false);
        for level in &self.levels {
            match level.is_here(within) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(failure) => result = Err(failure),
            }
        }
        result
    }

    fn check(&self, within: &Within) -> Result<(), Failure> {
        self.taken().map_or_else(|| Err(Failure::gone(self.name())), |level| level.check(within))
    }

    fn examine(&self, within: &Within) -> Vec<Finding> {
        let mut findings: Vec<Vec<Finding>> = self.levels.iter().map(|level| level.examine(within)).collect();
        let is_bad = |finding: &Finding| matches!(finding, Finding::Bad(_));
        // As long as one level can do it, that another one can't is no more than a weakness.
        if findings.iter().any(|level| !level.iter().any(is_bad)) {
            for finding in findings.iter_mut().flatten() {
                if let Finding::Bad(failure) = finding {
                    *finding = Finding::Weak(failure.clone());
                }
            }
        }
        findings.into_iter().flatten().collect()
    }
}
