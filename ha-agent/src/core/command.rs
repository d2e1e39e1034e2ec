//! What goes into the core ([`Event`]) and what comes out ([`Command`]).

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::election::Priority;
use super::family::{Family, Sources};
use super::pair::Stance;
use super::time::{Instant, nanos};
use super::timers::Timer;

/// The state of a virtual host (CARP specification §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not running: no link, or left.
    Init,
    /// Listening to a master, or for one.
    Backup,
    /// Advertising, and owning the addresses.
    Master,
    /// Was master, but slept longer than its peers wait: listens whether another one is master meanwhile. It
    /// keeps the addresses and does not advertise. An operator reads MASTER.
    Stalled,
    /// On the way out: still advertising, until the addresses are released. To others this is MASTER.
    Leaving,
}

/// The name that an operator knows; [`State::Stalled`] and [`State::Leaving`] are `MASTER`.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Init => "INIT",
            Self::Backup => "BACKUP",
            Self::Master | Self::Stalled | Self::Leaving => "MASTER",
        })
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The interface changed.
    Link(Link),
    /// An authentic advertisement of another node arrived.
    Advert(Advert),
    /// The kernel's timer says that nothing more came in a family.
    Silence(Silence),
    /// The kernel's timer came too late to be believed: this machine was asleep. It is armed once more.
    Stall(Stall),
    /// What the kernel's timer of a family stands for is not known any more: it has moved, or a frame that is not
    /// passed on has armed it.
    Unwatched(Family),
    /// The demotion level of this host changed; 0 is none (CARP specification §5.4).
    Demote(u8),
    /// One node of a pair: whom we let win. Alone, we lead.
    Stance(Stance),
    /// An earlier life of this agent was master here and did not leave: the addresses may be there still. Told before the
    /// link is, if at all.
    Resume {
        /// When its last advertisement had left.
        advertised: Instant,
    },
    /// The deadline of this timer has come.
    Deadline(Timer),
    /// Every [`Command::DropAddresses`] given so far has been carried out.
    Released {
        /// Whether any of the addresses had been there: neighbours may still believe so.
        held: bool,
    },
    /// Give up the role in order, and for good.
    Leave,
}

/// The state of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Frames come and go. When the link is up already, this only updates the sources.
    Up {
        /// The addresses that our advertisements leave from; they decide ties.
        sources: Sources,
    },
    /// Frames do not come or do not go.
    Down(LinkDown),
}

/// Why a link is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkDown {
    /// No carrier.
    Carrier,
    /// The interface was set down.
    AdminDown,
    /// The interface is gone.
    Removed,
    /// The receiver could not be attached: we would be deaf.
    DataPlane,
}

/// A plain sentence.
impl fmt::Display for LinkDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Carrier => "the interface lost its carrier",
            Self::AdminDown => "the interface was set down",
            Self::Removed => "the interface was removed",
            Self::DataPlane => "the receiver could not be attached to the interface",
        })
    }
}

/// An advertisement of another node, authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// When it arrived, by the kernel.
    pub stamp: Instant,
    /// The source address of the packet; may be 0.0.0.0 or `::` (CARP specification §1.1).
    pub source: IpAddr,
    /// The priority that it advertises.
    pub priority: Priority,
    /// Byte 4, the demotion counter of OpenBSD; the others send 0.
    pub demote: u8,
    /// Whether the kernel has armed its timer of this family for the silence after this one.
    pub watched: bool,
}

/// What the kernel's timer of a family saw: every authentic frame that arrived before `fired` was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// The family.
    pub family: Family,
    /// When the last authentic frame had arrived.
    pub last_heard: Instant,
    /// For when the timer was armed: that and the master-down time, or two intervals from the last [`Stall`].
    pub deadline: Instant,
    /// When it fired.
    pub fired: Instant,
}

/// The kernel's timer of a family fired so late that frames may have been waiting unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// The family.
    pub family: Family,
    /// For when the timer was armed.
    pub deadline: Instant,
    /// When it fired.
    pub fired: Instant,
}

/// What we advertise, as it goes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Advertisement {
    /// `advbase` and `advskew`.
    pub priority: Priority,
    /// Byte 4: our demotion level.
    pub demote: u8,
}

