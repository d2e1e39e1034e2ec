//! Writes down what the executor has done: in the journal, in the log, for the status. The executor itself waits
//! neither for a log nor for a lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::exec::Report;
use crate::journal::Journal;

/// Reads the reports.
#[derive(Debug)]
pub(super) struct Clerk {
    /// Of the virtual hosts, by index.
    names: BTreeMap<usize, String>,
    /// Where transitions are written down.
    journal: Arc<Journal>,
    faults: Faults,
}

/// What goes wrong with each virtual host, by index, until it is right again.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<Mutex<BTreeMap<usize, String>>>);

impl Faults {
    /// What goes wrong with one of them.
    pub(super) fn of(&self, vhost: usize) -> Option<String> {
        self.lock().get(&vhost).cloned()
    }

    fn set(&self, vhost: usize, fault: Option<String>) {
        match fault {
            Some(fault) => self.lock().insert(vhost, fault),
            None => self.lock().remove(&vhost),
        };
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clerk {
    /// Knows of no virtual host yet.
    pub(super) fn new(journal: &Arc<Journal>, faults: &Faults) -> Self {
        Self { names: BTreeMap::new(), journal: Arc::clone(journal), faults: faults.clone() }
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
                let (from, to) = (entry.transition.from, entry.transition.to);
                // Last: whoever reads this line finds the transition in the status.
                tracing::info!(vhost = self.name(entry.vhost), "{from} -> {to}: {}", entry.transition.cause);
            }
            Report::PutBack { vhost, added } => tracing::warn!(
                vhost = self.name(vhost),
                "{added} of our addresses had been taken off: put on again"
            ),
            Report::Fault { vhost, fault } => {
                self.faults.set(vhost, fault.clone());
                if let Some(fault) = fault {
                    tracing::error!(vhost = self.name(vhost), "{fault}");
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
