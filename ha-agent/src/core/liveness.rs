//! Whether the peer is alive: what each path to it says, and the verdict that follows.
//!
//! [`Evidence::judge`] is the rule; `docs/verdict.md` shows it for every combination, with the reasons.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::Instant;

#[cfg(test)]
mod tests;

/// What every path says of the peer, at one moment.
///
/// A path's word is as old as its own patience: whoever gathers them asks a path anew when another falls silent,
/// or waits until what it heard last is too old to count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// CARP, on each interface that has a virtual host.
    pub carp: BTreeMap<String, Carp>,
    /// The link between the two agents.
    pub peer_link: PeerLink,
    /// The peer's reservation keys on the shared disks.
    pub disk_keys: DiskKeys,
    /// The third opinion.
    pub witness: Witness,
}

/// What CARP says on one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carp {
    /// The peer's advertisements come.
    Heard,
    /// The link is up, we have listened for our whole patience, and nothing came.
    Silent {
        /// From when on nothing came.
        since: Instant,
    },
    /// Our own link is down: we hear nobody.
    LinkDown,
    /// Nothing was heard, and nothing follows from that: our patience has not ended yet; or we advertise
    /// ourselves, and a standby does not.
    NeverHeard,
}

/// What the link between the agents says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerLink {
    /// The peer's agent answers.
    Answering,
    /// There is a connection, and nobody answers.
    NotAnswering,
    /// There is no connection.
    Down,
    /// No peer was introduced to this node.
    #[default]
    Unpaired,
}

/// What the peer's keys on the shared disks say. Each node renews its own, as a heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskKeys {
    /// They change: the peer reaches the disks.
    Moving,
    /// They can be read on most disks, and do not change.
    Still,
    /// Most disks can be read, and it has none there: it does not write, as befits a standby.
    Absent,
    /// They can't be read.
    Unreadable,
    /// The nodes share no disk.
    #[default]
    None,
}

/// What the witness says. Each node has a lease of its own there; a node whose lease ends has stopped serving before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// The peer's lease holds.
    Holds,
    /// The peer's lease has ended.
    Lost,
    /// We can't ask.
    Unreachable,
    /// There is no witness.
    #[default]
    None,
}

/// Whether the peer is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It lives, and no path says otherwise.
    Alive,
    /// It does not, or it has stopped serving: it may be replaced.
    Dead,
    /// It lives, and a path that should show that does not. It may not be replaced against its will.
    Partitioned,
    /// Nothing shows either.
    Unknown,
}

/// A verdict, and the paths that led to it. Those that there are not (no peer link, no disks, no witness) are in none of
/// the lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// By which paths it is seen to live.
    pub life: Vec<Path>,
    /// By which paths it should be, and is not.
    pub silence: Vec<Path>,
    /// Which paths can't tell.
    pub blind: Vec<Path>,
}

/// A path to the peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// CARP on an interface; its name.
    Carp(String),
    /// The link between the agents.
    PeerLink,
    /// The keys on the shared disks.
    DiskKeys,
    /// The witness.
    Witness,
}

