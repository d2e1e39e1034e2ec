//! What may happen next, to two pair machines.
//!
//! Every clock stands still at the end of time. There every deadline that is set has come, and whether it is told before or
//! after something else is one more choice. So a machine is found in every order that any settings of its times could bring
//! about, and in some that none could. Where the right order rests on one time being longer than another, the shorter one
//! comes first here:
//!
//! - a *turn* is longer than it takes to find how things are, and longer than a claim: it does not come before both nodes
//!   have found it, nor while the other one claims or takes;
//! - a peer's *silence* on CARP's network lasts longer, before it is believed, than its agent takes to find how things are,
//!   and than a claim: a peer that acts leads by then, and is heard. (An agent that is stopped there is found dead all the
//!   same, and both may take over: for how long, the random schedules bound.);
//! - the *quiet* time of a node with the lease is longer than it takes the other one to find that the link does not answer;
//!   from then on that one counts as having found it;
//! - a *rest* is of no interest: it is over when nothing else is left to happen.
//!
//! Bounded: how often each kind of fault comes ([`Faults`]); how often a deadline comes that is not followed by the answer
//! it waited for; two messages under way in each direction, where a third one replaces the newest. Messages stay in their
//! order, as on one connection; the random schedules let them come late and twice.

use std::time::Duration;

use stateright::{Model, Property};
use virtual_lan::core::Instant;
use virtual_lan::core::pair::message::Message;
use virtual_lan::core::pair::{
    Carp, Command, Event, Link, Liveness, Node as Name, Pair, PeerVhosts, Phase, Record, Report, Settings,
    Stance, Timer, Vhosts, Wish,
};

use crate::peace;

/// What is to be checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairs {
    pub(crate) third: Third,
    pub(crate) faults: Faults,
}

/// What else decides who may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Third {
    None,
    /// Grants a lease, to one at a time.
    Witness,
    /// Of the disk: who takes it has it, and the other one can't write any more.
    Reservation,
}

/// How often what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    pub(crate) kills: u8,
    pub(crate) power_cuts: u8,
    pub(crate) link_cuts: u8,
    pub(crate) carp_cuts: u8,
    /// Messages that are lost although the link is not cut.
    pub(crate) losses: u8,
    /// Orders that fail.
    pub(crate) failures: u8,
    /// Deadlines that come for want of an answer.
    pub(crate) deadlines: u8,
    /// Leases that are lost.
    pub(crate) expiries: u8,
    /// An operator wants the role to move.
    pub(crate) wishes: u8,
}

impl Faults {
    pub(crate) const NONE: Self = Self {
        kills: 0,
        power_cuts: 0,
        link_cuts: 0,
        carp_cuts: 0,
        losses: 0,
        failures: 0,
        deadlines: 0,
        expiries: 0,
        wishes: 0,
    };
}

/// Two nodes and what is between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) nodes: [Node; 2],
    /// What is under way to each.
    pub(crate) wires: [Vec<Message>; 2],
    pub(crate) link: bool,
    pub(crate) carp: bool,
    /// Whose virtual hosts were the last to lead.
    master: usize,
    /// Who has the witness's lease.
    pub(crate) lease: Option<usize>,
    /// Who has the reservation.
    pub(crate) key: Option<usize>,
    pub(crate) faults: Faults,
    third: Third,
}

/// One node.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) pair: Option<Pair>,
    pub(crate) disk: Record,
    /// What is on its way to the disk.
    pub(crate) storing: Option<Record>,
    pub(crate) order: Option<Order>,
    /// Something may serve here.
    pub(crate) serves: bool,
    stance: Stance,
    wants_lease: bool,
    /// What its agent was last told.
    told: (Link, Carp, Liveness),
    told_lease: bool,
    /// By the clock it has found by now that the link does not answer.
    overdue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    Take(virtual_lan::core::pair::Generation),
    Release(virtual_lan::core::pair::Generation),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Deliver(usize),
    Lose(usize),
    Stored(usize),
    Done(usize),
    Fail(usize),
    /// The agent finds how things are.
    Look(usize),
    Deadline(usize, Timer),
    Kill(usize),
    CutPower(usize),
    Start(usize),
    CutLink,
    MendLink,
    CutCarp,
    MendCarp,
    Grant(usize),
    /// It finds that the other one has taken the reservation.
    Fenced(usize),
    Expire(usize),
    Wish(usize),
}

