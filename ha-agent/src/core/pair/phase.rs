//! What a node is doing, what it is busy with, and what it knows of the other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Link, Liveness, PeerVhosts};
use super::generation::Generation;
use super::message::{Request, State};
use super::report::{Claim, Why};

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing serves here.
    Standby,
    /// The same, and we have promised the peer to take over when it says so.
    Promised {
        /// The peer's virtual hosts were seen to lead since: so if they follow, they have bowed out.
        led: bool,
    },
    /// We mean to take over: our generation is being stored, and we make sure that we may.
    Claiming {
        /// Why.
        claim: Claim,
        /// With a lease: the peer has had time to stop.
        quiet: bool,
    },
    /// The executor takes over.
    Taking {
        /// Why.
        claim: Claim,
        /// It has; the generation is not stored yet.
        taken: bool,
    },
    /// We have just started and are found serving: we ask whether we still may.
    Resuming,
    /// We serve.
    Active,
    /// We serve, and have asked the peer whether it is ready.
    Offering,
    /// We serve; it is; that the next generation is the peer's is being stored.
    Granting,
    /// The executor releases.
    Releasing(Purpose),
    /// Nothing serves here, the peer was told, and we wait until it serves.
    Granted,
    /// We were to end this node.
    Ended,
}

impl Phase {
    /// The names of all.
    pub const NAMES: [&'static str; 11] = [
        "standby",
        "promised",
        "claiming",
        "taking",
        "resuming",
        "active",
        "offering",
        "granting",
        "releasing",
        "granted",
        "ended",
    ];

    /// A label for JSON, in `snake_case`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Promised { .. } => "promised",
            Self::Claiming { .. } => "claiming",
            Self::Taking { .. } => "taking",
            Self::Resuming => "resuming",
            Self::Active => "active",
            Self::Offering => "offering",
            Self::Granting => "granting",
            Self::Releasing(_) => "releasing",
            Self::Granted => "granted",
            Self::Ended => "ended",
        }
    }
}

/// What a release is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The peer is to take over.
    Handover,
    /// We may not serve any more.
    StepDown(Why),
    /// We could not take over.
    Undo(Why),
}

/// A switchover, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handover {
    pub(super) request: Request,
    /// What the taker would be active in; the first of all while it only asks.
    pub(super) generation: Generation,
    pub(super) forced: bool,
    pub(super) force_after: Option<Duration>,
}

/// What is known of the other node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) link: Link,
    /// The last that it said of itself.
    pub(super) state: Option<State>,
    /// It has said so since the link is up.
    pub(super) is_fresh: bool,
    pub(super) liveness: Liveness,
    pub(super) vhosts: PeerVhosts,
}

impl Peer {
    pub(super) fn answers(&self) -> bool {
        self.link == Link::Up && self.liveness != Liveness::Dead
    }

    /// How it is, if it can be asked.
    pub(super) fn fresh(&self) -> Option<State> {
        self.state.filter(|_| self.is_fresh && self.answers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_all() {
        let claim = Claim::Resumed;
        let all = [
            Phase::Standby,
            Phase::Promised { led: false },
            Phase::Claiming { claim, quiet: false },
            Phase::Taking { claim, taken: false },
            Phase::Resuming,
            Phase::Active,
            Phase::Offering,
            Phase::Granting,
            Phase::Releasing(Purpose::Handover),
            Phase::Granted,
            Phase::Ended,
        ];
        assert_eq!(all.map(Phase::name), Phase::NAMES);
    }
}
