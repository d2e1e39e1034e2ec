//! A switchover, something that happens at one of its steps, and what becomes of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::bounds::Bounds;
use super::properties::{Judge, Violation};
use super::wire::Wire;
use super::world::{BOOT, World, settings};
use crate::core::pair::{Node as Name, Phase, Purpose, Wish};
use crate::core::{Instant, Priority};
use crate::network::between;
use crate::random::Random;

/// A pair, a switchover, and what happens to it.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What is random follows this.
    pub seed: u64,
    /// What the virtual hosts advertise.
    pub priorities: [Priority; 2],
    /// Whether the standby's operator asks for it, not the active node's.
    pub by_standby: bool,
    /// Whether it ends hard if it gets stuck.
    pub force_after: Option<Duration>,
    /// What happens at a step.
    pub trap: Option<Trap>,
    /// And after what time what else.
    pub mess: Vec<(Duration, Trouble)>,
}

/// Something that happens when a node has come to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// The step; it also says which of the two nodes comes to it.
    pub step: Step,
    /// How much later.
    pub after: Duration,
    /// What.
    pub trouble: Trouble,
}

/// The steps of a switchover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The active node asks.
    Offering,
    /// The standby promises.
    Promised,
    /// The active node stores.
    Granting,
    /// The active node releases.
    Releasing,
    /// The old active node waits.
    Granted,
    /// The new one takes over.
    Taking,
    /// The new one has taken over.
    Taken,
    /// The role comes back.
    Claiming,
}

/// Something that goes wrong, or is done by somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// An agent is killed, and started again after this.
    Kill(usize, Duration),
    /// An agent is stopped.
    Freeze(usize, Duration),
    /// A machine loses its power, and is started again after this.
    PowerOff(usize, Duration),
    /// The link is cut.
    CutLink(Duration),
    /// The CARP network is cut.
    CutCarp(Duration),
    /// Both are.
    CutBoth(Duration),
    /// Of 1,000 parcels on the link, so many are lost.
    Lose(u64, Duration),
    /// Messages are late, and come twice.
    Jumble(Duration),
    /// So many of a node's next orders fail.
    Fail(usize, u32),
    /// So many of a node's next orders never end.
    Hang(usize, u32),
    /// A node's orders take longer.
    Slow(usize, Duration),
    /// An operator wants something.
    Wish(usize, Wish),
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Offering,
        Self::Promised,
        Self::Granting,
        Self::Releasing,
        Self::Granted,
        Self::Taking,
        Self::Taken,
        Self::Claiming,
    ];

    fn is(self, phase: Option<Phase>) -> bool {
        match self {
            Self::Offering => phase == Some(Phase::Offering),
            Self::Promised => matches!(phase, Some(Phase::Promised { .. })),
            Self::Granting => phase == Some(Phase::Granting),
            Self::Releasing => phase == Some(Phase::Releasing(Purpose::Handover)),
            Self::Granted => phase == Some(Phase::Granted),
            Self::Taking => matches!(phase, Some(Phase::Taking { .. })),
            Self::Claiming => matches!(phase, Some(Phase::Claiming { .. })),
            // The one that was active is so at first: the caller knows which.
            Self::Taken => false,
        }
    }
}

impl Schedule {
    /// The schedule of a number: every step with every kind of trouble comes in turn, the rest is random.
    #[must_use]
    pub fn of(number: u64) -> Self {
        let random = &mut Random::new(number);
        let place = usize::try_from(number % 1_000_000).unwrap_or_default();
        let priority = |random: &mut Random| Priority {
            advbase: 1,
            advskew: if random.below(2) == 0 { 0 } else { 100 },
        };
        let step = Step::ALL[place % Step::ALL.len()];
        let kind = place / Step::ALL.len() % (KINDS + 1);
        let after =
            between(Duration::ZERO, Duration::from_millis(if random.below(2) == 0 { 3 } else { 60 }), random);
        let trap = (kind < KINDS).then(|| Trap { step, after, trouble: Trouble::random(kind, random) });
        // Some are left alone but for that; the last kind is none at all.
        let more = if kind == KINDS || random.below(2) == 0 { 0 } else { random.below(6) };
        let mess = (0..more).map(|_| {
            let kind = random.below(KINDS + WISHES);
            (between(Duration::ZERO, Duration::from_millis(400), random), Trouble::random(kind, random))
        });
        Self {
            seed: number,
            mess: mess.collect(),
            priorities: [priority(random), priority(random)],
            by_standby: random.below(2) == 0,
            force_after: (random.below(4) == 0).then_some(Duration::from_millis(100)),
            trap,
        }
    }

