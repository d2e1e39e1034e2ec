//! The two nodes and what is between them, under one clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::node::{Agent, Input, Node, Order, Output, PATIENCE, Services};
use super::wire::{Parcel, Wire};
use crate::core::pair::{self, Command, Node as Name, Record, Report};
use crate::core::{Instant, Priority};
use crate::network::between;
use crate::random::Random;

/// Both nodes.
#[derive(Clone, Debug)]
pub struct World {
    /// By number: A is 0.
    pub nodes: [Node; 2],
    /// What is between them.
    pub wire: Wire,
    /// What the nodes' virtual hosts advertise.
    pub priorities: [Priority; 2],
    now: Instant,
    random: Random,
    /// When the last advertisement to each node arrives: on one network none overtakes another.
    adverts: [Instant; 2],
    happens: BTreeMap<(Instant, u64), Happening>,
    count: u64,
}

/// Looks on.
pub trait Watch {
    /// The pair machine of a node said this.
    fn see(&mut self, world: &World, node: usize, command: Command);
    /// A step is over.
    fn pass(&mut self, world: &World);
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Arrives { to: usize, parcel: Parcel },
    Stored { node: usize, life: u64, record: Record },
    Executed { node: usize, order: u64 },
    Beats { node: usize, life: u64 },
    Wakes { node: usize, life: u64 },
    Starts { node: usize },
}

impl World {
    /// Two machines that are on, without agents.
    #[must_use]
    pub fn new(seed: u64, priorities: [Priority; 2]) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        Self {
            nodes: [Node::new(now), Node::new(now)],
            wire: Wire::default(),
            priorities,
            now,
            random: Random::new(seed),
            adverts: [now; 2],
            happens: BTreeMap::new(),
            count: 0,
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Starts an agent, where none is.
    pub fn start(&mut self, node: usize, watch: &mut impl Watch) {
        if self.nodes[node].agent.is_some() {
            return;
        }
        let name = if node == 0 { Name::A } else { Name::B };
        let agent = Agent::new(self.now, name, settings(name), self.priorities[node], &self.nodes[node]);
        let it = &mut self.nodes[node];
        (it.agent, it.frozen, it.addresses) = (Some(agent), None, false);
        it.life += 1;
        it.inbox.clear();
        let life = it.life;
        self.plan(Duration::ZERO, Happening::Beats { node, life });
        // Nothing blocks it.
        self.with(node, |agent, now| agent.pair.handle(now, pair::Event::Ready(true)));
        self.round(node, watch);
    }

    /// Kills an agent. What it had done stays, the last of it perhaps not.
    pub fn kill(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if it.agent.take().is_none() {
            return;
        }
        (it.order, it.frozen) = (None, None);
        it.life += 1;
        self.send(node, Parcel::Reset);
    }

    /// Switches a machine off.
    pub fn power_off(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        (it.agent, it.order, it.frozen, it.addresses) = (None, None, None, false);
        it.services = Services::Off;
        it.life += 1;
    }

    /// Starts an agent some time later.
    pub fn start_after(&mut self, node: usize, after: Duration) {
        self.plan(after, Happening::Starts { node });
    }

    /// Stops an agent for a time.
    pub fn freeze(&mut self, node: usize, time: Duration) {
        let until = self.now + time;
        let it = &mut self.nodes[node];
        if it.agent.is_some() {
            it.frozen = it.frozen.max(Some(until));
            let life = it.life;
            self.plan(time, Happening::Wakes { node, life });
        }
    }

    /// An operator wants something.
    pub fn wish(&mut self, node: usize, wish: pair::Wish, watch: &mut impl Watch) {
        self.tell(node, Input::Wish(wish), watch);
    }

    /// Lets time pass until then.
    pub fn run_until(&mut self, until: Instant, watch: &mut impl Watch) {
        while let Some(next) = self.next().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.step(watch);
        }
        self.now = until;
        self.vouch();
    }

