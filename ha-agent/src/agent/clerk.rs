//! Writes down what the executor has done: in the journal, among the events, for the status. The executor itself waits
//! neither for a log nor for a lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::control::status::{Change, Clocks};
use crate::exec::Report;
use crate::journal::Journal;
use crate::journal::events::{Events, What};
use crate::sys::clock;

/// Reads the reports.
#[derive(Debug)]
pub(super) struct Clerk {
    /// Of the virtual hosts, by index.
    names: BTreeMap<usize, String>,
    /// Where transitions are written down.
    journal: Arc<Journal>,
    faults: Faults,
    events: Events,
}

/// What goes wrong with each virtual host, by index, until it is right again.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<Mutex<BTreeMap<usize, String>>>);

impl Faults {
    /// What goes wrong with one of them.
    pub(super) fn of(&self, vhost: usize) -> Option<String> {
        self.lock().get(&vhost).cloned()
    }

    /// Returns what was known before.
    fn set(&self, vhost: usize, fault: Option<String>) -> Option<String> {
        match fault {
            Some(fault) => self.lock().insert(vhost, fault),
            None => self.lock().remove(&vhost),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clerk {
    /// Knows of no virtual host yet.
    pub(super) fn new(journal: &Arc<Journal>, faults: &Faults, events: &Events) -> Self {
        let (journal, faults, events) = (Arc::clone(journal), faults.clone(), events.clone());
        Self { names: BTreeMap::new(), journal, faults, events }
    }

    /// Writes, until the executor has ended.
    pub(super) async fn run(mut self, mut reports: mpsc::UnboundedReceiver<Report>) {
        while let Some(report) = reports.recv().await {
            self.write(report);
        }
    }

    fn write(&mut self, report: Report) {
        match report {
            Report::Begun { vhost, name } => {
                self.forget(vhost);
                self.names.insert(vhost, name);
            }
            Report::Ended { vhost } => {
                self.forget(vhost);
                self.names.remove(&vhost);
            }
            Report::Changed(entry) => {
                self.journal.record(entry);
                let clocks = Clocks { wall: Timestamp::now(), monotonic: clock::now() };
                let change = Box::new(Change::new(clocks, &entry));
                let what = What::StateChanged { change };
                // Last: whoever reads its line finds the transition in the status.
                self.events.tell_of(entry.transition.at, Some(self.name(entry.vhost)), what);
            }
            Report::Up { vhost, address_up, announced } => {
                self.journal.complete(vhost, address_up, announced);
                let (up, told) = (address_up.as_nanos(), announced.as_nanos());
                let what = What::AddressesUp { address_up_ns: up, announced_ns: told };
                self.events.tell_of(announced, Some(self.name(vhost)), what);
            }
            Report::PutBack { vhost, added } => {
                let what = What::AddressesPutBack { added };
                self.events.tell(Some(self.name(vhost)), what);
            }
            Report::Fault { vhost, fault } => {
                let before = self.faults.set(vhost, fault.clone());
                if let Some(fault) = fault {
                    self.events.tell(Some(self.name(vhost)), What::FaultBegan { fault });
                } else if before.is_some() {
                    self.events.tell(Some(self.name(vhost)), What::FaultOver);
                }
            }
            Report::Discarded(discarded) => drop(discarded),
        }
    }

    fn forget(&self, vhost: usize) {
        self.faults.set(vhost, None);
        self.journal.forget(vhost);
    }

    fn name(&self, vhost: usize) -> &str {
        self.names.get(&vhost).map_or("", String::as_str)
    }
}
