//! One of two: the pair machine, on the fast thread, and what it has to know of the virtual hosts and of the link.
//!
//! It is here, since a silence that the kernel has told is to lead to addresses without a detour. Whatever takes time
//! (storing, talking to the peer, telling the operator) is passed on, and nobody here waits for it.
//!
//! *Asking.* That the link was up a moment ago does not say that the peer lives now. So when the virtual hosts of a standby
//! fall silent while the link is up, the peer is asked over it, and has a twentieth of a heartbeat to say anything at all, 10 ms
//! at least.

use std::time::Duration;

use tokio::sync::mpsc;

use super::calm::Calm;
use super::gate::Gate;
use super::groups::Groups;
use super::host::Host;
use super::roster::Roster;
use super::vouched::Vouched;
pub use super::words::{Begin, LinkNow, PairInput, PairOutput, PairSnapshot};
use super::work::{Addresses, Next, Work};
use crate::core::liveness::DiskKeys;
use crate::core::pair::brake::Brake;
use crate::core::pair::message::Request;
use crate::core::pair::report::{Claim, End, Story};
use crate::core::pair::{
    Carp, Command, Event, Link, Liveness, Pair, PeerVhosts, Phase, Record, Report, Settings, Stance, Vhosts,
    Wish,
};
use crate::core::{Instant, State};
use crate::exec::conductor::{self, Condition, From};
use crate::sys::clock;

/// The pair machine and what surrounds it.
#[derive(Debug)]
pub(super) struct Partner {
    machine: Pair,
    settings: Settings,
    link: LinkNow,
    link_dead: Duration,
    /// Since when the peer is asked.
    asked: Option<Instant>,
    /// Before that, nothing shows that the peer is dead: the link has had no time.
    settles: Instant,
    /// Whether that was seen to be over.
    settled: bool,
    told: (Link, Carp, Liveness),
    calm: Calm,
    lease: Vouched,
    groups: Groups,
    /// Whether each group has a link, and all is well with what is served beside addresses, or would be.
    ready: bool,
    condition: Condition,
    peer_sees_more: bool,
    disks: DiskKeys,
    /// What the hosts are to do, and were not told yet.
    waiting: Vec<HostOrder>,
    /// What was ordered.
    work: Work,
    gate: Gate,
    last: Option<(Request, End)>,
    request: Option<Request>,
    brake: Brake,
    outputs: mpsc::UnboundedSender<PairOutput>,
}

impl Partner {
    /// `present` says whether any of the hosts has its addresses.
    pub(super) fn new(
        now: Instant,
        begin: &Begin,
        groups: Groups,
        present: bool,
        outputs: mpsc::UnboundedSender<PairOutput>,
    ) -> Self {
        let Begin { settings, mut record, least_start, link_dead, conducted, holding } = *begin;
        let serving = present || holding;
        if serving && record == Record::default() {
            // It has served alone until now: the pair begins with it.
            record.generation = record.generation.next_for(settings.node);
        }
        Self {
            machine: Pair::new(now, settings, record, least_start, serving),
            settings,
            link: LinkNow::Down,
            link_dead,
            asked: None,
            settles: now + link_dead * 2,
            settled: false,
            told: <(Link, Carp, Liveness)>::default(),
            calm: Calm::default(),
            lease: Vouched::default(),
            groups,
            ready: false,
            condition: Condition::Well,
            peer_sees_more: false,
            disks: DiskKeys::None,
            waiting: Vec::new(),
            work: Work::new(conducted),
            gate: if present { Gate::Open } else { Gate::Closed },
            last: None,
            request: None,
            brake: Brake::default(),
            outputs,
        }
    }

    /// The virtual hosts are grouped like this from now on.
    pub(super) fn regroup(&mut self, groups: Groups) {
        self.groups = groups;
    }

