//! What the nodes are, and what stands in the way of an action.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::detector::groups::Groups;
use crate::agent::detector::{Snapshot, VhostSnapshot};
use crate::agent::hosts;
use crate::config::{Config, VhostConfig};
use crate::core::demotion::Cause;
use crate::core::liveness::{Carp, DiskKeys, Evidence, PeerLink, Witness};
use crate::core::reasons::{
    Action, Code, Facts, Heartbeat, Interface, NodeFacts, Reason, Severity, Storage, Told, VirtualHost,
    reasons,
};
use crate::core::role::{Other, Role, Work};
use crate::core::same_state::{Claim, Reservation};
use crate::core::shared;
use crate::core::{Contender, Instant, Priority, State};
use crate::peer::link::status::Condition;

/// A reason, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonStatus {
    /// `NO_LINK`, `LOC_MAINTENANCE`, …: see `docs/reasons.md`.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is the case, and the remedy.
    pub sentence: String,
    /// What it blocks.
    pub blocks: Vec<Action>,
}

impl ReasonStatus {
    /// All that stand in this node's way, the worst first.
    pub(crate) fn all(facts: &Facts, is_one_of_a_pair: bool) -> Vec<Self> {
        let mut found = reasons(facts);
        // That no peer was introduced says nothing where none is to be.
        found.retain(|reason| is_one_of_a_pair || reason.code != Code::NoPeer);
        found.iter().map(Self::new).collect()
    }

    fn new(reason: &Reason) -> Self {
        Self {
            name: reason.name(),
            severity: reason.severity(),
            sentence: reason.to_string(),
            blocks: Action::ALL.into_iter().filter(|action| reason.blocks(*action)).collect(),
        }
    }
}

/// The other node, as it told last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerFactsStatus {
    /// Its name.
    pub node: String,
    /// The version of its agent.
    pub version: String,
    /// For how long its agent had run when it told that, in s; `null` if an older agent does not say.
    #[serde(default)]
    pub uptime_s: Option<f64>,
    /// What it is to its clients.
    pub role: Role,
    /// Whether an operator holds it.
    pub maintenance: bool,
    /// Its interfaces that have virtual hosts, and whether they have link.
    pub interfaces: BTreeMap<String, bool>,
    /// How long ago it told that, in ms.
    pub age_ms: f64,
}

impl PeerFactsStatus {
    pub(crate) fn new(told: &Told) -> Self {
        let NodeFacts { version, uptime_ms, role, claim, maintenance, interfaces, .. } = &told.facts;
        Self {
            node: claim.node.clone(),
            version: version.clone(),
            uptime_s: uptime_ms.map(|ms| Duration::from_millis(ms).as_secs_f64()),
            role: *role,
            maintenance: *maintenance,
            interfaces: interfaces.iter().map(|(name, interface)| (name.clone(), interface.link)).collect(),
            age_ms: told.age.as_secs_f64() * 1e3,
        }
    }
}

/// What an agent knows of its node beside what its detector does.
pub(crate) struct Surroundings<'a> {
    /// For how long its agent has run.
    pub(crate) uptime: Duration,
    /// How the link to its peer is, if there is to be one.
    pub(crate) link: Option<&'a Condition>,
    /// How the interface of the link's best path is.
    pub(crate) interlink: Heartbeat,
    /// Why what it must know of the pair can't be stored.
    pub(crate) unstored: Option<String>,
    /// Whether there is a witness that can't be reached.
    pub(crate) witness_lost: bool,
    /// What it shares with the peer: disks, pools and a fence; `None` if nothing.
    pub(crate) storage: Option<Storage>,
    /// What is not well of that which it has in charge.
    pub(crate) faults: Vec<String>,
    /// What the peer's keys on the shared disks say.
    pub(crate) disk_keys: DiskKeys,
    /// The configuration that it has in common with the peer.
    pub(crate) shared: Option<shared::Told>,
}

