//! Some machines on one network and one virtual clock.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::core::command::Advertisement;
use crate::core::family::FamilyRule;

mod group;
mod pair;
mod random;

/// The nodes; everything takes the same time at each run.
struct Lan {
    nodes: Vec<Node>,
    now: Instant,
    /// Steps since time last went on.
    steps_at_once: u32,
    /// Events on their way, with the node they are for.
    under_way: VecDeque<(Instant, usize, Event)>,
    /// From which node to which, and in which family, frames that are sent now are lost.
    lost: Vec<(usize, usize, Family)>,
    /// How long a node takes to remove its addresses.
    releasing: Duration,
    /// Every transition, with the node.
    transitions: Vec<(usize, Transition)>,
    /// Whether ever two had the addresses at once.
    owned_twice: bool,
    /// Whether nobody was master at some moment since this was cleared.
    masterless: bool,
}

struct Node {
    vhost: Vhost,
    alive: bool,
    /// Until then it does not run, and what arrives waits.
    sleeps_until: Instant,
    /// It knows nothing of demotion, as ucarp.
    foreign: bool,
    addresses: Addresses,
    last_sent: Option<Instant>,
    /// How often it told that it had stalled.
    stalls: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    On,
    GoingOff,
    Off,
}

impl Lan {
    fn new(settings: impl IntoIterator<Item = Settings>) -> Self {
        let start = Instant::from_nanos(1_000_000_000_000);
        let node = |settings| Node {
            vhost: Vhost::new(settings),
            alive: true,
            sleeps_until: start,
            foreign: false,
            addresses: Addresses::Off,
            last_sent: None,
            stalls: 0,
        };
        Self {
            nodes: settings.into_iter().map(node).collect(),
            now: start,
            steps_at_once: 0,
            under_way: VecDeque::new(),
            lost: Vec::new(),
            releasing: RELEASING,
            transitions: Vec::new(),
            owned_twice: false,
            masterless: false,
        }
    }

    /// Every link is up, and the first master has been found.
    fn settled(settings: impl IntoIterator<Item = Settings>) -> Self {
        let mut lan = Self::new(settings);
        lan.all_up();
        lan.run_for(lan.longest_patience() * 2);
        assert_eq!(lan.masters().len(), 1);
        lan.masterless = false;
        lan
    }

    fn all_up(&mut self) {
        for node in 0..self.nodes.len() {
            self.link_up(node);
        }
    }

    fn link_up(&mut self, node: usize) {
        self.feed(node, Event::Link(Link::Up { sources: sources(node) }));
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
        self.nodes[node].addresses = Addresses::Off;
    }

    fn sleep(&mut self, node: usize, time: Duration) {
        self.nodes[node].sleeps_until = self.now + time;
    }

    /// Loses all frames between the two.
    fn part(&mut self, one: usize, other: usize) {
        for family in Family::ALL {
            self.lost.extend([(one, other, family), (other, one, family)]);
        }
    }

    fn masters(&self) -> Vec<usize> {
        let serves =
            |node: &usize| self.nodes[*node].alive && self.nodes[*node].vhost.state() == State::Master;
        (0..self.nodes.len()).filter(serves).collect()
    }

    /// How many nodes have the addresses.
    fn owners(&self) -> usize {
        self.nodes.iter().filter(|node| node.addresses != Addresses::Off).count()
    }

    fn last_sent_by(&self, node: usize) -> Instant {
        self.nodes[node].last_sent.expect("it has been master")
    }

    /// The last transition: who, and the name of the cause.
    fn last_told(&self) -> Option<(usize, &'static str)> {
        self.transitions.last().map(|(node, transition)| (*node, transition.cause.name()))
    }

    fn longest_patience(&self) -> Duration {
        let patience = |node: &Node| {
            let Settings { pace, priority, .. } = node.vhost.settings();
            pace.master_down_time(priority.demoted(1))
        };
        self.nodes.iter().map(patience).max().expect("there are nodes")
    }

