//! A node: its agent with the pair machine and a virtual host, its disk, and its executor.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::wire::Parcel;
use crate::core::pair::{
    self, Carp, Generation, Link, Liveness, Node as Name, Pair, PeerVhosts, Phase, Record, Report, Stance,
    Vhosts, Wish,
};
use crate::core::vhost::{FOLLOWING, Vhost};
use crate::core::{
    self, Advert, Advertisement, Command, Families, Family, Instant, Pace, Priority, Sources, State,
};

/// What the agent is told.
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// Something arrived.
    Parcel(Parcel),
    /// An operator wants something.
    Wish(Wish),
    /// This is on the disk.
    Stored(Record),
    /// The executor is done, or has given up.
    Report(Report),
}

/// What the agent does.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// The pair machine said so.
    Pair(pair::Command),
    /// The virtual host sends this.
    Advertise(Advertisement),
}

/// What of the services is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Services {
    /// Nothing.
    Off,
    /// Something, it is not said what.
    Partly,
    /// Everything.
    On,
}

/// What the executor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Serve.
    Take(Generation),
    /// Stop serving.
    Release(Generation),
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is on the disk.
    pub disk: Record,
    /// What of the services is there.
    pub services: Services,
    /// Whether the virtual addresses are there.
    pub addresses: bool,
    /// `None` when it was killed, or the machine is off.
    pub agent: Option<Agent>,
    /// Counts the agents, so that nothing that was meant for one reaches the next.
    pub life: u64,
    /// The agent is stopped until.
    pub frozen: Option<Instant>,
    /// What is there for the agent to read, and since when.
    pub inbox: VecDeque<(Instant, Input)>,
    /// What the executor does, and whether it will succeed.
    pub order: Option<(u64, Order, bool)>,
    /// How many of its next orders fail, and how many never end.
    pub fails: u32,
    /// See `fails`.
    pub hangs: u32,
    /// How much longer its orders take.
    pub slow: Duration,
    /// Until when the kernel answers for it without a word of its agent.
    pub vouched: Instant,
}

/// An agent that was started.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The pair machine.
    pub pair: Pair,
    vhost: Vhost,
    /// The newest advertisement, and how demoted it was.
    heard: Option<(Instant, u8)>,
    /// Since when it listens.
    listens: Instant,
    /// The newest beat of ours that was answered, and the newest that was heard.
    answered: Option<Instant>,
    beat: Option<Instant>,
    told: (Link, Carp, Liveness),
    /// Its own virtual host, by whom the other one knows it.
    source: IpAddr,
}

impl Node {
    /// A machine without an agent, whose disk is empty.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            disk: Record::default(),
            services: Services::Off,
            addresses: false,
            agent: None,
            life: 0,
            frozen: None,
            inbox: VecDeque::new(),
            order: None,
            fails: 0,
            hangs: 0,
            slow: Duration::ZERO,
            vouched: now,
        }
    }

    /// Whether its agent runs.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.agent.is_some() && self.frozen.is_none()
    }

    /// What the pair machine does.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.agent.as_ref().map(|agent| agent.pair.phase())
    }

    /// Whether something here may write, or answer.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        self.services != Services::Off && now <= self.vouched
    }

    /// Whether clients are served here.
    #[must_use]
    pub fn serves(&self, now: Instant) -> bool {
        self.services == Services::On && self.addresses && now <= self.vouched
    }
}

impl Agent {
    /// An agent that starts.
    #[must_use]
    pub fn new(now: Instant, name: Name, settings: pair::Settings, priority: Priority, node: &Node) -> Self {
        let last = match name {
            Name::A => 1,
            Name::B => 2,
        };
        let source = IpAddr::from([10, 0, 0, last]);
        let mut vhost = Vhost::new(core::Settings {
            priority,
            pace: Pace::Fast { interval: INTERVAL, detect: 3 },
            preempt: false,
            families: Families::only(Family::V4),
            announce_every: None,
        });
        vhost.handle(now, core::Event::Stance(Stance::Follow));
        let mut sources = Sources::UNSPECIFIED;
        if let IpAddr::V4(address) = source {
            sources.v4 = address;
        }
        vhost.handle(now, core::Event::Link(core::Link::Up { sources }));
        let serving = node.services != Services::Off;
        Self {
            pair: Pair::new(now, settings, node.disk, 0, serving),
            vhost,
            heard: None,
            listens: now,
            answered: None,
            beat: None,
            told: <(Link, Carp, Liveness)>::default(),
            source,
        }
    }

    /// When there is something to do, without anything to read.
    #[must_use]
    pub fn next_round(&self) -> Option<Instant> {
        let soon = |time: Instant| time + Duration::from_nanos(1);
        let vhost = self.vhost.poll_timeout().map(|(at, _)| at);
        let pair = self.pair.poll_timeout().map(|(at, _)| at);
        let (link, carp, liveness) = self.told;
        let carp = (carp.peer != PeerVhosts::Silent).then_some(self.heard).flatten();
        let link = (link == Link::Up).then_some(self.answered).flatten();
        let verdict = (liveness == Liveness::Unknown).then(|| soon(self.listens + LINK_DEAD));
        let carp = carp.map(|(heard, _)| soon(heard + PATIENCE));
        [vhost, pair, carp, link.map(|answered| soon(answered + LINK_DEAD)), verdict]
            .into_iter()
            .flatten()
            .min()
    }

