//! Failover groups: which interfaces stand for one another, and what is to be done when a group is lost.
//!
//! Liveness says whether the peer is alive, a group whether what it serves still reaches us. The two together say what
//! to do: [`response`] for the standby, [`consequence`] for the active one. `docs/verdict.md` has both as tables.

use serde::{Deserialize, Serialize};

use super::liveness::{Carp, Verdict};

#[cfg(test)]
mod tests;

/// Interfaces that stand for one another: the group works while one critical member does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The operator's name for it.
    pub name: String,
    /// Its members.
    pub members: Vec<Member>,
}

/// An interface with a virtual host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub interface: String,
    /// Whether the service depends on it.
    pub importance: Importance,
    /// What is heard there.
    pub carp: Carp,
}

/// Whether the service depends on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Importance {
    /// It does.
    Critical,
    /// It does not: such a member neither loses its group nor saves it. It counts as a path to the peer all the same.
    Other,
}

/// What a standby hears in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reception {
    /// The active one, by a critical member at least.
    Heard,
    /// Nobody any more: no critical member hears the active one, and one at least is silent. Those without
    /// link do not count, nor those that have not listened long enough.
    Lost,
    /// Nobody yet.
    Nobody,
    /// Nothing: no critical member has a link here, or there is none.
    Deaf,
}

/// The links of a group's critical members on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Links {
    /// All are up; there may be none.
    Whole,
    /// Some are up.
    Reduced,
    /// None is up: the node can't serve this group.
    Gone,
}

/// What a standby does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It stays standby.
    Stay,
    /// It asks the active one to hand over, which lives.
    AskForHandover,
    /// It takes over, behind a fence where there are disks.
    TakeOver,
}

/// What an active one does about its own links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// It serves on; all links are up.
    ServeOn,
    /// It serves on, and warns: a link is down, and handing over would not make it better.
    Warn,
    /// It offers the role to the peer, which can serve more groups.
    HandOver,
}

impl Group {
    /// What is heard in it.
    #[must_use]
    pub fn reception(&self) -> Reception {
        let any = |wanted: fn(Carp) -> bool| self.critical().any(wanted);
        if any(|carp| matches!(carp, Carp::Heard)) {
            Reception::Heard
        } else if any(|carp| matches!(carp, Carp::Silent { since: _ })) {
            Reception::Lost
        } else if any(|carp| matches!(carp, Carp::NeverHeard)) {
            Reception::Nobody
        } else {
            Reception::Deaf
        }
    }

    /// Its links on this node.
    #[must_use]
    pub fn links(&self) -> Links {
        let down = self.critical().filter(|carp| *carp == Carp::LinkDown).count();
        match down {
            0 => Links::Whole,
            _ if down == self.critical().count() => Links::Gone,
            _ => Links::Reduced,
        }
    }

    fn critical(&self) -> impl Iterator<Item = Carp> {
        self.members
            .iter()
            .filter(|member| member.importance == Importance::Critical)
            .map(|member| member.carp)
    }
}

/// What a standby does: one lost group is enough, for its clients have nobody.
#[must_use]
pub fn response(groups: &[Group], verdict: Verdict) -> Response {
    let lost = groups.iter().any(|group| group.reception() == Reception::Lost);
    // Who has no link itself for what is lost there would gain nothing.
    let able = groups.iter().all(|group| group.links() != Links::Gone);
    match (verdict, lost && able) {
        (Verdict::Dead, _) => Response::TakeOver,
        (Verdict::Partitioned, true) => Response::AskForHandover,
        (Verdict::Partitioned, false) | (Verdict::Alive | Verdict::Unknown, _) => Response::Stay,
    }
}

/// What an active one does about its own links; `theirs` are the same groups' on the peer, if it lives and has told.
///
/// A single link is no reason to hand over while another of its group is up. A group without any is one, if the peer serves
/// more groups than we do: not as many, or the two would pass the role to and fro.
#[must_use]
pub fn consequence(ours: &[Links], theirs: Option<&[Links]>) -> Consequence {
    let gone = |links: &[Links]| links.iter().filter(|links| **links == Links::Gone).count();
    let better_there = theirs.is_some_and(|theirs| gone(theirs) < gone(ours));
    if better_there {
        Consequence::HandOver
    } else if ours.iter().all(|links| *links == Links::Whole) {
        Consequence::ServeOn
    } else {
        Consequence::Warn
    }
}
