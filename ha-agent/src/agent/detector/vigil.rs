//! To be awake when the kernel speaks.
//!
//! From the kernel's timer to a thread that sleeps it takes some 50 µs, most of them to wake a processor up. So the
//! thread gets up by itself a little before a silence is due, which in peace it never is: each advertisement puts it
//! off. It then looks into the ring until the record is there. This decides nothing, and costs a wake-up a dead time.

use std::time::Duration;

use crate::core::Instant;

/// When to get up.
#[derive(Debug, Default)]
pub(super) struct Vigil(Option<Instant>);

impl Vigil {
    /// Takes in when the silence of a virtual host would be due. That is put off by each advertisement; here that is
    /// found out when the time comes.
    pub(super) fn expect(&mut self, silence: Option<Instant>) {
        let look = silence.map(|silence| silence - LEAD);
        self.0 = self.0.into_iter().chain(look).min();
    }

    /// When to get up.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.0
    }

    /// Until when to look into the ring, if a silence is about to be told. `silences` are those that would be due, of
    /// all virtual hosts.
    pub(super) fn watch_until(
        &mut self,
        now: Instant,
        silences: impl Iterator<Item = Instant>,
    ) -> Option<Instant> {
        self.0.filter(|look| *look <= now)?;
        let next = silences.filter(|silence| now < *silence + PATIENCE).min();
        self.0 = next.map(|silence| silence - LEAD).filter(|look| now < *look);
        next.filter(|silence| *silence - LEAD <= now).map(|silence| silence + PATIENCE)
    }
}

/// How long before: what a sleeping processor usually takes.
const LEAD: Duration = Duration::from_micros(100);
/// How long after: what the kernel's timer usually takes. What comes later wakes us up.
const PATIENCE: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gets_up_shortly_before_the_silence() {
        let mut vigil = Vigil::default();
        vigil.expect(Some(at(30_000)));
        assert_eq!(vigil.next_deadline(), Some(at(29_900)));
        assert_eq!(vigil.watch_until(at(29_899), [at(30_000)].into_iter()), None);
        assert_eq!(vigil.watch_until(at(29_900), [at(30_000)].into_iter()), Some(at(30_100)));
        assert_eq!(vigil.next_deadline(), None, "once");
    }

    #[test]
    fn finds_out_that_it_was_put_off() {
        let mut vigil = Vigil::default();
        vigil.expect(Some(at(30_000)));
        vigil.expect(Some(at(40_000)));
        vigil.expect(None);
        assert_eq!(vigil.next_deadline(), Some(at(29_900)));
        assert_eq!(vigil.watch_until(at(29_950), [at(50_000), at(40_000)].into_iter()), None);
        assert_eq!(vigil.next_deadline(), Some(at(39_900)));
    }

    #[test]
    fn looks_no_longer_for_what_is_over() {
        let mut vigil = Vigil::default();
        vigil.expect(Some(at(30_000)));
        assert_eq!(vigil.watch_until(at(30_100), [at(30_000)].into_iter()), None);
        assert_eq!(vigil.next_deadline(), None);
    }

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1000)
    }
}
