//! The facts that reasons are found in: plain values, which the nodes tell each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::group::Links;
use crate::core::liveness::Evidence;
use crate::core::role::{FRESH, Role};
use crate::core::same_state::{Claim, Same};
use crate::core::shared;
use crate::core::time::nanos;

/// What a node knows of itself and of the peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// This node.
    pub own: NodeFacts,
    /// What the peer told last; `None` if it never told anything.
    pub peer: Option<Told>,
    /// What both nodes are, once it has lasted.
    pub same_state: Option<Same>,
}

/// What the peer told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What.
    pub facts: NodeFacts,
    /// How long ago.
    #[serde(rename = "age_ns", with = "nanos")]
    pub age: Duration,
}

/// What a node tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all combinations occur")]
pub struct NodeFacts {
    /// The agent's version.
    pub version: String,
    /// For how long the agent has run, in ms; an older agent does not say.
    #[serde(default)]
    pub uptime_ms: Option<u64>,
    /// Its role.
    pub role: Role,
    /// The role by its virtual hosts alone, which in a pair may be another one; an older agent does not say.
    #[serde(default)]
    pub carp_role: Option<Role>,
    /// What it brings forward to keep the role; its name is in there.
    pub claim: Claim,
    /// Whether an operator wants the other one to serve.
    pub maintenance: bool,
    /// Whether failover is enabled for the pair.
    pub enabled: bool,
    /// Whether it has started as a whole.
    pub ready: bool,
    /// Whether it takes over or releases just now.
    pub ongoing: bool,
    /// Whether it moves no more by itself, after too many failovers.
    pub held: bool,
    /// Why its record of the pair can't be stored; an older agent does not say.
    #[serde(default)]
    pub unstored: Option<String>,
    /// Its virtual hosts.
    pub vhosts: Vec<VirtualHost>,
    /// Its interfaces that have virtual hosts, by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Its failover groups, by name; none from an agent that does not tell.
    #[serde(default)]
    pub groups: BTreeMap<String, Links>,
    /// The interface of the link between the agents.
    pub heartbeat: Heartbeat,
    /// What it shares with the peer; `None` for a pair without disks.
    pub storage: Option<Storage>,
    /// What is not well of that which it serves or would have to, beside addresses; none from an agent that does not tell.
    #[serde(default)]
    pub faults: Vec<String>,
    /// What it sees of the other node.
    pub evidence: Evidence,
    /// The configuration that it shares with the peer; `None` if it shares nothing.
    #[serde(default)]
    pub shared: Option<shared::Told>,
}

impl Facts {
    /// Whether the peer sees all shared disks that this node sees, and more, as far as what it told is fresh.
    #[must_use]
    pub fn peer_sees_more(&self) -> bool {
        let peer = self.peer.as_ref().filter(|told| told.age <= FRESH);
        let theirs = peer.and_then(|told| told.facts.storage.as_ref());
        let ours = self.own.storage.as_ref();
        ours.zip(theirs).is_some_and(|(ours, theirs)| {
            theirs.disks.len() > ours.disks.len() && theirs.disks.is_superset(&ours.disks)
        })
    }
}

impl NodeFacts {
    /// What the same-state rule is about: the role by its virtual hosts.
    #[must_use]
    pub fn carp_role(&self) -> Role {
        self.carp_role.unwrap_or(self.role)
    }
}

/// A virtual host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VirtualHost {
    /// Its number.
    pub vhid: u8,
    /// Its addresses with prefix length, as text.
    pub addresses: BTreeSet<String>,
}

/// An interface with a virtual host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Whether the service depends on it.
    pub critical: bool,
    /// Whether frames come and go.
    pub link: bool,
}

/// The interface of the link between the agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heartbeat {
    /// None is configured.
    #[default]
    None,
    /// It is not there.
    Missing,
    /// It has no carrier.
    NoCarrier,
    /// It works.
    Up,
}

/// What the nodes share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// The disks that the node sees, by serial number.
    pub disks: BTreeSet<String>,
    /// How many pools there are to serve.
    pub volumes: u32,
    /// Whether the fence works.
    pub fence: bool,
}
