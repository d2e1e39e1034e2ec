//! The status: one snapshot for the command line, and for whatever else shows it.

mod charge;
mod detector;
mod gist;
mod pair;
mod peer_link;
mod reasons;
mod shared;
mod witness;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::agent::detector::{Peer, VhostSnapshot};
use crate::agent::hosts;
use crate::config::{Auth, VhostConfig};
use crate::core::role::Role;
use crate::core::{Cause, Demotions, Instant, Priority, State, Suspicion};
use crate::journal::Entry;
use ha_common::reason::{Counters, Reason};

pub use self::charge::{ChargeStatus, FaultStatus, PartStatus, StepTimeStatus};
pub use self::peer_link::{PeerConditionStatus, PeerLinkStatus, PeerNodeStatus, PeerPathStatus};

pub use self::detector::{
    Bucket, DetectorStatus, HistogramStatus, JitterStatus, LatenessStatus, LeaseStatus, RealtimeStatus,
};
pub use self::pair::PairStatus;
pub use self::reasons::{PeerFactsStatus, ReasonStatus};
pub(crate) use self::reasons::{Surroundings, facts};
pub use self::shared::SharedStatus;
pub use self::witness::WitnessStatus;

/// What one node knows of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The agent's version.
    pub version: String,
    /// When this was read.
    pub as_of: Timestamp,
    /// The same moment on `CLOCK_MONOTONIC`, in ns.
    pub as_of_monotonic_ns: u64,
    /// For how long the agent has run, in s.
    #[serde(default)]
    pub uptime_s: f64,
    /// What it is to its clients: `MASTER`, `BACKUP`, `ELECTING`, `IMPORTING`, `ERROR`, `SINGLE` or `UNKNOWN`.
    pub role: Role,
    /// Whether an operator holds it.
    pub maintenance: bool,
    /// What stands in the way of an action, the worst first.
    pub reasons: Vec<ReasonStatus>,
    /// The other node; `null` until it told something.
    pub peer: Option<PeerFactsStatus>,
    /// How this node stands in its pair; `null` if it is not one of two.
    pub pair: Option<PairStatus>,
    /// What it has in charge beside addresses; `null` if nothing.
    #[serde(default)]
    pub charge: Option<ChargeStatus>,
    /// What is known of the witness; `null` if there is none in the configuration.
    pub witness: Option<WitnessStatus>,
    /// The configuration that it shares with the peer; `null` if it shares nothing.
    #[serde(default)]
    pub shared: Option<SharedStatus>,
    /// Why it would rather not be master.
    pub demotion: DemotionStatus,
    /// How its detector is doing.
    pub detector: DetectorStatus,
    /// The link to the peer's agent; `null` if there is none in the configuration.
    pub peer_link: Option<PeerLinkStatus>,
    /// Its virtual hosts, in the order of the configuration.
    pub vhosts: Vec<VhostStatus>,
    /// Frames on protocol 112 that are for none of our virtual hosts, by reason.
    pub other_frames: BTreeMap<String, u64>,
}

/// Why a node would rather not be master.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemotionStatus {
    /// As it is advertised; 0 is none.
    pub level: u8,
    /// What adds up to it.
    pub causes: Vec<DemotionCause>,
}

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemotionCause {
    /// `hold`, `link_down` or `send_errors`.
    pub name: String,
    /// The interface that it is about.
    pub detail: Option<String>,
}

/// What a node knows of one virtual host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VhostStatus {
    /// The operator's name for it.
    pub name: String,
    /// The interface that it lives on.
    pub interface: String,
    /// How frames are received there: `native`, `generic`, `tcx` or `packet`, with the interface that the program is attached to
    /// where that is another one; `null` while the interface is not there.
    pub receive: Option<String>,
    /// What is lost by it, against the driver (`native`); `null` if nothing is.
    #[serde(default)]
    pub receive_lost: Option<String>,
    /// Its number.
    pub vhid: u8,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Its priority on the wire: seconds.
    pub advbase: u8,
    /// Its priority on the wire: 1/256 seconds.
    pub advskew: u8,
    /// From one advertisement to the next, in ms.
    pub interval_ms: f64,
    /// From the last advertisement heard to the takeover, in ms.
    pub master_down_ms: f64,
    /// Whether it takes over from a worse master.
    pub preempt: bool,
    /// `compat` or `strict`.
    pub mode: String,
    /// Which families must be heard: `either` or `both`.
    pub families: String,
    /// `INIT`, `BACKUP` or `MASTER`.
    pub state: String,
    /// Since when; the start of the agent if it never changed.
    pub since: Timestamp,
    /// How long, in s.
    pub since_s: f64,
    /// The last change of state.
    pub last_change: Option<Change>,
    /// The changes before it, oldest first, the last one included.
    pub history: Vec<Change>,
    /// Who was heard last.
    pub peer: Option<PeerStatus>,
    /// Everybody who was heard.
    pub peers: Vec<PeerStatus>,
    /// What looks like an attack.
    pub suspicions: Vec<SuspicionStatus>,
    /// How often this node slept longer than its peers wait.
    pub stalls: u64,
    /// As a backup: who watches for the master's silence, `kernel` or, until it was heard, `agent`.
    pub watch: Option<String>,
    /// How often the kernel's timer fired so late that it was not believed.
    pub late_timers: u64,
    /// As a backup: from one advertisement heard to the next, the last 64, oldest first, in ms.
    #[serde(default)]
    pub arrivals_ms: Vec<f64>,
    /// The least that was left of [`master_down_ms`](Self::master_down_ms) when one of these came, in ms; `null` if there are none.
    #[serde(default)]
    pub least_margin_ms: Option<f64>,
    /// Advertisements sent.
    pub sent: u64,
    /// Advertisements that could not be sent.
    pub send_errors: u64,
    /// Authentic advertisements of others.
    pub accepted: u64,
    /// Frames refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// What goes wrong at the moment.
    pub fault: Option<String>,
}

