//! Why an action is not possible: every cause has a name, a sentence with a remedy, and the actions that it blocks.
//!
//! [`reasons`] finds them in plain facts of both nodes; [`Code::definition`] is where each is defined, and
//! `docs/reasons.md` shows them all.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::group::Links;
use super::liveness::{DiskKeys, PeerLink, Verdict, Witness, listed};
use super::role::{FRESH, Role};
use super::same_state::Same;

pub use self::code::{Action, Code, Definition, Scope, Severity};
pub use self::facts::{Facts, Heartbeat, Interface, NodeFacts, Storage, Told, VirtualHost};

mod code;
mod facts;

#[cfg(test)]
mod tests;

/// A cause at hand.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reason {
    /// Which.
    pub code: Code,
    /// Whose.
    pub side: Side,
    /// What it is about: the paths, the interfaces, what differs.
    pub detail: Option<String>,
}

/// Whose a reason is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// This node's, or the pair's.
    Local,
    /// The peer's, as it told.
    Remote,
}

/// All that stands in the way of something, the worst first.
///
/// Of a peer that is dead nothing counts any more but that it is: it is never a reason not to save the service.
#[must_use]
pub fn reasons(facts: &Facts) -> Vec<Reason> {
    let mut found = of_node(&facts.own);
    let verdict = facts.own.evidence.judge().verdict;
    if facts.own.evidence.peer_link != PeerLink::Unpaired && verdict != Verdict::Dead {
        found.extend(facts.same_state.map(|same| local(same_state(same), None)));
        if let Some(told) = &facts.peer {
            found.extend(differences(&facts.own, &told.facts));
            // What differs stays so; all else may be over by now.
            if told.age <= FRESH {
                let remote = |reason| Reason { side: Side::Remote, ..reason };
                found.extend(of_node(&told.facts).into_iter().map(remote));
            }
        }
    }
    found.sort_by_key(|reason| std::cmp::Reverse(reason.severity()));
    found
}

/// Those of `reasons` that block `action`.
pub fn blocking(reasons: &[Reason], action: Action) -> impl Iterator<Item = &Reason> {
    reasons.iter().filter(move |reason| reason.blocks(action))
}

/// The severity of the worst; `None` if there is none.
#[must_use]
pub fn worst(reasons: &[Reason]) -> Option<Severity> {
    reasons.iter().map(Reason::severity).max()
}

impl Reason {
    /// The name that an operator knows; those of the peer begin with `REM_`.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.code.definition().name;
        match self.side {
            Side::Local => name.to_owned(),
            Side::Remote => format!("REM_{}", name.strip_prefix("LOC_").unwrap_or(name)),
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.code.definition().severity
    }

    /// Whether `action` of this node is blocked by it.
    ///
    /// What keeps the peer from taking the role keeps us from giving it away, and the other way round. Nothing of the
    /// peer's blocks what we do without it.
    #[must_use]
    pub fn blocks(&self, action: Action) -> bool {
        let blocks = |action| self.code.definition().blocks.contains(&action);
        match (self.side, action) {
            (Side::Local, action) => blocks(action),
            (Side::Remote, Action::SwitchoverAway) => blocks(Action::SwitchoverHere),
            (Side::Remote, Action::SwitchoverHere) => blocks(Action::SwitchoverAway),
            (Side::Remote, Action::AutomaticFailover | Action::Forced) => false,
        }
    }
}

/// The name, and a sentence with the remedy.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Definition { sentence, remedy, .. } = self.code.definition();
        let whose = match self.side {
            Side::Local => "",
            Side::Remote => "on the peer: ",
        };
        write!(f, "{}: {whose}{sentence}", self.name())?;
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, " ({detail})"))?;
        write!(f, "; {remedy}")
    }
}

/// What a node's own facts give.
fn of_node(node: &NodeFacts) -> Vec<Reason> {
    let judgement = node.evidence.judge();
    let paired = node.evidence.peer_link != PeerLink::Unpaired;
    let critical: Vec<_> = node.interfaces.iter().filter(|(_, interface)| interface.critical).collect();
    let has_critical = !critical.is_empty();
    let critical_link = critical.iter().any(|(_, interface)| interface.link);
    let storage = node.storage.as_ref();
    let silent = || Some(listed(&judgement.silence)).filter(|paths| !paths.is_empty());
    let in_groups = |links: Links| {
        let names: Vec<_> =
            node.groups.iter().filter(|(_, its)| **its == links).map(|(name, _)| name).collect();
        (!names.is_empty()).then(|| listed(&names))
    };
    let links = || Some(listed(&critical.iter().map(|(name, _)| name).collect::<Vec<_>>()));
    let found = [
        node.vhosts.iter().all(|vhost| vhost.addresses.is_empty()).then(|| local(Code::NoVip, None)),
        (!has_critical).then(|| local(Code::NoCriticalInterfaces, None)),
        (has_critical && !critical_link).then(|| local(Code::NoLink, links())),
        in_groups(Links::Gone).filter(|_| critical_link).map(|names| local(Code::GroupLost, Some(names))),
        in_groups(Links::Reduced).map(|names| local(Code::GroupReduced, Some(names))),
        storage.is_some_and(|it| it.volumes == 0).then(|| local(Code::NoVolume, None)),
        storage.is_some_and(|it| !it.fence).then(|| local(Code::NoFenced, None)),
        (node.evidence.disk_keys == DiskKeys::Unreadable).then(|| local(Code::NoDiskKeys, None)),
        (!node.faults.is_empty()).then(|| local(Code::ResourceFault, Some(listed(&node.faults)))),
        (node.evidence.witness == Witness::Unreachable).then(|| local(Code::NoWitness, None)),
        heartbeat(node.heartbeat).map(|code| local(code, None)),
        node.unstored.as_ref().map(|cause| local(Code::NoStore, Some(cause.clone()))),
        (!node.ready).then(|| local(Code::NotReady, None)),
        (node.role == Role::Error).then(|| local(Code::LocError, None)),
        node.ongoing.then(|| local(Code::LocFailoverOngoing, None)),
        node.maintenance.then(|| local(Code::LocMaintenance, None)),
        (!node.enabled).then(|| local(Code::NoFailover, None)),
        node.held.then(|| local(Code::TooManyFailovers, None)),
        peer_link(node.evidence.peer_link).map(|code| local(code, None)),
        (judgement.verdict == Verdict::Partitioned).then(|| local(Code::Partitioned, silent())),
        shared_waits(node).map(|why| local(Code::ConfigWaits, Some(why))),
        // Who serves needs no evidence to go on.
        (paired && judgement.verdict == Verdict::Unknown && !node.role.serves())
            .then(|| local(Code::NoEvidence, None)),
    ];
    found.into_iter().flatten().collect()
}

