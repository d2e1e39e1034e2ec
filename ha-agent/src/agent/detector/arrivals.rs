//! How long it was from one advertisement of a master to the next, as the kernel stamped them: the last of them.
//!
//! A fixed table, nothing is allocated: it is filled where a record is read.

use std::time::Duration;

/// The last gaps between advertisements that were heard.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    /// In µs.
    gaps: [u32; KEPT],
    /// Where the next one goes.
    next: usize,
    count: usize,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { gaps: [0; KEPT], next: 0, count: 0 }
    }
}

impl Arrivals {
    /// Takes in one; the oldest goes.
    pub(super) fn record(&mut self, gap: Duration) {
        if let Some(place) = self.gaps.get_mut(self.next) {
            *place = u32::try_from(gap.as_micros()).unwrap_or(u32::MAX);
        }
        self.next = (self.next + 1) % KEPT;
        self.count = (self.count + 1).min(KEPT);
    }

    /// The oldest first, in µs.
    pub(super) fn list(&self) -> Vec<u32> {
        let (newer, older) = self.gaps.split_at(self.next);
        let all = older.iter().chain(newer).copied();
        all.skip(KEPT - self.count).collect()
    }
}

/// So many are kept.
const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_in_their_order() {
        let mut arrivals = Arrivals::default();
        assert!(arrivals.list().is_empty());
        for count in [3_u32, 64, 65, 200] {
            let mut arrivals = arrivals.clone();
            (1..=u64::from(count)).for_each(|us| arrivals.record(Duration::from_micros(us)));
            let first = count.saturating_sub(63).max(1);
            let expected: Vec<u32> = (first..=count).collect();
            assert_eq!(arrivals.list(), expected, "{count}");
        }
        arrivals.record(Duration::MAX);
        assert_eq!(arrivals.list(), [u32::MAX]);
    }
}