impl Model for Pairs {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        // One that starts, and one that has been at peace.
        let cold = World::new(*self);
        let mut warm = cold.clone();
        assert!(peace::make(&mut warm, &mut |_| ()), "a pair comes to peace: {warm:#?}");
        warm.faults = self.faults;
        vec![cold, warm]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.act(action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one writer", |_, world: &World| !(world.may_write(0) && world.may_write(1))),
            Property::always("peace comes", |_, world: &World| peace::comes(world)),
            Property::sometimes("a switchover", |_, world: &World| {
                world.nodes[1].pair.as_ref().is_some_and(|pair| pair.phase() == Phase::Active)
            }),
        ]
    }
}

impl World {
    fn new(Pairs { third, faults }: Pairs) -> Self {
        let node = Node {
            pair: None,
            disk: Record::default(),
            storing: None,
            order: None,
            serves: false,
            stance: Stance::Follow,
            wants_lease: false,
            told: <(Link, Carp, Liveness)>::default(),
            told_lease: false,
            overdue: false,
        };
        let mut world = Self {
            nodes: [node.clone(), node],
            wires: [Vec::new(), Vec::new()],
            link: true,
            carp: true,
            master: 0,
            lease: None,
            key: None,
            faults,
            third,
        };
        world.start(0);
        world.start(1);
        world
    }

    /// Whether a node believes that it may write, by the clock.
    fn may_write(&self, node: usize) -> bool {
        let it = &self.nodes[node];
        let believes = it.pair.as_ref().is_some_and(Pair::may_write);
        match self.third {
            // Where nothing reaches the other, both may: that is what a third opinion is for.
            Third::None => believes && (self.link || self.carp),
            Third::Witness => {
                let vouched = it.told.0 == Link::Up && !it.overdue;
                believes && (self.lease == Some(node) || vouched)
            }
            Third::Reservation => believes && it.serves && self.key == Some(node),
        }
    }

    /// Whether the other one has the reservation of what it serves.
    fn is_fenced(&self, node: usize) -> bool {
        self.third == Third::Reservation && self.nodes[node].serves && self.key == Some(1 - node)
    }

    fn is_up(&self, node: usize) -> bool {
        self.nodes[node].pair.is_some()
    }

    pub(crate) fn actions(&self, actions: &mut Vec<Action>) {
        for node in 0..2 {
            let it = &self.nodes[node];
            let Some(pair) = &it.pair else {
                actions.push(Action::Start(node));
                continue;
            };
            let knows = it.told == self.facts(node) && it.told_lease == (self.lease == Some(node));
            if !knows || it.overdue {
                actions.push(Action::Look(node));
            }
            if self.faults.kills > 0 {
                actions.push(Action::Kill(node));
            }
            if self.faults.power_cuts > 0 {
                actions.push(Action::CutPower(node));
            }
            // What has run out is found first.
            if (it.overdue && it.told.0 == Link::Up) || (it.told_lease && self.lease != Some(node)) {
                continue;
            }
            if !self.wires[node].is_empty() {
                actions.push(Action::Deliver(node));
                if self.faults.losses > 0 {
                    actions.push(Action::Lose(node));
                }
            }
            if it.storing.is_some() {
                actions.push(Action::Stored(node));
            }
            if it.order.is_some() {
                actions.push(Action::Done(node));
                if self.faults.failures > 0 {
                    actions.push(Action::Fail(node));
                }
            }
            if it.wants_lease && self.lease.is_none() {
                actions.push(Action::Grant(node));
            }
            if self.is_fenced(node) && pair.phase() == Phase::Active {
                actions.push(Action::Fenced(node));
            }
            if self.lease == Some(node) && self.faults.expiries > 0 {
                actions.push(Action::Expire(node));
            }
            if pair.phase() == Phase::Active && self.faults.wishes > 0 {
                actions.push(Action::Wish(node));
            }
            let due =
                pair.deadlines().map(|(_, timer)| timer).filter(|timer| self.may_come(node, *timer, knows));
            actions.extend(due.map(|timer| Action::Deadline(node, timer)));
        }
        if self.link && self.faults.link_cuts > 0 {
            actions.push(Action::CutLink);
        } else if !self.link {
            actions.push(Action::MendLink);
        }
        if self.carp && self.faults.carp_cuts > 0 {
            actions.push(Action::CutCarp);
        } else if !self.carp {
            actions.push(Action::MendCarp);
        }
    }

