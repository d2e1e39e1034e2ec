//! Tells of what comes and goes: the node's role, the reasons, the link to the peer.

use tokio::sync::watch;

use super::notifier;
use super::reporter::Reporter;
use crate::core::reasons::{Code, Reason};
use crate::core::role::Role;
use crate::journal::events::{Events, What};
use crate::peer::link::status::{Condition, LinkStatus};

/// What was told last.
#[derive(Debug)]
pub(super) struct Observer {
    events: Events,
    role: Role,
    reasons: Vec<Reason>,
}

impl Observer {
    /// Nothing is known yet.
    pub(super) fn new(events: &Events) -> Self {
        Self { events: events.clone(), role: Role::Unknown, reasons: Vec::new() }
    }

    /// Tells what is new about the role and the reasons, and what is over. A reason whose details change is the same.
    pub(super) fn see(&mut self, role: Role, found: Vec<Reason>) {
        if role != self.role {
            self.events.tell(None, What::RoleChanged { from: self.role, to: role });
            self.role = role;
        }
        let is_in = |reason: &Reason, all: &[Reason]| {
            all.iter().any(|other| (other.code, other.side) == (reason.code, reason.side))
        };
        for over in self.reasons.iter().filter(|reason| !is_in(reason, &found)) {
            self.events.tell(Some(&over.name()), What::ReasonOver { reason: over.clone() });
        }
        for new in found.iter().filter(|reason| !is_in(reason, &self.reasons)) {
            self.events.tell(Some(&new.name()), What::ReasonBegan { reason: new.clone() });
        }
        self.reasons = found;
    }
}

/// Tells that the agent runs, and of its link; and has the operator's commands told of all events. For ever.
pub(super) async fn run(reporter: &Reporter) {
    let events = &reporter.events;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    events.tell(Some(&reporter.node()), What::AgentStarted { version, pid: std::process::id() });
    if let Some(digest) = reporter.updates.failed() {
        events.tell(None, What::UpdateFailed { digest: digest.short() });
    }
    let notifier = notifier::run(reporter.config.clone(), events.clone());
    tokio::join!(notifier, watch_link(reporter.link.clone(), events));
}

/// Looks at a node without a link now and then, for ever.
pub(super) async fn watch_alone(reporter: &Reporter) {
    let mut observer = Observer::new(&reporter.events);
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let Ok(facts) = reporter.all_facts().await else { continue };
        let mut found = crate::core::reasons::reasons(&facts);
        // Nobody is to be introduced.
        found.retain(|reason| reason.code != Code::NoPeer);
        observer.see(facts.own.role, found);
    }
}

/// Tells when the peer begins and ceases to answer, for ever.
async fn watch_link(link: Option<watch::Receiver<LinkStatus>>, events: &Events) {
    let Some(mut link) = link else { return std::future::pending().await };
    let mut was_up = false;
    loop {
        let now = {
            let LinkStatus { condition, peer, .. } = &*link.borrow_and_update();
            let name = peer.as_ref().map(|peer| peer.name.clone());
            match condition {
                Condition::Up { via, .. } => Some((true, name, What::PeerLinkUp { via: via.to_string() })),
                Condition::Down { .. } | Condition::NotAnswering { .. } => {
                    Some((false, name, What::PeerLinkLost { cause: condition.to_string() }))
                }
                Condition::Unpaired => None,
            }
        };
        if let Some((is_up, name, what)) = now.filter(|(is_up, ..)| *is_up != was_up) {
            was_up = is_up;
            events.tell(name.as_deref(), what);
        }
        if link.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Each time asks the detector, which has more to do.
const EVERY: std::time::Duration = std::time::Duration::from_millis(500);