/// What differs between the two.
fn differences(own: &NodeFacts, peer: &NodeFacts) -> Vec<Reason> {
    let vips = |node: &NodeFacts| -> BTreeSet<String> {
        let addresses = |vhost: &VirtualHost| listed(&vhost.addresses.iter().collect::<Vec<_>>());
        node.vhosts.iter().map(|vhost| format!("vhid {}: {}", vhost.vhid, addresses(vhost))).collect()
    };
    let nics = |node: &NodeFacts| node.interfaces.keys().cloned().collect();
    let disks = |node: &NodeFacts| node.storage.as_ref().map(|it| it.disks.clone()).unwrap_or_default();
    let versions = || Some(format!("{} here, {} there", own.version, peer.version));
    let name = &own.claim.node;
    let found = [
        (*name == peer.claim.node).then(|| local(Code::SameName, Some(name.clone()))),
        difference(&vips(own), &vips(peer)).map(|detail| local(Code::DisagreeVip, Some(detail))),
        difference(&disks(own), &disks(peer)).map(|detail| local(Code::MismatchDisks, Some(detail))),
        difference(&nics(own), &nics(peer)).map(|detail| local(Code::MismatchNics, Some(detail))),
        (!are_neighbours(&own.version, &peer.version)).then(|| local(Code::MismatchVersions, versions())),
        shared_differs(own, peer).map(|why| local(Code::ConfigDiffers, Some(why))),
    ];
    found.into_iter().flatten().collect()
}

fn shared_waits(node: &NodeFacts) -> Option<String> {
    node.shared.as_ref()?.waits.clone()
}

/// Why the shared configurations differ for longer than it takes to tell.
fn shared_differs(own: &NodeFacts, peer: &NodeFacts) -> Option<String> {
    let (own, peer) = match (&own.shared, &peer.shared) {
        (None, None) => return None,
        (Some(_), None) => return Some("only this node has one".to_owned()),
        (None, Some(_)) => return Some("only the peer has one".to_owned()),
        (Some(own), Some(peer)) => (own, peer),
    };
    let here = own.trouble.as_ref().map(|why| format!("here: {why}"));
    let there = peer.trouble.as_ref().map(|why| format!("there: {why}"));
    let stuck = || own.standing.stuck(&peer.standing).map(str::to_owned);
    here.or(there).or_else(stuck)
}

/// What only one of them has.
fn difference(ours: &BTreeSet<String>, theirs: &BTreeSet<String>) -> Option<String> {
    let only = |of: &BTreeSet<String>, other: &BTreeSet<String>, place: &str| {
        let only: Vec<_> = of.difference(other).collect();
        (!only.is_empty()).then(|| format!("only {place}: {}", listed(&only)))
    };
    let sides: Vec<String> =
        [only(ours, theirs, "here"), only(theirs, ours, "there")].into_iter().flatten().collect();
    (!sides.is_empty()).then(|| sides.join("; "))
}

/// Whether agents of these versions work together: the first number is the same, the second differs by one at most.
/// Those that are no versions must be equal.
fn are_neighbours(one: &str, other: &str) -> bool {
    let numbers = |version: &str| -> Option<(u32, u32)> {
        let mut parts = version.split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    };
    match (numbers(one), numbers(other)) {
        (Some((major, minor)), Some((other_major, other_minor))) => {
            major == other_major && minor.abs_diff(other_minor) <= 1
        }
        (Some(_) | None, _) => one == other,
    }
}

fn heartbeat(heartbeat: Heartbeat) -> Option<Code> {
    match heartbeat {
        Heartbeat::None | Heartbeat::Up => None,
        Heartbeat::Missing => Some(Code::NoHeartbeatIface),
        Heartbeat::NoCarrier => Some(Code::NoCarrierOnHeartbeat),
    }
}

fn peer_link(link: PeerLink) -> Option<Code> {
    match link {
        PeerLink::Answering => None,
        PeerLink::NotAnswering | PeerLink::Down => Some(Code::NoPong),
        PeerLink::Unpaired => Some(Code::NoPeer),
    }
}

fn same_state(same: Same) -> Code {
    match same {
        Same::Master => Code::SameStateMaster,
        Same::Backup => Code::SameStateBackup,
    }
}

fn local(code: Code, detail: Option<String>) -> Reason {
    Reason { code, side: Side::Local, detail }
}