    pub(super) fn snapshot(&self, now: Instant) -> PairSnapshot {
        let (_, _, liveness) = self.told;
        PairSnapshot {
            settings: self.settings,
            phase: self.machine.phase(),
            term: self.machine.term(),
            record: self.machine.record(),
            serving: self.gate == Gate::Open,
            wait: self.machine.reason_to_take().err().filter(|_| self.machine.phase() == Phase::Standby),
            peer: self.machine.peer(),
            liveness,
            last: self.last,
            braked: self.brake.is_on(),
            lease: self.lease.left(now, clock::asleep),
        }
    }

    /// Takes in what was said, after what has run out by then.
    pub(super) fn input(&mut self, now: Instant, input: PairInput) {
        self.tell_lease(now);
        self.tell_link(now);
        match input {
            PairInput::Begin(_) => {}
            PairInput::Link(link) => {
                self.link = link;
                self.tell_link(now);
            }
            PairInput::Heard(message) => self.machine.handle(now, Event::Heard(message)),
            PairInput::Stored(record) => self.machine.handle(now, Event::Stored(record)),
            PairInput::Lease(lease) => {
                self.lease.renew(lease);
                self.tell_lease(now);
            }
            PairInput::Disks(keys) => self.disks = keys,
            PairInput::PeerSeesMore(more) => self.peer_sees_more = more,
            PairInput::Conductor(report) => {
                if let conductor::Report::Condition(condition) = report {
                    self.condition = condition;
                }
                let next = self.work.hear(report);
                self.follow(now, next);
            }
            PairInput::Wish(wish, reply) => {
                if wish == Wish::Resume {
                    self.brake.release();
                }
                self.machine.handle(now, Event::Wish(wish));
                // What the hosts are to do is seen in this round.
                let orders = self.pass_on(now);
                self.waiting.extend(orders);
                // Who asked may have gone.
                let _ = reply.send(self.request);
            }
        }
    }

    /// Whether the witness vouches for this node now.
    fn tell_lease(&mut self, now: Instant) {
        if let Some(holds) = self.lease.change(now, clock::asleep) {
            self.machine.handle(now, Event::Lease(holds));
        }
    }

    /// Whether the peer answers now.
    fn tell_link(&mut self, now: Instant) {
        let link = match self.link {
            LinkNow::Down => Link::Down,
            LinkNow::NotAnswering => Link::NotAnswering,
            LinkNow::Up(heard) => {
                let is_asked_in_vain = self.asked.is_some_and(|at| heard < at && now >= at + self.answer());
                if is_asked_in_vain || now.saturating_since(heard) >= self.link_dead {
                    Link::NotAnswering
                } else {
                    Link::Up
                }
            }
        };
        if link != self.told.0 {
            self.told.0 = link;
            self.machine.handle(now, Event::Link(link));
        }
    }

    /// Tells the machine how all is, and lets its deadlines come. Returns what the hosts are to do, in this order.
    pub(super) fn round(&mut self, now: Instant, hosts: &Roster) -> Vec<HostOrder> {
        self.tell_lease(now);
        self.tell_link(now);
        self.tell_verdict(now, hosts);
        self.tell_done(now, hosts);
        while let Some((due, timer)) = self.machine.poll_timeout()
            && due <= now
        {
            self.machine.handle(now, Event::Deadline(timer));
        }
        self.pass_on(now)
    }

    /// When there is something to look at, without anything to read.
    pub(super) fn next_deadline(&self, hosts: &Roster) -> Option<Instant> {
        let (link, carp, _) = self.told;
        let machine = self.machine.poll_timeout().map(|(at, _)| at);
        let link = match self.link {
            LinkNow::Up(heard) if link == Link::Up => {
                let answer = self.asked.filter(|at| heard < *at).map(|at| at + self.answer());
                Some(answer.map_or(heard + self.link_dead, |answer| answer.min(heard + self.link_dead)))
            }
            LinkNow::Up(_) | LinkNow::NotAnswering | LinkNow::Down => None,
        };
        let settles = (!self.settled).then_some(self.settles);
        let heard =
            (carp.peer != PeerVhosts::Silent).then(|| hosts.iter().filter_map(Host::forgets_peer).min());
        let lease = self.lease.ends(clock::asleep);
        [machine, link, settles, self.calm.next(), lease, heard.flatten()].into_iter().flatten().min()
    }

