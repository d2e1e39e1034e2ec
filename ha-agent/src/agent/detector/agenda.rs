//! Which virtual host has something to do next.

use std::collections::BTreeSet;

use crate::core::Instant;

/// The earliest deadline of each virtual host, by its index.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    by_time: BTreeSet<(Instant, usize)>,
    by_host: Vec<Option<Instant>>,
}

impl Agenda {
    /// Sets a host's deadline, in place of an earlier one.
    pub(super) fn set(&mut self, host: usize, deadline: Option<Instant>) {
        if host >= self.by_host.len() {
            self.by_host.resize(host + 1, None);
        }
        let known = &mut self.by_host[host];
        if *known == deadline {
            return;
        }
        if let Some(old) = std::mem::replace(known, deadline) {
            self.by_time.remove(&(old, host));
        }
        self.by_time.extend(deadline.map(|deadline| (deadline, host)));
    }

    /// The earliest deadline of all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(deadline, _)| *deadline)
    }

    /// The host whose deadline has come, of several the one that has waited longest.
    pub(super) fn due(&self, now: Instant) -> Option<usize> {
        self.by_time.first().filter(|(deadline, _)| *deadline <= now).map(|(_, host)| *host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// As if all were looked at each time.
        #[test]
        fn finds_the_earliest(
            changes in prop::collection::vec((0..8_usize, prop::option::of(0..50_u64)), 0..60),
            now in 0..60_u64,
        ) {
            let (mut agenda, mut plain) = (Agenda::default(), [None; 8]);
            for (host, deadline) in changes {
                let deadline = deadline.map(Instant::from_nanos);
                agenda.set(host, deadline);
                plain[host] = deadline;
                let earliest = (0..8).filter_map(|host| Some((plain[host]?, host))).min();
                prop_assert_eq!(agenda.next(), earliest.map(|(deadline, _)| deadline));
                let due = earliest.filter(|(deadline, _)| *deadline <= Instant::from_nanos(now));
                prop_assert_eq!(agenda.due(Instant::from_nanos(now)), due.map(|(_, host)| host));
            }
        }
    }
}
