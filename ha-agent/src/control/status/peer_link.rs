//! The link to the peer's agent.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Clocks;
use crate::peer::link::status::{Condition, LinkStatus, PathStatus, Peer};

/// The link to the peer's agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerLinkStatus {
    /// In all: that of the best path.
    #[serde(flatten)]
    pub condition: PeerConditionStatus,
    /// Who is at the other end; `null` while unpaired.
    pub peer: Option<PeerNodeStatus>,
    /// Whether this node waits for the peer to accept its next certificate.
    pub rotating: bool,
    /// The addresses of the configuration, best first, then where else the peer comes from.
    pub paths: Vec<PeerPathStatus>,
}

/// How the link is, or one path of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerConditionStatus {
    /// `unpaired`, `down`, `not_answering` or `up`.
    pub state: String,
    /// The same for people, with the cause where there is one.
    pub sentence: String,
    /// Where the peer is; `null` unless up.
    pub via: Option<SocketAddr>,
    /// From the last heartbeat to its answer, in ms; `null` unless up.
    pub round_trip_ms: Option<f64>,
    /// How long ago the peer was heard, in ms; `null` if not on the connection that stands, or if none does.
    pub age_ms: Option<f64>,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerNodeStatus {
    /// The node's name.
    pub name: String,
    /// Its number.
    pub id: String,
    /// The version of its agent; `null` until it was heard.
    pub agent: Option<String>,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerPathStatus {
    /// Where the peer is on it.
    pub address: SocketAddr,
    /// How it is.
    #[serde(flatten)]
    pub condition: PeerConditionStatus,
}

impl PeerLinkStatus {
    /// What is known of it, at a moment.
    #[must_use]
    pub fn new(clocks: Clocks, status: &LinkStatus) -> Self {
        let LinkStatus { condition, peer, rotating, paths } = status;
        let node = |Peer { id, name, agent }: &Peer| PeerNodeStatus {
            name: name.clone(),
            id: id.to_string(),
            agent: agent.clone(),
        };
        let path = |PathStatus { address, condition }: &PathStatus| PeerPathStatus {
            address: *address,
            condition: PeerConditionStatus::new(clocks, condition),
        };
        Self {
            condition: PeerConditionStatus::new(clocks, condition),
            peer: peer.as_ref().map(node),
            rotating: *rotating,
            paths: paths.iter().map(path).collect(),
        }
    }
}

impl PeerConditionStatus {
    fn new(clocks: Clocks, condition: &Condition) -> Self {
        let (via, round_trip, heard) = match condition {
            Condition::Unpaired | Condition::Down { .. } => (None, None, None),
            Condition::NotAnswering { heard } => (None, None, *heard),
            Condition::Up { via, round_trip, heard } => (Some(*via), Some(*round_trip), Some(*heard)),
        };
        Self {
            state: condition.name().to_owned(),
            sentence: condition.to_string(),
            via,
            round_trip_ms: round_trip.map(|round_trip| round_trip.as_secs_f64() * 1e3),
            age_ms: heard.map(|heard| clocks.monotonic.saturating_since(heard).as_secs_f64() * 1e3),
        }
    }
}