    /// Lets it happen, and then peace return; says what did not hold, and what the nodes wrote down.
    #[must_use]
    pub fn run(&self) -> (Option<Violation>, Vec<String>) {
        let mut world = World::new(self.seed, self.priorities);
        let bounds = Bounds::new(settings(Name::A));
        let calm = self.trap.is_none() && self.mess.is_empty();
        let judge = &mut Judge::new(&world, bounds, calm);
        let random = &mut Random::new(!self.seed);

        let first = random.below(2);
        world.start(first, judge);
        world.run_until(world.now() + between(Duration::ZERO, SLICE * 300, random), judge);
        world.start(1 - first, judge);
        world.run_until(world.now() + bounds.settled(), judge);
        judge.conclude(&world, world.now());

        let active = usize::from(world.nodes[1].phase() == Some(Phase::Active));
        let wish = Wish::Failover {
            to: if active == 0 { Name::B } else { Name::A },
            forced: false,
            force_after: self.force_after,
        };
        world.wish(if self.by_standby { 1 - active } else { active }, wish, judge);
        self.make_a_mess(&mut world, judge, active);

        let well = make_peace(&mut world, judge);
        let settled = well + bounds.settled();
        world.run_until(settled, judge);
        judge.conclude(&world, settled);
        world.run_until(settled + bounds.settled(), judge);
        judge.conclude(&world, settled);
        (judge.violation().cloned(), judge.story().to_vec())
    }

    fn make_a_mess(&self, world: &mut World, judge: &mut Judge, active: usize) {
        let began = world.now();
        let mut planned: Vec<(Instant, Trouble)> = Vec::new();
        let mut at = began;
        for (after, trouble) in &self.mess {
            at = at + *after;
            planned.push((at, *trouble));
        }
        let mut mends: Vec<(Instant, Mend)> = Vec::new();
        let mut trap = self.trap;
        while world.now() < at.max(began + MESS) {
            if let Some(Trap { step, after, trouble }) = trap {
                let taken = step == Step::Taken && world.nodes[1 - active].phase() == Some(Phase::Active);
                if taken || world.nodes.iter().any(|node| step.is(node.phase())) {
                    planned.push((world.now() + after, trouble));
                    trap = None;
                }
            }
            let now = world.now();
            for (_, mend) in mends.extract_if(.., |(at, _)| *at <= now) {
                mend.take_effect(world);
            }
            for (_, trouble) in planned.extract_if(.., |(at, _)| *at <= now) {
                judge.note(world, &format!("{trouble:?}"));
                let ends = trouble.befall(world, judge);
                mends.extend(ends.into_iter().map(|(time, mend)| (now + time, mend)));
            }
            world.run_until(now + SLICE, judge);
        }
    }
}

/// Ends every fault, and returns when the last of them was over.
fn make_peace(world: &mut World, judge: &mut Judge) -> Instant {
    world.wire = Wire::default();
    for node in 0..2 {
        let it = &mut world.nodes[node];
        (it.fails, it.hangs, it.slow) = (0, 0, Duration::ZERO);
    }
    while world.nodes.iter().any(|node| node.frozen.is_some()) {
        world.run_until(world.now() + SLICE, judge);
    }
    for node in 0..2 {
        world.start(node, judge);
    }
    world.wish(0, Wish::Prefer(None), judge);
    judge.note(world, "peace");
    // What is under way arrives.
    world.run_until(world.now() + LATEST, judge);
    world.now()
}

/// What ends a trouble.
#[derive(Clone, Copy, Debug)]
enum Mend {
    Link,
    Carp,
    Loss,
    Jumble,
}

impl Mend {
    fn take_effect(self, world: &mut World) {
        match self {
            Self::Link => world.wire.link_cut = false,
            Self::Carp => world.wire.carp_cut = false,
            Self::Loss => world.wire.lost = 0,
            Self::Jumble => (world.wire.late, world.wire.doubled) = (0, 0),
        }
    }
}