    /// Nothing changes any more.
    fn assert_settled(&mut self, case: &str) {
        let settled = self.transitions.len();
        self.run_for(self.longest_patience() * 10);
        assert_eq!(self.transitions[settled..], [], "{case} flaps");
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Does the next thing up to `end`. What is under way comes before a deadline of the same moment: the
    /// driver's promise.
    fn step(&mut self, end: Instant) -> bool {
        let awake = |node: usize, at: Instant| at.max(self.nodes[node].sleeps_until);
        let arrival = (0..self.under_way.len())
            .map(|index| (awake(self.under_way[index].1, self.under_way[index].0), index))
            .min();
        let deadline = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].alive)
            .filter_map(|node| {
                self.nodes[node].vhost.poll_timeout().map(|(at, timer)| (awake(node, at), node, timer))
            })
            .min_by_key(|(at, ..)| *at);
        let arrives = arrival.map(|(at, _)| at);
        let next = arrives.into_iter().chain(deadline.map(|(at, ..)| at)).min();
        let Some(next) = next.filter(|at| *at <= end) else { return false };
        self.steps_at_once = if next > self.now { 1 } else { self.steps_at_once + 1 };
        assert!(self.steps_at_once < 1000, "no progress at {next:?}");
        self.now = self.now.max(next);
        if arrives == Some(next) {
            let (_, node, event) =
                arrival.and_then(|(_, index)| self.under_way.remove(index)).expect("it arrives");
            self.feed(node, event);
        } else if let Some((_, node, timer)) = deadline {
            self.feed(node, Event::Deadline(timer));
        }
        true
    }

    fn feed(&mut self, node: usize, event: Event) {
        if !self.nodes[node].alive {
            return;
        }
        if matches!(event, Event::Released { .. }) && self.nodes[node].addresses == Addresses::GoingOff {
            self.nodes[node].addresses = Addresses::Off;
        }
        self.nodes[node].vhost.handle(self.now, event);
        while let Some(command) = self.nodes[node].vhost.next_command() {
            self.execute(node, command);
        }
        self.owned_twice |= self.owners() > 1;
        self.masterless |= self.masters().is_empty();
    }

    fn execute(&mut self, node: usize, command: Command) {
        match command {
            Command::Advertise(advertisement) => {
                self.nodes[node].last_sent = Some(self.now);
                self.send(node, advertisement);
            }
            Command::TakeAddresses => self.nodes[node].addresses = Addresses::On,
            Command::DropAddresses => {
                let held = self.nodes[node].addresses != Addresses::Off;
                if held {
                    self.nodes[node].addresses = Addresses::GoingOff;
                }
                self.under_way.push_back((self.now + self.releasing, node, Event::Released { held }));
            }
            Command::Announce => {}
            Command::Stalled { .. } => self.nodes[node].stalls += 1,
            Command::Notify(transition) => self.transitions.push((node, transition)),
        }
    }

    fn send(&mut self, from: usize, Advertisement { priority, demote }: Advertisement) {
        let stamp = self.now + DELAY;
        for family in Family::ALL {
            for to in (0..self.nodes.len()).filter(|to| *to != from) {
                let knows = !self.nodes[from].foreign && !self.nodes[to].foreign;
                let demote = if knows { demote } else { 0 };
                if !self.lost.contains(&(from, to, family)) {
                    let source = sources(from).of(family);
                    let advert = Event::Advert(Advert { stamp, source, priority, demote, watched: false });
                    self.under_way.push_back((stamp, to, advert));
                }
            }
        }
    }
}

/// With both families, either of which is enough.
fn settings(priority: Priority, pace: Pace, preempt: bool) -> Settings {
    let families = Families::both(FamilyRule::Either);
    Settings { priority, pace, preempt, families, announce_every: None }
}

/// The lower its number, the rather a node wins a tie in IPv4; in IPv6 it is the other way round.
fn sources(node: usize) -> Sources {
    let number = u8::try_from(node).expect("few nodes") + 1;
    Sources {
        v4: Ipv4Addr::new(10, 77, 0, number),
        v6: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, (100 - number).into()),
    }
}

fn v4(node: usize) -> IpAddr {
    sources(node).of(Family::V4)
}

const STRONG: Priority = Priority { advbase: 1, advskew: 10 };
const WEAK: Priority = Priority { advbase: 1, advskew: 100 };
const DELAY: Duration = Duration::from_micros(100);
/// Shorter than any interval here.
const RELEASING: Duration = Duration::from_micros(300);
const PACES: [Pace; 3] = [
    Pace::Classic,
    Pace::Fast { interval: Duration::from_millis(10), detect: 3 },
    Pace::Fast { interval: Duration::from_millis(1), detect: 2 },
];
