//! A drill: what would become of a takeover now, found out without touching anything.

use serde::{Deserialize, Serialize};

use super::status::FaultStatus;
use crate::core::plan::Phase;

/// What a drill found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrillReport {
    /// Each part, in the order of the configuration.
    pub parts: Vec<DrillPart>,
    /// How long a takeover would take by phases, in their order; the silence of the peer first. Parts of a phase are taken
    /// side by side.
    pub phases: Vec<PhaseEstimate>,
    /// From the peer's last word to the addresses, in ms: the longest way through the plan.
    pub total_ms: f64,
    /// Whether that is no more than a lower bound: some parts were never taken on this node.
    pub at_least: bool,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrillPart {
    /// Its name.
    pub name: String,
    /// When it is taken.
    pub phase: Phase,
    /// What is as it should be.
    pub good: Vec<String>,
    /// What could be better.
    pub weak: Vec<FaultStatus>,
    /// What would keep it from being taken.
    pub bad: Vec<FaultStatus>,
    /// How long it would take, in ms.
    pub estimate_ms: f64,
    /// `taken` (as long as the last time on this node) or `looked` (it was never taken; so long did it take to look at it).
    pub basis: String,
}

/// A phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseEstimate {
    /// `silence`, then the phases of the plan.
    pub name: String,
    /// How long, in ms.
    pub ms: f64,
}

impl DrillReport {
    /// Whether all could be taken.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.parts.iter().all(|part| part.bad.is_empty())
    }

    /// Whether there is nothing to complain of at all.
    #[must_use]
    pub fn is_perfect(&self) -> bool {
        self.is_good() && self.parts.iter().all(|part| part.weak.is_empty())
    }
}