    /// How long a peer that is asked may take to say anything: far longer than a way through both agents, far shorter than
    /// anybody minds. Where the way between them is long, so is the heartbeat.
    fn answer(&self) -> Duration {
        (self.settings.repeat / 20).max(ANSWER)
    }

    fn tell_verdict(&mut self, now: Instant, hosts: &Roster) {
        let carp = Carp { own: own(hosts), peer: peer(now, hosts) };
        let is_standby = !self.machine.may_write();
        let in_vain = carp.own == Vhosts::Master && carp.peer == PeerVhosts::Silent && is_standby;
        match self.asked {
            None if in_vain && self.told.0 == Link::Up => {
                self.asked = Some(now);
                self.put(PairOutput::Ask);
            }
            Some(_) if !in_vain => self.asked = None,
            None | Some(_) => {}
        }
        self.groups.see(hosts.iter().map(|host| (host.index(), host.machine.state())));
        let well = match self.condition {
            Condition::Well => true,
            // A disk that is dead is dead on the other node as well: the role would move for nothing.
            Condition::Weak => !self.peer_sees_more,
            Condition::Bad => false,
        };
        let ready = self.groups.can_be_served() && well;
        if ready != self.ready {
            self.ready = ready;
            self.machine.handle(now, Event::Ready(ready));
        }
        if carp != self.told.1 {
            self.told.1 = carp;
            self.machine.handle(now, Event::Carp(carp));
        }
        let is_alive = self.told.0 == Link::Up || carp.peer != PeerVhosts::Silent;
        // Whoever renews its keys writes, though no network shows it.
        let writes = self.disks == DiskKeys::Moving;
        let is_undecided = hosts.iter().any(Host::is_undecided) || carp.own != Vhosts::Master;
        self.settled = now >= self.settles;
        // Whoever can't read them does not know.
        let is_blind = self.disks == DiskKeys::Unreadable;
        let is_lost = !is_alive && !writes && !is_blind && !is_undecided && self.settled;
        let is_dead = self.calm.believes(now, is_lost, self.link_dead * 2);
        let liveness = if is_alive {
            Liveness::Alive
        } else if writes {
            Liveness::Partitioned
        } else if is_dead {
            Liveness::Dead
        } else {
            Liveness::Unknown
        };
        if liveness != self.told.2 {
            self.told.2 = liveness;
            self.machine.handle(now, Event::Peer(liveness));
        }
    }

    /// Whether what was ordered of the hosts is done.
    fn tell_done(&mut self, now: Instant, hosts: &Roster) {
        // What the hosts were not told yet they can't have done.
        if !self.waiting.is_empty() {
            return;
        }
        let any = |is: fn(&super::gate::Addresses) -> bool| hosts.iter().any(|host| is(host.addresses()));
        let addresses = Addresses {
            closing: any(super::gate::Addresses::are_closing),
            opening: any(super::gate::Addresses::are_opening),
            present: any(super::gate::Addresses::are_present),
            wanted: any(super::gate::Addresses::are_wanted),
        };
        let next = self.work.see(addresses);
        self.follow(now, next);
    }

    /// From whom the machine takes over just now.
    fn from(&self) -> From {
        let Phase::Taking { claim, .. } = self.machine.phase() else { return From::Dead };
        match claim {
            Claim::Committed | Claim::Yielded | Claim::NobodyActive | Claim::OurTurn => From::Released,
            // It may have begun; or have served while this agent did not run.
            Claim::Returned(_) | Claim::Resumed if self.told.2 == Liveness::Alive => From::Released,
            Claim::Returned(_) | Claim::Resumed | Claim::PeerDead | Claim::Operator => From::Dead,
        }
    }