    /// A beat that leaves now.
    #[must_use]
    pub fn beat(&self, now: Instant) -> Parcel {
        Parcel::Beat { sent: now, echo: self.beat }
    }

    /// It was stopped, and goes on: what has run out meanwhile comes before what is there to read.
    pub fn wake(&mut self, now: Instant) {
        self.listens = now;
        self.tell_link(now);
        self.tell_verdict(now);
    }

    /// Looks at the clock, reads all there is, and then lets the deadlines come.
    pub fn round(&mut self, now: Instant, inputs: impl IntoIterator<Item = (Instant, Input)>) -> Vec<Output> {
        self.tell_link(now);
        let mut outputs = Vec::new();
        for (at, input) in inputs {
            self.read(now, at, input);
            self.drain(now, &mut outputs);
        }
        while let Some((due, timer)) = self.vhost.poll_timeout()
            && due <= now
        {
            self.vhost.handle(now, core::Event::Deadline(timer));
            self.drain(now, &mut outputs);
        }
        self.tell_verdict(now);
        while let Some((due, timer)) = self.pair.poll_timeout()
            && due <= now
        {
            self.pair.handle(now, pair::Event::Deadline(timer));
        }
        self.drain(now, &mut outputs);
        outputs
    }

    fn read(&mut self, now: Instant, at: Instant, input: Input) {
        let event = match input {
            Input::Parcel(Parcel::Advert(Advertisement { priority, demote })) => {
                self.heard = self.heard.max(Some((at, demote)));
                let source = match self.source {
                    IpAddr::V4(own) if own.octets()[3] == 1 => IpAddr::from([10, 0, 0, 2]),
                    IpAddr::V4(_) | IpAddr::V6(_) => IpAddr::from([10, 0, 0, 1]),
                };
                let advert = Advert { stamp: at, source, priority, demote, watched: false };
                self.vhost.handle(now, core::Event::Advert(advert));
                return self.tell_verdict(now);
            }
            Input::Parcel(Parcel::Beat { sent, echo }) => {
                self.beat = self.beat.max(Some(sent));
                self.answered = self.answered.max(echo);
                return self.tell_link(now);
            }
            Input::Parcel(Parcel::Reset) => {
                self.answered = None;
                return self.tell_link(now);
            }
            Input::Parcel(Parcel::Message(message)) => pair::Event::Heard(message),
            Input::Wish(wish) => pair::Event::Wish(wish),
            Input::Stored(record) => pair::Event::Stored(record),
            Input::Report(report) => pair::Event::Executor(report),
        };
        self.pair.handle(now, event);
    }

    fn tell_link(&mut self, now: Instant) {
        let link = match self.answered {
            None => Link::Down,
            Some(answered) if now.saturating_since(answered) <= LINK_DEAD => Link::Up,
            Some(_) => Link::NotAnswering,
        };
        if link != self.told.0 {
            self.told.0 = link;
            self.pair.handle(now, pair::Event::Link(link));
        }
    }

    fn tell_verdict(&mut self, now: Instant) {
        let peer = match self.heard {
            Some((heard, demote)) if now.saturating_since(heard) <= PATIENCE => {
                if demote < FOLLOWING {
                    PeerVhosts::Leads
                } else {
                    PeerVhosts::Follows
                }
            }
            Some(_) | None => PeerVhosts::Silent,
        };
        let own = match self.vhost.state() {
            State::Init => Vhosts::Init,
            State::Backup => Vhosts::Backup,
            State::Master | State::Stalled | State::Leaving => Vhosts::Master,
        };
        let carp = Carp { own, peer };
        if carp != self.told.1 {
            self.told.1 = carp;
            self.pair.handle(now, pair::Event::Carp(carp));
        }
        let liveness = if self.told.0 == Link::Up || peer != PeerVhosts::Silent {
            Liveness::Alive
        } else if own != Vhosts::Init && now.saturating_since(self.listens) > LINK_DEAD {
            Liveness::Dead
        } else {
            Liveness::Unknown
        };
        if liveness != self.told.2 {
            self.told.2 = liveness;
            self.pair.handle(now, pair::Event::Peer(liveness));
        }
    }

    fn drain(&mut self, now: Instant, outputs: &mut Vec<Output>) {
        loop {
            while let Some(command) = self.pair.next_command() {
                if let pair::Command::Stance(stance) = command {
                    self.vhost.handle(now, core::Event::Stance(stance));
                }
                outputs.push(Output::Pair(command));
            }
            let Some(command) = self.vhost.next_command() else { return };
            match command {
                Command::Advertise(advertisement) => outputs.push(Output::Advertise(advertisement)),
                Command::DropAddresses => self.vhost.handle(now, core::Event::Released { held: false }),
                Command::Notify(_) => self.tell_verdict(now),
                Command::TakeAddresses | Command::Announce | Command::Stalled { .. } => {}
            }
        }
    }

    /// Whether the virtual host has its addresses.
    #[must_use]
    pub fn has_addresses(&self) -> bool {
        matches!(self.vhost.state(), State::Master | State::Stalled | State::Leaving)
    }
}

/// Between two advertisements.
pub const INTERVAL: Duration = Duration::from_millis(10);

/// How long the virtual hosts wait for a silent master, at most: three intervals and what the skew adds.
pub const PATIENCE: Duration = Duration::from_millis(40);

/// How long the link may go without an answer.
pub const LINK_DEAD: Duration = Duration::from_millis(60);