    /// See the head of the file.
    fn may_come(&self, node: usize, timer: Timer, knows: bool) -> bool {
        let other = &self.nodes[1 - node];
        match timer {
            // If there is nothing to say again, it does nothing.
            Timer::Repeat => self.wires[1 - node].is_empty() && self.link && other.pair.is_some(),
            Timer::Step | Timer::Force | Timer::Doubt => self.faults.deadlines > 0 && knows,
            Timer::Turn => {
                let busy = other.pair.as_ref().is_some_and(|pair| {
                    matches!(pair.phase(), Phase::Claiming { .. } | Phase::Taking { .. })
                });
                let other_knows = other.told == self.facts(1 - node) || other.pair.is_none();
                knows && other_knows && !busy
            }
            Timer::Quiet => !self.link || other.pair.is_none(),
            Timer::Rest => false,
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Deliver(node) => {
                let message = self.wires[node].remove(0);
                self.tell(node, Event::Heard(message));
            }
            Action::Lose(node) => {
                self.wires[node].remove(0);
                self.faults.losses -= 1;
            }
            Action::Stored(node) => {
                if let Some(record) = self.nodes[node].storing.take() {
                    self.nodes[node].disk = record;
                    self.tell(node, Event::Stored(record));
                }
            }
            Action::Done(node) => self.finish(node, true),
            Action::Fail(node) => {
                self.faults.failures -= 1;
                self.finish(node, false);
            }
            Action::Look(node) => self.look(node),
            Action::Deadline(node, timer) => {
                if matches!(timer, Timer::Step | Timer::Force | Timer::Doubt) {
                    self.faults.deadlines = self.faults.deadlines.saturating_sub(1);
                }
                if timer == Timer::Quiet {
                    self.nodes[1 - node].overdue = true;
                }
                self.tell(node, Event::Deadline(timer));
            }
            Action::Kill(node) => {
                self.faults.kills -= 1;
                self.stop(node);
            }
            Action::CutPower(node) => {
                self.faults.power_cuts -= 1;
                self.switch_off(node);
            }
            Action::Start(node) => self.start(node),
            Action::CutLink => {
                self.faults.link_cuts -= 1;
                self.link = false;
                self.wires = [Vec::new(), Vec::new()];
            }
            Action::MendLink => self.link = true,
            Action::CutCarp => {
                self.faults.carp_cuts -= 1;
                self.carp = false;
            }
            Action::MendCarp => self.carp = true,
            Action::Grant(node) => {
                self.lease = Some(node);
                self.look(node);
            }
            Action::Fenced(node) => {
                if let Some(pair) = &self.nodes[node].pair {
                    let term = pair.term();
                    self.tell(node, Event::Executor(Report::Lost(term)));
                }
            }
            Action::Expire(_) => {
                self.faults.expiries -= 1;
                self.lease = None;
            }
            Action::Wish(node) => {
                self.faults.wishes -= 1;
                let to = if node == 0 { Name::B } else { Name::A };
                self.tell(node, Event::Wish(Wish::Failover { to, forced: false, force_after: None }));
            }
        }
        self.lead();
    }

    fn start(&mut self, node: usize) {
        let name = if node == 0 { Name::A } else { Name::B };
        let it = &mut self.nodes[node];
        let settings = Settings {
            node: name,
            boot: 0,
            repeat: TIME,
            answer: TIME,
            release: TIME,
            take: TIME,
            turn: TIME,
            rest: TIME,
            shares_disks: self.third == Third::Reservation,
            witness: (self.third == Third::Witness).then_some(TIME),
        };
        it.pair = Some(Pair::new(END, settings, it.disk, 0, it.serves));
        it.stance = Stance::Follow;
        self.obey(node);
        self.tell(node, Event::Ready(true));
    }

    fn stop(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        (it.pair, it.order, it.storing, it.wants_lease) = (None, None, None, false);
        (it.told, it.told_lease, it.overdue) = (<(Link, Carp, Liveness)>::default(), false, false);
        it.stance = Stance::Follow;
        self.wires = [Vec::new(), Vec::new()];
        if self.lease == Some(node) {
            // Nobody keeps it.
            self.lease = None;
        }
    }

    fn switch_off(&mut self, node: usize) {
        self.stop(node);
        self.nodes[node].serves = false;
    }

    fn finish(&mut self, node: usize, succeeds: bool) {
        let Some(order) = self.nodes[node].order.take() else { return };
        let report = match (order, succeeds) {
            (Order::Take(generation), true) => {
                self.key = Some(node);
                Report::Taken(generation)
            }
            (Order::Take(generation), false) => Report::TakeFailed(generation),
            (Order::Release(generation), true) => {
                self.nodes[node].serves = false;
                if self.key == Some(node) {
                    self.key = None;
                }
                Report::Released(generation)
            }
            (Order::Release(generation), false) => Report::ReleaseFailed(generation),
        };
        self.tell(node, Event::Executor(report));
    }