    fn follow(&mut self, now: Instant, next: Option<Next>) {
        match next {
            Some(Next::Open) => self.open(),
            Some(Next::Conduct(order)) => self.put(PairOutput::Conduct(order)),
            Some(Next::Report(report)) => {
                if let Report::Taken(term) = report {
                    self.put(PairOutput::Conduct(conductor::Order::Serve(term)));
                }
                self.machine.handle(now, Event::Executor(report));
            }
            None => {}
        }
    }

    fn open(&mut self) {
        self.gate = Gate::Open;
        self.waiting.push(HostOrder::Gate(Gate::Open));
    }

    /// Passes on what the machine wants; returns what the hosts are to do, in this order.
    fn pass_on(&mut self, now: Instant) -> Vec<HostOrder> {
        let mut orders = std::mem::take(&mut self.waiting);
        while let Some(command) = self.machine.next_command() {
            match command {
                Command::Store(record) => self.put(PairOutput::Store(record)),
                Command::Send(message) => self.put(PairOutput::Send(message)),
                Command::Release(term) => {
                    self.work.release(term);
                    self.gate = Gate::Closed;
                    orders.push(HostOrder::Gate(Gate::Closed));
                }
                Command::Take(term) => {
                    let next = self.work.take(term, self.from());
                    self.follow(now, Some(next));
                    orders.append(&mut self.waiting);
                }
                Command::Stance(stance) => orders.push(HostOrder::Stance(stance)),
                Command::Lease(wanted) => {
                    self.lease.want(wanted);
                    self.tell_lease(now);
                    self.put(PairOutput::Lease(wanted));
                }
                Command::Progress(progress) => {
                    self.note_request(progress.request);
                    self.put(PairOutput::Progress(progress));
                }
                Command::Ended { request, end } => {
                    self.note_request(request);
                    self.last = Some((request, end));
                    self.put(PairOutput::Ended(request, end));
                }
                Command::Journal(story) => {
                    if let Story::StepsDown(_) = story {
                        self.calm.doubt(now);
                    }
                    self.put(PairOutput::Journal(story));
                    self.watch_brake(now, story);
                }
                Command::EndHard(why) => self.put(PairOutput::EndHard(why)),
            }
        }
        orders
    }

    /// Takeovers of its own accord are counted; what an operator wants, or the peer agreed to, is not.
    fn watch_brake(&mut self, now: Instant, story: Story) {
        if let Story::Takes { claim: Claim::PeerDead | Claim::NobodyActive | Claim::OurTurn, .. } = story
            && self.brake.count(now)
        {
            self.put(PairOutput::Alarm);
            self.machine.handle(now, Event::Wish(Wish::Hold));
        }
    }

    fn note_request(&mut self, request: Request) {
        if request.node == self.settings.node {
            self.request = self.request.max(Some(request));
        }
    }

    fn put(&self, output: PairOutput) {
        // It is gone only while the agent ends.
        let _ = self.outputs.send(output);
    }
}

/// What the virtual hosts are to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum HostOrder {
    /// Whether addresses are let on.
    Gate(Gate),
    /// How to advertise.
    Stance(Stance),
}

/// Ours, as a whole.
fn own(hosts: &Roster) -> Vhosts {
    let mut own = Vhosts::Init;
    for host in hosts.iter() {
        match host.machine.state() {
            State::Init => {}
            State::Backup => return Vhosts::Backup,
            State::Master | State::Stalled | State::Leaving => own = Vhosts::Master,
        }
    }
    own
}

/// The peer's, as a whole: one that leads is enough.
fn peer(now: Instant, hosts: &Roster) -> PeerVhosts {
    let heard = hosts.iter().filter_map(|host| host.peer_leads(now));
    match heard.max() {
        None => PeerVhosts::Silent,
        Some(false) => PeerVhosts::Follows,
        Some(true) => PeerVhosts::Leads,
    }
}

/// The least time that a peer has that is asked.
const ANSWER: Duration = Duration::from_millis(10);
