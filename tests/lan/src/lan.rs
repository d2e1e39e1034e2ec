//! The nodes, the network and the clock.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::agent::{Agent, Input, Lateness, Order, Outcome};
use crate::core::{
    Advertisement, Event, Family, Instant, Link, LinkDown, Settings, Sources, State, Transition,
};
use crate::kernel::{Frame, Role};
use crate::network::{Network, between};
use crate::node::{Act, Node};
use crate::random::Random;

/// Some machines on one network and one virtual clock.
#[derive(Clone, Debug)]
pub struct Lan {
    nodes: Vec<Node>,
    /// The wire.
    pub network: Network,
    now: Instant,
    start: Instant,
    slack: Slack,
    strict: bool,
    /// What happens on the wire follows this.
    random: Random,
    facts: Vec<(usize, Fact)>,
    /// Steps since time last went on.
    steps_at_once: u32,
}

/// How late everything is where nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slack {
    /// The shortest and the longest way of a frame.
    pub delay: (Duration, Duration),
    /// How late a timer of the kernel fires, at most.
    pub timer: Duration,
    /// How late the fast thread wakes, at most; and how long it reads, at most.
    pub round: Duration,
    /// How long an order takes the executor: least and most.
    pub order: (Duration, Duration),
}

/// Something that happened on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The kernel has taken in a frame.
    Heard {
        /// Who sent it.
        from: usize,
        /// In which family.
        family: Family,
        /// As what.
        role: Role,
    },
    /// The agent has looked at the clock: it reads everything that was heard up to now before it judges.
    Looked,
    /// The agent has sent an advertisement.
    Sent(Advertisement),
    /// The agent noticed that it had slept.
    Stalled,
    /// The agent has another state.
    Turned(Transition),
    /// The addresses were put on, or taken off.
    Addresses(bool),
    /// The addresses were announced.
    Announced,
}

/// Looks on.
pub trait Watch {
    /// Something happened on a node.
    fn see(&mut self, lan: &Lan, node: usize, fact: Fact);

    /// The clock shows this, and nothing has happened there yet: all was as it is since the last step.
    fn pass(&mut self, lan: &Lan);
}

/// Nobody looks on.
impl Watch for () {
    fn see(&mut self, _lan: &Lan, _node: usize, _fact: Fact) {}

    fn pass(&mut self, _lan: &Lan) {}
}

/// Two look on.
impl<A: Watch, B: Watch> Watch for (&mut A, &mut B) {
    fn see(&mut self, lan: &Lan, node: usize, fact: Fact) {
        self.0.see(lan, node, fact);
        self.1.see(lan, node, fact);
    }

    fn pass(&mut self, lan: &Lan) {
        self.0.pass(lan);
        self.1.pass(lan);
    }
}

impl Lan {
    /// Machines that are on, without agents, in compat mode. What is random follows `seed`.
    #[must_use]
    pub fn new(settings: impl IntoIterator<Item = Settings>, slack: Slack, seed: u64) -> Self {
        let start = Instant::from_nanos(1_000_000_000_000);
        let mut random = Random::new(seed);
        let nodes = settings.into_iter().enumerate().map(|(node, settings)| {
            let random = Random::new(random.number());
            Node::new(settings, sources(node), start, random)
        });
        Self {
            nodes: nodes.collect(),
            network: Network::new(slack.delay),
            now: start,
            start,
            slack,
            strict: false,
            random,
            facts: Vec::new(),
            steps_at_once: 0,
        }
    }

    /// All nodes sign and expect the time.
    pub fn be_strict(&mut self) {
        self.strict = true;
    }

