//! Carries out plans: takes over and releases what the node has in charge, beside the addresses.
//!
//! ```text
//!   pair machine ──Take──▶ conductor ──step──▶ resource, on a thread that may block
//!        ▲                    │  ▲                │
//!        │ Prepared, Released │  └────result──────┘
//!        └────────────────────┘
//! ```
//!
//! One call at a time is made to a resource: what is to be released waits until a take of it has ended, which is told to
//! stop. What does not end is named, and the plan's policy says what follows; nothing else waits for it.
//!
//! Between plans it looks after things: where they are taken, whether all is well with them; where not, whether they could
//! be taken.

mod calls;
mod shown;
mod task;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub use self::shown::{Doing, PartShown, Shown, StepTime};
use self::task::Task;
use crate::core::pair::Generation;
use crate::core::plan::{Phase, Plan, PlanError, Policy, Step};
use crate::fence::watchdog::Health;
use crate::resource::{Failure, Resource, Stop, Within};

/// A resource, and its place in the plans.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is.
    pub resource: Arc<dyn Resource>,
    /// When it is taken.
    pub phase: Phase,
    /// Those that must have been taken before, by their index.
    pub needs: Vec<usize>,
    /// Those that must be over before.
    pub after: Vec<usize>,
    /// How long it may take to take it.
    pub take: Duration,
    /// How long it may take to release it.
    pub release: Duration,
    /// What follows if it can't be taken.
    pub policy: Policy,
}

/// What a node has in charge, and the plans for it.
#[derive(Clone, Debug)]
pub struct Duties {
    parts: Vec<Part>,
    take: Plan,
    release: Plan,
    health: Health,
}

/// What is to be done. The newest counts: one under way is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take everything over, up to the addresses.
    Take(Generation, From),
    /// The addresses are there: the rest may follow.
    Serve(Generation),
    /// Release everything. The addresses are gone.
    Release(Generation),
    /// Somebody else has taken over: what is served is not ours any more.
    Lost,
}

/// From whom it is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The other node has released it, or never had it, and that is known.
    Released,
    /// The other node is dead, or may be: nothing is known of what it does.
    Dead,
}

/// What was done, of the order with this generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The addresses may come.
    Prepared(Generation),
    /// Something failed without which nothing can be served; some of it may be here.
    TakeFailed(Generation),
    /// Nothing is here any more.
    Released(Generation),
    /// Something may be here still.
    ReleaseFailed(Generation),
    /// Somebody else has it.
    Lost(Generation),
    /// Something failed upon which this node is to end at once.
    SelfFence(Generation),
    /// How what is served here is, or what would be.
    Condition(Condition),
}

/// How what a node serves is, or what it would have to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Nothing is wrong that matters.
    #[default]
    Well,
    /// It is served, though not as safely as it should be: a pool lacks a disk.
    Weak,
    /// Something without which it is not served.
    Bad,
}

impl Duties {
    /// With the plans that follow.
    ///
    /// # Errors
    ///
    /// If parts need each other.
    pub fn new(parts: Vec<Part>) -> Result<Self, PlanError> {
        let addresses = parts.len();
        let before = parts.iter().enumerate().filter(|(_, part)| part.phase < Phase::Addresses);
        let before = before.map(|(index, _)| index).collect();
        let step = |part: &Part| {
            let rest = (part.phase > Phase::Addresses).then_some(addresses);
            Step {
                name: part.resource.name().to_owned(),
                phase: part.phase,
                needs: part.needs.clone(),
                after: part.after.iter().copied().chain(rest).collect(),
                limit: part.take + GRACE,
                policy: part.policy,
            }
        };
        let mut steps: Vec<Step> = parts.iter().map(step).collect();
        steps.push(Step {
            name: "addresses".to_owned(),
            phase: Phase::Addresses,
            needs: Vec::new(),
            after: before,
            limit: ADDRESSES,
            policy: Policy::Undo,
        });
        let take = Plan::new(steps)?;
        let release = Self::way_back(&take, &parts);
        Ok(Self { parts, take, release, health: Health::default() })
    }

    /// The same, with what a watchdog looks at: it is renewed for as long as whoever carries it out does its work.
    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        Self { health, ..self }
    }

    /// Whatever holds data must be released: without that, nothing is.
    fn way_back(take: &Plan, parts: &[Part]) -> Plan {
        take.reversed(|index, step| {
            let policy = if step.phase < Phase::Services { Policy::Undo } else { step.policy };
            (parts.get(index).map_or(Duration::ZERO, |part| part.release) + GRACE, policy)
        })
    }

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// How long a takeover may take, at most.
    #[must_use]
    pub fn take_limit(&self) -> Duration {
        self.take.limit()
    }

    /// How long a takeover takes up to the addresses, if each part takes so long; the addresses come after the last part.
    #[must_use]
    pub fn take_time(&self, takes: impl Fn(usize) -> Duration) -> Duration {
        let is_waited_for =
            |step: usize| self.parts.get(step).is_none_or(|part| part.phase < Phase::Addresses);
        self.take.longest(|step| if is_waited_for(step) { takes(step) } else { Duration::ZERO })
    }

    /// How long a release may take, at most.
    #[must_use]
    pub fn release_limit(&self) -> Duration {
        self.release.limit()
    }

    /// Whether any of it holds data that two nodes must not write.
    #[must_use]
    pub fn hold_data(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.phase, Phase::Fence | Phase::Import | Phase::Mount))
    }

    /// Whether anything is here, left by an earlier agent. It blocks.
    ///
    /// # Errors
    ///
    /// If that can't be found out.
    pub fn are_here(&self, stop: &Stop) -> Result<bool, Failure> {
        let within = Within::new(SURVEY, stop.clone());
        for part in &self.parts {
            if part.resource.is_here(&within)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How all stands before anything was done.
    #[must_use]
    pub fn shown(&self) -> Shown {
        Shown::new(&self.parts)
    }

    /// Starts to carry out orders, until their sender is dropped.
    ///
    /// # Errors
    ///
    /// If the system has no descriptors left.
    pub fn start(
        self,
        orders: mpsc::UnboundedReceiver<Order>,
        reports: mpsc::UnboundedSender<Report>,
        shown: watch::Sender<Shown>,
    ) -> std::io::Result<()> {
        let task = Task::new(self, reports, shown)?;
        tokio::spawn(task.run(orders));
        Ok(())
    }
}

/// What a call may take beyond its time before it is said to hang: it has noticed by then that its time is over.
const GRACE: Duration = Duration::from_millis(1500);
/// How long addresses may take: a matter of milliseconds, where they have an interface.
const ADDRESSES: Duration = Duration::from_secs(5);
/// How long it may take to look for what an earlier agent left.
const SURVEY: Duration = Duration::from_secs(10);
