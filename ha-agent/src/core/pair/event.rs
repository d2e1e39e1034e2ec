//! What goes into the pair machine ([`Event`]), what comes out ([`Command`]), and what it is to know from the start.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::time::{Instant, maybe_nanos, nanos};
use super::generation::{Generation, Node};
use super::message::{Message, Request, Shared};
use super::report::{End, Progress, Story, Why};

/// How a node of a pair is to behave. All times but `take` and `release` are the same on both nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// Which one it is.
    pub node: Node,
    /// Which boot of its machine this is; 0 where that is not known.
    pub boot: u64,
    /// How often what was not answered is said again: as often as the link's heartbeat.
    #[serde(with = "nanos")]
    pub repeat: Duration,
    /// How long an answer may take, or storing.
    #[serde(with = "nanos")]
    pub answer: Duration,
    /// How long a release may take.
    #[serde(with = "nanos")]
    pub release: Duration,
    /// How long a takeover may take.
    #[serde(with = "nanos")]
    pub take: Duration,
    /// For how long nobody leads before somebody who can't ask takes over; from one's turn to the next. Longer than the
    /// virtual hosts' patience.
    #[serde(with = "nanos")]
    pub turn: Duration,
    /// How long a node rests after something failed that it began by itself.
    #[serde(with = "nanos")]
    pub rest: Duration,
    /// Whether the nodes share disks: then nothing is taken before it is stored that it is.
    pub shares_disks: bool,
    /// With a witness: how long a node with a lease waits before it takes over from a dead peer. At least what the peer
    /// needs to find that the link does not answer, and to stop then.
    #[serde(with = "maybe_nanos")]
    pub witness: Option<Duration>,
}

/// What a node must know after a restart. It is replaced as a whole, and survives whatever happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Counts the starts of the agent.
    pub starts: u64,
    /// The greatest generation known: its owner may be active.
    pub generation: Generation,
    /// The greatest one that the node has promised to take.
    pub promised: Generation,
    /// The switchover that it is busy with.
    pub handover: Option<Request>,
    /// An operator holds this node.
    pub held: bool,
    /// What the operator wants of the pair.
    pub shared: Shared,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An operator wants something.
    Wish(Wish),
    /// The peer says something.
    Heard(Message),
    /// The peer link changed.
    Link(Link),
    /// The verdict on the peer changed.
    Peer(Liveness),
    /// The virtual hosts changed, ours or the peer's.
    Carp(Carp),
    /// Whether anything blocks this node from serving; the virtual hosts' links are told by [`Event::Carp`].
    Ready(bool),
    /// This is on the disk.
    Stored(Record),
    /// The executor reports.
    Executor(Report),
    /// Whether this node holds the witness's lease. It is told that it does not early enough to stop before another can
    /// get it.
    Lease(bool),
    /// The deadline of this timer has come.
    Deadline(Timer),
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// The active role is to move. To the node that is giving it away just now: it is to stay.
    Failover {
        /// Where.
        to: Node,
        /// Also if that node is not fit, or nothing shows whether the peer lives. Never from a peer that lives.
        forced: bool,
        /// End hard, rather than go back, if the release is not done by then.
        #[serde(with = "maybe_nanos")]
        force_after: Option<Duration>,
    },
    /// Nothing fails over to this node by itself.
    Hold,
    /// Takes that back.
    Resume,
    /// Nothing fails over by itself.
    Disable,
    /// Takes that back.
    Enable,
    /// The role belongs to this node, if both could have it.
    Prefer(Option<Node>),
}

/// The peer link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The peer answers: what was said to it less than the dead time ago has come back as heard.
    Up,
    /// There is a connection, and no answer.
    NotAnswering,
    /// There is no connection.
    #[default]
    Down,
}

/// The verdict on the peer, from all evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// A path shows it alive.
    Alive,
    /// Each path that would show it alive is silent, and ours work.
    Dead,
    /// It is shown to live, by something that can't reach it.
    Partitioned,
    /// Nothing is known.
    #[default]
    Unknown,
}

impl Liveness {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Alive, Self::Dead, Self::Partitioned, Self::Unknown];
}

/// One word.
impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Dead => "dead",
            Self::Partitioned => "partitioned",
            Self::Unknown => "unknown",
        })
    }
}

/// What the virtual hosts say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Carp {
    /// Ours, as a whole.
    pub own: Vhosts,
    /// The peer's, by what was heard of them within their patience.
    pub peer: PeerVhosts,
}

/// Our virtual hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vhosts {
    /// None of them has link.
    #[default]
    Init,
    /// Those that have link listen.
    Backup,
    /// Those that have link advertise.
    Master,
}

/// The peer's virtual hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerVhosts {
    /// They are not heard, as is usual for a standby's.
    #[default]
    Silent,
    /// They advertise with [`Stance::Lead`].
    Leads,
    /// They advertise with [`Stance::Follow`], or have bowed out.
    Follows,
}

/// What the executor reports, of the order with this generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Nothing serves any more, and that is verified.
    Released(Generation),
    /// That could not be done, or not be verified.
    ReleaseFailed(Generation),
    /// Everything serves.
    Taken(Generation),
    /// It does not; some of it may.
    TakeFailed(Generation),
    /// What serves is not ours any more: the reservation is gone.
    Lost(Generation),
}

/// What the machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// To say again what was not answered.
    Repeat,
    /// For the end of a phase.
    Step,
    /// For the end of a switchover that must end.
    Force,
    /// For our turn.
    Turn,
    /// For an end of what makes us doubt whether we are to serve.
    Doubt,
    /// For the end of our rest.
    Rest,
    /// With a lease: for the peer to have stopped.
    Quiet,
}

/// What is to be done, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Put this on the disk in place of what is there, and report [`Event::Stored`].
    Store(Record),
    /// Say this to the peer.
    Send(Message),
    /// Stop serving, addresses first, and verify it. The newest order wins: one under way is broken off.
    Release(Generation),
    /// Serve, addresses last; claim and fence as the first step.
    Take(Generation),
    /// How the virtual hosts are to advertise.
    Stance(Stance),
    /// Keep the witness's lease for this generation, or give it back.
    Lease(Option<Generation>),
    /// Show this to the operator.
    Progress(Progress),
    /// A switchover has ended.
    Ended {
        /// Which one.
        request: Request,
        /// How.
        end: End,
    },
    /// Write this down.
    Journal(Story),
    /// End this node at once: what it could not release may still be in use.
    EndHard(Why),
}

/// How the virtual hosts are to advertise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stance {
    /// Not demoted by us: win against a peer that follows.
    Lead,
    /// Demoted: bow out if the peer listens, and lose against one that leads. Nothing serves here.
    #[default]
    Follow,
}

/// The deadlines that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Deadlines(std::collections::BTreeMap<Timer, Instant>);

impl Deadlines {
    pub(super) fn arm(&mut self, timer: Timer, at: Instant) {
        self.0.insert(timer, at);
    }

    pub(super) fn disarm(&mut self, timer: Timer) {
        self.0.remove(&timer);
    }

    pub(super) fn is_armed(&self, timer: Timer) -> bool {
        self.0.contains_key(&timer)
    }

    /// Takes a deadline away, if it has come.
    pub(super) fn take_due(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.0.get(&timer).is_some_and(|at| *at <= now);
        if due {
            self.disarm(timer);
        }
        due
    }

    pub(super) fn next(&self) -> Option<(Instant, Timer)> {
        self.0.iter().map(|(timer, at)| (*at, *timer)).min()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Instant, Timer)> {
        self.0.iter().map(|(timer, at)| (*at, *timer))
    }
}
