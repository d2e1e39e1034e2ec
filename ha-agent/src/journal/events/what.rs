//! The events with their facts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::control::status::{Change, StepTimeStatus};
use crate::core::pair::message::Request;
use crate::core::pair::report::{Claim, End, Standing, Step, Story, Trigger, Wait, Why};
use crate::core::pair::{Generation, Node};
use crate::core::reasons::{Reason, Severity};
use crate::core::role::Role;

/// What happened, with the facts. A `name` is that of the node; an older agent did not say it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each has its sentence in its definition")]
pub enum What {
    AgentStarted { version: String, pid: u32 },
    AgentEnded { how: String },
    UpdateKept { version: String },
    UpdateFailed { digest: String },
    Reloaded { done: String },
    NotReloaded { cause: String },
    RoleChanged { from: Role, to: Role },
    StateChanged { change: Box<Change> },
    AddressesUp { address_up_ns: u64, announced_ns: u64 },
    AddressesPutBack { added: usize },
    FaultBegan { fault: String },
    FaultOver,
    Suspicious { name: String, source: std::net::IpAddr, count: u64, meaning: String },
    Stalled { lasted_ms: f64 },
    LeaseLapsed { lasted_ms: f64 },
    Demoted { level: u8, causes: Vec<String> },
    DemotionOver,
    ReasonBegan { reason: Reason },
    ReasonOver { reason: Reason },
    PeerLinkUp { via: String },
    PeerLinkLost { cause: String },
    SwitchoverBegan { to: Node, name: Option<String>, trigger: Trigger },
    SwitchoverPromised { generation: Generation },
    SwitchoverStep { request: Request, step: Step, standing: Standing, since_ns: u64 },
    SwitchoverEnded { end: End },
    TakeoverBegan { generation: Generation, claim: Claim },
    TakeoverSteps { generation: Generation, steps: Vec<StepTimeStatus> },
    TakeoverFailed { why: Why },
    Serving { generation: Generation, stored: bool },
    SteppingDown { why: Why },
    Released,
    EndsHard { why: Why },
    Waiting { wait: Wait },
    Wished { wish: Wish, name: Option<String> },
    TooManyFailovers,
    EventsLost { count: u64 },
}

/// What an operator wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// That this node is held, or no longer.
    Held(bool),
    /// That failover is disabled, or no longer.
    Disabled(bool),
    /// That the role belongs to a node, or to none.
    Prefers(Option<Node>),
}

impl What {
    /// Which event it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::AgentStarted { .. } => Kind::AgentStarted,
            Self::AgentEnded { .. } => Kind::AgentEnded,
            Self::UpdateKept { .. } => Kind::UpdateKept,
            Self::UpdateFailed { .. } => Kind::UpdateFailed,
            Self::Reloaded { .. } => Kind::Reloaded,
            Self::NotReloaded { .. } => Kind::NotReloaded,
            Self::RoleChanged { .. } => Kind::RoleChanged,
            Self::StateChanged { .. } => Kind::StateChanged,
            Self::AddressesUp { .. } => Kind::AddressesUp,
            Self::AddressesPutBack { .. } => Kind::AddressesPutBack,
            Self::FaultBegan { .. } => Kind::FaultBegan,
            Self::FaultOver => Kind::FaultOver,
            Self::Suspicious { .. } => Kind::Suspicious,
            Self::Stalled { .. } => Kind::Stalled,
            Self::LeaseLapsed { .. } => Kind::LeaseLapsed,
            Self::Demoted { .. } => Kind::Demoted,
            Self::DemotionOver => Kind::DemotionOver,
            Self::ReasonBegan { .. } => Kind::ReasonBegan,
            Self::ReasonOver { .. } => Kind::ReasonOver,
            Self::PeerLinkUp { .. } => Kind::PeerLinkUp,
            Self::PeerLinkLost { .. } => Kind::PeerLinkLost,
            Self::SwitchoverBegan { .. } => Kind::SwitchoverBegan,
            Self::SwitchoverPromised { .. } => Kind::SwitchoverPromised,
            Self::SwitchoverStep { .. } => Kind::SwitchoverStep,
            Self::SwitchoverEnded { .. } => Kind::SwitchoverEnded,
            Self::TakeoverBegan { .. } => Kind::TakeoverBegan,
            Self::TakeoverSteps { .. } => Kind::TakeoverSteps,
            Self::TakeoverFailed { .. } => Kind::TakeoverFailed,
            Self::Serving { .. } => Kind::Serving,
            Self::SteppingDown { .. } => Kind::SteppingDown,
            Self::Released => Kind::Released,
            Self::EndsHard { .. } => Kind::EndsHard,
            Self::Waiting { .. } => Kind::Waiting,
            Self::Wished { .. } => Kind::Wished,
            Self::TooManyFailovers => Kind::TooManyFailovers,
            Self::EventsLost { .. } => Kind::EventsLost,
        }
    }

    /// How bad it is: as the kind of event, or as the reason that it tells of.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::ReasonBegan { reason } => reason.severity(),
            other => other.kind().definition().severity,
        }
    }

    /// What the pair machine tells; `name` says what a node is called, if it is known.
    #[must_use]
    pub fn of_pair(story: Story, name: impl FnOnce(Node) -> Option<String>) -> Self {
        let wished = |wish, name| Self::Wished { wish, name };
        match story {
            Story::Begun { to, trigger } => Self::SwitchoverBegan { to, name: name(to), trigger },
            Story::Promised { generation } => Self::SwitchoverPromised { generation },
            Story::Ended(end) => Self::SwitchoverEnded { end },
            Story::Takes { generation, claim } => Self::TakeoverBegan { generation, claim },
            Story::Serves { generation } => Self::Serving { generation, stored: true },
            Story::ServesUnstored { generation } => Self::Serving { generation, stored: false },
            Story::StepsDown(why) => Self::SteppingDown { why },
            Story::Released => Self::Released,
            Story::TakeFailed(why) => Self::TakeoverFailed { why },
            Story::EndsHard(why) => Self::EndsHard { why },
            Story::Waits(wait) => Self::Waiting { wait },
            Story::Held(held) => wished(Wish::Held(held), None),
            Story::Disabled(disabled) => wished(Wish::Disabled(disabled), None),
            Story::Prefers(node) => wished(Wish::Prefers(node), node.and_then(name)),
        }
    }
}

