//! What the node has in charge beside addresses.

use serde::{Deserialize, Serialize};

use crate::core::Instant;
use crate::core::plan::{Phase, Standing};
use crate::exec::conductor::{Doing, PartShown, Shown, StepTime};
use crate::resource::Failure;

/// How all of it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChargeStatus {
    /// `nothing`, `taking`, `serving`, `releasing` or `unclear`: what the node does with it.
    pub doing: String,
    /// Its parts, in the order of the configuration: volumes with their fences, services.
    pub parts: Vec<PartStatus>,
    /// How long each step of the last takeover took, in the order in which they began.
    pub last_takeover: Vec<StepTimeStatus>,
}

/// How a part stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartStatus {
    /// Its name.
    pub name: String,
    /// When it is taken.
    pub phase: Phase,
    /// `waiting`, `running`, `hung`, `done`, `failed` or `skipped`: its step in the plan that runs, or ran last.
    pub step: String,
    /// For how long the step has run, or ran, in ms.
    pub step_ms: Option<f64>,
    /// What was said when it was taken.
    pub remarks: Vec<String>,
    /// What is wrong with it.
    pub faults: Vec<FaultStatus>,
    /// Whether that keeps it from being served.
    pub bad: bool,
}

/// What is wrong with a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// `DISK_MISSING`, `BUSY`, …: see `docs/storage.md`.
    pub cause: String,
    /// The same with what is the case, and the remedy.
    pub sentence: String,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepTimeStatus {
    /// Its name.
    pub name: String,
    /// Which part of the whole it belongs to.
    pub phase: Phase,
    /// From the beginning of the whole to its own, in ms.
    pub began_ms: f64,
    /// How long it took, in ms.
    pub took_ms: f64,
    /// Whether it ended well.
    pub well: bool,
}

impl ChargeStatus {
    pub(crate) fn new(now: Instant, shown: &Shown) -> Self {
        let doing = match shown.doing {
            Doing::Nothing => "nothing",
            Doing::Taking(..) => "taking",
            Doing::Serving(_) => "serving",
            Doing::Releasing(..) => "releasing",
            Doing::Unclear(_) => "unclear",
        };
        Self {
            doing: doing.to_owned(),
            parts: shown.parts.iter().map(|part| PartStatus::new(now, part)).collect(),
            last_takeover: shown.last.iter().map(StepTimeStatus::new).collect(),
        }
    }
}

impl PartStatus {
    fn new(now: Instant, part: &PartShown) -> Self {
        let (step, time) = match part.standing {
            Standing::Waiting => ("waiting", None),
            Standing::Running { since } => ("running", Some(now.saturating_since(since))),
            Standing::Hung { since } => ("hung", Some(now.saturating_since(since))),
            Standing::Done { since, until } => ("done", Some(until.saturating_since(since))),
            Standing::Failed { since, until } => ("failed", Some(until.saturating_since(since))),
            Standing::Skipped => ("skipped", None),
        };
        Self {
            name: part.name.clone(),
            phase: part.phase,
            step: step.to_owned(),
            step_ms: time.map(|time| time.as_secs_f64() * 1e3),
            remarks: part.remarks.clone(),
            faults: part.faults.iter().map(FaultStatus::new).collect(),
            bad: part.bad,
        }
    }
}

impl FaultStatus {
    pub(crate) fn new(failure: &Failure) -> Self {
        Self { cause: failure.cause.name().to_owned(), sentence: failure.to_string() }
    }
}

impl StepTimeStatus {
    pub(crate) fn new(time: &StepTime) -> Self {
        let StepTime { name, phase, began, took, well } = time;
        let ms = |time: &std::time::Duration| time.as_secs_f64() * 1e3;
        Self { name: name.clone(), phase: *phase, began_ms: ms(began), took_ms: ms(took), well: *well }
    }
}
