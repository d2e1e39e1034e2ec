//! Takeover and release as data: steps, what each needs, how long it may take, and what follows if it fails.
//!
//! ```text
//!   take:     watchdog ──▶ fence tank ──▶ import tank ──▶ nfs ──┐
//!                     └──▶ fence disk ──▶ mount disk ──────────┴──▶ addresses ──▶ reports
//!   release:  the same arrows, the other way
//! ```
//!
//! A [`Plan`] is made once, from the configuration; a [`Run`] is one way through it. The undo of a takeover is the release:
//! each of its steps undoes one of the takeover's, and does nothing where there is nothing to be undone.

mod run;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::run::{Outcome, Run, Standing, Verdict};

/// Steps that can all be done, in some order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
    /// Whether what does not need what failed is done all the same, and the verdict waits for it.
    tries_all: bool,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What an operator calls it.
    pub name: String,
    /// Which part of the whole it belongs to.
    pub phase: Phase,
    /// Steps that must have succeeded before.
    pub needs: Vec<usize>,
    /// Steps that must be over before, however they ended.
    pub after: Vec<usize>,
    /// How long it may take.
    pub limit: Duration,
    /// What follows if it fails, or hangs.
    pub policy: Policy,
}

/// The parts of a takeover, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The node's own watchdog is armed: from here on it serves well, or it resets.
    Watchdog,
    /// The other node can't write any more.
    Fence,
    /// Pools are imported, with their log and cache devices.
    Import,
    /// File systems are mounted.
    Mount,
    /// Services run that clients wait for.
    Services,
    /// The addresses answer.
    Addresses,
    /// The rest, which nobody waits for.
    Rest,
}

/// What follows if a step fails, or hangs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Go on without it, and without what needs it.
    GoOn,
    /// The whole has failed, and is undone. Of a release: it has failed, and whoever wanted it decides.
    #[default]
    Undo,
    /// This node ends itself at once.
    SelfFence,
}

/// Why steps are no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// A step is to come after one that comes after it.
    Circle(String),
}

/// A sentence.
impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Circle(step) => write!(f, "`{step}` is to come after what itself comes after it"),
        }
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// A plan of these steps. What they need is given by their place in the list.
    ///
    /// # Errors
    ///
    /// If some need each other, or something that is not there.
    pub fn new(steps: Vec<Step>) -> Result<Self, PlanError> {
        let plan = Self { steps, tries_all: false };
        match plan.order() {
            Ok(_) => Ok(plan),
            Err(step) => {
                Err(PlanError::Circle(plan.steps.get(step).map(|step| step.name.clone()).unwrap_or_default()))
            }
        }
    }

    /// The steps, as they were given.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The way back: step for step, each once what stands on it, or came after it, is released: so a watchdog guards what is
    /// not. A service holds nothing: where it does not let go, what is below is tried all the same, and finds out. As much is
    /// released as can be. `of` says how long the way back may take for a step, and what follows if it fails.
    #[must_use]
    pub fn reversed(&self, of: impl Fn(usize, &Step) -> (Duration, Policy)) -> Self {
        let undo = |(index, step): (usize, &Step)| {
            let (limit, policy) = of(index, step);
            Step { needs: Vec::new(), after: Vec::new(), limit, policy, ..step.clone() }
        };
        let mut steps: Vec<Step> = self.steps.iter().enumerate().map(undo).collect();
        for (index, step) in self.steps.iter().enumerate() {
            for &below in step.needs.iter().chain(&step.after) {
                if let Some(below) = steps.get_mut(below) {
                    let waits =
                        if step.phase < Phase::Services { &mut below.needs } else { &mut below.after };
                    waits.push(index);
                }
            }
        }
        Self { steps, tries_all: true }
    }

    /// How long the whole may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.longest(|step| self.steps.get(step).map(|step| step.limit).unwrap_or_default())
    }

    /// How long the longest way through it takes, if each step takes so long.
    #[must_use]
    pub fn longest(&self, takes: impl Fn(usize) -> Duration) -> Duration {
        let mut ends = vec![Duration::ZERO; self.steps.len()];
        for index in self.order().unwrap_or_default() {
            if let Some(step) = self.steps.get(index) {
                let begins = step.before().filter_map(|before| ends.get(before)).max().copied();
                let end = begins.unwrap_or_default().saturating_add(takes(index));
                if let Some(place) = ends.get_mut(index) {
                    *place = end;
                }
            }
        }
        ends.into_iter().max().unwrap_or_default()
    }

    /// The steps in an order in which they can be done, or one that can't be.
    fn order(&self) -> Result<Vec<usize>, usize> {
        let mut order = Vec::with_capacity(self.steps.len());
        let mut done = vec![false; self.steps.len()];
        while order.len() < self.steps.len() {
            let mut left =
                self.steps.iter().enumerate().filter(|(index, _)| done.get(*index) == Some(&false));
            let ready = |(_, step): &(usize, &Step)| {
                step.before().all(|before| done.get(before).copied().unwrap_or(false))
            };
            let Some((next, _)) = left.clone().find(ready) else {
                return Err(left.next().map_or(0, |(index, _)| index));
            };
            order.push(next);
            if let Some(done) = done.get_mut(next) {
                *done = true;
            }
        }
        Ok(order)
    }
}

impl Step {
    /// All that must be over before it begins.
    fn before(&self) -> impl Iterator<Item = usize> {
        self.needs.iter().chain(&self.after).copied()
    }
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 7] =
        [Self::Watchdog, Self::Fence, Self::Import, Self::Mount, Self::Services, Self::Addresses, Self::Rest];

    /// Its name, as an operator reads it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Watchdog => "watchdog",
            Self::Fence => "fence",
            Self::Import => "import",
            Self::Mount => "mount",
            Self::Services => "services",
            Self::Addresses => "addresses",
            Self::Rest => "rest",
        }
    }
}

/// One word.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