    fn look(&mut self, node: usize) {
        let (link, carp, liveness) = self.facts(node);
        let lease = self.lease == Some(node);
        let it = &mut self.nodes[node];
        let told = std::mem::replace(&mut it.told, (link, carp, liveness));
        let told_lease = std::mem::replace(&mut it.told_lease, lease);
        if std::mem::take(&mut it.overdue) && told.0 == link {
            self.tell(node, Event::Link(Link::NotAnswering));
            self.tell(node, Event::Link(link));
        }
        let news = [
            (told.0 != link).then_some(Event::Link(link)),
            (told_lease != lease).then_some(Event::Lease(lease)),
            (told.1 != carp).then_some(Event::Carp(carp)),
            (told.2 != liveness).then_some(Event::Peer(liveness)),
        ];
        for event in news.into_iter().flatten() {
            self.tell(node, event);
        }
    }

    /// How things are, for a node.
    fn facts(&self, node: usize) -> (Link, Carp, Liveness) {
        let other = 1 - node;
        let (link, carp) = self.paths(node);
        let acts = self.nodes[other].pair.as_ref().is_some_and(|pair| {
            let told = &self.nodes[other].told;
            matches!(pair.phase(), Phase::Claiming { .. }) || (told.0, told.1) != self.paths(other)
        });
        let liveness = if link == Link::Up || carp.peer != PeerVhosts::Silent {
            Liveness::Alive
        } else if self.carp && acts {
            // Not silent for long enough.
            Liveness::Unknown
        } else {
            Liveness::Dead
        };
        (link, carp, liveness)
    }

    /// What comes through to a node.
    fn paths(&self, node: usize) -> (Link, Carp) {
        let other = 1 - node;
        let link = match (self.link, self.is_up(other)) {
            (true, true) => Link::Up,
            (true, false) => Link::Down,
            (false, _) => Link::NotAnswering,
        };
        let leads = |node: usize| self.is_up(node) && self.nodes[node].stance == Stance::Lead;
        let peer = if !self.carp || !self.is_up(other) {
            PeerVhosts::Silent
        } else if leads(other) {
            PeerVhosts::Leads
        } else if self.master == other && !leads(node) {
            PeerVhosts::Follows
        } else {
            PeerVhosts::Silent
        };
        // Of two that lead, A wins.
        let loses = leads(other) && self.carp && (!leads(node) || node == 1);
        let own = if loses || peer == PeerVhosts::Follows { Vhosts::Backup } else { Vhosts::Master };
        (link, Carp { own, peer })
    }

    /// Who leads alone is master, and stays it until another one does; nobody follows a dead one.
    fn lead(&mut self) {
        for node in 0..2 {
            let other = 1 - node;
            let leads =
                |node: usize| self.nodes[node].stance == Stance::Lead && self.nodes[node].pair.is_some();
            if (leads(node) && !leads(other))
                || (self.nodes[other].pair.is_none() && self.nodes[node].pair.is_some())
            {
                self.master = node;
            }
        }
    }

    fn tell(&mut self, node: usize, event: Event) {
        if let Some(pair) = &mut self.nodes[node].pair {
            pair.handle(END, event);
            self.obey(node);
        }
    }

    fn obey(&mut self, node: usize) {
        while let Some(command) = self.nodes[node].pair.as_mut().and_then(Pair::next_command) {
            let it = &mut self.nodes[node];
            match command {
                Command::Store(record) => it.storing = Some(record),
                Command::Send(message) => {
                    if self.link && self.is_up(1 - node) {
                        let wire = &mut self.wires[1 - node];
                        wire.truncate(1);
                        wire.push(message);
                    }
                }
                Command::Take(generation) => (it.order, it.serves) = (Some(Order::Take(generation)), true),
                Command::Release(generation) => it.order = Some(Order::Release(generation)),
                Command::Stance(stance) => it.stance = stance,
                Command::Lease(wanted) => {
                    it.wants_lease = wanted.is_some();
                    if wanted.is_none() && self.lease == Some(node) {
                        self.lease = None;
                    }
                }
                Command::EndHard(_) => return self.switch_off(node),
                Command::Progress(_) | Command::Ended { .. } | Command::Journal(_) => {}
            }
        }
    }
}

/// Every clock stands here.
const END: Instant = Instant::from_nanos(u64::MAX);

const TIME: Duration = Duration::from_secs(1);
