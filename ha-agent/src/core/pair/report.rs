//! What the pair machine tells the operator: steps, ends and causes, each with a name and a sentence.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::time::Instant;
use super::generation::{Generation, Node};
use super::message::Request;

/// A step of a switchover, as it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Progress {
    /// Which switchover.
    pub request: Request,
    /// Which step.
    pub step: Step,
    /// Since when.
    pub since: Instant,
    /// How it stands.
    pub standing: Standing,
}

/// The steps of a switchover; the first four are the old active node's, the last two the new one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The standby waits for the active node to begin.
    Ask,
    /// The active node asks the standby whether it is ready.
    Prepare,
    /// The active node stores that the next generation is the other's.
    Grant,
    /// The active node stops serving, and verifies that.
    Release,
    /// The old active node waits until the other serves.
    Confirm,
    /// The standby keeps itself ready.
    Promise,
    /// The new active node takes over.
    Take,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It goes on.
    Running,
    /// It is done.
    Done,
    /// It failed; the end of the switchover says why.
    Failed,
}

/// Why a switchover is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// An operator wants it.
    Operator,
    /// The other node is the preferred one.
    Preferred,
    /// The active node is not fit to serve, and the other one is.
    Unfit,
}

/// Why a node takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// The peer handed over, and said so.
    Committed,
    /// The peer handed over: its virtual hosts have bowed out, as agreed.
    Yielded,
    /// The peer is dead.
    PeerDead,
    /// Neither node is active, and it is our turn.
    NobodyActive,
    /// The same, and the peer can't be asked: it does not lead, for as long as we waited for our turn.
    OurTurn,
    /// We were active before, and nobody has taken over since.
    Resumed,
    /// A switchover did not come to its end.
    Returned(Why),
    /// An operator said so.
    Operator,
}

/// Why something ended otherwise than it was meant to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The peer did not answer.
    NoAnswer,
    /// The peer is dead.
    PeerDead,
    /// The peer's agent was started anew.
    PeerRestarted,
    /// Our own agent was started anew.
    Restarted,
    /// An operator wanted otherwise.
    Cancelled,
    /// The release took too long.
    ReleaseStuck,
    /// The release failed.
    ReleaseFailed,
    /// The takeover took too long.
    TakeStuck,
    /// The takeover failed.
    TakeFailed,
    /// The generation could not be stored in time.
    StoreStuck,
    /// No word came for as long as the promise was good.
    PromiseOver,
    /// The promise was given by an agent that has not run for a while.
    Slept,
    /// The request is not known (any more).
    NotPromised,
    /// The peer keeps the role.
    Withdrawn,
    /// The peer is active in a newer generation.
    NewerGeneration,
    /// The peer's virtual hosts have won against ours, and it can't be asked.
    VhostsLost,
    /// Neither the witness nor the peer vouches for us.
    NoPermit,
    /// The peer did not say that it serves, nor that it does not.
    Unconfirmed,
    /// No virtual host has link, and the peer link does not answer.
    Isolated,
    /// What we served is another node's by now.
    Fenced,
    /// What a newer version says.
    #[serde(other)]
    Other,
}

/// Why a wish is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// That node is active already.
    AlreadyThere,
    /// Something else is under way.
    Busy,
    /// The peer can't be asked.
    NoLink,
    /// The node that is to take over is not fit.
    NotFit,
    /// Neither node is active.
    NobodyActive,
    /// Both nodes are active: that is to be resolved first.
    SameState,
    /// The peer lives and can't be asked: nothing is taken from it.
    PeerLives,
    /// Nothing says that the peer is dead: only by force.
    Unsure,
    /// What a newer version says.
    #[serde(other)]
    Other,
}

/// How a switchover ended, on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The other node serves now, as was wanted.
    Moved,
    /// It was never begun.
    Refused(Refusal),
    /// It was begun, and nothing had moved yet.
    Stayed(Why),
    /// It went back to the node that had begun it.
    Returned(Why),
    /// The taker took over by itself meanwhile, or was left to find out alone.
    Left(Why),
    /// This node ended itself.
    Hard(Why),
}

