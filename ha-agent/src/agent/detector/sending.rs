//! How sending goes, by interface: whoever can't advertise through one had better not be master.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::core::Instant;
use crate::core::demotion::SendHealth;

/// What is known of all interfaces.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// How it goes, and when it was last tried.
    interfaces: BTreeMap<Rc<str>, (SendHealth, Instant)>,
    changes: Vec<(Rc<str>, bool)>,
}

impl Sending {
    /// Takes in whether an advertisement left.
    pub(super) fn record(&mut self, now: Instant, interface: &Rc<str>, left: bool) {
        let (health, tried) = match self.interfaces.get_mut(interface) {
            Some(known) => known,
            None => self.interfaces.entry(Rc::clone(interface)).or_insert((SendHealth::default(), now)),
        };
        *tried = now;
        self.changes.extend(health.record(left).map(|failing| (Rc::clone(interface), failing)));
    }

    /// Forgets an interface. Returns whether anything was known.
    pub(super) fn forget(&mut self, interface: &str) -> bool {
        self.interfaces.remove(interface).is_some()
    }

    /// Forgives what was not tried for a while: a backup can't show that it can send again.
    pub(super) fn forgive(&mut self, now: Instant) {
        let changes = &mut self.changes;
        self.interfaces.retain(|interface, (_, tried)| {
            let forgiven = *tried + FORGIVEN <= now;
            if forgiven {
                changes.push((Rc::clone(interface), false));
            }
            !forgiven
        });
    }

    /// When there is something to forgive.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.interfaces.values().map(|(_, tried)| *tried + FORGIVEN).min()
    }

    /// The next interface that has begun to fail, or to work again.
    pub(super) fn next_change(&mut self) -> Option<(Rc<str>, bool)> {
        self.changes.pop()
    }
}

/// How long after the last try an interface counts as one that may be sent through again.
const FORGIVEN: Duration = Duration::from_secs(10);