    /// The next thing happens.
    fn step(&mut self, watch: &mut impl Watch) {
        self.vouch();
        if let Some(entry) = self.happens.first_entry()
            && entry.key().0 <= self.now
        {
            let happening = entry.remove();
            self.happen(happening, watch);
        } else {
            for node in 0..2 {
                if self.next_round(node).is_some_and(|at| at <= self.now) {
                    self.round(node, watch);
                }
            }
        }
        self.vouch();
        watch.pass(self);
    }

    fn happen(&mut self, happening: Happening, watch: &mut impl Watch) {
        match happening {
            Happening::Arrives { to, parcel } => self.tell(to, Input::Parcel(parcel), watch),
            Happening::Stored { node, life, record } if self.nodes[node].life == life => {
                self.nodes[node].disk = record;
                self.tell(node, Input::Stored(record), watch);
            }
            Happening::Executed { node, order } => self.execute(node, order, watch),
            Happening::Beats { node, life } if self.nodes[node].life == life => {
                if self.nodes[node].is_awake() {
                    let now = self.now;
                    if let Some(beat) = self.nodes[node].agent.as_ref().map(|agent| agent.beat(now)) {
                        self.send(node, beat);
                    }
                }
                self.plan(BEAT, Happening::Beats { node, life });
            }
            Happening::Wakes { node, life } if self.nodes[node].life == life => {
                if self.nodes[node].frozen.is_some_and(|until| until <= self.now) {
                    self.nodes[node].frozen = None;
                    self.with(node, Agent::wake);
                    self.round(node, watch);
                }
            }
            Happening::Starts { node } => self.start(node, watch),
            Happening::Stored { .. } | Happening::Beats { .. } | Happening::Wakes { .. } => {}
        }
    }

    fn tell(&mut self, node: usize, input: Input, watch: &mut impl Watch) {
        let now = self.now;
        let it = &mut self.nodes[node];
        if it.agent.is_some() {
            it.inbox.push_back((now, input));
            if it.is_awake() {
                self.round(node, watch);
            }
        }
    }

    fn round(&mut self, node: usize, watch: &mut impl Watch) {
        let now = self.now;
        let it = &mut self.nodes[node];
        let inbox = std::mem::take(&mut it.inbox);
        let Some(agent) = &mut it.agent else { return };
        let outputs = agent.round(now, inbox);
        it.addresses = agent.has_addresses();
        for output in outputs {
            match output {
                Output::Advertise(advertisement) => self.send(node, Parcel::Advert(advertisement)),
                Output::Pair(command) => {
                    self.obey(node, command);
                    watch.see(self, node, command);
                }
            }
        }
    }

    fn obey(&mut self, node: usize, command: Command) {
        let life = self.nodes[node].life;
        match command {
            Command::Store(record) => {
                // One after the other: none is sooner than the one before.
                let busy = self.happens.iter().filter_map(|((at, _), happening)| {
                    matches!(happening, Happening::Stored { node: other, life: its, .. } if (*other, *its) == (node, life))
                        .then_some(*at)
                });
                let from = busy.max().unwrap_or(self.now).max(self.now);
                let takes = between(STORE / 10, STORE, &mut self.random);
                self.plan(from.saturating_since(self.now) + takes, Happening::Stored { node, life, record });
            }
            Command::Send(message) => self.send(node, Parcel::Message(message)),
            Command::Take(generation) => self.order(node, Order::Take(generation)),
            Command::Release(generation) => self.order(node, Order::Release(generation)),
            Command::EndHard(_) => {
                self.power_off(node);
                self.start_after(node, BOOT);
            }
            // There is no witness here: the exhaustive model has one.
            Command::Lease(_)
            | Command::Stance(_)
            | Command::Progress(_)
            | Command::Ended { .. }
            | Command::Journal(_) => {}
        }
    }

