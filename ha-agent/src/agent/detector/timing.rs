//! What the fast thread measures of itself: how late it runs, how late its advertisements leave.
//!
//! Fixed tables, nothing is allocated: measuring must not make late what it measures.

use std::time::Duration;

use crate::core::Instant;

/// How late the fast thread was, since it started.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Each time that it ran: for how long the first thing had waited that it ran for, a deadline or a record.
    pub lateness: Histogram,
    /// How often that was longer than [`Timing::interval`].
    pub late: u64,
    /// Records that were read then, before any deadline was judged.
    pub late_records: u64,
    /// Advertisements whose time had come: how long after that they had left.
    pub jitter: Histogram,
    /// How often that was longer than the virtual host's own interval: the next one was due already.
    pub missed: u64,
    /// Advertisements of others that were read.
    pub received: u64,
    /// From one advertisement to the next, of the fastest virtual host.
    pub interval: Duration,
}

impl Timing {
    /// `interval` is that of the fastest virtual host.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            lateness: Histogram::default(),
            late: 0,
            late_records: 0,
            jitter: Histogram::default(),
            missed: 0,
            received: 0,
            interval,
        }
    }

    /// The thread runs at `now`, and has read so many records. `asked` is the earliest moment that it was to run for,
    /// if there was one: it also runs when somebody asks it something.
    pub(super) fn ran(&mut self, asked: Option<Instant>, now: Instant, records: u64) {
        let Some(asked) = asked.filter(|asked| *asked <= now) else { return };
        let lateness = now.saturating_since(asked);
        self.lateness.record(lateness);
        if lateness > self.interval {
            self.late += 1;
            self.late_records += records;
        }
    }

    /// An advertisement that was due has left.
    pub(super) fn sent(&mut self, Departure { due, left, interval }: Departure) {
        let jitter = left.saturating_since(due);
        self.jitter.record(jitter);
        self.missed += u64::from(jitter > interval);
    }
}

/// An advertisement that left because its time had come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    /// When it was to leave.
    pub(super) due: Instant,
    /// When it had left.
    pub(super) left: Instant,
    /// From this one to the next.
    pub(super) interval: Duration,
}

/// How many durations lay in each of a few ranges, each about twice as long as the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BOUNDS_US.len() + 1],
    sum: Duration,
    max: Duration,
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&mut self, duration: Duration) {
        let range = BOUNDS_US.partition_point(|bound| Duration::from_micros(*bound) < duration);
        self.counts[range] += 1;
        self.sum = self.sum.saturating_add(duration);
        self.max = self.max.max(duration);
    }

    /// The ranges: up to where each goes, that included, and how many lay there. The last has no end.
    pub fn ranges(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        let bounds = BOUNDS_US.iter().map(|bound| Some(Duration::from_micros(*bound)));
        bounds.chain([None]).zip(self.counts)
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The longest; zero if there was none.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// An estimate of the duration that so many thousandths of all did not exceed, as if they lay evenly in their
    /// range; zero if there was none.
    #[must_use]
    pub fn quantile(&self, thousandths: u32) -> Duration {
        // Of one, the one; of 1000 at 999, the one before the last.
        let wanted = u128::from(self.count()) * u128::from(thousandths);
        let (mut below, mut start) = (0_u64, Duration::ZERO);
        for (end, count) in self.ranges() {
            let end = end.unwrap_or(self.max).min(self.max);
            if count > 0 && u128::from(below + count) * 1000 >= wanted {
                let into = wanted.saturating_sub(u128::from(below) * 1000);
                let width = end.saturating_sub(start).as_nanos();
                let nanos = width * into / (u128::from(count) * 1000);
                return start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            }
            (below, start) = (below + count, end);
        }
        self.max
    }
}

/// Where the ranges end, in µs.
const BOUNDS_US: [u64; 15] = [
    20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1000)
    }

    #[test]
    fn a_bound_belongs_to_the_range_that_it_ends() {
        let mut histogram = Histogram::default();
        for duration in [us(0), us(20), us(21), us(1_000_000), us(1_000_001), Duration::MAX] {
            histogram.record(duration);
        }
        let filled: Vec<_> = histogram.ranges().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(Some(us(20)), 2), (Some(us(50)), 1), (Some(us(1_000_000)), 1), (None, 2)]);
        assert_eq!((histogram.count(), histogram.max()), (6, Duration::MAX));
    }

    #[test]
    fn only_what_was_asked_for_can_be_late() {
        let mut timing = Timing::new(us(1000));
        timing.ran(None, at(5000), 3);
        timing.ran(Some(at(5001)), at(5000), 3);
        assert_eq!(timing.lateness.count(), 0);
        timing.ran(Some(at(4000)), at(5000), 3);
        assert_eq!((timing.late, timing.late_records), (0, 0), "an interval is not late");
        timing.ran(Some(at(3999)), at(5000), 3);
        assert_eq!((timing.late, timing.late_records, timing.lateness.max()), (1, 3, us(1001)));
    }

    #[test]
    fn an_advertisement_that_is_later_than_its_own_interval_is_missed() {
        let mut timing = Timing::new(us(1000));
        let leaves = |left| Departure { due: at(0), left: at(left), interval: us(10_000) };
        timing.sent(leaves(5000));
        timing.sent(leaves(10_000));
        assert_eq!(timing.missed, 0);
        timing.sent(leaves(10_001));
        assert_eq!((timing.missed, timing.jitter.count(), timing.jitter.max()), (1, 3, us(10_001)));
    }

    proptest! {
        /// In the same range as the true one, and never more than the most.
        #[test]
        fn an_estimate_is_near(
            durations in prop::collection::vec(0..2_000_000_u64, 1..200),
            thousandths in 1..=1000_u32,
        ) {
            let mut histogram = Histogram::default();
            for duration in &durations {
                histogram.record(us(*duration));
            }
            let mut sorted = durations.clone();
            sorted.sort_unstable();
            let rank = (durations.len() * thousandths as usize).div_ceil(1000);
            let exact = us(sorted[rank - 1]);
            let estimate = histogram.quantile(thousandths);
            let range = |duration| BOUNDS_US.partition_point(|bound| us(*bound) < duration);
            prop_assert!(estimate <= histogram.max());
            let start = range(exact).checked_sub(1).map_or(Duration::ZERO, |before| us(BOUNDS_US[before]));
            let near = range(estimate) == range(exact) || estimate == start;
            prop_assert!(near, "{:?} for {:?}", estimate, exact);
            prop_assert_eq!(histogram.sum(), durations.iter().copied().map(us).sum::<Duration>());
        }
    }
}