/// Why a standby does not take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// The peer is active, or about to be.
    PeerActive,
    /// The peer is busy with what decides it.
    PeerBusy,
    /// Neither is active, and it is the peer's turn.
    PeersTurn,
    /// The peer lives, is not active, and can't be asked: our turn comes.
    OurTurn,
    /// The peer has not said yet how it is.
    NotTold,
    /// The peer lives, and can't be asked.
    PeerLives,
    /// The peer lives, and nothing reaches it.
    Partitioned,
    /// Nobody knows.
    Unsure,
    /// We are not fit.
    NotFit,
    /// We have just failed to take over, and rest.
    Resting,
    /// An operator holds us.
    Held,
    /// An operator has disabled failover.
    Disabled,
}

/// A sentence for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Story {
    /// A switchover begins here.
    Begun {
        /// Where the role is to go.
        to: Node,
        /// Why.
        trigger: Trigger,
    },
    /// We have promised to take over.
    Promised {
        /// The generation that we would be active in.
        generation: Generation,
    },
    /// A switchover has ended.
    Ended(End),
    /// We take over.
    Takes {
        /// The generation.
        generation: Generation,
        /// Why.
        claim: Claim,
    },
    /// We serve.
    Serves {
        /// The generation.
        generation: Generation,
    },
    /// We serve, and that can't be stored; it is tried again.
    ServesUnstored {
        /// The generation.
        generation: Generation,
    },
    /// We stop serving, not because of a switchover.
    StepsDown(Why),
    /// We no longer serve, and that is verified.
    Released,
    /// The takeover failed.
    TakeFailed(Why),
    /// This node ends itself: what it should have released may still be in use.
    EndsHard(Why),
    /// Why we do not take over, where that has changed.
    Waits(Wait),
    /// The operator's wish is stored.
    Held(bool),
    /// The operator's wish for the pair is stored.
    Disabled(bool),
    /// The operator's wish for the pair is stored.
    Prefers(Option<Node>),
}