    fn order(&mut self, node: usize, order: Order) {
        self.count += 1;
        let takes = between(ORDER / 10, ORDER, &mut self.random) + self.nodes[node].slow;
        let it = &mut self.nodes[node];
        let fails = it.fails > 0;
        it.fails = it.fails.saturating_sub(1);
        it.order = Some((self.count, order, !fails));
        match (order, it.services) {
            (Order::Take(_), Services::Off | Services::Partly)
            | (Order::Release(_), Services::Partly | Services::On) => {
                it.services = Services::Partly;
            }
            (Order::Take(_), Services::On) | (Order::Release(_), Services::Off) => {}
        }
        if it.hangs > 0 {
            it.hangs -= 1;
        } else {
            let order = self.count;
            self.plan(takes, Happening::Executed { node, order });
        }
    }

    fn execute(&mut self, node: usize, number: u64, watch: &mut impl Watch) {
        let it = &mut self.nodes[node];
        // The newest order counts.
        let Some((_, order, succeeds)) = it.order.take_if(|(at_hand, ..)| *at_hand == number) else { return };
        let report = match (order, succeeds) {
            (Order::Take(generation), true) => {
                it.services = Services::On;
                Report::Taken(generation)
            }
            (Order::Take(generation), false) => Report::TakeFailed(generation),
            (Order::Release(generation), true) => {
                it.services = Services::Off;
                Report::Released(generation)
            }
            (Order::Release(generation), false) => Report::ReleaseFailed(generation),
        };
        self.tell(node, Input::Report(report), watch);
    }

    fn send(&mut self, from: usize, parcel: Parcel) {
        let to = 1 - from;
        for mut way in self.wire.ways(parcel, &mut self.random) {
            if let Parcel::Advert(_) = parcel {
                self.adverts[to] = self.adverts[to].max(self.now + way);
                way = self.adverts[to].saturating_since(self.now);
            }
            self.plan(way, Happening::Arrives { to, parcel });
        }
    }

    fn plan(&mut self, after: Duration, happening: Happening) {
        self.count += 1;
        self.happens.insert((self.now + after, self.count), happening);
    }

    fn with(&mut self, node: usize, act: impl FnOnce(&mut Agent, Instant)) {
        let now = self.now;
        if let Some(agent) = &mut self.nodes[node].agent {
            act(agent, now);
        }
    }

    /// An agent that runs, and believes that its node may write, says so to the kernel all the time.
    fn vouch(&mut self) {
        let lease = self.now + PATIENCE;
        for node in &mut self.nodes {
            let may_write = node.agent.as_ref().is_some_and(|agent| agent.pair.may_write());
            if may_write && node.frozen.is_none() {
                node.vouched = node.vouched.max(lease);
            }
        }
    }

    fn next_round(&self, node: usize) -> Option<Instant> {
        let it = &self.nodes[node];
        it.agent.as_ref().filter(|_| it.frozen.is_none())?.next_round()
    }

    fn next(&self) -> Option<Instant> {
        let planned = self.happens.first_key_value().map(|((at, _), _)| *at);
        [planned, self.next_round(0), self.next_round(1)].into_iter().flatten().min()
    }
}

/// How the nodes are to behave.
#[must_use]
pub fn settings(node: Name) -> pair::Settings {
    let ms = Duration::from_millis;
    pair::Settings {
        node,
        boot: 0,
        repeat: BEAT,
        answer: ms(200),
        release: ms(300),
        take: ms(300),
        turn: ms(100),
        rest: ms(400),
        shares_disks: false,
        witness: None,
    }
}

/// Between two beats of the link.
pub const BEAT: Duration = Duration::from_millis(20);

/// The longest that storing takes.
pub const STORE: Duration = Duration::from_millis(2);

/// The longest that an order takes that is not slowed down.
pub const ORDER: Duration = Duration::from_millis(5);

/// From a hard end until the agent runs again.
pub const BOOT: Duration = Duration::from_millis(200);
