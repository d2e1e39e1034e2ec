//! How soon a dead master is replaced, and how often a living one: by interval, `detect`, frames lost and what is stalled.

use std::fmt::Write as _;
use std::time::Duration;

use crate::core::{Families, Family, Instant, Pace, Priority, Settings, State};
use crate::lan::{Fact, Lan, Slack, Watch};
use crate::network::between;
use crate::random::Random;

/// One cell of the matrix: two nodes, of which one is active, at first the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// From one advertisement to the next.
    pub interval: Duration,
    /// How many may be missed.
    pub detect: u8,
    /// How many frames of 1,000 are lost.
    pub lost: u64,
    /// What does not run for [`STALL`], every [`PERIOD`] on average.
    pub stalled: Stalled,
}

/// What does not run at times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stalled {
    /// Everything runs.
    Nothing,
    /// The standby's agent stops; its kernel goes on.
    StandbyAgent,
    /// The standby's machine stops as a whole.
    StandbyMachine,
    /// The active one's agent stops: it does not advertise.
    ActiveAgent,
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// From the last advertisement of the dead to the first of its successor: the median.
    pub median: Duration,
    /// The same, the longest of all.
    pub worst: Duration,
    /// How often a living one was replaced in the time of [`ADVERTISEMENTS`].
    pub false_failovers: usize,
}

/// The matrix as a table in Markdown; always the same.
#[must_use]
pub fn table() -> String {
    let mut table = String::from(
        "| interval | detect | dead time | frames lost | nothing stalls | standby's agent | standby's machine \
         | active one's agent |\n|---|---|---|---|---|---|---|---|\n",
    );
    for interval in INTERVALS {
        for detect in DETECTS {
            for lost in LOSSES {
                let case = |stalled| Case { interval, detect, lost, stalled };
                let dead = milliseconds(case(Stalled::Nothing).standby().pace.master_down_time(STANDBY));
                let percent = lost / 10;
                let _ = write!(table, "| {interval:?} | {detect} | {dead} | {percent} % |");
                for stalled in Stalled::ALL {
                    let Outcome { median, worst, false_failovers } = case(stalled).measure();
                    let (median, worst) = (milliseconds(median), milliseconds(worst));
                    let _ = write!(table, " {median} / {worst}, {false_failovers} |");
                }
                table.push('\n');
            }
        }
    }
    table
}

impl Stalled {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::StandbyAgent, Self::StandbyMachine, Self::ActiveAgent];
}

impl Case {
    /// Runs it.
    #[must_use]
    pub fn measure(self) -> Outcome {
        let random = &mut Random::new(SEED);
        let mut times: Vec<_> =
            std::iter::repeat_with(|| self.detect(random)).flatten().take(DEATHS).collect();
        times.sort_unstable();
        Outcome {
            median: times[times.len() / 2],
            worst: times[times.len() - 1],
            false_failovers: self.false_failovers(random),
        }
    }

    /// How long it takes until the standby speaks in place of the dead. `None` where it did so before the death, because
    /// the active one was stalled.
    fn detect(self, random: &mut Random) -> Option<Duration> {
        let mut lan = self.settled(random.number());
        let mut witness = Witness::default();
        let heard = lan.now() + self.interval + between(Duration::ZERO, self.interval, random);
        lan.run_until(heard, &mut witness);
        // When it dies: so long after the beginning of a stall, which may be over by then.
        let phase = between(Duration::ZERO, PERIOD, random);
        if phase < STALL {
            self.stall(&mut lan);
            let death = lan.now() + phase;
            lan.run_until(death, &mut witness);
        }
        if lan.masters() != [ACTIVE] {
            return None;
        }
        lan.power_off(ACTIVE);
        // A stall of the standby may begin before it has noticed.
        let next = lan.now() + PERIOD.saturating_sub(phase);
        let end = lan.now() + self.standby().pace.master_down_time(STANDBY) * 2 + STALL * 2;
        if next < end {
            lan.run_until(next, &mut witness);
            self.stall(&mut lan);
        }
        lan.run_until(end, &mut witness);
        let [last, first] = [ACTIVE, STANDBY_NODE].map(|node| witness.sent[node]);
        Some(first?.saturating_since(last?))
    }

