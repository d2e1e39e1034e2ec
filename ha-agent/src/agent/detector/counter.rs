//! The counters of our own advertisements.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ha_common::fresh::Stamp;

use crate::config::Mode;
use crate::core::{Advertisement, Instant, SenderClock};

/// Gives each advertisement a counter that none had before.
#[derive(Debug)]
pub(super) struct Counter {
    mode: Mode,
    /// Compat mode: the next one.
    next: u64,
    /// Strict mode: its time.
    clock: SenderClock,
    /// Strict mode: those given lately, oldest first.
    given: VecDeque<u64>,
    /// Strict mode: the last one of each kind; there are as many as there are demotion levels.
    last: BTreeMap<(u8, u8, u8), Stamp>,
}

impl Counter {
    /// Counts on from `random` in compat mode, from the time and after `stored` (ms) in strict mode.
    pub(super) fn new(mode: Mode, random: u64, stored: Option<u64>) -> Self {
        Self {
            mode,
            next: random,
            clock: SenderClock::new(stored),
            given: VecDeque::new(),
            last: BTreeMap::new(),
        }
    }

    /// The counter of an advertisement that is sent now; `wall` is the time since 2025.
    pub(super) fn next(&mut self, now: Instant, wall: Duration, advertisement: Advertisement) -> u64 {
        match self.mode {
            Mode::Compat => {
                let counter = self.next;
                self.next = counter.wrapping_add(1);
                counter
            }
            Mode::Strict => {
                let Advertisement { priority, demote } = advertisement;
                let (advskew, advbase) = (priority.advskew, priority.advbase);
                let ms = self.clock.next(now, wall);
                let stamp = Stamp { ms, advskew, advbase, demote };
                self.last.insert((advskew, advbase, demote), stamp);
                let counter = stamp.to_counter();
                if self.given.len() == MOST {
                    self.given.pop_front();
                }
                self.given.push_back(counter);
                counter
            }
        }
    }

    /// Takes in another's, in compat mode: as FreeBSD and ucarp do, we count on from the one that is ahead, so that a
    /// new master's advertisements follow the old one's.
    pub(super) fn hear(&mut self, counter: u64) {
        if counter.wrapping_sub(self.next) < u64::MAX / 2 {
            // The next one is that of the same advertisement in the other family.
            self.next = counter.wrapping_add(2);
        }
    }

    /// Whether it gave this one, so that an advertisement with it is our own, wherever it comes from. Known in
    /// strict mode only, and not far back: the kernel program knows more, but not what it saw before it was told.
    pub(super) fn gave(&self, counter: u64) -> bool {
        self.given.binary_search(&counter).is_ok()
    }

    /// Goes over to another mode.
    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Strict mode: the last one of each kind, by advskew, advbase and demote.
    pub(super) fn last(&self) -> Vec<Stamp> {
        self.last.values().copied().collect()
    }
}

/// How many are remembered: two families at the fastest pace, for the time that an advertisement may be old at
/// the most common tolerance, 2 s.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Priority;

    const ADVERTISEMENT: Advertisement =
        Advertisement { priority: Priority { advbase: 1, advskew: 100 }, demote: 3 };

    #[test]
    fn counts_on_in_compat_mode() {
        let mut counter = Counter::new(Mode::Compat, u64::MAX, None);
        let mut next = || counter.next(Instant::from_nanos(1), Duration::ZERO, ADVERTISEMENT);
        assert_eq!([next(), next(), next()], [u64::MAX, 0, 1]);
    }

    #[test]
    fn counts_on_from_what_is_ahead_and_not_from_what_is_behind() {
        let mut counter = Counter::new(Mode::Compat, 1000, None);
        let mut after = |heard| {
            counter.hear(heard);
            counter.next(Instant::from_nanos(1), Duration::ZERO, ADVERTISEMENT)
        };
        assert_eq!([after(2000), after(500), after(2002), after(1)], [2002, 2003, 2004, 2005]);
    }

    #[test]
    fn carries_the_time_and_the_open_fields_in_strict_mode() {
        let mut counter = Counter::new(Mode::Strict, 7, Some(999));
        let wall = Duration::from_millis(500);
        let given = [1, 2].map(|ns| counter.next(Instant::from_nanos(ns), wall, ADVERTISEMENT));
        let stamps = given.map(Stamp::from_counter);
        assert_eq!(stamps.map(|stamp| stamp.ms), [1000, 1001], "after the stored one, each later");
        assert_eq!((stamps[0].advskew, stamps[0].advbase, stamps[0].demote), (100, 1, 3));
        assert!(given.iter().all(|given| counter.gave(*given)));
        assert!(!counter.gave(given[1] + 1) && !counter.gave(0));
        assert_eq!(counter.last(), [stamps[1]]);
    }

    #[test]
    fn remembers_a_bounded_number() {
        let mut counter = Counter::new(Mode::Strict, 0, None);
        let first = counter.next(Instant::from_nanos(0), Duration::from_secs(1), ADVERTISEMENT);
        for ns in 0..MOST as u64 {
            counter.next(Instant::from_nanos(ns), Duration::from_secs(1), ADVERTISEMENT);
        }
        assert!(!counter.gave(first));
        assert_eq!(counter.given.len(), MOST);
    }
}
