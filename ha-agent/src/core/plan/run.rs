//! One way through a plan.

use serde::{Deserialize, Serialize};

use super::{Plan, Policy, Step};
use crate::core::Instant;

/// How far a plan has got.
///
/// ```text
///   WAITING ──start──▶ RUNNING ──done──▶ DONE
///      │                  │  │ limit          ▲
///      │ what it needs    │  └────▶ HUNG ─────┤ late
///      ▼ failed           │ failed   │        │
///   SKIPPED               └────────▶ FAILED ◀─┘
/// ```
///
/// What hangs is over for those that only come after it, and not for those that need it. It may still end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    plan: Plan,
    standings: Vec<Standing>,
    /// Nothing more is begun.
    stopped: bool,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has not begun.
    Waiting,
    /// It goes on.
    Running {
        /// Since when.
        since: Instant,
    },
    /// It goes on for longer than it may.
    Hung {
        /// Since when.
        since: Instant,
    },
    /// It succeeded.
    Done {
        /// When it began.
        since: Instant,
        /// When it ended.
        until: Instant,
    },
    /// It failed.
    Failed {
        /// When it began.
        since: Instant,
        /// When it ended.
        until: Instant,
    },
    /// It was not begun, since what it needs has failed.
    Skipped,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Well.
    Done,
    /// Not well.
    Failed,
}

/// How the whole ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is done.
    Done,
    /// All is done but what may be left out.
    InPart,
    /// Something failed that may not.
    Failed,
    /// Something failed upon which the node is to end itself.
    SelfFence,
}

impl Run {
    /// Begins a plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let standings = vec![Standing::Waiting; plan.steps.len()];
        Self { plan, standings, stopped: false }
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        self.plan.steps()
    }

    /// How each of them stands.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// What is to be begun now; drain this after [`new`](Self::new), [`finish`](Self::finish) and
    /// [`expire`](Self::expire).
    pub fn begin_next(&mut self, now: Instant) -> Option<usize> {
        let is_lost = self.verdict().is_some_and(|verdict| verdict > Verdict::InPart);
        if self.stopped || (is_lost && !self.plan.tries_all) {
            return None;
        }
        let next = (0..self.plan.steps.len()).find(|&index| self.may_begin(index))?;
        self.set(next, Standing::Running { since: now });
        Some(next)
    }

    /// A step has ended, in time or not. One that was not begun can't.
    pub fn finish(&mut self, now: Instant, step: usize, outcome: Outcome) {
        let (Standing::Running { since } | Standing::Hung { since }) = self.standing(step) else { return };
        self.set(
            step,
            match outcome {
                Outcome::Done => Standing::Done { since, until: now },
                Outcome::Failed => Standing::Failed { since, until: now },
            },
        );
        self.skip();
    }

    /// When to call [`expire`](Self::expire).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines().map(|(_, at)| at).min()
    }

    /// Finds what hangs by now: each is told once.
    pub fn expire(&mut self, now: Instant) -> Vec<usize> {
        let hung: Vec<_> = self.deadlines().filter(|(_, at)| *at <= now).map(|(step, _)| step).collect();
        for &step in &hung {
            if let Standing::Running { since } = self.standing(step) {
                self.set(step, Standing::Hung { since });
            }
        }
        hung
    }

    /// Begins nothing more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// How it ended; `None` while it goes on. What hangs and may be left out may end later: then the verdict gets better.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        let failed = self.plan.steps.iter().zip(&self.standings).filter(|(_, standing)| standing.is_amiss());
        let worst = failed
            .map(|(step, standing)| match (standing, step.policy) {
                // Whatever it lacks says how bad that is.
                (Standing::Skipped, _) | (_, Policy::GoOn) => Verdict::InPart,
                (_, Policy::Undo) => Verdict::Failed,
                (_, Policy::SelfFence) => Verdict::SelfFence,
            })
            .max();
        let ends = if self.plan.tries_all { Verdict::Failed } else { Verdict::InPart };
        if worst.is_some_and(|worst| worst > ends) {
            return worst;
        }
        let goes_on = (0..self.standings.len()).any(|step| self.is_open(step));
        (!goes_on).then_some(worst.unwrap_or(Verdict::Done))
    }

    fn standing(&self, step: usize) -> Standing {
        self.standings.get(step).copied().unwrap_or(Standing::Skipped)
    }

    fn set(&mut self, step: usize, standing: Standing) {
        if let Some(place) = self.standings.get_mut(step) {
            *place = standing;
        }
    }

    fn needs(&self, step: usize) -> impl Iterator<Item = usize> + '_ {
        let needs = self.plan.steps.get(step).map(|step| step.needs.as_slice()).unwrap_or_default();
        needs.iter().copied()
    }

    fn may_begin(&self, index: usize) -> bool {
        let Some(step) = self.plan.steps.get(index) else { return false };
        self.standing(index) == Standing::Waiting
            && self.needs(index).all(|need| matches!(self.standing(need), Standing::Done { .. }))
            && step.after.iter().all(|&before| !self.is_open(before))
    }

    /// Whether those that only come after it still wait for it.
    fn is_open(&self, step: usize) -> bool {
        match self.standing(step) {
            Standing::Running { .. } => true,
            Standing::Waiting => !self.is_held_up(step),
            Standing::Hung { .. } | Standing::Done { .. } | Standing::Failed { .. } | Standing::Skipped => {
                false
            }
        }
    }

    /// Whether it needs something that hangs, and so may never begin.
    fn is_held_up(&self, step: usize) -> bool {
        self.needs(step).any(|need| match self.standing(need) {
            Standing::Hung { .. } => true,
            Standing::Waiting => self.is_held_up(need),
            Standing::Running { .. }
            | Standing::Done { .. }
            | Standing::Failed { .. }
            | Standing::Skipped => false,
        })
    }

    /// What needs something that failed is not done, nor what needs that.
    fn skip(&mut self) {
        let lacks = |run: &Self, step| {
            run.standing(step) == Standing::Waiting
                && run
                    .needs(step)
                    .any(|need| matches!(run.standing(need), Standing::Failed { .. } | Standing::Skipped))
        };
        while let Some(step) = (0..self.standings.len()).find(|&step| lacks(self, step)) {
            self.set(step, Standing::Skipped);
        }
    }

    fn deadlines(&self) -> impl Iterator<Item = (usize, Instant)> {
        let steps = self.plan.steps.iter().zip(&self.standings).enumerate();
        steps.filter_map(|(index, (step, standing))| match standing {
            Standing::Running { since } => Some((index, *since + step.limit)),
            Standing::Waiting
            | Standing::Hung { .. }
            | Standing::Done { .. }
            | Standing::Failed { .. }
            | Standing::Skipped => None,
        })
    }
}

impl Standing {
    /// Whether it is not as it should be.
    #[must_use]
    pub fn is_amiss(self) -> bool {
        match self {
            Self::Hung { .. } | Self::Failed { .. } | Self::Skipped => true,
            Self::Waiting | Self::Running { .. } | Self::Done { .. } => false,
        }
    }
}
