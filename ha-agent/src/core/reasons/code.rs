//! Every reason, defined once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A reason by its name. The peer's are these too: what is `LOC_…` here is `REM_…` when the peer tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "each has its sentence in its definition")]
pub enum Code {
    NoVip,
    NoCriticalInterfaces,
    NoLink,
    GroupLost,
    GroupReduced,
    NoVolume,
    NoFenced,
    NoDiskKeys,
    ResourceFault,
    NoWitness,
    NoHeartbeatIface,
    NoCarrierOnHeartbeat,
    NoStore,
    NotReady,
    LocError,
    LocFailoverOngoing,
    LocMaintenance,
    NoFailover,
    TooManyFailovers,
    NoPeer,
    NoPong,
    Partitioned,
    NoEvidence,
    SameStateMaster,
    SameStateBackup,
    SameName,
    DisagreeVip,
    MismatchDisks,
    MismatchNics,
    MismatchVersions,
    ConfigDiffers,
    ConfigWaits,
}

/// What a reason is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The name that an operator knows.
    pub name: &'static str,
    /// Whether it is a node's or the pair's.
    pub scope: Scope,
    /// How bad it is.
    pub severity: Severity,
    /// What is the case.
    pub sentence: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// What a node can't do that has it.
    pub blocks: &'static [Action],
}

/// Whose a reason can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A node's. The other one hears of it.
    Node,
    /// The pair's. Both find it.
    Pair,
}

/// How bad a reason is; the worse is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It passes by itself, or is as it was configured.
    Note,
    /// The service is protected less than it could be, or somebody wants it so.
    Warning,
    /// The service is not protected, or wrong data may be served.
    Critical,
}

/// What can be blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// To take over from a peer that is dead, without being asked.
    AutomaticFailover,
    /// To hand the role to the peer, by agreement.
    SwitchoverAway,
    /// To be handed the role by the peer, by agreement.
    SwitchoverHere,
    /// To take over because an operator demands it, whatever the peer says.
    Forced,
}

