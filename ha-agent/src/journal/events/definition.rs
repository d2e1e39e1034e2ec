//! Every event, defined once: `docs/events.md` shows them all.

use crate::core::reasons::Severity;

/// The name of an event, without its facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each has its sentence in its definition")]
pub enum Kind {
    AgentStarted,
    AgentEnded,
    UpdateKept,
    UpdateFailed,
    Reloaded,
    NotReloaded,
    RoleChanged,
    StateChanged,
    AddressesUp,
    AddressesPutBack,
    FaultBegan,
    FaultOver,
    Suspicious,
    Stalled,
    LeaseLapsed,
    Demoted,
    DemotionOver,
    ReasonBegan,
    ReasonOver,
    PeerLinkUp,
    PeerLinkLost,
    SwitchoverBegan,
    SwitchoverPromised,
    SwitchoverStep,
    SwitchoverEnded,
    TakeoverBegan,
    TakeoverSteps,
    TakeoverFailed,
    Serving,
    SteppingDown,
    Released,
    EndsHard,
    Waiting,
    Wished,
    TooManyFailovers,
    EventsLost,
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name, as it stands in JSON.
    pub name: &'static str,
    /// What it is about.
    pub about: Subject,
    /// How bad it is.
    pub severity: Severity,
    /// What happened.
    pub sentence: &'static str,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The agent, or the node as a whole.
    Agent,
    /// The active role of the pair.
    Pair,
    /// A virtual host, by its name.
    Vhost,
    /// A node, by its name.
    Node,
    /// A reason, by its name.
    Reason,
}

impl Subject {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Pair => "pair",
            Self::Vhost => "vhost",
            Self::Node => "node",
            Self::Reason => "reason",
        }
    }
}