/// A change of state, with the time of each phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// The cause's name: `silence`, `bow_out`, …
    pub cause: String,
    /// The cause as a sentence.
    pub sentence: String,
    /// When.
    pub at: Timestamp,
    /// The same moment on `CLOCK_MONOTONIC`, in ns.
    pub at_ns: u64,
    /// The last advertisement heard before a takeover, in ns.
    pub last_heard_ns: Option<u64>,
    /// When patience ended, in ns.
    pub deadline_ns: Option<u64>,
    /// When the new master's first advertisement had left, in ns.
    pub advertised_ns: Option<u64>,
    /// When its addresses were up, in ns.
    pub address_up_ns: Option<u64>,
    /// When they had been announced, in ns.
    pub announced_ns: Option<u64>,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its address.
    pub address: IpAddr,
    /// Its priority: seconds.
    pub advbase: u8,
    /// Its priority: 1/256 seconds.
    pub advskew: u8,
    /// Its demotion level.
    pub demote: u8,
    /// Which of our passphrases it signs with: 1 is the first.
    pub passphrase: u32,
    /// Strict mode: how far its clock is ahead of ours, in ms.
    pub clock_difference_ms: Option<i64>,
    /// When its last advertisement arrived.
    pub last_heard: Timestamp,
    /// How long ago that was, in ms.
    pub age_ms: f64,
}

/// Something that looks like an attack, of one kind and from one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspicionStatus {
    /// `two_sources`, `regressed`, `repeated`, `sudden_priority`, `bad_digests`, `replayed`, `stale`, `rewritten`.
    pub name: String,
    /// The source address of the frames.
    pub source: IpAddr,
    /// How often.
    pub count: u64,
    /// When last.
    pub last: Timestamp,
    /// What it means.
    pub sentence: String,
}

/// Turns moments into times of day: both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// The time of day.
    pub wall: Timestamp,
    /// The same moment on `CLOCK_MONOTONIC`.
    pub monotonic: Instant,
}

impl Clocks {
    /// The time of day of a moment that is past.
    #[must_use]
    pub fn wall(&self, moment: Instant) -> Timestamp {
        let age = self.monotonic.saturating_since(moment);
        SignedDuration::try_from(age)
            .ok()
            .and_then(|age| self.wall.checked_sub(age).ok())
            .unwrap_or(self.wall)
    }
}

/// What the parts of the agent know of one virtual host.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Its configuration.
    pub config: &'a VhostConfig,
    /// How advertisements are authenticated.
    pub auth: &'a Auth,
    /// What the detector knows.
    pub detector: &'a VhostSnapshot,
    /// What the kernel counted.
    pub kernel: Counters,
    /// What is suspicious by that.
    pub suspected: Vec<Suspicion>,
    /// Its transitions, oldest first.
    pub journal: Vec<Entry>,
    /// When the agent started.
    pub started: Instant,
    /// How frames are received.
    pub receive: Option<Receiving>,
    /// What goes wrong.
    pub fault: Option<String>,
}

/// How frames are received on an interface.
#[derive(Clone, Debug)]
pub struct Receiving {
    /// By what, and where if that is another interface.
    pub by: String,
    /// What is lost by it.
    pub lost: Option<&'static str>,
}