impl Code {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 32] = [
        Self::NoVip,
        Self::NoCriticalInterfaces,
        Self::NoLink,
        Self::GroupLost,
        Self::GroupReduced,
        Self::NoVolume,
        Self::NoFenced,
        Self::NoDiskKeys,
        Self::ResourceFault,
        Self::NoWitness,
        Self::NoHeartbeatIface,
        Self::NoCarrierOnHeartbeat,
        Self::NoStore,
        Self::NotReady,
        Self::LocError,
        Self::LocFailoverOngoing,
        Self::LocMaintenance,
        Self::NoFailover,
        Self::TooManyFailovers,
        Self::NoPeer,
        Self::NoPong,
        Self::Partitioned,
        Self::NoEvidence,
        Self::SameStateMaster,
        Self::SameStateBackup,
        Self::SameName,
        Self::DisagreeVip,
        Self::MismatchDisks,
        Self::MismatchNics,
        Self::MismatchVersions,
        Self::ConfigDiffers,
        Self::ConfigWaits,
    ];

    /// What it is.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "it is a table")]
    pub fn definition(self) -> &'static Definition {
        match self {
            Self::NoVip => &Definition {
                name: "NO_VIP",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "no virtual host has an address: there is nothing to serve",
                remedy: "give a [[vhost]] its `addresses`",
                blocks: &ALL,
            },
            Self::NoCriticalInterfaces => &Definition {
                name: "NO_CRITICAL_INTERFACES",
                scope: Scope::Node,
                severity: Severity::Warning,
                sentence: "no interface is critical, so the loss of none is noticed",
                remedy: "mark those as critical that clients need",
                blocks: &[Action::AutomaticFailover],
            },
            Self::NoLink => &Definition {
                name: "NO_LINK",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "no critical interface has a link: clients can't be reached",
                remedy: "check cable and switch",
                blocks: TAKING,
            },
            Self::GroupLost => &Definition {
                name: "GROUP_LOST",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "no critical interface of a group has a link: its clients can't be reached",
                remedy: "check its cables and switches",
                blocks: TAKING,
            },
            Self::GroupReduced => &Definition {
                name: "GROUP_REDUCED",
                scope: Scope::Node,
                severity: Severity::Warning,
                sentence: "a critical interface of a group has no link; the others of its group serve on",
                remedy: "check its cable and switch",
                blocks: &[],
            },
            Self::NoVolume => &Definition {
                name: "NO_VOLUME",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "there is no pool to import",
                remedy: "make one, or take the storage out of the configuration",
                blocks: TAKING,
            },
            Self::NoFenced => &Definition {
                name: "NO_FENCED",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "no fence works, and without one an import may destroy the pools",
                remedy: "make sure that every disk of the pools takes reservations",
                blocks: WITHOUT_FENCE,
            },
            Self::NoDiskKeys => &Definition {
                name: "NO_DISK_KEYS",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "the keys on the shared disks can't be read: whether the peer writes is not known",
                remedy: "check the way to the disks",
                blocks: WITHOUT_FENCE,
            },
            Self::ResourceFault => &Definition {
                name: "RESOURCE_FAULT",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "something that this node serves, or would have to, is not well",
                remedy: "see `ha-agent status` for the cause and its remedy",
                // From a dead peer it is tried all the same: what can be served is.
                blocks: &[Action::SwitchoverHere],
            },
            Self::NoWitness => &Definition {
                name: "NO_WITNESS",
                scope: Scope::Node,
                severity: Severity::Warning,
                sentence: "the witness can't be reached: who loses the peer as well stops serving, and does not take over",
                remedy: "check the witness, and the way to it",
                blocks: &[Action::AutomaticFailover],
            },
            Self::NoHeartbeatIface => &Definition {
                name: "NO_HEARTBEAT_IFACE",
                scope: Scope::Node,
                severity: Severity::Warning,
                sentence: "the interface of the link between the agents is not there",
                remedy: "check its name in the configuration, and its driver",
                // Whoever answers on another path can be agreed with; NO_PONG tells if nobody does.
                blocks: &[],
            },
            Self::NoCarrierOnHeartbeat => &Definition {
                name: "NO_CARRIER_ON_HEARTBEAT",
                scope: Scope::Node,
                severity: Severity::Warning,
                sentence: "the interface of the link between the agents has no carrier",
                remedy: "check the cable between the nodes",
                // Whoever answers on another path can be agreed with; NO_PONG tells if nobody does.
                blocks: &[],
            },
            Self::NoStore => &Definition {
                name: "NO_STORE",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "what it must know after a restart can't be stored, so nothing can be agreed with it",
                remedy: "make room on that disk, or make it writable; it is tried again all the time",
                blocks: BY_AGREEMENT,
            },
            Self::NotReady => &Definition {
                name: "NOT_READY",
                scope: Scope::Node,
                severity: Severity::Note,
                sentence: "the agent has not started as a whole yet",
                remedy: "wait",
                blocks: TAKING,
            },
            Self::LocError => &Definition {
                name: "LOC_ERROR",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "the last action failed, or no interface works",
                remedy: "see what `ha-agent status` says went wrong, and remove the cause",
                blocks: TAKING,
            },
            Self::LocFailoverOngoing => &Definition {
                name: "LOC_FAILOVER_ONGOING",
                scope: Scope::Node,
                severity: Severity::Note,
                sentence: "it takes over or releases just now",
                remedy: "wait",
                blocks: &ALL,
            },
            Self::LocMaintenance => &Definition {
                name: "LOC_MAINTENANCE",
                scope: Scope::Node,
                severity: Severity::Warning,
                sentence: "it is in maintenance",
                remedy: "`ha-agent resume` ends that",
                blocks: TAKING,
            },
            Self::NoFailover => &Definition {
                name: "NO_FAILOVER",
                scope: Scope::Node,
                severity: Severity::Warning,
                sentence: "failover is disabled for the pair",
                remedy: "enable it again",
                blocks: &[Action::AutomaticFailover, Action::SwitchoverAway, Action::SwitchoverHere],
            },
            Self::TooManyFailovers => &Definition {
                name: "TOO_MANY_FAILOVERS",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "it took over so often of late that it does not any more",
                remedy: "find out why, then resume",
                blocks: &[Action::AutomaticFailover],
            },
            Self::NoPeer => &Definition {
                name: "NO_PEER",
                scope: Scope::Node,
                severity: Severity::Note,
                sentence: "no other node was introduced to it",
                remedy: "introduce one, if there is one",
                blocks: BY_AGREEMENT,
            },
            Self::NoPong => &Definition {
                name: "NO_PONG",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "the other node's agent does not answer",
                remedy: "check that node, its agent, and the link between the two",
                blocks: BY_AGREEMENT,
            },
            Self::Partitioned => &Definition {
                name: "PARTITIONED",
                scope: Scope::Node,
                severity: Severity::Critical,
                sentence: "the other node lives, and does not get through everywhere",
                remedy: "check these paths; until then, hand the role over only by agreement",
                blocks: &[Action::AutomaticFailover],
            },
            Self::NoEvidence => &Definition {
                name: "NO_EVIDENCE",
                scope: Scope::Node,
                severity: Severity::Warning,
                sentence: "nothing shows whether the other node is alive",
                remedy: "check the paths to it; if it is off for certain, take over by force",
                blocks: &[Action::AutomaticFailover],
            },
            Self::SameStateMaster => &Definition {
                name: "SAME_STATE_MASTER",
                scope: Scope::Pair,
                severity: Severity::Critical,
                sentence: "the virtual hosts of both nodes are master",
                remedy: "check the network between them; of two that serve, one yields by itself",
                blocks: SAME_STATE,
            },
            Self::SameStateBackup => &Definition {
                name: "SAME_STATE_BACKUP",
                scope: Scope::Pair,
                severity: Severity::Critical,
                sentence: "the virtual hosts of both nodes are backup",
                remedy: "see who else advertises there, and which reasons keep each of them from it",
                blocks: SAME_STATE,
            },
            Self::SameName => &Definition {
                name: "SAME_NAME",
                scope: Scope::Pair,
                severity: Severity::Critical,
                sentence: "both nodes have the same name, so no order can say which of them is meant",
                remedy: "give one of them another `node` in its configuration, and restart its agent",
                blocks: BY_AGREEMENT,
            },
            Self::DisagreeVip => &Definition {
                name: "DISAGREE_VIP",
                scope: Scope::Pair,
                severity: Severity::Critical,
                sentence: "the nodes' virtual addresses differ",
                remedy: "make them the same in both configurations",
                blocks: BY_AGREEMENT,
            },
            Self::MismatchDisks => &Definition {
                name: "MISMATCH_DISKS",
                scope: Scope::Pair,
                severity: Severity::Critical,
                sentence: "the nodes do not see the same disks",
                remedy: "check the cabling of these disks",
                blocks: BY_AGREEMENT,
            },
            Self::MismatchNics => &Definition {
                name: "MISMATCH_NICS",
                scope: Scope::Pair,
                severity: Severity::Warning,
                sentence: "the nodes do not have the same interfaces",
                remedy: "make both configurations the same, or name the interfaces alike",
                blocks: BY_AGREEMENT,
            },
            Self::MismatchVersions => &Definition {
                name: "MISMATCH_VERSIONS",
                scope: Scope::Pair,
                severity: Severity::Warning,
                sentence: "the agents' versions are too far apart to work together",
                remedy: "update the older one",
                blocks: BY_AGREEMENT,
            },
            Self::ConfigDiffers => &Definition {
                name: "CONFIG_DIFFERS",
                scope: Scope::Pair,
                severity: Severity::Warning,
                sentence: "the nodes' shared configurations differ, and do not come to the same by themselves",
                remedy: "see `ha-agent config diff`; `ha-agent config apply FILE --over` on one node makes it valid for both",
                blocks: &[],
            },
            Self::ConfigWaits => &Definition {
                name: "CONFIG_WAITS",
                scope: Scope::Node,
                severity: Severity::Note,
                sentence: "the shared configuration was changed in what only a start of the agent takes up",
                remedy: "restart ha-agent, on the standby first",
                blocks: &[],
            },
        }
    }
}