    fn false_failovers(self, random: &mut Random) -> usize {
        let mut lan = self.settled(random.number());
        let mut witness = Witness::default();
        let end = lan.now() + self.interval * ADVERTISEMENTS;
        while lan.now() < end {
            self.stall(&mut lan);
            let next = lan.now() + between(PERIOD / 2, PERIOD * 3 / 2, random);
            lan.run_until(next.min(end), &mut witness);
        }
        witness.taken_over
    }

    /// The active one is master.
    fn settled(self, seed: u64) -> Lan {
        let active = Settings { priority: ACTIVE_PRIORITY, ..self.standby() };
        let mut lan = Lan::new([active, self.standby()], SLACK, seed);
        lan.start_all();
        lan.run_for(self.standby().pace.master_down_time(STANDBY) * 2);
        lan.network.lost = self.lost;
        lan
    }

    fn stall(self, lan: &mut Lan) {
        let active = lan.masters().first().copied().unwrap_or(ACTIVE);
        let standby = 1 - active;
        match self.stalled {
            Stalled::Nothing => {}
            Stalled::StandbyAgent => lan.freeze(standby, STALL),
            Stalled::StandbyMachine => lan.sleep(standby, STALL),
            Stalled::ActiveAgent => lan.freeze(active, STALL),
        }
    }

    fn standby(self) -> Settings {
        Settings {
            priority: STANDBY,
            pace: Pace::Fast { interval: self.interval, detect: self.detect },
            preempt: false,
            families: Families::only(Family::V4),
            announce_every: None,
        }
    }
}

/// Who spoke when, and how often one took over.
#[derive(Clone, Copy, Debug, Default)]
struct Witness {
    /// The last advertisement of the active one, and the first of the standby.
    sent: [Option<Instant>; 2],
    taken_over: usize,
}

impl Watch for Witness {
    fn see(&mut self, lan: &Lan, node: usize, fact: Fact) {
        match fact {
            Fact::Sent(_) if node == ACTIVE => self.sent[node] = Some(lan.now()),
            Fact::Sent(_) => {
                self.sent[node].get_or_insert(lan.now());
            }
            Fact::Turned(transition) => {
                self.taken_over += usize::from(transition.to == State::Master);
            }
            Fact::Heard { .. } | Fact::Looked | Fact::Stalled | Fact::Addresses(_) | Fact::Announced => {}
        }
    }

    fn pass(&mut self, _lan: &Lan) {}
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

/// So long is a stall.
pub const STALL: Duration = Duration::from_millis(300);
/// So often there is one.
pub const PERIOD: Duration = Duration::from_secs(2);
/// For so many advertisements of a living one is counted how often it is replaced.
pub const ADVERTISEMENTS: u32 = 10_000;
/// So many die in each case.
pub const DEATHS: usize = 200;

const INTERVALS: [Duration; 3] =
    [Duration::from_millis(1), Duration::from_millis(10), Duration::from_millis(100)];
const DETECTS: [u8; 2] = [3, 5];
const LOSSES: [u64; 3] = [0, 10, 100];
const ACTIVE: usize = 0;
const STANDBY_NODE: usize = 1;
const ACTIVE_PRIORITY: Priority = Priority { advbase: 1, advskew: 0 };
const STANDBY: Priority = Priority { advbase: 1, advskew: 100 };
const SEED: u64 = 4;
/// Near what two namespaces on one machine do.
const SLACK: Slack = Slack {
    delay: (Duration::from_micros(10), Duration::from_micros(50)),
    timer: Duration::from_micros(50),
    round: Duration::from_micros(50),
    order: (Duration::from_micros(100), Duration::from_micros(100)),
};
