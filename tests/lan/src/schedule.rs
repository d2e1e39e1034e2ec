//! A group of nodes and a mess, both at random, and what becomes of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::bounds::Bounds;
use crate::core::{Event, Families, Family, FamilyRule, Instant, LinkDown, Pace, Priority, Settings, State};
use crate::lan::{Lan, Slack, Watch};
use crate::network::between;
use crate::properties::{Judge, Violation};
use crate::random::Random;

/// Who they are, and what happens to them.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// One a node.
    pub nodes: Vec<Settings>,
    /// The nodes whose kernel can't watch.
    pub blind: Vec<usize>,
    /// Whether the frames carry the time.
    pub strict: bool,
    /// How late everything is anyway.
    pub slack: Slack,
    /// What is random follows this.
    pub seed: u64,
    /// After what time which trouble.
    pub mess: Vec<(Duration, Trouble)>,
}

/// Something that goes wrong, or is done by somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Of 1,000 frames, so many are lost from now on.
    Lose(u64),
    /// So many are late, by up to so much.
    Delay(u64, Duration),
    /// So many come twice, the second time by up to so much later.
    Double(u64, Duration),
    /// Nothing comes through from one to another in a family.
    Cut(usize, usize, Family),
    /// Nothing comes through between the two.
    Part(usize, usize),
    /// A node's own frames come back to it.
    Echo(usize),
    /// The network is well.
    Heal,
    /// The agent's process stops for a time.
    Freeze(usize, Duration),
    /// The machine stops for a time.
    Sleep(usize, Duration),
    /// The agent is late by up to the first time at each step, for the second.
    Dawdle(usize, Duration, Duration),
    /// The wall clock is set, so many ms ahead of true time.
    SetClock(usize, i64),
    /// The agent is killed.
    Kill(usize),
    /// The machine loses its power.
    PowerOff(usize),
    /// The agent leaves in order.
    Leave(usize),
    /// Machine and agent are started again.
    Start(usize),
    /// The host has this demotion level.
    Demote(usize, u8),
    /// The carrier is lost.
    LinkDown(usize),
    /// The carrier is back.
    LinkUp(usize),
    /// What the executor does takes at least so long.
    SlowOrders(usize, Duration),
}

impl Schedule {
    /// The schedule of a seed.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let interval = Duration::from_millis(*pick(&[4, 10, 20], random));
        let pace = Pace::Fast { interval, detect: *pick(&[2, 3, 5], random) };
        let count = 2 + random.below(3);
        let families = *pick(
            &[
                Families::only(Family::V4),
                Families::only(Family::V6),
                Families::both(FamilyRule::Either),
                Families::both(FamilyRule::Either),
                Families::both(FamilyRule::Both),
            ],
            random,
        );
        let settings = |random: &mut Random| Settings {
            priority: Priority {
                advbase: *pick(&[1, 1, 1, 2, 5], random),
                advskew: *pick(&[0, 50, 50, 100, 254], random),
            },
            pace,
            preempt: random.below(2) == 0,
            families,
            announce_every: None,
        };
        let mut nodes: Vec<_> = (0..count).map(|_| settings(random)).collect();
        let strict = random.below(3) == 0;
        if strict {
            // It needs priorities that differ, also where all are demoted.
            for (node, advbase) in nodes.iter_mut().zip(1..) {
                node.priority.advbase = advbase;
            }
        }
        let blind = (0..count).filter(|_| random.below(8) == 0).collect();
        let slack = Slack {
            delay: (interval / 200, interval / *pick(&[100, 10], random)),
            timer: interval / 100,
            round: interval / *pick(&[200, 25], random),
            order: (interval / 100, interval / 4),
        };
        let mess = (0..random.below(16)).map(|_| {
            (between(Duration::ZERO, interval * 6, random), Trouble::random(count, interval, random))
        });
        let mess = mess.collect();
        Self { nodes, blind, strict, slack, seed, mess }
    }

    /// Lets it happen, and then peace return; says what did not hold.
    ///
    /// # Errors
    ///
    /// The first property that did not hold.
    pub fn run(&self) -> Result<(), Violation> {
        self.run_before(&mut ())
    }

    /// The same, and somebody else looks on.
    ///
    /// # Errors
    ///
    /// The first property that did not hold.
    pub fn run_before(&self, witness: &mut impl Watch) -> Result<(), Violation> {
        let mut lan = Lan::new(self.nodes.iter().copied(), self.slack, self.seed);
        let bounds = Bounds::new(&self.nodes, self.slack);
        let mut judge = Judge::new(&lan, bounds);
        self.blind.iter().for_each(|node| lan.blind(*node));
        if self.strict {
            lan.be_strict();
        }
        lan.start_all();
        for (after, trouble) in &self.mess {
            let at = lan.now() + *after;
            lan.run_until(at, &mut (&mut judge, &mut *witness));
            trouble.befall(&mut lan);
            if let Some(violation) = judge.violation() {
                return Err(violation.clone());
            }
        }
        let well = self.make_peace(&mut lan, &mut (&mut judge, &mut *witness));
        let settled = well + bounds.settled();
        let told = settled + bounds.told();
        lan.run_until(told, &mut (&mut judge, &mut *witness));
        judge.conclude(&lan, settled);
        lan.run_until(told + bounds.down * WATCHED_AFTER, &mut (&mut judge, witness));
        judge.conclude(&lan, settled);
        judge.violation().cloned().map_or(Ok(()), Err)
    }

    /// Ends every fault, and returns when the last of them was over.
    fn make_peace(&self, lan: &mut Lan, watch: &mut impl Watch) -> Instant {
        lan.network.heal();
        let random = &mut Random::new(!self.seed);
        for node in 0..self.nodes.len() {
            lan.slow_orders(node, Duration::ZERO);
            // Also what was switched off may stay so; but a machine without an agent that has the addresses is a fault.
            if lan.nodes()[node].state().is_some() || random.below(2) == 0 {
                lan.start(node);
            } else {
                lan.power_off(node);
            }
        }
        while lan.well_from() > lan.now()
            || lan.nodes().iter().any(|node| node.state() == Some(State::Leaving))
        {
            let soon = lan.now() + Duration::from_millis(1);
            lan.run_until(lan.well_from().max(soon), watch);
        }
        lan.now()
    }
}

