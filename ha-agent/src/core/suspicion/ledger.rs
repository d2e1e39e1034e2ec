//! The suspicions counted, and when each is to be logged.

use std::net::IpAddr;
use std::time::Duration;

use super::kind::{Kind, Suspicion};
use crate::core::time::Instant;

/// One entry for each name and source.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
    unlisted: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    suspicion: Suspicion,
    logged: Instant,
}

impl Ledger {
    pub(super) fn record(&mut self, now: Instant, kind: Kind, source: IpAddr) -> Suspicion {
        let key = |entry: &Entry| (entry.suspicion.kind.name(), entry.suspicion.source);
        let known = self.entries.iter_mut().find(|entry| key(entry) == (kind.name(), source));
        if let Some(Entry { suspicion, logged }) = known {
            let log = now.saturating_since(*logged) >= PAUSE;
            if log {
                *logged = now;
            }
            *suspicion = Suspicion { kind, source, count: suspicion.count + 1, last: now, log };
            return *suspicion;
        }
        let new = Suspicion { kind, source, count: 1, last: now, log: true };
        if !self.make_room(now) {
            // Whoever forges sources as well does not fill the log.
            self.unlisted += 1;
            return Suspicion { log: false, ..new };
        }
        self.entries.push(Entry { suspicion: new, logged: now });
        new
    }

    pub(super) fn list(&self) -> impl Iterator<Item = &Suspicion> {
        self.entries.iter().map(|entry| &entry.suspicion)
    }

    pub(super) fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// Where there is none, the oldest goes, if it is over.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.entries.len() < MOST_ENTRIES {
            return true;
        }
        let entries = self.entries.iter().enumerate();
        let Some((oldest, entry)) = entries.min_by_key(|(_, entry)| entry.suspicion.last) else {
            return false;
        };
        let over = now.saturating_since(entry.suspicion.last) >= PAUSE;
        if over {
            self.entries.remove(oldest);
        }
        over
    }
}

const MOST_ENTRIES: usize = 64;

/// Between two lines of the log about the same.
const PAUSE: Duration = Duration::from_mins(1);