impl Why {
    /// A label for JSON and metrics, in `snake_case`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no_answer",
            Self::PeerDead => "peer_dead",
            Self::PeerRestarted => "peer_restarted",
            Self::Restarted => "restarted",
            Self::Cancelled => "cancelled",
            Self::ReleaseStuck => "release_stuck",
            Self::ReleaseFailed => "release_failed",
            Self::TakeStuck => "take_stuck",
            Self::TakeFailed => "take_failed",
            Self::StoreStuck => "store_stuck",
            Self::PromiseOver => "promise_over",
            Self::Slept => "slept",
            Self::NotPromised => "not_promised",
            Self::Withdrawn => "withdrawn",
            Self::NewerGeneration => "newer_generation",
            Self::VhostsLost => "vhosts_lost",
            Self::NoPermit => "no_permit",
            Self::Unconfirmed => "unconfirmed",
            Self::Isolated => "isolated",
            Self::Fenced => "fenced",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ask => "ask the active node to hand over",
            Self::Prepare => "ask the other node whether it is ready",
            Self::Grant => "store that the next generation is the other node's",
            Self::Release => "stop serving here, and verify it",
            Self::Confirm => "wait until the other node serves",
            Self::Promise => "keep ready to take over",
            Self::Take => "take over here",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoAnswer => "the peer did not answer",
            Self::PeerDead => "the peer is dead",
            Self::PeerRestarted => "the peer's agent was started anew",
            Self::Restarted => "this agent was started anew",
            Self::Cancelled => "the operator wanted otherwise",
            Self::ReleaseStuck => "the release took too long",
            Self::ReleaseFailed => "the release failed",
            Self::TakeStuck => "the takeover took too long",
            Self::TakeFailed => "the takeover failed",
            Self::StoreStuck => "the generation could not be stored in time",
            Self::PromiseOver => "no word came while the promise was good",
            Self::Slept => "this agent had not run for a while",
            Self::NotPromised => "the request is not known any more",
            Self::Withdrawn => "the peer keeps the role",
            Self::NewerGeneration => "the peer is active in a newer generation",
            Self::VhostsLost => "the peer's virtual hosts won against ours, and the link does not answer",
            Self::NoPermit => "neither the witness nor the peer vouches for this node",
            Self::Unconfirmed => "the peer did not confirm that it serves",
            Self::Isolated => "no virtual host has link, and the peer link does not answer",
            Self::Fenced => "the reservation of what it served is gone",
            Self::Other => "for a reason that only a newer version knows",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AlreadyThere => "that node is active already",
            Self::Busy => "something else is under way; wait for its end",
            Self::NoLink => "the peer link does not answer; see why, or wait",
            Self::NotFit => "the node that is to take over is not ready; see its reasons, or use --force",
            Self::NobodyActive => "neither node is active; see the reasons of both",
            Self::SameState => "both nodes are active; wait until one has yielded",
            Self::PeerLives => "the peer lives and can't be asked; use its own command, or switch it off",
            Self::Unsure => "nothing shows whether the peer is dead; make sure, then use --force",
            Self::Other => "for a reason that only a newer version knows",
        })
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Operator => "the operator wants it",
            Self::Preferred => "it is the preferred node",
            Self::Unfit => "this node is not fit to serve",
        })
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed => f.write_str("the peer handed over"),
            Self::Yielded => f.write_str("the peer's virtual hosts bowed out, as agreed"),
            Self::PeerDead => f.write_str("the peer is dead"),
            Self::NobodyActive => f.write_str("neither node was active"),
            Self::OurTurn => f.write_str("nobody led for a while, and the link does not answer"),
            Self::Resumed => f.write_str("this node was active before"),
            Self::Returned(why) => write!(f, "the role comes back: {why}"),
            Self::Operator => f.write_str("the operator said so"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved => f.write_str("the role has moved"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Stayed(why) => write!(f, "the role stayed: {why}"),
            Self::Returned(why) => write!(f, "the role went back: {why}"),
            Self::Left(why) => write!(f, "broken off: {why}"),
            Self::Hard(why) => write!(f, "this node ends itself: {why}"),
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PeerActive => "the peer is active",
            Self::PeerBusy => "the peer is busy with a change of role",
            Self::PeersTurn => "it is the peer's turn",
            Self::OurTurn => "nobody is active: our turn comes soon",
            Self::NotTold => "the peer has not said yet how it is",
            Self::PeerLives => "the peer lives, but the link does not answer",
            Self::Partitioned => "the peer lives, but nothing reaches it",
            Self::Unsure => "nothing shows whether the peer lives",
            Self::NotFit => "this node is not fit to serve",
            Self::Resting => "this node has just failed to take over",
            Self::Held => "an operator holds this node",
            Self::Disabled => "an operator has disabled failover",
        })
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun { to, trigger } => write!(f, "switchover to {to}: {trigger}"),
            Self::Promised { generation } => write!(f, "ready to take over in generation {generation}"),
            Self::Ended(end) => write!(f, "switchover ended: {end}"),
            Self::Takes { generation, claim } => write!(f, "taking over in generation {generation}: {claim}"),
            Self::Serves { generation } => write!(f, "active in generation {generation}"),
            Self::ServesUnstored { generation } => {
                write!(f, "serving in generation {generation}, though it can't be stored")
            }
            Self::StepsDown(why) => write!(f, "stepping down: {why}"),
            Self::Released => f.write_str("nothing serves here any more"),
            Self::TakeFailed(why) => write!(f, "could not take over: {why}"),
            Self::EndsHard(why) => write!(f, "this node ends itself: {why}"),
            Self::Waits(wait) => write!(f, "not taking over: {wait}"),
            Self::Held(true) => f.write_str("held: nothing fails over to this node by itself"),
            Self::Held(false) => f.write_str("no longer held"),
            Self::Disabled(true) => f.write_str("failover disabled for the pair"),
            Self::Disabled(false) => f.write_str("failover enabled for the pair"),
            Self::Prefers(Some(node)) => write!(f, "the preferred node is {node}"),
            Self::Prefers(None) => f.write_str("no node is preferred"),
        }
    }
}