impl Trouble {
    fn random(count: usize, interval: Duration, random: &mut Random) -> Self {
        let most = |times: u32, random: &mut Random| between(Duration::ZERO, interval * times, random);
        let one = random.below(count);
        let other = (one + 1 + random.below(count - 1)) % count;
        let family = *pick(&Family::ALL, random);
        match random.below(28) {
            0 => Self::Lose(*pick(&[20, 100, 300, 700], random)),
            1 => Self::Delay(*pick(&[50, 300, 1000], random), most(6, random)),
            2 => Self::Double(*pick(&[50, 500], random), most(8, random)),
            3..6 => Self::Cut(one, other, family),
            6..8 => Self::Part(one, other),
            8 => Self::Echo(one),
            9..12 => Self::Heal,
            12 => Self::Freeze(one, most(2, random)),
            13 | 14 => Self::Freeze(one, most(10, random)),
            15 => Self::Sleep(one, most(6, random)),
            16 | 17 => Self::Dawdle(one, most(6, random), most(12, random)),
            18 => Self::SetClock(one, *pick(&[-900, -100, 0, 100, 900], random)),
            19 => Self::Kill(one),
            20 => Self::PowerOff(one),
            21 => Self::Leave(one),
            22 | 23 => Self::Start(one),
            24 => Self::Demote(one, *pick(&[0, 0, 1, 2], random)),
            25 => Self::LinkDown(one),
            26 => Self::LinkUp(one),
            _ => Self::SlowOrders(one, most(60, random)),
        }
    }

    fn befall(self, lan: &mut Lan) {
        match self {
            Self::Lose(lost) => lan.network.lost = lost,
            Self::Delay(late, latest) => (lan.network.late, lan.network.latest) = (late, latest),
            Self::Double(doubled, latest) => (lan.network.doubled, lan.network.latest) = (doubled, latest),
            Self::Cut(from, to, family) => lan.network.cut(from, to, family),
            Self::Part(one, other) => lan.network.part(one, other),
            Self::Echo(node) => lan.network.echo(node),
            Self::Heal => lan.network.heal(),
            Self::Freeze(node, time) => lan.freeze(node, time),
            Self::Sleep(node, time) => lan.sleep(node, time),
            Self::Dawdle(node, most, time) => lan.dawdle(node, most, time),
            Self::SetClock(node, ahead_ms) => lan.set_clock(node, ahead_ms),
            Self::Kill(node) => lan.kill(node),
            Self::PowerOff(node) => lan.power_off(node),
            Self::Leave(node) => lan.tell(node, Event::Leave),
            Self::Start(node) => lan.start(node),
            Self::Demote(node, level) => lan.tell(node, Event::Demote(level)),
            Self::LinkDown(node) => lan.link_down(node, LinkDown::Carrier),
            Self::LinkUp(node) => lan.link_up(node),
            Self::SlowOrders(node, least) => lan.slow_orders(node, least),
        }
    }
}

/// A schedule that breaks a property.
#[derive(Clone, Debug)]
pub struct Find {
    /// How many were run until it came, itself included.
    pub run: u64,
    /// The schedule, without what is not needed to break the property.
    pub schedule: Schedule,
    /// What it breaks.
    pub violation: Violation,
}

/// Runs `count` schedules, those of the seeds from `seed` on, on two processors, and finds the first that breaks a
/// property.
#[must_use]
pub fn search(seed: u64, count: u64) -> Option<Find> {
    let least = AtomicU64::new(count);
    let search = |first: u64| {
        let run = |number: &u64| Schedule::random(seed.wrapping_add(*number)).run().is_err();
        let mut numbers =
            (first..count).step_by(2).take_while(|number| *number < least.load(Ordering::Relaxed));
        if let Some(found) = numbers.find(run) {
            least.fetch_min(found, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| search(1));
        search(0);
    });
    let number = least.into_inner();
    let schedule = Schedule::random(seed.wrapping_add(number));
    let violation = schedule.run().err().filter(|_| number < count)?;
    let (schedule, violation) = shrink(schedule, violation);
    Some(Find { run: number + 1, schedule, violation })
}

/// Leaves out of a schedule that breaks a property what is not needed to break it.
#[must_use]
pub fn shrink(mut schedule: Schedule, mut violation: Violation) -> (Schedule, Violation) {
    let mut index = 0;
    while index < schedule.mess.len() {
        let mut less = schedule.clone();
        let (waited, _) = less.mess.remove(index);
        if let Some((wait, _)) = less.mess.get_mut(index) {
            *wait += waited;
        }
        match less.run() {
            Err(broken) if broken.property == violation.property => (schedule, violation) = (less, broken),
            Err(_) | Ok(()) => index += 1,
        }
    }
    (schedule, violation)
}

/// How long everything is watched after all is said, in times of [`Bounds::down`]: long enough to flap.
const WATCHED_AFTER: u32 = 3;

fn pick<'a, T>(from: &'a [T], random: &mut Random) -> &'a T {
    &from[random.below(from.len())]
}
