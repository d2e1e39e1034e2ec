//! What the pair machine is told from outside, what it wants done there, and how it looks.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::core::Instant;
use crate::core::liveness::DiskKeys;
use crate::core::pair::message::{Message, Request, State as PeerState};
use crate::core::pair::report::{End, Progress, Story, Wait, Why};
use crate::core::pair::{Generation, Liveness, Phase, Record, Settings, Wish};
use crate::exec::conductor;
use crate::witness::{Lease, Wanted};

/// What the pair machine is told from outside.
#[derive(Debug)]
pub enum PairInput {
    /// The node is one of a pair, from now on.
    Begin(Box<Begin>),
    /// How the link is.
    Link(LinkNow),
    /// The peer said something.
    Heard(Message),
    /// An operator wants something. Answered by the last request of this node, before or after it.
    Wish(Wish, oneshot::Sender<Option<Request>>),
    /// This is on the disk.
    Stored(Record),
    /// The witness vouches for this node.
    Lease(Lease),
    /// The conductor reports.
    Conductor(conductor::Report),
    /// What the peer's keys on the shared disks say.
    Disks(DiskKeys),
    /// Whether the peer sees all shared disks that this node sees, and more.
    PeerSeesMore(bool),
}

/// What a node of a pair begins with.
#[derive(Debug)]
pub struct Begin {
    /// How it is to behave.
    pub settings: Settings,
    /// What was stored.
    pub record: Record,
    /// At least this is the number of the start.
    pub least_start: u64,
    /// How long the link may go without a word of the peer.
    pub link_dead: Duration,
    /// Whether there is more to take over than addresses.
    pub conducted: bool,
    /// Whether any of that is here, left by an earlier agent.
    pub holding: bool,
}

/// The link to the peer's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkNow {
    /// There is no connection.
    Down,
    /// There is one, and nobody answers.
    NotAnswering,
    /// The peer answers; it was heard at this moment.
    Up(Instant),
}

/// What is to be done elsewhere.
#[derive(Clone, Copy, Debug)]
pub enum PairOutput {
    /// To be put on the disk.
    Store(Record),
    /// To be said to the peer.
    Send(Message),
    /// The peer is to be asked whether it lives.
    Ask,
    /// To be shown.
    Progress(Progress),
    /// A switchover has ended.
    Ended(Request, End),
    /// To be written down.
    Journal(Story),
    /// It took over too often: it does no more by itself.
    Alarm,
    /// What the witness is wanted for.
    Lease(Wanted),
    /// The conductor has something to do.
    Conduct(conductor::Order),
    /// This node is to end.
    EndHard(Why),
}

/// How the pair looks from here.
#[derive(Clone, Copy, Debug)]
pub struct PairSnapshot {
    /// Which of the two this node is, and how it behaves.
    pub settings: Settings,
    /// What it does.
    pub phase: Phase,
    /// The generation that it serves in, or last did.
    pub term: Generation,
    /// What it wants stored.
    pub record: Record,
    /// Whether its addresses are let on.
    pub serving: bool,
    /// Why it does not take over, if it does not.
    pub wait: Option<Wait>,
    /// What the peer said last, if it can be asked.
    pub peer: Option<PeerState>,
    /// The verdict on the peer.
    pub liveness: Liveness,
    /// How the last switchover ended.
    pub last: Option<(Request, End)>,
    /// Whether it took over too often, and does no more by itself.
    pub braked: bool,
    /// For how long it may rest on the witness's lease, from now on.
    pub lease: Option<Duration>,
}