impl VhostStatus {
    /// Puts the parts together.
    #[must_use]
    pub fn new(clocks: Clocks, parts: &Parts<'_>) -> Self {
        let Parts { config, detector, kernel, journal, .. } = parts;
        let pace = hosts::pace(config.pace);
        let priority = Priority { advbase: config.advbase, advskew: config.advskew };
        let since = journal.last().map_or(parts.started, |entry| entry.transition.at);
        let history: Vec<Change> = journal.iter().map(|entry| Change::new(clocks, entry)).collect();
        let mut refused = *kernel;
        refused.add(&detector.refused);
        let arrivals_ms: Vec<f64> = detector.arrivals.iter().map(|us| f64::from(*us) / 1e3).collect();
        let master_down_ms = pace.master_down_time(priority).as_secs_f64() * 1e3;
        let longest = arrivals_ms.iter().copied().reduce(f64::max);
        let passphrases = u32::try_from(parts.auth.passphrases.len()).unwrap_or(u32::MAX);
        Self {
            name: config.name.clone(),
            interface: config.interface.clone(),
            receive: parts.receive.as_ref().map(|receive| receive.by.clone()),
            receive_lost: parts.receive.as_ref().and_then(|receive| receive.lost).map(str::to_owned),
            vhid: config.vhid,
            addresses: config.addresses.clone(),
            advbase: config.advbase,
            advskew: config.advskew,
            interval_ms: pace.advertisement_interval(priority).as_secs_f64() * 1e3,
            master_down_ms,
            preempt: config.preempt,
            mode: parts.auth.mode.to_string(),
            families: config.families.to_string(),
            state: detector.state.to_string(),
            since: clocks.wall(since),
            since_s: clocks.monotonic.saturating_since(since).as_secs_f64(),
            last_change: history.last().cloned(),
            history,
            peer: detector
                .peers
                .iter()
                .max_by_key(|peer| peer.heard)
                .map(|peer| PeerStatus::new(clocks, peer, passphrases)),
            peers: detector.peers.iter().map(|peer| PeerStatus::new(clocks, peer, passphrases)).collect(),
            suspicions: detector
                .suspicions
                .iter()
                .chain(&parts.suspected)
                .map(|suspicion| SuspicionStatus::new(clocks, suspicion))
                .collect(),
            stalls: detector.stalls,
            watch: detector.watched.map(|kernel| if kernel { "kernel" } else { "agent" }.to_owned()),
            late_timers: detector.late_timers,
            least_margin_ms: longest.map(|longest| (master_down_ms - longest).max(0.0)),
            arrivals_ms,
            sent: detector.sent,
            send_errors: detector.send_errors,
            accepted: kernel.accepted.saturating_sub(in_user_space(&detector.refused)),
            refused: by_reason(&refused),
            fault: parts.fault.clone(),
        }
    }

    /// Whether it is where it should be: neither without its interface nor with a fault.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.state != State::Init.to_string() && self.fault.is_none()
    }
}

impl Change {
    /// From what was written down.
    #[must_use]
    pub fn new(clocks: Clocks, entry: &Entry) -> Self {
        let transition = &entry.transition;
        let (last_heard, deadline) = match transition.cause {
            Cause::Silence { last_heard, deadline, .. } => (last_heard, Some(deadline)),
            Cause::Started
            | Cause::BowOut { .. }
            | Cause::Demoted { .. }
            | Cause::LessDemoted { .. }
            | Cause::Stalled { .. }
            | Cause::Preempt { .. }
            | Cause::Hopeless { .. }
            | Cause::Superior { .. }
            | Cause::Tie { .. }
            | Cause::Active
            | Cause::Resumed
            | Cause::LinkDown(_)
            | Cause::Leave => (None, None),
        };
        Self {
            from: transition.from.to_string(),
            to: transition.to.to_string(),
            cause: transition.cause.name().to_owned(),
            sentence: transition.cause.to_string(),
            at: clocks.wall(transition.at),
            at_ns: transition.at.as_nanos(),
            last_heard_ns: last_heard.map(Instant::as_nanos),
            deadline_ns: deadline.map(Instant::as_nanos),
            advertised_ns: entry.advertised.map(Instant::as_nanos),
            address_up_ns: entry.address_up.map(Instant::as_nanos),
            announced_ns: entry.announced.map(Instant::as_nanos),
        }
    }
}

impl PeerStatus {
    fn new(clocks: Clocks, peer: &Peer, passphrases: u32) -> Self {
        Self {
            address: peer.source,
            advbase: peer.advertisement.priority.advbase,
            advskew: peer.advertisement.priority.advskew,
            demote: peer.advertisement.demote,
            // With the addresses, or after a reload, with those before.
            passphrase: peer.signer % passphrases.max(1) + 1,
            clock_difference_ms: peer.clock_difference_ms,
            last_heard: clocks.wall(peer.heard),
            age_ms: clocks.monotonic.saturating_since(peer.heard).as_secs_f64() * 1e3,
        }
    }
}

impl SuspicionStatus {
    fn new(clocks: Clocks, suspicion: &Suspicion) -> Self {
        Self {
            name: suspicion.kind.name().to_owned(),
            source: suspicion.source,
            count: suspicion.count,
            last: clocks.wall(suspicion.last),
            sentence: suspicion.to_string(),
        }
    }
}

impl DemotionStatus {
    /// What the detector knows of it.
    #[must_use]
    pub fn new(demotions: &Demotions) -> Self {
        let cause = |cause: &crate::core::demotion::Cause| DemotionCause {
            name: cause.name().to_owned(),
            detail: cause.detail().map(str::to_owned),
        };
        Self { level: demotions.level(), causes: demotions.causes().map(cause).collect() }
    }
}

/// Counters by name, those that counted nothing too.
#[must_use]
pub fn by_reason(counters: &Counters) -> BTreeMap<String, u64> {
    Reason::ALL.iter().map(|&reason| (reason.label().to_owned(), counters.refused(reason))).collect()
}

fn in_user_space(refused: &Counters) -> u64 {
    Reason::ALL.iter().map(|&reason| refused.refused(reason)).sum()
}
