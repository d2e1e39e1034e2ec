//! How this node stands in its pair.

use serde::{Deserialize, Serialize};

use crate::agent::detector::partner::PairSnapshot;
use crate::core::pair::message::Role;
use crate::core::pair::report::{End, Wait};
use crate::core::pair::{Generation, Liveness, Node};

/// One node of a pair, as it sees the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairStatus {
    /// Which of the two it is.
    pub side: Node,
    /// `active`, `standby`, `taking`, …: what it does (docs/switchover.md).
    pub phase: String,
    /// The generation that it serves in, or last did.
    pub generation: Generation,
    /// Whether its virtual hosts may have their addresses.
    pub serving: bool,
    /// Whether an operator holds this node: nothing fails over to it by itself.
    pub held: bool,
    /// Whether an operator has disabled failover in the pair.
    pub disabled: bool,
    /// Where the active role belongs, if both could have it.
    pub preferred: Option<Node>,
    /// As a standby: why it does not take over.
    pub wait: Option<Wait>,
    /// The same as a sentence.
    pub waits_because: Option<String>,
    /// The verdict on the peer, from the link and the virtual hosts.
    pub verdict: Liveness,
    /// What the peer says that it does, if it can be asked.
    pub peer: Option<Role>,
    /// How the last switchover ended that this node was busy with.
    pub last: Option<End>,
    /// The same as a sentence.
    pub last_sentence: Option<String>,
}

impl PairStatus {
    pub(crate) fn new(pair: &PairSnapshot) -> Self {
        // The brake is shown as a reason, the lease with the witness.
        let PairSnapshot { settings, phase, term, record, serving, wait, peer, liveness, last, .. } = pair;
        let last = last.map(|(_, end)| end);
        Self {
            side: settings.node,
            phase: phase.name().to_owned(),
            generation: *term,
            serving: *serving,
            held: record.held,
            disabled: record.shared.disabled,
            preferred: record.shared.preferred,
            wait: *wait,
            waits_because: wait.map(|wait| wait.to_string()),
            verdict: *liveness,
            peer: peer.map(|state| state.role),
            last,
            last_sentence: last.map(|end| end.to_string()),
        }
    }
}