impl Kind {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 36] = [
        Self::AgentStarted,
        Self::AgentEnded,
        Self::UpdateKept,
        Self::UpdateFailed,
        Self::Reloaded,
        Self::NotReloaded,
        Self::RoleChanged,
        Self::StateChanged,
        Self::AddressesUp,
        Self::AddressesPutBack,
        Self::FaultBegan,
        Self::FaultOver,
        Self::Suspicious,
        Self::Stalled,
        Self::LeaseLapsed,
        Self::Demoted,
        Self::DemotionOver,
        Self::ReasonBegan,
        Self::ReasonOver,
        Self::PeerLinkUp,
        Self::PeerLinkLost,
        Self::SwitchoverBegan,
        Self::SwitchoverPromised,
        Self::SwitchoverStep,
        Self::SwitchoverEnded,
        Self::TakeoverBegan,
        Self::TakeoverSteps,
        Self::TakeoverFailed,
        Self::Serving,
        Self::SteppingDown,
        Self::Released,
        Self::EndsHard,
        Self::Waiting,
        Self::Wished,
        Self::TooManyFailovers,
        Self::EventsLost,
    ];

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.definition().name == name)
    }

    /// What it is.
    #[must_use]
    pub const fn definition(self) -> Definition {
        let (name, about, severity, sentence) = match self {
            Self::AgentStarted => ("agent_started", NODE, NOTE, "an agent runs on this node"),
            Self::AgentEnded => {
                ("agent_ended", NODE, WARNING, "the agent ends in order; one that is killed tells nothing")
            }
            Self::UpdateKept => ("update_kept", AGENT, NOTE, "a new agent has proven itself"),
            Self::UpdateFailed => (
                "update_failed",
                AGENT,
                WARNING,
                "a new agent did not prove itself, and the one before goes on",
            ),
            Self::Reloaded => ("reloaded", AGENT, NOTE, "the configuration was read again"),
            Self::NotReloaded => {
                ("not_reloaded", AGENT, WARNING, "the configuration was read again, and not all of it works")
            }
            Self::RoleChanged => ("role_changed", AGENT, NOTE, "this node is something else to its clients"),
            Self::StateChanged => (
                "state_changed",
                VHOST,
                NOTE,
                "a virtual host changed its state; with the cause and the time of each phase",
            ),
            Self::AddressesUp => {
                ("addresses_up", VHOST, NOTE, "the addresses of a virtual host came up, and were announced")
            }
            Self::AddressesPutBack => {
                ("addresses_put_back", VHOST, WARNING, "somebody had taken addresses off")
            }
            Self::FaultBegan => ("fault_began", VHOST, CRITICAL, "something goes wrong with a virtual host"),
            Self::FaultOver => ("fault_over", VHOST, NOTE, "it is right again"),
            Self::Suspicious => (
                "suspicious",
                VHOST,
                WARNING,
                "something looks like an attack; at most once a minute for each source",
            ),
            Self::Stalled => {
                ("stalled", VHOST, WARNING, "this node stood still for longer than its peers wait")
            }
            Self::LeaseLapsed => (
                "lease_lapsed",
                AGENT,
                CRITICAL,
                "this node answered for no virtual address, since its agent did not run",
            ),
            Self::Demoted => ("demoted", AGENT, WARNING, "this node would rather not be master"),
            Self::DemotionOver => ("demotion_over", AGENT, NOTE, "it is as good as any again"),
            Self::ReasonBegan => (
                "reason_began",
                REASON,
                NOTE,
                "something stands in the way of a failover, or the witness is lost; as bad as the reason",
            ),
            Self::ReasonOver => ("reason_over", REASON, NOTE, "it does no longer, or the witness is back"),
            Self::PeerLinkUp => ("peer_link_up", NODE, NOTE, "the peer answers over the link"),
            Self::PeerLinkLost => {
                ("peer_link_lost", NODE, WARNING, "the peer does not answer over the link any more")
            }
            Self::SwitchoverBegan => {
                ("switchover_began", PAIR, NOTE, "the active role is to move, by agreement")
            }
            Self::SwitchoverPromised => {
                ("switchover_promised", PAIR, NOTE, "this node is ready to take over, as it was asked")
            }
            Self::SwitchoverStep => {
                ("switchover_step", PAIR, NOTE, "a step of a switchover goes on, is done, or failed")
            }
            Self::SwitchoverEnded => ("switchover_ended", PAIR, NOTE, "a switchover has ended, and how"),
            Self::TakeoverBegan => ("takeover_began", PAIR, NOTE, "this node takes the active role"),
            Self::TakeoverSteps => {
                ("takeover_steps", PAIR, NOTE, "how long each step of it took beside addresses")
            }
            Self::TakeoverFailed => {
                ("takeover_failed", PAIR, CRITICAL, "this node could not take the active role")
            }
            Self::Serving => ("serving", PAIR, NOTE, "this node is the active one of the pair"),
            Self::SteppingDown => {
                ("stepping_down", PAIR, WARNING, "this node stops serving, and not by agreement")
            }
            Self::Released => ("released", PAIR, NOTE, "nothing serves here any more"),
            Self::EndsHard => (
                "ends_hard",
                PAIR,
                CRITICAL,
                "this node ends itself: what it should have released may still be in use",
            ),
            Self::Waiting => ("waiting", PAIR, NOTE, "this node stands by, and why it does not take over"),
            Self::Wished => {
                ("wished", PAIR, NOTE, "an operator held, disabled or preferred something, or took that back")
            }
            Self::TooManyFailovers => (
                "too_many_failovers",
                PAIR,
                CRITICAL,
                "this node took over too often, and does no more by itself",
            ),
            Self::EventsLost => ("events_lost", AGENT, WARNING, "events came faster than they could be kept"),
        };
        Definition { name, about, severity, sentence }
    }
}

const AGENT: Subject = Subject::Agent;
const PAIR: Subject = Subject::Pair;
const VHOST: Subject = Subject::Vhost;
const NODE: Subject = Subject::Node;
const REASON: Subject = Subject::Reason;
const NOTE: Severity = Severity::Note;
const WARNING: Severity = Severity::Warning;
const CRITICAL: Severity = Severity::Critical;
