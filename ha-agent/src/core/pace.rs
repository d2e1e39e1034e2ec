//! How often a master advertises, and how long a backup waits.
//!
//! All times follow our *own* settings, never those that the master advertises (CARP specification §5.1). How
//! often we advertise follows the configured priority. For the waits of a backup, give the priority that it
//! would advertise: so of several the best one moves first, and a demoted one last.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::election::Priority;
use super::time::nanos;

/// The pace of a virtual host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// As `advbase` and `advskew` say: the pace of the other implementations.
    Classic,
    /// Faster than they say, between our own nodes.
    Fast {
        /// Between two advertisements. Shorter than [`Pace::SHORTEST_INTERVAL`] counts as that.
        #[serde(with = "nanos")]
        interval: Duration,
        /// How many advertisements in a row may be missed. Zero counts as 1; below 2, one lost frame is a
        /// failover.
        detect: u8,
    },
}

impl Pace {
    /// The shortest interval of [`Pace::Fast`].
    pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

    /// Between two advertisements of a master.
    ///
    /// Classic: `advbase + advskew/256` s; with 0/0, 1/256 s, as in OpenBSD (CARP specification §5.1).
    #[must_use]
    pub fn advertisement_interval(self, own: Priority) -> Duration {
        match self {
            Self::Classic if own.wire() == 0 => fraction_of_second(1),
            Self::Classic => Duration::from_secs(own.advbase.into()) + fraction_of_second(own.advskew.into()),
            Self::Fast { interval, .. } => interval.max(Self::SHORTEST_INTERVAL),
        }
    }

    /// From the last advertisement heard until the master counts as down.
    ///
    /// Classic: `3·advbase + advskew/256` s; with `advbase` 0, `3·advskew/256` s, and 3/256 s for 0/0, as in
    /// OpenBSD (CARP specification §5.1). Fast: `detect` intervals and [`advskew/256`](Self::bow_out_wait) of
    /// one, so that of several backups the best one moves first.
    #[must_use]
    pub fn master_down_time(self, own: Priority) -> Duration {
        match self {
            Self::Classic if own.advbase == 0 => fraction_of_second(3 * u32::from(own.advskew.max(1))),
            Self::Classic => {
                Duration::from_secs(3 * u64::from(own.advbase)) + fraction_of_second(own.advskew.into())
            }
            Self::Fast { .. } => self.dead_time(own).saturating_add(self.bow_out_wait(own)),
        }
    }

    /// The shortest silence after which a peer of the same pace counts us as down: its master-down time, were
    /// its priority the best of all.
    ///
    /// Classic: `3·advbase` s; with `advbase` 0, three intervals. Fast: `detect` intervals.
    #[must_use]
    pub fn dead_time(self, own: Priority) -> Duration {
        match self {
            Self::Classic if own.advbase == 0 => self.master_down_time(own),
            Self::Classic => Duration::from_secs(3 * u64::from(own.advbase)),
            Self::Fast { detect, .. } => {
                self.advertisement_interval(own).saturating_mul(detect.max(1).into())
            }
        }
    }

    /// From the bow-out of the master until we take over: our own skew, so that the best backup moves first
    /// (CARP specification §9.3, point 9). Zero with `advskew` 0.
    ///
    /// Classic: `advskew/256` s. Fast: `advskew/256` of the interval.
    #[must_use]
    pub fn bow_out_wait(self, own: Priority) -> Duration {
        match self {
            Self::Classic => fraction_of_second(own.advskew.into()),
            Self::Fast { .. } => self.advertisement_interval(own).saturating_mul(own.advskew.into()) / 256,
        }
    }
}

/// `skew/256` s in whole µs, rounded down, as the other implementations compute it (CARP specification §5.1).
fn fraction_of_second(skew: u32) -> Duration {
    Duration::from_micros(u64::from(skew) * 1_000_000 / 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(advbase: u8, advskew: u8) -> Priority {
        Priority { advbase, advskew }
    }

    #[test]
    fn classic() {
        // (priority, interval, down, bow-out wait), in µs: the table of CARP specification §5.1.
        let table = [
            (priority(0, 0), 3_906, 11_718, 0),
            (priority(0, 1), 3_906, 11_718, 3_906),
            (priority(0, 2), 7_812, 23_437, 7_812),
            (priority(0, 10), 39_062, 117_187, 39_062),
            (priority(0, 254), 992_187, 2_976_562, 992_187),
            (priority(1, 0), 1_000_000, 3_000_000, 0),
            (priority(1, 50), 1_195_312, 3_195_312, 195_312),
            (priority(1, 100), 1_390_625, 3_390_625, 390_625),
            (priority(1, 240), 1_937_500, 3_937_500, 937_500),
            (priority(254, 254), 254_992_187, 762_992_187, 992_187),
            (priority(255, 255), 255_996_093, 765_996_093, 996_093),
        ];
        for (own, interval, down, wait) in table {
            let pace = Pace::Classic;
            assert_eq!(
                pace.advertisement_interval(own),
                Duration::from_micros(interval),
                "interval of {own}"
            );
            assert_eq!(pace.master_down_time(own), Duration::from_micros(down), "down time of {own}");
            assert_eq!(pace.bow_out_wait(own), Duration::from_micros(wait), "bow-out wait of {own}");
            let dead = if own.advbase == 0 { down } else { 3_000_000 * u64::from(own.advbase) };
            assert_eq!(pace.dead_time(own), Duration::from_micros(dead), "dead time of {own}");
        }
    }

    #[test]
    fn fast() {
        // (interval in ns, detect, advskew, down in ns, bow-out wait in ns)
        let table = [
            (10_000_000, 3, 0, 30_000_000, 0),
            (10_000_000, 3, 100, 33_906_250, 3_906_250),
            (10_000_000, 3, 254, 39_921_875, 9_921_875),
            (1_000_000, 3, 1, 3_003_906, 3_906),
            (1_000_000, 255, 255, 255_996_093, 996_093),
            (1_000_001, 1, 255, 1_996_095, 996_094),
        ];
        for (interval, detect, advskew, down, wait) in table {
            let pace = Pace::Fast { interval: Duration::from_nanos(interval), detect };
            // advbase is priority only.
            for advbase in [0, 1, 255] {
                let own = priority(advbase, advskew);
                assert_eq!(
                    pace.advertisement_interval(own),
                    Duration::from_nanos(interval),
                    "{pace:?} {own}"
                );
                assert_eq!(pace.master_down_time(own), Duration::from_nanos(down), "{pace:?} {own}");
                assert_eq!(pace.bow_out_wait(own), Duration::from_nanos(wait), "{pace:?} {own}");
                assert_eq!(pace.dead_time(own), Duration::from_nanos(down - wait), "{pace:?} {own}");
            }
        }
    }

    #[test]
    fn fast_at_its_limits() {
        let own = priority(255, 255);
        let least = Pace::Fast { interval: Duration::ZERO, detect: 0 };
        assert_eq!(least.advertisement_interval(own), Pace::SHORTEST_INTERVAL);
        assert_eq!(least.master_down_time(priority(1, 0)), Pace::SHORTEST_INTERVAL);

        let most = Pace::Fast { interval: Duration::MAX, detect: 255 };
        assert_eq!(most.master_down_time(own), Duration::MAX);
        assert!(most.bow_out_wait(own) < Duration::MAX);
    }
}
