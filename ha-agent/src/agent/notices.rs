//! What is noticed and no state depends on: suspicious frames, stalls, demotion. Logged away from the fast
//! thread, and shown in the status. Whoever has the addresses announces them again where an advertisement was stale.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_common::reason::{Counters as Counts, Reason};
use tokio::sync::{mpsc, oneshot};

use super::detector::{Input, Note, Snapshot};
use super::hosts;
use crate::core::demotion::Cause;
use crate::core::suspicion::Kind;
use crate::core::{Family, Instant, Suspicion, Suspicions};
use crate::dataplane::{Counters, LoadError};
use crate::journal::events::{Events, What};
use crate::sys::clock;

/// Looks at what the kernel refused, and logs.
#[derive(Debug)]
pub(super) struct Watchman {
    /// Of the virtual hosts, by index.
    names: BTreeMap<usize, String>,
    counters: Arc<Counters>,
    seen: HashMap<u32, Counts>,
    suspicions: Suspected,
    events: Events,
    detector: mpsc::UnboundedSender<Input>,
}

/// What is suspicious by the kernel's counters, by the index of the virtual host.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspected(Arc<Mutex<BTreeMap<usize, Suspicions>>>);

impl Suspected {
    /// What is suspicious about one virtual host.
    pub(super) fn of(&self, vhost: usize) -> Vec<Suspicion> {
        self.lock().get(&vhost).map(|suspicions| suspicions.list().copied().collect()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Suspicions>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watchman {
    pub(super) fn new(
        counters: Arc<Counters>,
        suspicions: Suspected,
        events: Events,
        detector: mpsc::UnboundedSender<Input>,
    ) -> Self {
        let names = BTreeMap::new();
        Self { names, counters, seen: HashMap::new(), suspicions, events, detector }
    }

    /// Watches and logs, until the detector is gone.
    pub(super) async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>) {
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                note = notes.recv() => match note {
                    Some(note) => self.take(&note),
                    None => return,
                },
                _ = round.tick() => {
                    if let Err(error) = self.look().await {
                        tracing::debug!(%error, "the kernel's counters can't be read");
                    }
                }
            }
        }
    }

    fn take(&mut self, note: &Note) {
        match note {
            Note::Begun { vhost, name } => {
                self.forget(*vhost);
                self.names.insert(*vhost, name.clone());
            }
            Note::Ended { vhost } => {
                self.forget(*vhost);
                self.names.remove(vhost);
            }
            Note::Suspicion { vhost, suspicion } => self.tell_suspicion(*vhost, suspicion),
            Note::Stalled { vhost, lasted } => {
                let what = What::Stalled { lasted_ms: lasted.as_secs_f64() * 1e3 };
                self.events.tell(Some(self.name(*vhost)), what);
            }
            Note::Quiet { lasted } => {
                self.events.tell(None, What::LeaseLapsed { lasted_ms: lasted.as_secs_f64() * 1e3 });
            }
            Note::Demoted { level: 0, .. } => self.events.tell(None, What::DemotionOver),
            Note::Demoted { level, causes } => {
                let causes: Vec<_> = causes.iter().map(sentence).collect();
                self.events.tell(None, What::Demoted { level: *level, causes });
            }
        }
    }

    fn forget(&mut self, vhost: usize) {
        self.suspicions.lock().remove(&vhost);
        for family in Family::ALL {
            self.seen.remove(&hosts::slot(vhost, family));
        }
    }

    fn tell_suspicion(&self, vhost: usize, suspicion: &Suspicion) {
        if suspicion.log {
            let Suspicion { kind, source, count, .. } = suspicion;
            let what = What::Suspicious {
                name: kind.name().to_owned(),
                source: *source,
                count: *count,
                meaning: suspicion.to_string(),
            };
            self.events.tell(Some(self.name(vhost)), what);
        }
    }

    /// Finds out what the kernel refused since the last look, and from whom.
    async fn look(&mut self) -> Result<(), LoadError> {
        let mut news = Vec::new();
        for &vhost in self.names.keys() {
            for family in Family::ALL {
                let slot = hosts::slot(vhost, family);
                let now = self.counters.read(slot)?;
                let before = self.seen.insert(slot, now).unwrap_or_default();
                if now == before {
                    continue;
                }
                let sightings = self.counters.sightings(slot)?;
                for (reason, kind) in NOTICED {
                    if now.refused(reason) > before.refused(reason)
                        && let Some(sighting) = sightings.0.get(reason as usize)
                    {
                        news.push((vhost, kind, sighting.source.ip(hosts::family_number(family))));
                    }
                }
            }
        }
        // The fast thread is asked once, and only if there is a reason.
        let asks = news.iter().any(|(_, kind, _)| *kind == Kind::BadDigests);
        let snapshot = if asks { self.snapshot().await } else { None };
        for (vhost, kind, source) in news {
            // Somebody who can make a right digest, too, has our key: then the wrong ones are not his.
            if kind == Kind::BadDigests && snapshot.as_ref().is_none_or(|all| is_heard(all, vhost, source)) {
                continue;
            }
            if kind == Kind::Stale {
                // It is gone only while the agent ends.
                let _ = self.detector.send(Input::Claimed { vhost });
            }
            self.report(vhost, kind, source);
        }
        Ok(())
    }

    fn report(&self, vhost: usize, kind: Kind, source: IpAddr) {
        let suspicion = {
            let mut all = self.suspicions.lock();
            all.entry(vhost).or_default().report(clock::now(), kind, source)
        };
        self.tell_suspicion(vhost, &suspicion);
    }

    /// `None` while the agent ends.
    async fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.detector.send(Input::Snapshot(reply)).ok()?;
        answer.await.ok()
    }

    fn name(&self, vhost: usize) -> &str {
        self.names.get(&vhost).map_or("", String::as_str)
    }
}

/// Whether authentic advertisements came from an address in the last minute.
fn is_heard(snapshot: &Snapshot, vhost: usize, source: IpAddr) -> bool {
    let is_lately = |heard: Instant| snapshot.at.saturating_since(heard) < LATELY;
    snapshot
        .vhosts
        .get(&vhost)
        .is_some_and(|vhost| vhost.peers.iter().any(|peer| peer.source == source && is_lately(peer.heard)))
}

fn sentence(cause: &Cause) -> String {
    match cause {
        Cause::Hold => "held by an operator".to_owned(),
        Cause::LinkDown(interface) => format!("interface {interface} does not work"),
        Cause::SendErrors(interface) => format!("advertisements do not leave through {interface}"),
    }
}

/// What is refused and worth a word, and by which name.
const NOTICED: [(Reason, Kind); 4] = [
    (Reason::BadAuth, Kind::BadDigests),
    (Reason::Replay, Kind::Replayed),
    (Reason::Stale, Kind::Stale),
    (Reason::Rewritten, Kind::Rewritten),
];

/// How often the kernel's counters are looked at.
const ROUND: Duration = Duration::from_millis(250);
/// How long ago somebody may have been heard who still counts as heard.
const LATELY: Duration = Duration::from_mins(1);
