//! The history of transitions, with the time of each phase; and the recording of everything that led to them.

pub mod events;
pub mod history;
pub mod recorder;
pub mod replay;
pub mod trace;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::core::{Instant, State, Transition};

/// A transition, and when its consequences were done. Moments are on `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Index of the virtual host in the configuration.
    pub vhost: usize,
    /// What changed, and why.
    pub transition: Transition,
    /// When the first advertisement of the new master had left; only for a new master.
    pub advertised: Option<Instant>,
    /// When the addresses were on the interface; only for a new master.
    pub address_up: Option<Instant>,
    /// When the addresses had been announced for the first time; only for a new master.
    pub announced: Option<Instant>,
}

/// The last transitions of this life of the agent, oldest first.
///
/// The lock is held for a copy only. The fast thread never takes it.
#[derive(Debug, Default)]
pub struct Journal(Mutex<VecDeque<Entry>>);

impl Journal {
    /// Adds an entry; the oldest goes when there are too many.
    pub fn record(&self, entry: Entry) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == CAPACITY {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    /// Adds to the last entry of a virtual host, if it is master by that: the addresses came only later.
    pub fn complete(&self, vhost: usize, address_up: Instant, announced: Instant) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = entries.iter_mut().rfind(|entry| entry.vhost == vhost);
        if let Some(entry) = last.filter(|entry| entry.transition.to == State::Master) {
            entry.address_up.get_or_insert(address_up);
            entry.announced.get_or_insert(announced);
        }
    }

    /// Forgets a virtual host: its index may be another's.
    pub fn forget(&self, vhost: usize) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.vhost != vhost);
    }

    /// The entries of one virtual host, oldest first.
    #[must_use]
    pub fn of(&self, vhost: usize) -> Vec<Entry> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|entry| entry.vhost == vhost).copied().collect()
    }
}

const CAPACITY: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Cause;

    #[test]
    fn keeps_the_newest() {
        let journal = Journal::default();
        for n in 0..CAPACITY as u64 + 10 {
            let at = Instant::from_nanos(n);
            let transition = Transition { at, from: State::Init, to: State::Backup, cause: Cause::Started };
            let vhost = usize::try_from(n % 2).unwrap();
            journal.record(Entry { vhost, transition, advertised: None, address_up: None, announced: None });
        }
        let entries = journal.of(1);
        assert_eq!(entries.len(), CAPACITY / 2);
        assert_eq!(entries.first().map(|entry| entry.transition.at.as_nanos()), Some(11));
    }
}