/// As a sentence.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentStarted { version, pid } => write!(f, "ha-agent {version} runs (process {pid})"),
            Self::AgentEnded { how } => write!(f, "the agent ends: {how}"),
            Self::UpdateKept { version } => write!(f, "ha-agent {version} has proven itself and is kept"),
            Self::UpdateFailed { digest } => {
                write!(f, "the new agent {digest} did not prove itself; the one before it goes on")
            }
            Self::Reloaded { done } => f.write_str(done),
            Self::NotReloaded { cause } => f.write_str(cause),
            Self::RoleChanged { from, to } => write!(f, "{from} -> {to}"),
            Self::StateChanged { change } => {
                write!(f, "{} -> {}: {}", change.from, change.to, change.sentence)
            }
            Self::AddressesUp { .. } => f.write_str("the addresses are up and announced"),
            Self::AddressesPutBack { added } => {
                write!(f, "{added} of our addresses had been taken off: put on again")
            }
            Self::FaultBegan { fault } => f.write_str(fault),
            Self::FaultOver => f.write_str("what went wrong is right again"),
            Self::Suspicious { name, meaning, .. } => write!(f, "{name}: {meaning}"),
            Self::Stalled { lasted_ms } => {
                write!(f, "this node did not run for {lasted_ms:.1} ms, longer than its peers wait: it listens before it goes on")
            }
            Self::LeaseLapsed { lasted_ms } => {
                write!(
                    f,
                    "this node answered for no virtual address for {lasted_ms:.1} ms: its agent did not run, and nobody could know \
                     whether another node serves"
                )
            }
            Self::Demoted { level, causes } => write!(f, "demoted, level {level}: {}", causes.join(", ")),
            Self::DemotionOver => f.write_str("no longer demoted"),
            // Its name is what the event is about.
            Self::ReasonBegan { reason } => {
                let text = reason.to_string();
                f.write_str(text.strip_prefix(&format!("{}: ", reason.name())).unwrap_or(&text))
            }
            Self::ReasonOver { .. } => f.write_str("is over"),
            Self::PeerLinkUp { via } => write!(f, "the peer answers at {via}"),
            Self::PeerLinkLost { cause } => write!(f, "the peer link is lost: {cause}"),
            Self::SwitchoverStep { step, standing, .. } => match standing {
                Standing::Running => write!(f, "{step} ..."),
                Standing::Done => write!(f, "{step}: done"),
                Standing::Failed => write!(f, "{step}: failed"),
            },
            Self::TakeoverSteps { steps, .. } if steps.is_empty() => f.write_str("nothing beside addresses"),
            Self::TakeoverSteps { steps, .. } => {
                let step = |step: &StepTimeStatus| format!("{} {:.0} ms", step.name, step.took_ms);
                f.write_str(&steps.iter().map(step).collect::<Vec<_>>().join(", "))
            }
            Self::SwitchoverBegan { name: Some(name), trigger, .. } => {
                write!(f, "switchover to {name}: {trigger}")
            }
            Self::SwitchoverBegan { to, name: None, trigger } => {
                Story::Begun { to: *to, trigger: *trigger }.fmt(f)
            }
            Self::SwitchoverPromised { generation } => Story::Promised { generation: *generation }.fmt(f),
            Self::SwitchoverEnded { end } => Story::Ended(*end).fmt(f),
            Self::TakeoverBegan { generation, claim } => {
                Story::Takes { generation: *generation, claim: *claim }.fmt(f)
            }
            Self::TakeoverFailed { why } => Story::TakeFailed(*why).fmt(f),
            Self::Serving { generation, stored: true } => Story::Serves { generation: *generation }.fmt(f),
            Self::Serving { generation, stored: false } => {
                Story::ServesUnstored { generation: *generation }.fmt(f)
            }
            Self::SteppingDown { why } => Story::StepsDown(*why).fmt(f),
            Self::Released => Story::Released.fmt(f),
            Self::EndsHard { why } => Story::EndsHard(*why).fmt(f),
            Self::Waiting { wait } => Story::Waits(*wait).fmt(f),
            Self::Wished { wish: Wish::Prefers(Some(_)), name: Some(name) } => {
                write!(f, "the preferred node is {name}")
            }
            Self::Wished { wish: Wish::Held(held), .. } => Story::Held(*held).fmt(f),
            Self::Wished { wish: Wish::Disabled(disabled), .. } => Story::Disabled(*disabled).fmt(f),
            Self::Wished { wish: Wish::Prefers(node), .. } => Story::Prefers(*node).fmt(f),
            Self::TooManyFailovers => f.write_str(
                "too many takeovers in ten minutes: this node is held, and takes over no more by itself; find out why, then \
                 `ha-agent resume`",
            ),
            Self::EventsLost { count } => write!(f, "{count} events came faster than they could be kept"),
        }
    }
}
