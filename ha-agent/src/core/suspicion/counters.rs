//! Which counters a sender has used.

use std::collections::VecDeque;

/// The counters of one sender, as runs of those that count on. Counters wrap.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// The newest last.
    runs: VecDeque<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    last: u64,
}

/// How a counter was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Used {
    /// By itself: constant or random.
    Once,
    /// In a run, or before it began to be heard.
    Counting,
}

impl Counters {
    pub(super) fn last(&self) -> Option<u64> {
        self.runs.back().map(|run| run.last)
    }

    /// Whether `counter` lies at most `gap` after the last.
    pub(super) fn are_followed_by(&self, counter: u64, gap: u64) -> bool {
        self.last().is_some_and(|last| (1..=gap).contains(&counter.wrapping_sub(last)))
    }

    /// Whether the newest ones counted on.
    pub(super) fn count(&self) -> bool {
        self.runs.back().is_some_and(|run| run.first != run.last)
    }

    pub(super) fn used(&self, counter: u64) -> Option<Used> {
        self.runs.iter().rev().find_map(|run| run.used(counter))
    }

    /// Takes in the newest; returns whether it counts on.
    pub(super) fn push(&mut self, counter: u64) -> bool {
        let counts_on = self.are_followed_by(counter, REACH);
        match self.runs.back_mut() {
            Some(run) if counts_on => run.last = counter,
            Some(Run { last, .. }) if *last == counter => {}
            Some(_) | None => {
                if self.runs.len() == MOST_RUNS {
                    self.runs.pop_front();
                }
                self.runs.push_back(Run { first: counter, last: counter });
            }
        }
        counts_on
    }

    /// How far back it counted from `earlier` to the last; `None` if it did not.
    pub(super) fn counted_since(&self, earlier: u64) -> Option<u64> {
        let run = self.runs.back().filter(|run| run.used(earlier) == Some(Used::Counting))?;
        Some(run.last.wrapping_sub(earlier))
    }
}

impl Run {
    fn used(self, counter: u64) -> Option<Used> {
        if self.first == self.last {
            return (counter == self.first).then_some(Used::Once);
        }
        // Who counts has most likely counted before we listened.
        let reach = self.last.wrapping_sub(self.first).saturating_add(REACH);
        (self.last.wrapping_sub(counter) <= reach).then_some(Used::Counting)
    }
}

/// How many runs are remembered: of a sender with random counters, as many frames.
const MOST_RUNS: usize = 128;

/// What lies no farther ahead counts on, what lies no farther back was used: 49 days at 1 ms. Of two random
/// counters, one in four thousand million is taken for a neighbour.
const REACH: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_grow_with_gaps_and_over_the_wrap() {
        let mut counters = Counters::default();
        assert!(!counters.push(u64::MAX - 2));
        for counter in [u64::MAX - 1, u64::MAX, 3, 4] {
            assert!(counters.push(counter), "{counter}");
        }
        assert_eq!(counters.last(), Some(4));
        assert!(counters.count());
        assert!(!counters.push(4), "the same again");
        assert_eq!(counters.runs.len(), 1);
        for counter in [u64::MAX - 2, u64::MAX, 0, 3, 4, u64::MAX - REACH] {
            assert_eq!(counters.used(counter), Some(Used::Counting), "{counter}");
        }
        for counter in [5, 1 << 40, u64::MAX - 3 - REACH] {
            assert_eq!(counters.used(counter), None, "{counter}");
        }
        assert!(counters.are_followed_by(20, 16));
        assert!(!counters.are_followed_by(21, 16));
        assert!(!counters.are_followed_by(4, 16));
        assert_eq!(counters.counted_since(u64::MAX), Some(5));
        assert_eq!(counters.counted_since(5), None);
    }

    #[test]
    fn random_ones_are_remembered_one_by_one() {
        let mut counters = Counters::default();
        let step = 0x1234_5678_9abc_def1_u64;
        for n in 0..200 {
            assert!(!counters.push(step.wrapping_mul(n)), "{n}");
            assert!(!counters.count(), "{n}");
        }
        for n in 0..200 {
            let expected = (n >= 200 - MOST_RUNS as u64).then_some(Used::Once);
            assert_eq!(counters.used(step.wrapping_mul(n)), expected, "{n}");
        }
        assert_eq!(counters.used(1), None);
    }
}
