//! The level that reserves disks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::disk::Disk;
use super::enough::{DiskState, Enough};
use super::parallel::each;
use crate::resource::{Cause, Failure, Finding, Resource, Taken, Within};

/// Reservations of a set of disks: after it is taken, this node can write to them, and nobody else.
///
/// Only the active node is registered, since whoever is may write. So the standby never registers, not even to see whether
/// it could.
pub struct Reservation {
    name: String,
    disks: Vec<Arc<Disk>>,
    enough: Enough,
    patience: Duration,
}

impl Reservation {
    /// Of these disks, of which `enough` says how many must succeed. What takes a disk longer than `patience` is given up.
    pub fn new(name: impl Into<String>, disks: Vec<Arc<Disk>>, enough: Enough, patience: Duration) -> Self {
        Self { name: name.into(), disks, enough, patience }
    }

    /// The disks.
    #[must_use]
    pub fn disks(&self) -> &[Arc<Disk>] {
        &self.disks
    }

    /// Chooses `number` disks for the [heartbeat](super::heartbeat), spread over all of them: the same on both nodes, whatever
    /// they call them, since they are sorted by their serial numbers. Those whose serial number can't be found out are left
    /// out.
    #[must_use]
    pub fn spread(&self, number: usize, within: &Within) -> Vec<Arc<Disk>> {
        let serials = self.each(within, Disk::serial);
        let known =
            serials.into_iter().zip(&self.disks).filter_map(|(serial, disk)| Some((serial.ok()?, disk)));
        let mut disks: Vec<(String, &Arc<Disk>)> = known.collect();
        disks.sort_by(|(one, _), (other, _)| one.cmp(other));
        let number = number.min(disks.len());
        let (last, steps) = (disks.len().saturating_sub(1), number.saturating_sub(1).max(1));
        let chosen = (0..number).filter_map(|at| disks.get(at * last / steps));
        chosen.map(|(_, disk)| Arc::clone(disk)).collect()
    }

    fn each<T: Send + 'static>(
        &self,
        within: &Within,
        job: impl Fn(&Disk, &Within) -> Result<T, Failure> + Clone + Send + 'static,
    ) -> Vec<Result<T, Failure>> {
        each(&self.disks, self.patience, within, job)
    }

    /// Success of all, or the first failure that stands for the others.
    fn all(&self, results: Vec<Result<(), Failure>>) -> Result<(), Failure> {
        let mut failures: Vec<Failure> = results.into_iter().filter_map(Result::err).collect();
        let others = failures.len().saturating_sub(1);
        // That it is fenced says more than that a disk is missing.
        let first = failures.iter().position(|failure| failure.cause == Cause::Fenced).unwrap_or(0);
        if failures.is_empty() {
            return Ok(());
        }
        let mut failure = failures.swap_remove(first);
        if others > 0 {
            failure.what = format!("{}; and {others} more of {} disks", failure.what, self.disks.len());
        }
        Err(failure)
    }
}

impl Resource for Reservation {
    fn name(&self) -> &str {
        &self.name
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        // All are looked at before anything is done with any.
        let looks = self.each(within, Disk::look);
        if let Some(foreign) = looks.iter().filter_map(|look| look.as_ref().err()).find(|it| is_foreign(it)) {
            return Err(foreign.clone());
        }
        let states = |outcomes: &[Result<(), Failure>]| -> Vec<DiskState> {
            let disks = self.disks.iter().zip(&looks).zip(outcomes);
            disks
                .map(|((disk, look), outcome)| DiskState {
                    name: disk.name().to_owned(),
                    serial: look.as_ref().ok().cloned(),
                    outcome: outcome.clone(),
                })
                .collect()
        };
        let seen: Vec<Result<(), Failure>> =
            looks.iter().map(|look| look.as_ref().map(drop).map_err(Clone::clone)).collect();
        (self.enough)(&states(&seen))?;

        let (there, at): (Vec<Arc<Disk>>, Vec<usize>) = self
            .disks
            .iter()
            .zip(0..)
            .zip(&seen)
            .filter(|(_, seen)| seen.is_ok())
            .map(|((disk, at), _)| (Arc::clone(disk), at))
            .unzip();
        let mut outcomes = seen;
        for (at, outcome) in at.into_iter().zip(each(&there, self.patience, within, Disk::take)) {
            if let Some(slot) = outcomes.get_mut(at) {
                *slot = outcome;
            }
        }
        // Somebody takes these disks at this moment: what others are left is not asked any more.
        if let Some(fenced) =
            outcomes.iter().filter_map(|it| it.as_ref().err()).find(|it| it.cause == Cause::Fenced)
        {
            return Err(fenced.clone());
        }
        (self.enough)(&states(&outcomes))?;
        Ok(Taken { remarks: self.remarks(&outcomes) })
    }