impl Trouble {
    fn random(kind: usize, random: &mut Random) -> Self {
        let node = random.below(2);
        let time = |random: &mut Random| {
            let most = [5, 50, 300, 1000][random.below(4)];
            between(Duration::from_millis(1), Duration::from_millis(most), random)
        };
        match kind {
            0 => Self::Kill(0, time(random)),
            1 => Self::Kill(1, time(random)),
            2 => Self::Freeze(0, time(random)),
            3 => Self::Freeze(1, time(random)),
            4 => Self::PowerOff(0, BOOT + time(random)),
            5 => Self::PowerOff(1, BOOT + time(random)),
            6 => Self::CutLink(time(random)),
            7 => Self::CutCarp(time(random)),
            8 => Self::CutBoth(time(random)),
            9 => Self::Lose([100, 300, 700][random.below(3)], time(random)),
            10 => Self::Jumble(time(random)),
            11 => Self::Fail(node, 1 + u32::from(random.byte() % 3)),
            12 => Self::Hang(0, 1 + u32::from(random.byte() % 2)),
            13 => Self::Hang(1, 1 + u32::from(random.byte() % 2)),
            14 => Self::Slow(node, time(random)),
            15 => Self::Wish(node, Wish::Failover { to: name(random), forced: false, force_after: None }),
            16 => Self::Wish(node, if random.below(2) == 0 { Wish::Hold } else { Wish::Resume }),
            17 => Self::Wish(node, if random.below(2) == 0 { Wish::Disable } else { Wish::Enable }),
            _ => Self::Wish(node, Wish::Prefer(Some(name(random)))),
        }
    }

    /// Begins; returns what ends it, and when.
    fn befall(self, world: &mut World, judge: &mut Judge) -> Vec<(Duration, Mend)> {
        match self {
            Self::Kill(node, time) => {
                world.kill(node);
                world.start_after(node, time);
                Vec::new()
            }
            Self::Freeze(node, time) => {
                world.freeze(node, time);
                Vec::new()
            }
            Self::PowerOff(node, time) => {
                world.power_off(node);
                world.start_after(node, time);
                Vec::new()
            }
            Self::CutLink(time) => {
                world.wire.link_cut = true;
                vec![(time, Mend::Link)]
            }
            Self::CutCarp(time) => {
                world.wire.carp_cut = true;
                vec![(time, Mend::Carp)]
            }
            Self::CutBoth(time) => {
                (world.wire.link_cut, world.wire.carp_cut) = (true, true);
                vec![(time, Mend::Link), (time, Mend::Carp)]
            }
            Self::Lose(lost, time) => {
                world.wire.lost = lost;
                vec![(time, Mend::Loss)]
            }
            Self::Jumble(time) => {
                (world.wire.late, world.wire.doubled, world.wire.latest) = (400, 400, LATEST);
                vec![(time, Mend::Jumble)]
            }
            Self::Fail(node, count) => {
                world.nodes[node].fails = count;
                Vec::new()
            }
            Self::Hang(node, count) => {
                world.nodes[node].hangs = count;
                Vec::new()
            }
            Self::Slow(node, time) => {
                world.nodes[node].slow = time;
                Vec::new()
            }
            Self::Wish(node, wish) => {
                world.wish(node, wish, judge);
                Vec::new()
            }
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
    /// What the nodes wrote down.
    pub story: Vec<String>,
}

/// Runs `count` schedules, those of the numbers from `seed` on, on two processors, and finds the first that breaks a
/// property.
#[must_use]
pub fn search(seed: u64, count: u64) -> Option<Find> {
    let least = AtomicU64::new(count);
    let search = |first: u64| {
        let run = |number: &u64| Schedule::of(seed.wrapping_add(*number)).run().0.is_some();
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
    let mut schedule = Schedule::of(seed.wrapping_add(number));
    if number == count {
        return None;
    }
    let (violation, mut story) = schedule.run();
    let mut violation = violation?;
    let mut index = 0;
    while index < schedule.mess.len() {
        let mut less = schedule.clone();
        let (waited, _) = less.mess.remove(index);
        if let Some((wait, _)) = less.mess.get_mut(index) {
            *wait += waited;
        }
        match less.run() {
            (Some(broken), told) if broken.property == violation.property => {
                (schedule, violation, story) = (less, broken, told);
            }
            (Some(_) | None, _) => index += 1,
        }
    }
    Some(Find { run: number + 1, schedule, violation, story })
}

fn name(random: &mut Random) -> Name {
    if random.below(2) == 0 { Name::A } else { Name::B }
}

/// The kinds of trouble that may come at a step, and the other wishes.
const KINDS: usize = 16;
const WISHES: usize = 3;

/// By how much a late message is late, at most.
const LATEST: Duration = Duration::from_millis(300);

/// How finely the steps are watched.
const SLICE: Duration = Duration::from_micros(100);

/// For how long the mess lasts, at least.
const MESS: Duration = Duration::from_millis(1200);
