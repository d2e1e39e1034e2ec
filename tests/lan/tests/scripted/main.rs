//! Scripts of two and three nodes, where everything takes the same time at each run.

mod group;
mod pair;

use std::net::IpAddr;
use std::time::Duration;

use virtual_lan::core::{
    Cause, Event, Families, Family, FamilyRule, Instant, Pace, Priority, Settings, State, Transition,
};
use virtual_lan::lan::{Fact, Lan, Slack, Watch, sources};

/// A LAN, and what was seen of it.
struct Stage {
    lan: Lan,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    /// Every transition, with the node.
    transitions: Vec<(usize, Transition)>,
    /// When each node advertised last.
    sent: [Option<Instant>; 3],
    /// How often each noticed that it had slept.
    stalls: [u32; 3],
    /// Whether ever two had the addresses at once.
    owned_twice: bool,
    /// Whether nobody was master at some moment since this was cleared.
    masterless: bool,
}

impl Watch for Seen {
    fn see(&mut self, lan: &Lan, node: usize, fact: Fact) {
        match fact {
            Fact::Turned(transition) => self.transitions.push((node, transition)),
            Fact::Sent(_) => self.sent[node] = Some(lan.now()),
            Fact::Stalled => self.stalls[node] += 1,
            Fact::Addresses(_) => self.owned_twice |= lan.owners() > 1,
            Fact::Heard { .. } | Fact::Looked | Fact::Announced => {}
        }
    }

    fn pass(&mut self, lan: &Lan) {
        self.masterless |= lan.masters().is_empty();
    }
}

impl Stage {
    /// Nobody has started yet.
    fn new(settings: impl IntoIterator<Item = Settings>) -> Self {
        Self { lan: Lan::new(settings, SLACK, 0), seen: Seen::default() }
    }

    /// Every link is up, and the first master has been found.
    fn settled(settings: impl IntoIterator<Item = Settings>) -> Self {
        let mut stage = Self::new(settings);
        stage.lan.start_all();
        stage.run_for(stage.longest_patience() * 2);
        assert_eq!(stage.masters().len(), 1);
        stage.seen.masterless = false;
        stage
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.lan.now() + time;
        self.lan.run_until(end, &mut self.seen);
    }

    fn masters(&self) -> Vec<usize> {
        self.lan.masters()
    }

    fn last_sent_by(&self, node: usize) -> Instant {
        self.seen.sent[node].expect("it has been master")
    }

    /// The last transition: who, and the name of the cause.
    fn last_told(&self) -> Option<(usize, &'static str)> {
        self.told_since(0).pop()
    }

    /// Who, and the names of the causes, since so many transitions.
    fn told_since(&self, count: usize) -> Vec<(usize, &'static str)> {
        let transitions = &self.seen.transitions[count..];
        transitions.iter().map(|(node, transition)| (*node, transition.cause.name())).collect()
    }

    fn longest_patience(&self) -> Duration {
        let patience = |settings: Settings| settings.pace.master_down_time(settings.priority.demoted(1));
        self.lan.nodes().iter().map(|node| patience(node.settings())).max().expect("there are nodes")
    }

    /// Nothing changes any more.
    fn assert_settled(&mut self, case: &str) {
        let settled = self.seen.transitions.len();
        self.run_for(self.longest_patience() * 10);
        assert_eq!(self.seen.transitions[settled..], [], "{case} flaps");
    }
}

/// With both families, either of which is enough.
fn settings(priority: Priority, pace: Pace, preempt: bool) -> Settings {
    let families = Families::both(FamilyRule::Either);
    Settings { priority, pace, preempt, families, announce_every: None }
}

/// The kernel's timer fired at its deadline.
fn silence(family: Option<Family>, heard: Instant, deadline: Instant) -> Cause {
    Cause::Silence { family, last_heard: Some(heard), deadline, fired: Some(deadline) }
}

fn v4(node: usize) -> IpAddr {
    sources(node).of(Family::V4)
}

const STRONG: Priority = Priority { advbase: 1, advskew: 10 };
const WEAK: Priority = Priority { advbase: 1, advskew: 100 };
const DELAY: Duration = Duration::from_micros(100);
/// What an order takes; shorter than any interval here.
const RELEASING: Duration = Duration::from_micros(300);
const SLACK: Slack = Slack {
    delay: (DELAY, DELAY),
    timer: Duration::ZERO,
    round: Duration::ZERO,
    order: (RELEASING, RELEASING),
};
const PACES: [Pace; 3] = [
    Pace::Classic,
    Pace::Fast { interval: Duration::from_millis(10), detect: 3 },
    Pace::Fast { interval: Duration::from_millis(1), detect: 2 },
];