/// What this node knows of itself.
pub(crate) fn facts(config: &Config, snapshot: &Snapshot, around: Surroundings<'_>) -> NodeFacts {
    let Surroundings { uptime, link, interlink, unstored, witness_lost, storage, faults, disk_keys, shared } =
        around;
    // One that comes or goes just now is only in one of the two.
    let known = config.vhosts.iter().filter_map(|vhost| Some((vhost, snapshot.vhosts.get(&vhost.index)?)));
    let vhosts: Vec<_> = known.collect();
    let states: Vec<State> = vhosts.iter().map(|(_, vhost)| vhost.state).collect();
    let record = snapshot.pair.map(|pair| pair.record);
    let held = record.is_some_and(|record| record.held);
    let maintenance = held || snapshot.demotions.causes().any(|cause| *cause == Cause::Hold);
    let heard: Vec<Carp> = vhosts.iter().map(|(config, vhost)| carp(config, vhost, snapshot)).collect();
    let other = if heard.contains(&Carp::Heard) {
        Other::Serves
    } else if peer_link(link) == PeerLink::Answering
        || vhosts.iter().any(|(_, vhost)| !vhost.peers.is_empty())
    {
        Other::Quiet
    } else {
        Other::Nobody
    };
    let carp_role = Role::of(&states, Work::Idle, other);
    let role = snapshot.pair.map_or(carp_role, |pair| {
        let peer_serves = other == Other::Serves || pair.peer.is_some_and(|peer| peer.role.leads());
        carp_role.in_pair(pair.phase, peer_serves)
    });
    let mut groups = Groups::new(&config.vhosts);
    groups.see(vhosts.iter().map(|(config, vhost)| (config.index, vhost.state)));
    let mut interfaces = BTreeMap::new();
    // There is one lease for both nodes: that the peer has none says nothing of its life.
    let witness = if witness_lost { Witness::Unreachable } else { Witness::None };
    let mut evidence = Evidence { peer_link: peer_link(link), disk_keys, witness, ..Evidence::default() };
    for ((config, vhost), heard) in vhosts.iter().zip(&heard) {
        let name = &config.interface;
        let interface = interfaces.entry(name.clone()).or_insert(Interface { critical: false, link: false });
        interface.critical |= config.critical;
        interface.link |= vhost.state != State::Init;
        let carp = evidence.carp.entry(name.clone()).or_insert(*heard);
        if *heard == Carp::Heard {
            *carp = *heard;
        }
    }
    NodeFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: Some(u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)),
        role,
        carp_role: Some(carp_role),
        claim: claim(config, snapshot),
        maintenance,
        enabled: record.is_none_or(|record| !record.shared.disabled),
        ready: true,
        ongoing: states.contains(&State::Leaving),
        held: snapshot.pair.is_some_and(|pair| pair.braked),
        unstored,
        vhosts: config.vhosts.iter().map(virtual_host).collect(),
        interfaces,
        groups: groups.links(),
        heartbeat: match interlink {
            // Not every address that one can listen at is among those that are looked through.
            Heartbeat::Missing if peer_link(link) == PeerLink::Answering => Heartbeat::None,
            Heartbeat::Missing | Heartbeat::None | Heartbeat::NoCarrier | Heartbeat::Up => interlink,
        },
        storage,
        faults,
        evidence,
        shared,
    }
}

fn peer_link(link: Option<&Condition>) -> PeerLink {
    match link {
        None | Some(Condition::Unpaired) => PeerLink::Unpaired,
        Some(Condition::Down { .. }) => PeerLink::Down,
        Some(Condition::NotAnswering { .. }) => PeerLink::NotAnswering,
        Some(Condition::Up { .. }) => PeerLink::Answering,
    }
}

/// What is heard of another node that serves. Upon silence a backup becomes master; in a pair, one that does not serve is
/// still the standby, and has the silence to tell of.
fn carp(config: &VhostConfig, vhost: &VhostSnapshot, snapshot: &Snapshot) -> Carp {
    let priority = configured(config).demoted(snapshot.demotions.level());
    let patience = hosts::pace(config.pace).master_down_time(priority);
    let is_heard = vhost.peers.iter().any(|peer| {
        !peer.advertisement.priority.is_bow_out() && snapshot.at.saturating_since(peer.heard) <= patience
    });
    let is_standby = snapshot.pair.is_some_and(|pair| !pair.serving);
    match vhost.state {
        State::Init => Carp::LinkDown,
        State::Master if is_standby && !is_heard => {
            let heard = vhost.peers.iter().map(|peer| peer.heard).max();
            // It became master after its patience had ended without a word.
            Carp::Silent { since: heard.unwrap_or_else(|| earlier(snapshot.at, patience)) }
        }
        State::Backup if is_heard => Carp::Heard,
        State::Backup | State::Master | State::Stalled | State::Leaving => Carp::NeverHeard,
    }
}

fn earlier(at: Instant, by: Duration) -> Instant {
    Instant::from_nanos(at.as_nanos().saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
}

/// Its source says nothing: there is nobody to compare it with.
fn claim(config: &Config, snapshot: &Snapshot) -> Claim {
    let demote = snapshot.demotions.level();
    let priority = config.vhosts.first().map_or(Priority::BOW_OUT, |vhost| configured(vhost).demoted(demote));
    let contender = Contender { demote, priority, source: IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    Claim { node: config.node.clone(), reservation: Reservation::NoDisks, contender }
}

fn configured(config: &VhostConfig) -> Priority {
    Priority { advbase: config.advbase, advskew: config.advskew }
}

fn virtual_host(config: &VhostConfig) -> VirtualHost {
    VirtualHost { vhid: config.vhid, addresses: config.addresses.iter().map(ToString::to_string).collect() }
}
