//! One machine: its card, its kernel, its agent, its addresses, and what keeps them from running.

use std::time::Duration;

use crate::agent::Agent;
use crate::core::{Instant, Settings, Sources, State};
use crate::kernel::{Frame, Kernel};
use crate::random::Random;

/// A machine on the LAN.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "five independent facts, not one state")]
pub struct Node {
    pub(crate) settings: Settings,
    pub(crate) sources: Sources,
    /// How late it is follows this: its own, so that one node's doings change nothing on another.
    pub(crate) random: Random,
    /// It knows nothing of demotion, as ucarp.
    pub(crate) foreign: bool,
    /// Its kernel watches for the agent; else the agent's own timers have to do.
    pub(crate) watches: bool,
    pub(crate) powered: bool,
    pub(crate) kernel: Kernel,
    pub(crate) agent: Option<Agent>,
    /// Whether the machine has the virtual addresses, whoever put them there.
    pub(crate) addresses: bool,
    /// Frames that arrived while the machine slept.
    pub(crate) at_the_card: Vec<Frame>,
    /// The machine sleeps until then: kernel, card, all.
    pub(crate) asleep_until: Instant,
    /// When it wakes, the timers come before the frames.
    pub(crate) timers_first: bool,
    /// The agent's process does not run until then.
    pub(crate) frozen_until: Instant,
    /// The agent is late by up to so much at each step it takes, until then.
    pub(crate) dawdles: (Duration, Instant),
    /// How long an order takes at least.
    pub(crate) slow_orders: Duration,
    /// When its agent was started last.
    pub(crate) started: Instant,
    /// How far its wall clock is ahead, in ms.
    pub(crate) ahead_ms: i64,
    /// The last time that an earlier agent put into a frame.
    pub(crate) stored_ms: Option<u64>,
}

/// What a node does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// The kernel takes in what waits at the card.
    Unload,
    /// A timer of the kernel fires.
    Fire,
    /// The same as the first, where the timers come before.
    UnloadLast,
    /// The agent's fast thread goes on.
    Round,
    /// The agent's executor has done something.
    Order,
}

impl Node {
    pub(crate) fn new(settings: Settings, sources: Sources, start: Instant, random: Random) -> Self {
        Self {
            settings,
            sources,
            random,
            foreign: false,
            watches: true,
            powered: true,
            kernel: Kernel::new(settings.families),
            agent: None,
            addresses: false,
            at_the_card: Vec::new(),
            asleep_until: start,
            timers_first: false,
            frozen_until: start,
            dawdles: (Duration::ZERO, start),
            slow_orders: Duration::ZERO,
            started: start,
            ahead_ms: 0,
            stored_ms: None,
        }
    }

    /// How it behaves.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Whether the machine has power.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.powered
    }

    /// The state of its core; `None` without an agent.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        self.agent.as_ref().map(Agent::state)
    }

    /// How long its core waits for a silent master.
    #[must_use]
    pub fn master_down_time(&self) -> Duration {
        self.agent.as_ref().map_or(Duration::ZERO, Agent::master_down_time)
    }

    /// Whether the machine has the virtual addresses.
    #[must_use]
    pub fn has_addresses(&self) -> bool {
        self.addresses
    }

    /// Whether its agent has the role: it advertises, or would if it did not doubt.
    #[must_use]
    pub fn serves(&self) -> bool {
        match self.state() {
            Some(State::Master | State::Stalled | State::Leaving) => true,
            Some(State::Init | State::Backup) | None => false,
        }
    }

    /// Whether machine and agent run as they should.
    #[must_use]
    pub fn is_awake(&self, now: Instant) -> bool {
        self.powered && self.agent.is_some() && self.awake_from() <= now
    }

    /// Since when it runs without a break, if it is awake.
    #[must_use]
    pub fn runs_from(&self) -> Instant {
        self.awake_from().max(self.started)
    }

    /// From when on nothing keeps it from running.
    #[must_use]
    pub fn awake_from(&self) -> Instant {
        let (late, until) = self.dawdles;
        self.asleep_until.max(self.frozen_until).max(until + late)
    }

    /// What it does next, and when.
    pub(crate) fn next(&self) -> Option<(Instant, Act)> {
        if !self.powered {
            return None;
        }
        let unload = if self.timers_first { Act::UnloadLast } else { Act::Unload };
        let unload = (!self.at_the_card.is_empty()).then_some((self.asleep_until, unload));
        let fire = self.kernel.next_timer().map(|(at, _)| (at.max(self.asleep_until), Act::Fire));
        let runs = self.asleep_until.max(self.frozen_until);
        let agent = self.agent.as_ref();
        let round = agent.and_then(|agent| agent.next_round(self.kernel.unread_since()));
        let order = agent.and_then(Agent::order_ends);
        [unload, fire, round.map(|at| (at.max(runs), Act::Round)), order.map(|at| (at.max(runs), Act::Order))]
            .into_iter()
            .flatten()
            .min()
    }
}
