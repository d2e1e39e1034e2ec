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
    /// How bad it is.
    pub severity: Severity,
    /// What happened.
    pub sentence: &'static str,
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
        let (name, severity, sentence) = match self {
            Self::AgentStarted => ("agent_started", NOTE, "an agent runs on this node"),
            Self::AgentEnded => {
                ("agent_ended", WARNING, "the agent ends in order; one that is killed tells nothing")
            }
            Self::UpdateKept => ("update_kept", NOTE, "a new agent has proven itself"),
            Self::UpdateFailed => {
                ("update_failed", WARNING, "a new agent did not prove itself, and the one before goes on")
            }
            Self::Reloaded => ("reloaded", NOTE, "the configuration was read again"),
            Self::NotReloaded => {
                ("not_reloaded", WARNING, "the configuration was read again, and not all of it works")
            }
            Self::RoleChanged => ("role_changed", NOTE, "this node is something else to its clients"),
            Self::StateChanged => (
                "state_changed",
                NOTE,
                "a virtual host changed its state; with the cause and the time of each phase",
            ),
            Self::AddressesUp => {
                ("addresses_up", NOTE, "the addresses of a virtual host came up, and were announced")
            }
            Self::AddressesPutBack => ("addresses_put_back", WARNING, "somebody had taken addresses off"),
            Self::FaultBegan => ("fault_began", CRITICAL, "something goes wrong with a virtual host"),
            Self::FaultOver => ("fault_over", NOTE, "it is right again"),
            Self::Suspicious => (
                "suspicious",
                WARNING,
                "something looks like an attack; at most once a minute for each source",
            ),
            Self::Stalled => ("stalled", WARNING, "this node stood still for longer than its peers wait"),
            Self::LeaseLapsed => (
                "lease_lapsed",
                CRITICAL,
                "this node answered for no virtual address, since its agent did not run",
            ),
            Self::Demoted => ("demoted", WARNING, "this node would rather not be master"),
            Self::DemotionOver => ("demotion_over", NOTE, "it is as good as any again"),
            Self::ReasonBegan => (
                "reason_began",
                NOTE,
                "something stands in the way of a failover, or the witness is lost; as bad as the reason",
            ),
            Self::ReasonOver => ("reason_over", NOTE, "it does no longer, or the witness is back"),
            Self::PeerLinkUp => ("peer_link_up", NOTE, "the peer answers over the link"),
            Self::PeerLinkLost => {
                ("peer_link_lost", WARNING, "the peer does not answer over the link any more")
            }
            Self::SwitchoverBegan => ("switchover_began", NOTE, "the active role is to move, by agreement"),
            Self::SwitchoverPromised => {
                ("switchover_promised", NOTE, "this node is ready to take over, as it was asked")
            }
            Self::SwitchoverStep => {
                ("switchover_step", NOTE, "a step of a switchover goes on, is done, or failed")
            }
            Self::SwitchoverEnded => ("switchover_ended", NOTE, "a switchover has ended, and how"),
            Self::TakeoverBegan => ("takeover_began", NOTE, "this node takes the active role"),
            Self::TakeoverSteps => ("takeover_steps", NOTE, "how long each step of it took beside addresses"),
            Self::TakeoverFailed => ("takeover_failed", CRITICAL, "this node could not take the active role"),
            Self::Serving => ("serving", NOTE, "this node is the active one of the pair"),
            Self::SteppingDown => ("stepping_down", WARNING, "this node stops serving, and not by agreement"),
            Self::Released => ("released", NOTE, "nothing serves here any more"),
            Self::EndsHard => (
                "ends_hard",
                CRITICAL,
                "this node ends itself: what it should have released may still be in use",
            ),
            Self::Waiting => ("waiting", NOTE, "this node stands by, and why it does not take over"),
            Self::Wished => {
                ("wished", NOTE, "an operator held, disabled or preferred something, or took that back")
            }
            Self::TooManyFailovers => {
                ("too_many_failovers", CRITICAL, "this node took over too often, and does no more by itself")
            }
            Self::EventsLost => ("events_lost", WARNING, "events came faster than they could be kept"),
        };
        Definition { name, severity, sentence }
    }
}

const NOTE: Severity = Severity::Note;
const WARNING: Severity = Severity::Warning;
const CRITICAL: Severity = Severity::Critical;
