//! Writes down what the executor has done: in the journal, in the log, for the status. The executor itself waits
//! neither for a log nor for a lock.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::exec::Report;
use crate::journal::Journal;

/// Reads the reports.
#[derive(Debug)]
pub(super) struct Clerk {
    /// Of the virtual hosts.
    pub(super) names: Vec<String>,
    /// Where transitions are written down.
    pub(super) journal: Arc<Journal>,
    /// What goes wrong with each virtual host, until it is right again.
    pub(super) faults: Vec<watch::Sender<Option<String>>>,
}

impl Clerk {
    /// Writes, until the executor has ended.
    pub(super) async fn run(self, mut reports: mpsc::UnboundedReceiver<Report>) {
        while let Some(report) = reports.recv().await {
            self.write(report);
        }
    }

    fn write(&self, report: Report) {
        match report {
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
                if let Some(shown) = self.faults.get(vhost) {
                    shown.send_replace(fault.clone());
                }
                if let Some(fault) = fault {
                    tracing::error!(vhost = self.name(vhost), "{fault}");
                }
            }
            Report::Discarded(discarded) => drop(discarded),
        }
    }

    fn name(&self, vhost: usize) -> &str {
        self.names.get(vhost).map_or("", String::as_str)
    }
}