impl Advertisement {
    /// Whether this one is strictly better than `other`; the demotion level counts first.
    #[must_use]
    pub fn beats(self, other: Self) -> bool {
        self.demote < other.demote || (self.demote == other.demote && self.priority.beats(other.priority))
    }
}

/// What is to be done, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Send one advertisement in each family of the virtual host.
    Advertise(Advertisement),
    /// Add the virtual addresses to the interface.
    TakeAddresses,
    /// Remove the virtual addresses from the interface; those that are not there are no error. Then report
    /// [`Event::Released`].
    DropAddresses,
    /// Tell the neighbours where the virtual addresses are (gratuitous ARP, unsolicited
    /// neighbour advertisement).
    Announce,
    /// Tell the operator that this node did not run for longer than its peers wait. Until it has listened, it
    /// does not advertise: see [`State::Stalled`].
    Stalled {
        /// For how long our advertisement was overdue.
        #[serde(with = "nanos")]
        lasted: Duration,
    },
    /// Tell the operator, the journal and the status about a change of state.
    Notify(Transition),
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When we moved; what made us move may lie earlier, and is in the cause.
    pub at: Instant,
    /// The state before. [`State::Stalled`] and [`State::Leaving`] are never a `to`: they are not told, since
    /// an operator sees no change.
    pub from: State,
    /// The state from now on.
    pub to: State,
    /// Why.
    pub cause: Cause,
}

/// Why the state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The link is up: INIT to BACKUP.
    Started,
    /// The master was silent for the master-down time: BACKUP to MASTER.
    Silence {
        /// The family that was silent, where each counts for itself ([`FamilyRule::Both`]).
        ///
        /// [`FamilyRule::Both`]: super::family::FamilyRule::Both
        family: Option<Family>,
        /// The newest advertisement heard, by its stamp; `None` if there was none since we began to listen.
        last_heard: Option<Instant>,
        /// When the patience ended.
        deadline: Instant,
        /// When the kernel's timer fired; `None` if our own timer decided.
        fired: Option<Instant>,
    },
    /// The master said goodbye, and our turn came: BACKUP to MASTER.
    BowOut {
        /// The old master.
        source: IpAddr,
    },
    /// The master is more demoted than we are: BACKUP to MASTER.
    Demoted {
        /// The old master.
        source: IpAddr,
    },
    /// Our priority is better than the master's, and `preempt` is set: BACKUP to MASTER.
    Preempt {
        /// The old master.
        source: IpAddr,
    },
    /// The master advertises more slowly than we could ever wait: BACKUP to MASTER.
    Hopeless {
        /// The old master.
        source: IpAddr,
    },
    /// This node of a pair has become the active one: BACKUP to MASTER.
    Active,
    /// An earlier life of this agent was master, so short ago that nobody can have missed it: INIT to MASTER.
    Resumed,
    /// Another master is less demoted than we are: MASTER to BACKUP.
    LessDemoted {
        /// The new master.
        source: IpAddr,
    },
    /// Another master has the better priority: MASTER to BACKUP.
    Superior {
        /// The new master.
        source: IpAddr,
    },
    /// Another master has the same priority and wins the tie: MASTER to BACKUP.
    Tie {
        /// The new master.
        source: IpAddr,
    },
    /// We had stalled, and another one is master meanwhile, whatever its priority: MASTER to BACKUP.
    Stalled {
        /// The new master.
        source: IpAddr,
    },
    /// The interface does not work: any state to INIT.
    LinkDown(LinkDown),
    /// We were asked to leave: any state to INIT.
    Leave,
}

impl Cause {
    /// A label for metrics and JSON, in `snake_case`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Silence { .. } => "silence",
            Self::BowOut { .. } => "bow_out",
            Self::Demoted { .. } => "demoted",
            Self::Preempt { .. } => "preempt",
            Self::Hopeless { .. } => "hopeless",
            Self::Active => "active",
            Self::Resumed => "resumed",
            Self::LessDemoted { .. } => "less_demoted",
            Self::Superior { .. } => "superior",
            Self::Tie { .. } => "tie",
            Self::Stalled { .. } => "stalled",
            Self::LinkDown(_) => "link_down",
            Self::Leave => "leave",
        }
    }
}