impl Severity {
    /// All of them, the worst last.
    pub const ALL: [Self; 3] = [Self::Note, Self::Warning, Self::Critical];
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = ALL;

    /// One word, as it is in JSON and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AutomaticFailover => "automatic_failover",
            Self::SwitchoverAway => "switchover_away",
            Self::SwitchoverHere => "switchover_here",
            Self::Forced => "forced",
        }
    }
}

/// One word.
impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// As it reads in a sentence.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AutomaticFailover => "automatic failover",
            Self::SwitchoverAway => "switchover away",
            Self::SwitchoverHere => "switchover here",
            Self::Forced => "forced takeover",
        })
    }
}

const ALL: [Action; 4] =
    [Action::AutomaticFailover, Action::SwitchoverAway, Action::SwitchoverHere, Action::Forced];

/// What takes the role, unless an operator insists.
const TAKING: &[Action] = &[Action::AutomaticFailover, Action::SwitchoverHere];

/// What takes the role, even if an operator insists: nobody may import without a fence.
const WITHOUT_FENCE: &[Action] = &[Action::AutomaticFailover, Action::SwitchoverHere, Action::Forced];

/// What needs both nodes.
const BY_AGREEMENT: &[Action] = &[Action::SwitchoverAway, Action::SwitchoverHere];

/// All but what an operator insists on, who may be who resolves it.
const SAME_STATE: &[Action] = &[Action::AutomaticFailover, Action::SwitchoverAway, Action::SwitchoverHere];
