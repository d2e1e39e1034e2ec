//! What an operator can want of a pair over the socket, and what is told of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::pair::report::{End, Progress, Standing, Step};

/// The active role is to move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failover {
    /// The name of the node that is to have it; `None`: the one that does not have it now.
    #[serde(default)]
    pub to: Option<String>,
    /// Also if that node is not fit, or nothing shows whether the peer lives.
    #[serde(default)]
    pub force: bool,
    /// End the old node rather than go back, if it can't release by then, in ms.
    #[serde(default)]
    pub force_after_ms: Option<u64>,
}

/// What else is wanted of the pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairWish {
    /// Nothing fails over by itself.
    Disable,
    /// Takes that back.
    Enable,
    /// The role belongs to the node of this name, if both could have it.
    Prefer(Option<String>),
}

/// A step of a switchover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepStatus {
    /// Which one.
    pub step: Step,
    /// How it stands.
    pub standing: Standing,
    /// When, since it was ordered, in ms.
    pub after_ms: f64,
    /// What is done in it.
    pub sentence: String,
}

/// The end of a switchover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndStatus {
    /// How it ended.
    pub end: End,
    /// When, since it was ordered, in ms.
    pub after_ms: f64,
    /// The same as a sentence.
    pub sentence: String,
}

impl StepStatus {
    pub(crate) fn new(progress: &Progress, after: Duration) -> Self {
        let Progress { step, standing, .. } = *progress;
        Self { step, standing, after_ms: after.as_secs_f64() * 1e3, sentence: step.to_string() }
    }
}

impl EndStatus {
    pub(crate) fn new(end: End, after: Duration) -> Self {
        Self { end, after_ms: after.as_secs_f64() * 1e3, sentence: end.to_string() }
    }
}
