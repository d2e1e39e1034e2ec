//! How all stands, for the status and the journal.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Part;
use crate::core::Instant;
use crate::core::pair::Generation;
use crate::core::plan::{Phase, Standing};
use crate::resource::Failure;

/// How all stands.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// What is done now.
    pub doing: Doing,
    /// Each part, in the order of the configuration.
    pub parts: Vec<PartShown>,
    /// How long the steps of the last takeover took, in the order in which they began.
    pub last: Vec<StepTime>,
}

/// What is done now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// Nothing is here.
    #[default]
    Nothing,
    /// It is taken over.
    Taking(Generation, Instant),
    /// It is served.
    Serving(Generation),
    /// It is released.
    Releasing(Generation, Instant),
    /// It could not be released, or not be taken: some of it may be here.
    Unclear(Generation),
}

/// How a part stands.
#[derive(Clone, Debug)]
pub struct PartShown {
    /// Its name.
    pub name: String,
    /// When it is taken.
    pub phase: Phase,
    /// How its step stands in the plan that runs, or ran last.
    pub standing: Standing,
    /// What was said when it was taken.
    pub remarks: Vec<String>,
    /// What is wrong with it, if anything is.
    pub faults: Vec<Failure>,
    /// Whether that keeps it from being served.
    pub bad: bool,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTime {
    /// Its name.
    pub name: String,
    /// Which part of the whole it belongs to.
    pub phase: Phase,
    /// From the beginning of the whole to its own.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// Whether it ended well.
    pub well: bool,
}

impl Shown {
    pub(super) fn new(parts: &[Part]) -> Self {
        let part = |part: &Part| PartShown {
            name: part.resource.name().to_owned(),
            phase: part.phase,
            standing: Standing::Waiting,
            remarks: Vec::new(),
            faults: Vec::new(),
            bad: false,
        };
        Self { parts: parts.iter().map(part).collect(), ..Self::default() }
    }
}
