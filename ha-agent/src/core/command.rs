//! What goes into the core ([`Event`]) and what comes out ([`Command`]).

use std::fmt;
use std::net::Ipv4Addr;

use super::election::Priority;
use super::time::Instant;
use super::timers::Timer;

/// The state of a virtual host (CARP specification §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not running: no link, or left.
    Init,
    /// Listening to a master, or for one.
    Backup,
    /// Advertising, and owning the addresses.
    Master,
    /// On the way out: still advertising, until the addresses are released. To others this is MASTER.
    Leaving,
}

/// The name that an operator knows; [`State::Leaving`] is `MASTER`.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Init => "INIT",
            Self::Backup => "BACKUP",
            Self::Master | Self::Leaving => "MASTER",
        })
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The interface changed.
    Link(Link),
    /// An authentic advertisement of another node arrived.
    Advert(Advert),
    /// The deadline of this timer has come.
    Deadline(Timer),
    /// Every [`Command::DropAddresses`] given so far has been carried out.
    Released,
    /// Give up the role in order, and for good.
    Leave,
}

/// The state of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Frames come and go. When the link is up already, this only updates the source.
    Up {
        /// The address that our advertisements leave from; it decides ties.
        source: Ipv4Addr,
    },
    /// Frames do not come or do not go.
    Down(LinkDown),
}

/// Why a link is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// When it arrived, by the kernel.
    pub stamp: Instant,
    /// The source address of the packet; may be 0.0.0.0 (CARP specification §1.1).
    pub source: Ipv4Addr,
    /// The priority that it advertises.
    pub priority: Priority,
    /// Byte 4, the demotion counter of OpenBSD. Carried along; it takes no part in the election yet.
    pub demote: u8,
}

/// What is to be done, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send one advertisement of this priority.
    Advertise(Priority),
    /// Add the virtual addresses to the interface.
    TakeAddresses,
    /// Remove the virtual addresses from the interface; those that are not there are no error. Then report
    /// [`Event::Released`].
    DropAddresses,
    /// Tell the neighbours where the virtual addresses are (gratuitous ARP).
    Announce,
    /// Tell the operator, the journal and the status about a change of state.
    Notify(Transition),
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When we moved; what made us move may lie earlier, and is in the cause.
    pub at: Instant,
    /// The state before. [`State::Leaving`] is never a `to`: it is not told, since others see no change.
    pub from: State,
    /// The state from now on.
    pub to: State,
    /// Why.
    pub cause: Cause,
}

/// Why the state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The link is up: INIT to BACKUP.
    Started,
    /// The master was silent for the master-down time: BACKUP to MASTER.
    Silence {
        /// The newest advertisement heard, by its stamp; `None` if there was none since we began to listen.
        last_heard: Option<Instant>,
        /// When the patience ended.
        deadline: Instant,
    },
    /// The master said goodbye, and our turn came: BACKUP to MASTER.
    BowOut {
        /// The old master.
        source: Ipv4Addr,
    },
    /// Our priority is better than the master's, and `preempt` is set: BACKUP to MASTER.
    Preempt {
        /// The old master.
        source: Ipv4Addr,
    },
    /// The master advertises more slowly than we could ever wait: BACKUP to MASTER.
    Hopeless {
        /// The old master.
        source: Ipv4Addr,
    },
    /// Another master has the better priority: MASTER to BACKUP.
    Superior {
        /// The new master.
        source: Ipv4Addr,
    },
    /// Another master has the same priority and wins the tie: MASTER to BACKUP.
    Tie {
        /// The new master.
        source: Ipv4Addr,
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
            Self::Preempt { .. } => "preempt",
            Self::Hopeless { .. } => "hopeless",
            Self::Superior { .. } => "superior",
            Self::Tie { .. } => "tie",
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
            Self::Silence { last_heard: Some(heard), deadline } => {
                write!(f, "the master was silent for {:?}", deadline.saturating_since(*heard))
            }
            Self::Silence { last_heard: None, .. } => {
                f.write_str("no master was heard since we began to listen")
            }
            Self::BowOut { source } => write!(f, "the master {source} said goodbye"),
            Self::Preempt { source } => write!(f, "our priority is better than that of the master {source}"),
            Self::Hopeless { source } => write!(f, "the master {source} advertises too slowly for us"),
            Self::Superior { source } => write!(f, "{source} is master with a better priority"),
            Self::Tie { source } => write!(f, "{source} is master with the same priority and wins the tie"),
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
        let shown =
            [State::Init, State::Backup, State::Master, State::Leaving].map(|state| state.to_string());
        assert_eq!(shown, ["INIT", "BACKUP", "MASTER", "MASTER"]);
        assert_eq!(format!("{:<7}|", State::Init), "INIT   |");
    }

    #[test]
    fn causes_as_an_operator_reads_them() {
        let source = Ipv4Addr::new(10, 77, 0, 2);
        let (heard, deadline) = (Instant::from_nanos(5_000_000), Instant::from_nanos(35_000_000));
        let table = [
            (Cause::Started, "started", "the link is up, and we listen for a master"),
            (
                Cause::Silence { last_heard: Some(heard), deadline },
                "silence",
                "the master was silent for 30ms",
            ),
            (
                Cause::Silence { last_heard: None, deadline },
                "silence",
                "no master was heard since we began to listen",
            ),
            (Cause::BowOut { source }, "bow_out", "the master 10.77.0.2 said goodbye"),
            (
                Cause::Preempt { source },
                "preempt",
                "our priority is better than that of the master 10.77.0.2",
            ),
            (Cause::Hopeless { source }, "hopeless", "the master 10.77.0.2 advertises too slowly for us"),
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
