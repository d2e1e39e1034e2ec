//! The wire between the nodes: who hears whom, how late, and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::core::{Family, Instant};
use crate::kernel::Frame;
use crate::random::Random;

/// The wire, and the frames on it.
#[derive(Clone, Debug)]
pub struct Network {
    /// The shortest and the longest way of a frame.
    pub delay: (Duration, Duration),
    /// How many frames of 1,000 are lost.
    pub lost: u64,
    /// How many of 1,000 come twice, the second time as late as a late one.
    pub doubled: u64,
    /// How many of 1,000 are late.
    pub late: u64,
    /// By how much those are late, at most.
    pub latest: Duration,
    /// The nodes that their own frames come back to.
    echoes: BTreeSet<usize>,
    /// From which node to which, and in which family, nothing comes through.
    cuts: BTreeSet<(usize, usize, Family)>,
    /// By the time of arrival, then in the order of sending: which node it is for, and the frame.
    under_way: BTreeMap<(Instant, u64), (usize, Frame)>,
    sent: u64,
}

impl Network {
    /// Nothing is wrong; every frame takes between these two times.
    #[must_use]
    pub fn new(delay: (Duration, Duration)) -> Self {
        Self {
            delay,
            lost: 0,
            doubled: 0,
            late: 0,
            latest: Duration::ZERO,
            echoes: BTreeSet::new(),
            cuts: BTreeSet::new(),
            under_way: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Loses all that `from` sends to `to` in `family`.
    pub fn cut(&mut self, from: usize, to: usize, family: Family) {
        self.cuts.insert((from, to, family));
    }

    /// Loses everything between the two.
    pub fn part(&mut self, one: usize, other: usize) {
        for family in Family::ALL {
            self.cut(one, other, family);
            self.cut(other, one, family);
        }
    }

    /// Sends a node's own frames back to it.
    pub fn echo(&mut self, node: usize) {
        self.echoes.insert(node);
    }

    /// All is well from now on; what is under way stays so.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.echoes.clear();
        (self.lost, self.doubled, self.late) = (0, 0, 0);
    }

    /// Whether frames get lost or are later than usual.
    #[must_use]
    pub fn is_ill(&self) -> bool {
        self.lost > 0 || self.late > 0 || self.doubled > 0 || !self.cuts.is_empty()
    }

    /// Carries a frame to each of `nodes` nodes that it reaches.
    pub fn send(&mut self, now: Instant, nodes: usize, frame: Frame, random: &mut Random) {
        let from = frame.from;
        for to in 0..nodes {
            if to == from && !self.echoes.contains(&from) {
                continue;
            }
            if self.cuts.contains(&(from, to, Family::of(frame.source))) || happens(self.lost, random) {
                continue;
            }
            let late = happens(self.late, random).then_some(self.latest);
            let twice = happens(self.doubled, random).then_some(Some(self.latest));
            for late in [Some(late), twice].into_iter().flatten() {
                let late = between(Duration::ZERO, late.unwrap_or_default(), random);
                let arrives = now + between(self.delay.0, self.delay.1, random) + late;
                self.under_way.insert((arrives, self.sent), (to, frame));
                self.sent += 1;
            }
        }
    }

    /// When the next frame arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// When the last of the frames that are under way arrives.
    #[must_use]
    pub fn last_arrival(&self) -> Option<Instant> {
        self.under_way.last_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next frame off the wire, and says which node it is for.
    pub fn deliver(&mut self) -> Option<(usize, Frame)> {
        self.under_way.pop_first().map(|(_, delivery)| delivery)
    }
}

/// A time between two, both included.
#[must_use]
pub fn between(least: Duration, most: Duration, random: &mut Random) -> Duration {
    let span = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
    // No number is drawn where there is no choice: so a fault that is switched off changes nothing else.
    if span == 0 { least } else { least + Duration::from_nanos(random.number() % span.saturating_add(1)) }
}

/// Whether something happens that does in so many cases of 1,000.
fn happens(of_1000: u64, random: &mut Random) -> bool {
    of_1000 > 0 && random.number() % 1000 < of_1000
}
