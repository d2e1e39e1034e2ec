//! What is known of the link.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::core::Instant;
use crate::peer::identity::NodeId;

/// The link as a whole, and each of its paths. What is `Up` now may be old by the time it is read: its age is told by
/// `heard`, on the kernel's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// In all: that of the best path.
    pub condition: Condition,
    /// The peer; `None` while unpaired.
    pub peer: Option<Peer>,
    /// Whether this node waits for the peer to accept its next certificate.
    pub rotating: bool,
    /// The addresses of the configuration in their order, then where else the peer comes from.
    pub paths: Vec<PathStatus>,
}

/// How the link is, or one path of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nobody was introduced to this node yet.
    Unpaired,
    /// There is no connection.
    Down {
        /// Why, in a few words.
        why: String,
    },
    /// There is a connection, but whoever is at its other end has not answered for the dead time.
    NotAnswering {
        /// When the peer was heard last on it.
        heard: Option<Instant>,
    },
    /// The peer answers.
    Up {
        /// Where the peer is.
        via: SocketAddr,
        /// From the last heartbeat to its answer.
        round_trip: Duration,
        /// When the peer was heard last.
        heard: Instant,
    },
}

impl Condition {
    /// Its name: `unpaired`, `down`, `not_answering` or `up`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unpaired => "unpaired",
            Self::Down { .. } => "down",
            Self::NotAnswering { .. } => "not_answering",
            Self::Up { .. } => "up",
        }
    }

    /// All names.
    pub const NAMES: [&'static str; 4] = ["unpaired", "down", "not_answering", "up"];
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unpaired => {
                f.write_str("not paired; run `ha-agent pair init` here and `pair join` on the other node")
            }
            Self::Down { why } => write!(f, "down: {why}"),
            Self::NotAnswering { .. } => {
                f.write_str("not answering: the connection stands, but nobody answers on it")
            }
            Self::Up { via, .. } => write!(f, "up via {via}"),
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number, by its certificate.
    pub id: NodeId,
    /// Its name: as it says itself, or by its certificate until it does.
    pub name: String,
    /// The version of its agent, once it has said it.
    pub agent: Option<String>,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// Where the peer is on it.
    pub address: SocketAddr,
    /// How it is.
    pub condition: Condition,
}