    /// Whether all nodes sign and expect the time.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How late everything is where nothing is wrong.
    #[must_use]
    pub fn slack(&self) -> Slack {
        self.slack
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes whose agents are in MASTER and advertise.
    #[must_use]
    pub fn masters(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].state() == Some(State::Master)).collect()
    }

    /// How many machines have the addresses.
    #[must_use]
    pub fn owners(&self) -> usize {
        self.nodes.iter().filter(|node| node.addresses).count()
    }

    /// This node knows nothing of demotion, as ucarp.
    pub fn estrange(&mut self, node: usize) {
        self.nodes[node].foreign = true;
    }

    /// The kernel of this node can't watch.
    pub fn blind(&mut self, node: usize) {
        self.nodes[node].watches = false;
    }

    /// Switches a machine on that is off, and starts its agent if none runs; its link is up.
    pub fn start(&mut self, node: usize) {
        self.nodes[node].powered = true;
        if self.nodes[node].agent.is_none() {
            let late = self.lateness(node);
            let it = &mut self.nodes[node];
            it.kernel.restart();
            it.slow_orders = Duration::ZERO;
            it.started = self.now;
            let agent = Agent::new(it.settings, self.now, late, it.stored_ms);
            it.kernel.set_patience(it.watches.then(|| agent.patience()));
            it.agent = Some(agent);
        }
        self.link_up(node);
    }

    /// Starts all.
    pub fn start_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.start(node);
        }
    }

    /// Tells an agent that its link is up.
    pub fn link_up(&mut self, node: usize) {
        let sources = self.nodes[node].sources;
        self.tell(node, Event::Link(Link::Up { sources }));
    }

    /// Tells an agent that its link is down.
    pub fn link_down(&mut self, node: usize, why: LinkDown) {
        self.tell(node, Event::Link(Link::Down(why)));
    }

    /// Tells an agent something, if there is one.
    pub fn tell(&mut self, node: usize, event: Event) {
        if let Some(agent) = &mut self.nodes[node].agent {
            agent.tell(self.now, Input::Event(event));
        }
    }

    /// Ends an agent without a word; kernel and addresses stay.
    pub fn kill(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        it.stored_ms = it.agent.take().and_then(|agent| agent.last_ms()).max(it.stored_ms);
    }

    /// Switches a machine off.
    pub fn power_off(&mut self, node: usize) {
        self.kill(node);
        self.nodes[node].powered = false;
        self.nodes[node].at_the_card.clear();
        self.set_addresses(node, false);
    }

    /// The agent's process does not run for this time; its kernel does.
    pub fn freeze(&mut self, node: usize, time: Duration) {
        self.nodes[node].frozen_until = self.nodes[node].frozen_until.max(self.now + time);
    }

    /// The machine does not run for this time. When it wakes, its timers fire before or after it takes in the frames
    /// that wait, and both before the agent runs.
    pub fn sleep(&mut self, node: usize, time: Duration) {
        self.nodes[node].asleep_until = self.nodes[node].asleep_until.max(self.now + time);
        self.nodes[node].timers_first = self.nodes[node].random.number().is_multiple_of(2);
    }

    /// For this time, the agent is late by up to `most` at each step it takes.
    pub fn dawdle(&mut self, node: usize, most: Duration, time: Duration) {
        let dawdles = &mut self.nodes[node].dawdles;
        *dawdles = (most.max(dawdles.0), dawdles.1.max(self.now + time));
    }

    /// Orders take a node's executor at least so long from now on.
    pub fn slow_orders(&mut self, node: usize, least: Duration) {
        self.nodes[node].slow_orders = least;
    }

    /// Sets a node's wall clock: so many ms ahead of true time.
    ///
    /// Nothing else steps. Deadlines and stamps are on `CLOCK_MONOTONIC`, which is never set, so all that the core sees of
    /// a step is the time that strict mode puts into frames, and what its receivers refuse for it.
    pub fn set_clock(&mut self, node: usize, ahead_ms: i64) {
        self.nodes[node].ahead_ms = ahead_ms;
    }

    /// When the last fault ends that ends by itself: late frames and slow orders, too.
    #[must_use]
    pub fn well_from(&self) -> Instant {
        let agents = || self.nodes.iter().filter_map(|node| node.agent.as_ref());
        let ends = self.nodes.iter().map(Node::awake_from).chain(agents().filter_map(Agent::order_ends));
        ends.chain(self.network.last_arrival()).fold(self.now, Instant::max)
    }

    /// Lets time go on, unwatched.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time, &mut ());
    }

    /// Lets time go on up to `end`.
    ///
    /// # Panics
    ///
    /// If the nodes do something again and again while no time passes.
    pub fn run_until(&mut self, end: Instant, watch: &mut impl Watch) {
        while let Some((at, next)) = self.next().filter(|(at, _)| *at <= end) {
            self.steps_at_once = if at > self.now { 1 } else { self.steps_at_once + 1 };
            assert!(self.steps_at_once < 1000, "no progress at {at:?}");
            self.now = self.now.max(at);
            watch.pass(self);
            match next {
                None => self.arrive(),
                Some((act, node)) => self.act(node, act),
            }
            for (node, fact) in std::mem::take(&mut self.facts) {
                watch.see(self, node, fact);
            }
        }
        self.now = self.now.max(end);
        watch.pass(self);
    }

    /// The next step: a frame arrives, or a node does something. Of one moment the frame comes first, then the kernels,
    /// then the agents.
    fn next(&self) -> Option<(Instant, Option<(Act, usize)>)> {
        let acts = self.nodes.iter().enumerate().filter_map(|(number, node)| {
            let (at, act) = node.next()?;
            Some((at, Some((act, number))))
        });
        acts.chain(self.network.next_arrival().map(|at| (at, None))).min()
    }

    fn arrive(&mut self) {
        let Some((to, frame)) = self.network.deliver() else { return };
        let node = &mut self.nodes[to];
        if self.now < node.asleep_until || !node.at_the_card.is_empty() {
            node.at_the_card.push(frame);
        } else {
            self.take_in(to, frame);
        }
    }

    fn act(&mut self, node: usize, act: Act) {
        match act {
            Act::Unload | Act::UnloadLast => {
                for frame in std::mem::take(&mut self.nodes[node].at_the_card) {
                    self.take_in(node, frame);
                }
            }
            Act::Fire => {
                let Node { kernel, random, .. } = &mut self.nodes[node];
                let late = between(Duration::ZERO, self.slack.timer, random);
                if let Some((_, family)) = kernel.next_timer() {
                    kernel.fire(self.now, family, late);
                }
            }
            Act::Round => self.round(node),
            Act::Order => self.order(node),
        }
    }

    fn take_in(&mut self, node: usize, frame: Frame) {
        let wall_ms = self.wall_ms(node);
        let it = &mut self.nodes[node];
        let late = between(Duration::ZERO, self.slack.timer, &mut it.random);
        if !it.powered {
            return;
        }
        let Advertisement { priority, demote } = frame.advertisement;
        let demote = if it.foreign { 0 } else { demote };
        let advertisement = Advertisement { priority, demote };
        if it.kernel.receive(self.now, wall_ms, Frame { advertisement, ..frame }, late) {
            let (from, family, role) = (frame.from, Family::of(frame.source), frame.role);
            self.facts.push((node, Fact::Heard { from, family, role }));
        }
    }

    fn round(&mut self, node: usize) {
        let late = self.lateness(node);
        let it = &mut self.nodes[node];
        let Some(agent) = &mut it.agent else { return };
        if agent.is_waiting() {
            agent.look(self.now, late);
            self.facts.push((node, Fact::Looked));
            return;
        }
        for outcome in agent.round(node, &mut it.kernel, self.now, late) {
            match outcome {
                Outcome::Advertise(advertisement) => self.advertise(node, advertisement),
                Outcome::Stalled => self.facts.push((node, Fact::Stalled)),
                Outcome::Turned(transition) => self.facts.push((node, Fact::Turned(transition))),
            }
        }
        self.begin_order(node);
        self.end_if_left(node);
    }

    fn advertise(&mut self, from: usize, Advertisement { priority, demote }: Advertisement) {
        let wall = Duration::from_millis(self.wall_ms(from));
        let Node { settings, sources, foreign, .. } = self.nodes[from];
        let advertisement = Advertisement { priority, demote: if foreign { 0 } else { demote } };
        let role = match self.nodes[from].state() {
            _ if priority.is_bow_out() => Role::Leaving,
            Some(State::Backup) => Role::Loser,
            Some(State::Master | State::Stalled | State::Leaving | State::Init) | None => Role::Master,
        };
        for (family, has) in [(Family::V4, settings.families.v4), (Family::V6, settings.families.v6)] {
            if let Some(agent) = self.nodes[from].agent.as_mut().filter(|_| has) {
                let ms = self.strict.then(|| agent.next_ms(self.now, wall));
                let frame = Frame { from, source: sources.of(family), advertisement, role, ms };
                self.network.send(self.now, self.nodes.len(), frame, &mut self.random);
            }
        }
        self.facts.push((from, Fact::Sent(advertisement)));
    }

    fn begin_order(&mut self, node: usize) {
        let (least, most) = self.slack.order;
        let it = &mut self.nodes[node];
        if let Some(agent) = &mut it.agent {
            agent.begin_order(self.now, || between(least, most, &mut it.random) + it.slow_orders);
        }
    }

    fn order(&mut self, node: usize) {
        let order = self.nodes[node].agent.as_mut().and_then(Agent::end_order);
        match order {
            Some(Order::Take) => self.set_addresses(node, true),
            Some(Order::Drop) => {
                let held = self.nodes[node].addresses;
                self.set_addresses(node, false);
                if let Some(agent) = &mut self.nodes[node].agent {
                    agent.tell(self.now, Input::Dropped { held });
                }
            }
            Some(Order::Announce) => self.facts.push((node, Fact::Announced)),
            None => {}
        }
        self.begin_order(node);
        self.end_if_left(node);
    }

    fn set_addresses(&mut self, node: usize, on: bool) {
        if std::mem::replace(&mut self.nodes[node].addresses, on) != on {
            self.facts.push((node, Fact::Addresses(on)));
        }
    }

    fn end_if_left(&mut self, node: usize) {
        if self.nodes[node].agent.as_ref().is_some_and(Agent::has_left) {
            self.kill(node);
        }
    }

    /// How late the agent of a node is this time.
    fn lateness(&mut self, node: usize) -> Lateness {
        let Node { dawdles: (dawdles, until), random, .. } = &mut self.nodes[node];
        let (dawdles, until) = (*dawdles, *until);
        let most = if self.now < until { dawdles } else { Duration::ZERO };
        let usual = between(Duration::ZERO, self.slack.round, random);
        Lateness { usual, extra: between(Duration::ZERO, most, random), until }
    }

    fn wall_ms(&self, node: usize) -> u64 {
        let passed = self.now.saturating_since(self.start).as_millis();
        let true_ms = WALL_AT_START_MS + u64::try_from(passed).unwrap_or(u64::MAX / 2);
        true_ms.saturating_add_signed(self.nodes[node].ahead_ms)
    }
}

/// The lower its number, the rather a node wins a tie in IPv4; in IPv6 it is the other way round.
#[must_use]
pub fn sources(node: usize) -> Sources {
    let number = u8::try_from(node).unwrap_or(u8::MAX).saturating_add(1);
    Sources {
        v4: Ipv4Addr::new(10, 77, 0, number),
        v6: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 300 - u16::from(number)),
    }
}

/// The time of day when it all begins, in ms since 2025.
const WALL_AT_START_MS: u64 = 50_000_000_000;
