//! The brake: a node that took over too often stops doing so by itself, until an operator has had a look.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::time::Instant;

/// Counts what a node took over by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brake {
    takeovers: VecDeque<Instant>,
    is_on: bool,
}

impl Brake {
    /// The node takes over by itself. Returns whether that makes too many: the brake is on then.
    pub fn count(&mut self, now: Instant) -> bool {
        self.takeovers.push_back(now);
        while self.takeovers.front().is_some_and(|first| now.saturating_since(*first) > WINDOW) {
            self.takeovers.pop_front();
        }
        let too_many = self.takeovers.len() >= MOST && !self.is_on;
        self.is_on |= too_many;
        too_many
    }

    /// An operator has had a look.
    pub fn release(&mut self) {
        *self = Self::default();
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on
    }
}

/// With the fifth takeover within ten minutes, the node does no more by itself.
const MOST: usize = 5;
const WINDOW: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn five_in_ten_minutes_are_too_many_and_are_told_once() {
        let mut brake = Brake::default();
        let told = [0, 1, 2, 599, 600, 601].map(|second| brake.count(at(second)));
        assert_eq!(told, [false, false, false, false, true, false]);
        assert!(brake.is_on());
        brake.release();
        assert_eq!(brake, Brake::default());
    }

    #[test]
    fn those_of_long_ago_do_not_count() {
        let mut brake = Brake::default();
        assert!((0..50).all(|number| !brake.count(at(number * 151))), "four in ten minutes, for ever");
    }
}
