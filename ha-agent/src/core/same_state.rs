//! The same-state rule: when both nodes serve, or neither does, failover is refused and said so on both; of two that
//! serve, one yields. `docs/roles.md` has the rule as a table.

use std::cmp::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::election::{Contender, Verdict};
use super::role::Role;
use super::time::Instant;

#[cfg(test)]
mod tests;

/// Watches for how long the two have been in the same state.
///
/// A moment of it belongs to every handover; only what lasts is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SameState {
    lasting: Option<(Same, Instant)>,
}

/// What both are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Same {
    /// Both serve, or are about to.
    Master,
    /// Both stand by, and neither is about to serve.
    Backup,
}

/// What a node brings forward to keep the role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The node's name.
    pub node: String,
    /// Whether it holds the reservation of the disks.
    pub reservation: Reservation,
    /// How it stands in the election of the pair's first virtual host.
    pub contender: Contender,
}

/// Whether a node holds the reservation of the shared disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reservation {
    /// It does.
    Holds,
    /// It does not, or can't say.
    Lacks,
    /// There are no shared disks.
    NoDisks,
}

/// Who yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loser {
    /// This node.
    We,
    /// The other one.
    They,
    /// Both: they have the same name and address, and nothing tells them apart.
    Both,
}

impl SameState {
    /// Takes in what both are, as known at `now`.
    pub fn observe(&mut self, now: Instant, ours: Role, theirs: Role) {
        self.lasting = Same::of(ours, theirs).map(|same| match self.lasting {
            Some((before, since)) if before == same => (same, since),
            Some(_) | None => (same, now),
        });
    }

    /// What both are, once it has lasted.
    #[must_use]
    pub fn named(&self, now: Instant) -> Option<Same> {
        self.lasting.filter(|(_, since)| now.saturating_since(*since) >= LASTING).map(|(same, _)| same)
    }

    /// When it will have lasted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.lasting.map(|(_, since)| since + LASTING)
    }
}

impl Same {
    /// What both are, if it is the same.
    #[must_use]
    pub fn of(ours: Role, theirs: Role) -> Option<Self> {
        match (Side::of(ours)?, Side::of(theirs)?) {
            (Side::Serves, Side::Serves) => Some(Self::Master),
            (Side::StandsBy, Side::StandsBy) => Some(Self::Backup),
            (Side::Serves, Side::StandsBy) | (Side::StandsBy, Side::Serves) => None,
        }
    }
}

impl Claim {
    /// Who yields, of this node and `other`, when both serve.
    ///
    /// Who holds the reservation stays: only it can write. Where that does not decide, the better one in the election of
    /// CARP stays, and then the one whose name comes first. Both nodes come to the same, if they judge the same claims.
    #[must_use]
    pub fn loser(&self, other: &Self) -> Loser {
        match (self.reservation, other.reservation) {
            (Reservation::Holds, Reservation::Lacks | Reservation::NoDisks) => return Loser::They,
            (Reservation::Lacks | Reservation::NoDisks, Reservation::Holds) => return Loser::We,
            (Reservation::Holds, Reservation::Holds)
            | (Reservation::Lacks | Reservation::NoDisks, Reservation::Lacks | Reservation::NoDisks) => {}
        }
        match self.contender.judge(other.contender) {
            Verdict::LessDemoted | Verdict::Superior => Loser::We,
            Verdict::MoreDemoted | Verdict::Inferior | Verdict::TieWeWin => Loser::They,
            Verdict::TieTheyWin if self.contender.source != other.contender.source => Loser::We,
            Verdict::TieTheyWin => match self.node.cmp(&other.node) {
                Ordering::Less => Loser::They,
                Ordering::Greater => Loser::We,
                Ordering::Equal => Loser::Both,
            },
        }
    }
}

/// A role, as far as this rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Serves,
    StandsBy,
}

impl Side {
    /// `None` of a node of which it is not known, or that can't take part.
    fn of(role: Role) -> Option<Self> {
        match role {
            Role::Master | Role::Importing | Role::Single => Some(Self::Serves),
            Role::Backup | Role::Electing => Some(Self::StandsBy),
            Role::Error | Role::Unknown => None,
        }
    }
}

/// How long the same state must last to be named. With as much for the way of what the peer tells, it is
/// named on both within 2 s.
pub const LASTING: Duration = Duration::from_secs(1);