/// A plain sentence for an operator.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("the link is up, and we listen for a master"),
            Self::Silence { family, last_heard, deadline, fired: _ } => {
                match last_heard {
                    Some(heard) => {
                        write!(f, "the master was silent for {:?}", deadline.saturating_since(*heard))?;
                    }
                    None => f.write_str("no master was heard since we began to listen")?,
                }
                family.map_or(Ok(()), |family| write!(f, " in {family}"))
            }
            Self::BowOut { source } => write!(f, "the master {source} said goodbye"),
            Self::Demoted { source } => write!(f, "the master {source} is demoted, and we are less so"),
            Self::Preempt { source } => write!(f, "our priority is better than that of the master {source}"),
            Self::Hopeless { source } => write!(f, "the master {source} advertises too slowly for us"),
            Self::Active => f.write_str("this node is the active one of its pair now"),
            Self::Resumed => {
                f.write_str("the agent before this one was master, and nobody can have missed it")
            }
            Self::LessDemoted { source } => write!(f, "{source} is master and less demoted than we are"),
            Self::Superior { source } => write!(f, "{source} is master with a better priority"),
            Self::Tie { source } => write!(f, "{source} is master with the same priority and wins the tie"),
            Self::Stalled { source } => write!(f, "we had stalled, and {source} is master meanwhile"),
            Self::LinkDown(why) => why.fmt(f),
            Self::Leave => f.write_str("we were asked to leave"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_as_an_operator_knows_them() {
        let shown = [State::Init, State::Backup, State::Master, State::Stalled, State::Leaving]
            .map(|state| state.to_string());
        assert_eq!(shown, ["INIT", "BACKUP", "MASTER", "MASTER", "MASTER"]);
        assert_eq!(format!("{:<7}|", State::Init), "INIT   |");
    }

    #[test]
    fn causes_as_an_operator_reads_them() {
        let source = IpAddr::from([10, 77, 0, 2]);
        let (heard, deadline) = (Instant::from_nanos(5_000_000), Instant::from_nanos(35_000_000));
        let table = [
            (Cause::Started, "started", "the link is up, and we listen for a master"),
            (
                Cause::Silence { family: None, last_heard: Some(heard), deadline, fired: None },
                "silence",
                "the master was silent for 30ms",
            ),
            (
                Cause::Silence {
                    family: Some(Family::V6),
                    last_heard: Some(heard),
                    deadline,
                    fired: Some(deadline),
                },
                "silence",
                "the master was silent for 30ms in IPv6",
            ),
            (
                Cause::Silence { family: None, last_heard: None, deadline, fired: None },
                "silence",
                "no master was heard since we began to listen",
            ),
            (
                Cause::Silence { family: Some(Family::V4), last_heard: None, deadline, fired: None },
                "silence",
                "no master was heard since we began to listen in IPv4",
            ),
            (Cause::BowOut { source }, "bow_out", "the master 10.77.0.2 said goodbye"),
            (Cause::Demoted { source }, "demoted", "the master 10.77.0.2 is demoted, and we are less so"),
            (
                Cause::Preempt { source },
                "preempt",
                "our priority is better than that of the master 10.77.0.2",
            ),
            (Cause::Hopeless { source }, "hopeless", "the master 10.77.0.2 advertises too slowly for us"),
            (
                Cause::LessDemoted { source },
                "less_demoted",
                "10.77.0.2 is master and less demoted than we are",
            ),
            (Cause::Active, "active", "this node is the active one of its pair now"),
            (
                Cause::Resumed,
                "resumed",
                "the agent before this one was master, and nobody can have missed it",
            ),
            (Cause::Stalled { source }, "stalled", "we had stalled, and 10.77.0.2 is master meanwhile"),
            (Cause::Superior { source }, "superior", "10.77.0.2 is master with a better priority"),
            (Cause::Tie { source }, "tie", "10.77.0.2 is master with the same priority and wins the tie"),
            (Cause::LinkDown(LinkDown::Carrier), "link_down", "the interface lost its carrier"),
            (Cause::LinkDown(LinkDown::AdminDown), "link_down", "the interface was set down"),
            (Cause::LinkDown(LinkDown::Removed), "link_down", "the interface was removed"),
            (
                Cause::LinkDown(LinkDown::DataPlane),
                "link_down",
                "the receiver could not be attached to the interface",
            ),
            (Cause::Leave, "leave", "we were asked to leave"),
        ];
        for (cause, name, sentence) in table {
            assert_eq!(cause.name(), name);
            assert_eq!(cause.to_string(), sentence);
        }
    }
}
