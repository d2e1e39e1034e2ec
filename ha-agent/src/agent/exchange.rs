//! What the two nodes tell each other of themselves over the peer link, and what follows from it for the pair.
//!
//! It is shown, and nothing waits for it: whoever decides a failover does so without, but for who sees more disks.

use std::time::Duration;

use tokio::sync::watch;

use super::detector::partner::PairInput;
use super::observer::{self, Observer};
use super::reporter::Reporter;
use crate::core::Instant;
use crate::core::reasons::{Facts, NodeFacts, Told, reasons};
use crate::core::role::{FRESH, Role};
use crate::core::same_state::{Same, SameState};
use crate::peer::link::{Link, PeerState};
use crate::peer::payload;
use crate::sys::clock;

/// What this node knows of the pair.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// What the peer told last, and when that arrived.
    pub(super) told: Option<(Instant, NodeFacts)>,
    /// What both are, once it has lasted.
    pub(super) same_state: Option<Same>,
}

impl Known {
    /// All facts, at `now`.
    pub(super) fn facts(&self, now: Instant, own: NodeFacts) -> Facts {
        let told = self.told.clone();
        let peer = told.map(|(at, facts)| Told { facts, age: now.saturating_since(at) });
        Facts { own, peer, same_state: self.same_state }
    }

    /// The role of the peer's virtual hosts, if it told it just now.
    fn carp_role(&self, now: Instant) -> Role {
        let told = self.told.as_ref().filter(|(at, _)| now.saturating_since(*at) <= FRESH);
        told.map_or(Role::Unknown, |(_, facts)| facts.carp_role())
    }
}

/// Tells the peer of this node now and then, and takes in what it tells, for ever. Without a link, this node is only looked at.
pub(super) async fn run(link: Option<&Link>, reporter: &Reporter, known: watch::Sender<Known>) {
    let Some(link) = link else { return observer::watch_alone(reporter).await };
    let mut states = link.peer_state();
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut same_state, mut log, mut sees_more) = (SameState::default(), Log::default(), false);
    let mut observer = Observer::new(&reporter.events);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            changed = states.changed() => {
                if changed.is_err() {
                    return;
                }
                let state = states.borrow_and_update().clone();
                if let Some(told) = state.and_then(|state| log.read(&state)) {
                    known.send_modify(|known| known.told = Some((clock::now(), told)));
                }
                // The next round is soon enough to judge it.
                continue;
            }
        }
        // A detector that does not answer is told by whoever asks for the status; what the peer knows gets old.
        let Ok(own) = reporter.facts().await else { continue };
        log.publish(link, &own);
        let now = clock::now();
        known.send_modify(|known| {
            same_state.observe(now, own.carp_role(), known.carp_role(now));
            known.same_state = same_state.named(now);
        });
        let facts = known.borrow().facts(now, own);
        let found = reasons(&facts);
        observer.see(facts.own.role, found);
        if facts.peer_sees_more() != sees_more {
            sees_more = !sees_more;
            reporter.tell_of_pair(PairInput::PeerSeesMore(sees_more));
        }
    }
}

/// Often enough that what a node tells stays [fresh](FRESH); each time it asks the detector, which has more to do.
const EVERY: Duration = Duration::from_millis(200);

/// What went wrong last, which the log has: each thing once.
#[derive(Default)]
struct Log {
    trouble: Option<String>,
}

impl Log {
    fn read(&mut self, state: &PeerState) -> Option<NodeFacts> {
        match payload::decode::<NodeFacts>(&state.payload) {
            Ok(facts) => Some(facts),
            Err(error) => {
                self.complain(format!("the peer tells what this version does not understand: {error}"));
                None
            }
        }
    }

    fn publish(&mut self, link: &Link, own: &NodeFacts) {
        let published = payload::encode(own).map_err(|error| error.to_string());
        let published =
            published.and_then(|payload| link.publish(payload).map_err(|error| error.to_string()));
        if let Err(error) = published {
            self.complain(format!("the peer can't be told of this node: {error}"));
        }
    }

    fn complain(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::warn!("{trouble}");
            self.trouble = Some(trouble);
        }
    }
}