impl Evidence {
    /// The verdict.
    ///
    /// A sign of life on any path rules out that the peer is dead. Without one, an arbiter decides (disks, witness),
    /// which does not depend on the network between the nodes: one that says that the peer is gone is believed, one that
    /// can't be asked forbids to guess. Where there is no arbiter, CARP's silence on a link that works decides, as it does
    /// among all CARP hosts. The peer link's silence alone proves nothing: it may be our own cable.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        let by = |wanted: Sign| -> Vec<Path> {
            self.signs().filter(|(_, sign)| *sign == wanted).map(|(path, _)| path).collect()
        };
        let (life, mut silence, mut blind) = (by(Sign::Life), by(Sign::Silence), by(Sign::Blind));
        // Who lives may well be idle.
        if life.is_empty() { &mut silence } else { &mut blind }.extend(by(Sign::Idle));
        let verdict = match (life.is_empty(), silence.is_empty(), self.arbiters()) {
            (false, true, _) => Verdict::Alive,
            (false, false, _) => Verdict::Partitioned,
            (true, _, Arbiters::SayGone) => Verdict::Dead,
            (true, _, Arbiters::DoNotExist) if self.is_carp_silent() => Verdict::Dead,
            (true, _, Arbiters::DoNotExist | Arbiters::AreMute) => Verdict::Unknown,
        };
        Judgement { verdict, life, silence, blind }
    }

    /// Whether this node may not serve, even if it does: it has lost the peer and the witness, so its lease ends, and
    /// the peer may be about to take it.
    #[must_use]
    pub fn forbids_serving(&self) -> bool {
        self.witness == Witness::Unreachable && self.judge().verdict == Verdict::Unknown
    }

    /// Every path that there is, and what it comes to.
    fn signs(&self) -> impl Iterator<Item = (Path, Sign)> {
        let carp = self.carp.iter().map(|(interface, carp)| (Path::Carp(interface.clone()), carp.sign()));
        let others = [
            self.peer_link.sign().map(|sign| (Path::PeerLink, sign)),
            self.disk_keys.sign().map(|sign| (Path::DiskKeys, sign)),
            self.witness.sign().map(|sign| (Path::Witness, sign)),
        ];
        carp.chain(others.into_iter().flatten())
    }

    /// What those say that decide where there is no sign of life.
    fn arbiters(&self) -> Arbiters {
        let signs = [self.disk_keys.sign(), self.witness.sign()];
        if signs.iter().any(|sign| matches!(sign, Some(Sign::Silence | Sign::Idle))) {
            Arbiters::SayGone
        } else if signs.iter().all(Option::is_none) {
            Arbiters::DoNotExist
        } else {
            Arbiters::AreMute
        }
    }

    fn is_carp_silent(&self) -> bool {
        self.carp.values().any(|carp| carp.sign() == Sign::Silence)
    }
}

/// What the word of a path comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Life,
    Silence,
    Blind,
    /// It does not serve, whether it lives or not.
    Idle,
}

/// What disks and witness say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arbiters {
    SayGone,
    AreMute,
    DoNotExist,
}

impl Carp {
    fn sign(self) -> Sign {
        match self {
            Self::Heard => Sign::Life,
            Self::Silent { since: _ } => Sign::Silence,
            Self::LinkDown | Self::NeverHeard => Sign::Blind,
        }
    }
}

impl PeerLink {
    /// `None` where there is no such path; so below.
    fn sign(self) -> Option<Sign> {
        match self {
            Self::Answering => Some(Sign::Life),
            Self::NotAnswering | Self::Down => Some(Sign::Silence),
            Self::Unpaired => None,
        }
    }
}

impl DiskKeys {
    fn sign(self) -> Option<Sign> {
        match self {
            Self::Moving => Some(Sign::Life),
            Self::Still => Some(Sign::Silence),
            Self::Absent => Some(Sign::Idle),
            Self::Unreadable => Some(Sign::Blind),
            Self::None => None,
        }
    }
}

impl Witness {
    fn sign(self) -> Option<Sign> {
        match self {
            Self::Holds => Some(Sign::Life),
            Self::Lost => Some(Sign::Silence),
            Self::Unreachable => Some(Sign::Blind),
            Self::None => None,
        }
    }
}

/// One word.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Dead => "dead",
            Self::Partitioned => "partitioned",
            Self::Unknown => "unknown",
        })
    }
}

/// As it reads in a sentence.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Carp(interface) => write!(f, "CARP on {interface}"),
            Self::PeerLink => f.write_str("the peer link"),
            Self::DiskKeys => f.write_str("the disk keys"),
            Self::Witness => f.write_str("the witness"),
        }
    }
}

/// A plain sentence for an operator.
impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, life, silence, blind } = self;
        match verdict {
            Verdict::Alive => write!(f, "the peer is alive, by {}", listed(life)),
            Verdict::Dead => write!(f, "the peer is dead, by {}", listed(silence)),
            Verdict::Partitioned => {
                write!(
                    f,
                    "the peer is alive, by {}, and does not get through by {}",
                    listed(life),
                    listed(silence)
                )
            }
            Verdict::Unknown => {
                f.write_str("nothing shows whether the peer is alive")?;
                if !silence.is_empty() {
                    write!(f, "; silent: {}", listed(silence))?;
                }
                if !blind.is_empty() {
                    write!(f, "; can't tell: {}", listed(blind))?;
                }
                Ok(())
            }
        }
    }
}

/// With commas, and "and" before the last.
pub(super) fn listed(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    match items.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}