    /// What is not there any more is released: this node can't write to it either. If it comes back with a key of this node,
    /// the next take of either node removes that.
    fn release(&self, within: &Within) -> Result<(), Failure> {
        let results = self.each(within, Disk::release).into_iter();
        let settled = results.map(|result| match result {
            Err(failure) if failure.cause == Cause::DiskMissing => {
                tracing::warn!("released without it: {failure}");
                Ok(())
            }
            result => result,
        });
        self.all(settled.collect())
    }

    fn is_here(&self, within: &Within) -> Result<bool, Failure> {
        let results = self.each(within, Disk::is_registered);
        if results.contains(&Ok(true)) {
            return Ok(true);
        }
        self.all(results.into_iter().map(|result| result.map(drop)).collect()).map(|()| false)
    }

    fn check(&self, within: &Within) -> Result<(), Failure> {
        let results = self.each(within, Disk::check);
        let states: Vec<DiskState> = self
            .disks
            .iter()
            .zip(&results)
            .map(|(disk, outcome)| DiskState {
                name: disk.name().to_owned(),
                serial: None,
                outcome: outcome.clone(),
            })
            .collect();
        let is_fenced =
            |result: &Result<(), Failure>| result.as_ref().is_err_and(|it| it.cause == Cause::Fenced);
        if results.iter().any(is_fenced) { self.all(results) } else { (self.enough)(&states) }
    }

    fn examine(&self, within: &Within) -> Vec<Finding> {
        let results = self.each(within, |disk, within| Ok(disk.examine(within)));
        let findings: Vec<Finding> = results
            .into_iter()
            .flat_map(|result| result.unwrap_or_else(|failure| vec![Finding::Bad(failure)]))
            .collect();
        if findings.iter().all(|finding| matches!(finding, Finding::Good(_))) {
            return vec![Finding::Good(format!("{} disks can be reserved", self.disks.len()))];
        }
        findings.into_iter().filter(|finding| !matches!(finding, Finding::Good(_))).collect()
    }
}

impl Reservation {
    fn remarks(&self, outcomes: &[Result<(), Failure>]) -> Vec<String> {
        let missing = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(ToString::to_string);
        let mut remarks: Vec<String> = missing.collect();
        let lacking: Vec<&Disk> =
            self.disks.iter().map(Arc::as_ref).filter(|disk| disk.lacks_abort()).collect();
        if let [first, ..] = lacking.as_slice() {
            remarks.push(format!(
                "{} of {} disks ({} is one) can't end what the other node had sent them before: PREEMPT was used instead \
                 of PREEMPT AND ABORT",
                lacking.len(),
                self.disks.len(),
                first.name(),
            ));
        }
        remarks
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, disks, enough: _, patience } = self;
        f.debug_struct("Reservation")
            .field("name", name)
            .field("disks", disks)
            .field("patience", patience)
            .finish()
    }
}

/// Whether it says that somebody else may be using the disk: then nothing is done with any.
fn is_foreign(failure: &Failure) -> bool {
    matches!(failure.cause, Cause::KeyForeign | Cause::DiskForeign)
}
