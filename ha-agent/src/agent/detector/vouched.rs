//! Whether the witness vouches for this node: until a moment that is known beforehand, so that nobody has to say that it is
//! over.

use std::time::Duration;

use crate::core::Instant;
use crate::witness::{Lease, Moment, Wanted};

/// The witness's word.
#[derive(Debug, Default)]
pub(super) struct Vouched {
    wanted: Wanted,
    until: Option<Moment>,
    /// What the machine was told.
    told: bool,
}

impl Vouched {
    /// What the machine wants. What it does not want any more may be anybody's from now on.
    pub(super) fn want(&mut self, wanted: Wanted) {
        self.wanted = wanted;
        if wanted.is_none() {
            self.until = None;
        }
    }

    /// It vouches for longer. What was said for an earlier generation may have been given back since.
    pub(super) fn renew(&mut self, Lease { generation, until }: Lease) {
        if self.wanted == Some(generation) {
            self.until = Some(until);
        }
    }

    /// When it ends, on `CLOCK_MONOTONIC`, if the machine has been told of it; `asleep` tells how long the machine has slept,
    /// and is asked only if there is a witness's word.
    pub(super) fn ends(&self, asleep: impl FnOnce() -> Duration) -> Option<Instant> {
        self.until.filter(|_| self.told).map(|until| until.on_monotonic(asleep()))
    }

    /// For how long it still vouches.
    pub(super) fn left(&self, now: Instant, asleep: impl FnOnce() -> Duration) -> Option<Duration> {
        let left = self.until?.on_monotonic(asleep()).saturating_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Whether it vouches now, if the machine was told otherwise.
    pub(super) fn change(&mut self, now: Instant, asleep: impl FnOnce() -> Duration) -> Option<bool> {
        let holds = self.left(now, asleep).is_some();
        let told = std::mem::replace(&mut self.told, holds);
        (told != holds).then_some(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pair::Generation;

    fn generation(number: u64) -> Generation {
        Generation::new(number).expect("small")
    }

    fn lease(number: u64, until: Moment) -> Lease {
        Lease { generation: generation(number), until }
    }

    #[test]
    fn it_ends_by_itself_at_its_moment() {
        let (now, awake) = (Moment::now(), || Duration::ZERO);
        let start = now.on_monotonic(awake());
        let mut vouched = Vouched::default();
        vouched.want(Some(generation(2)));
        assert_eq!(vouched.change(start, awake), None);
        vouched.renew(lease(2, now.after(SECOND)));
        assert_eq!(vouched.change(start, awake), Some(true));
        assert_eq!(vouched.ends(awake), Some(start + SECOND));
        assert_eq!(vouched.change(start + SECOND.mul_f64(0.9), awake), None);
        assert_eq!(vouched.change(start + SECOND, awake), Some(false));
        assert_eq!((vouched.ends(awake), vouched.left(start + SECOND, awake)), (None, None));
    }

    #[test]
    fn a_machine_that_slept_has_less_of_it_left() {
        let now = Moment::now();
        let asleep = crate::sys::clock::asleep();
        let start = now.on_monotonic(asleep);
        let mut vouched = Vouched::default();
        vouched.want(Some(generation(2)));
        vouched.renew(lease(2, now.after(SECOND)));
        let nap = SECOND.mul_f64(0.75);
        assert!(vouched.left(start, || asleep + nap).is_some_and(|left| left + nap <= SECOND));
        assert_eq!(vouched.left(start, || asleep + SECOND * 2), None);
    }

    #[test]
    fn a_word_for_what_was_given_back_does_not_count() {
        let (now, awake) = (Moment::now(), || Duration::ZERO);
        let start = now.on_monotonic(awake());
        let mut vouched = Vouched::default();
        vouched.want(Some(generation(2)));
        vouched.renew(lease(2, now.after(SECOND)));
        vouched.want(Some(generation(4)));
        assert_eq!(vouched.change(start, awake), Some(true), "it has not been given back in between");
        vouched.want(None);
        assert_eq!(vouched.change(start, awake), Some(false), "at once");
        vouched.renew(lease(4, now.after(SECOND)));
        vouched.want(Some(generation(6)));
        vouched.renew(lease(4, now.after(SECOND)));
        assert_eq!(vouched.change(start, awake), None);
        vouched.renew(lease(6, now.after(SECOND)));
        assert_eq!(vouched.change(start, awake), Some(true));
    }

    const SECOND: Duration = Duration::from_secs(1);
}
