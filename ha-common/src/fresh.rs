//! Strict mode: what the counter carries between our own nodes, and who may not be heard twice.
//!
//! The digest of CARP leaves advbase, advskew and demote open, and nothing in a frame says when it was made
//! (CARP specification §8.1). But the counter is authenticated, and other implementations take it as it comes. So
//! it carries the time, and a protected copy of the open fields ([`Stamp`]).
//!
//! A receiver remembers, for each sender and for each set of the open fields, which times it has heard
//! ([`Heard`]): each is taken once, so an advertisement that was heard is never taken again, from whatever
//! address it comes. What was never heard is taken only if it was made just now.

use crate::wire::carp;

/// What the counter of an advertisement says in strict mode.
///
/// ```text
///  63                            24        16         8         0
/// +--------------------------------+---------+---------+---------+
/// | ms since 2025-01-01 (40 bits)  | advskew | advbase | demote  |
/// +--------------------------------+---------+---------+---------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was made, in ms since 2025-01-01T00:00:00Z, below 2^40 (until 2059). Each of a sender's
    /// advertisements has a later one than the last.
    pub ms: u64,
    /// Copy of the open field.
    pub advskew: u8,
    /// Copy of the open field.
    pub advbase: u8,
    /// Copy of the open field.
    pub demote: u8,
}

impl Stamp {
    /// The counter.
    #[inline(always)]
    #[must_use]
    pub fn to_counter(self) -> u64 {
        let Self { ms, advskew, advbase, demote } = self;
        ms << 24 | u64::from(advskew) << 16 | u64::from(advbase) << 8 | u64::from(demote)
    }

    /// What a counter says.
    #[inline(always)]
    #[must_use]
    pub fn from_counter(counter: u64) -> Self {
        let [.., advskew, advbase, demote] = counter.to_be_bytes();
        Self { ms: counter >> 24, advskew, advbase, demote }
    }

    /// Whether an advertisement's open fields are those that its sender meant.
    #[inline(always)]
    #[must_use]
    pub fn agrees_with(self, header: carp::Header<'_>) -> bool {
        (self.advskew, self.advbase, self.demote) == (header.advskew(), header.advbase(), header.demote())
    }
}

/// Which times were heard: of one sender, or with one set of open fields.
///
/// A window, as `IPsec` has it: what is older than 64 ms behind the newest counts as heard. It lets the frames of
/// IPv4 and IPv6, which differ by 1 ms, come in either order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Heard {
    /// The newest time, in ms since 2025-01-01.
    pub newest_ms: u64,
    /// Bit n: whether `newest_ms - n` was heard.
    pub seen: u64,
    /// When the newest arrived, in ns of `CLOCK_MONOTONIC`; 0 if that is not known.
    pub arrived_ns: u64,
}

impl Heard {
    /// Whether this time, or everything as old, was heard.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, ms: u64) -> bool {
        if ms > self.newest_ms {
            return false;
        }
        let age = self.newest_ms - ms;
        age >= WINDOW || self.seen >> age & 1 == 1
    }

    /// Remembers a time that was not heard before.
    #[inline(always)]
    pub fn record(&mut self, ms: u64, now_ns: u64) {
        if ms > self.newest_ms {
            let step = ms - self.newest_ms;
            self.seen = if step >= WINDOW { 1 } else { self.seen << step | 1 };
            self.newest_ms = ms;
            self.arrived_ns = now_ns;
        } else {
            self.seen |= 1 << ((self.newest_ms - ms) & (WINDOW - 1));
        }
    }

    /// Whether a time follows from the newest one by as much as passed here meanwhile, give or take the
    /// tolerance. So two nodes that know each other go on when the time of day of one is set anew.
    #[inline(always)]
    #[must_use]
    pub fn continues(&self, ms: u64, now_ns: u64, tolerance_ms: u64) -> bool {
        let passed_ms = now_ns.saturating_sub(self.arrived_ns) / 1_000_000;
        self.arrived_ns != 0 && (self.newest_ms + passed_ms).abs_diff(ms) <= tolerance_ms
    }
}

/// The first day of the counter's time, 2025-01-01T00:00:00Z, in s since 1970.
pub const EPOCH_S: u64 = 1_735_689_600;

const WINDOW: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_counter_has_its_fields_where_the_specification_says() {
        let stamp = Stamp { ms: 0x01_2345_6789, advskew: 0xaa, advbase: 0xbb, demote: 0xcc };
        assert_eq!(stamp.to_counter(), 0x0123_4567_89aa_bbcc);
        assert_eq!(Stamp::from_counter(0x0123_4567_89aa_bbcc), stamp);
    }

    #[test]
    fn an_unheard_time_continues_only_what_is_known() {
        let heard = Heard { newest_ms: 5_000, seen: 1, arrived_ns: 1_000_000_000 };
        let table = [(6_000, true), (8_000, true), (4_000, true), (8_001, false), (3_999, false)];
        for (ms, expected) in table {
            assert_eq!(heard.continues(ms, 2_000_000_000, 2_000), expected, "{ms}");
        }
        assert!(!Heard { arrived_ns: 0, ..heard }.continues(6_000, 2_000_000_000, 2_000));
    }

    proptest! {
        #[test]
        fn a_time_is_new_once_and_never_when_it_is_old(
            times in prop::collection::vec(prop_oneof![0..200u64, 0..5_000u64], 1..200)
        ) {
            let mut heard = Heard::default();
            let mut known = BTreeSet::new();
            for ms in times.into_iter().map(|ms| ms + 1) {
                let newest = known.last().copied().unwrap_or(0);
                let expected = known.contains(&ms) || ms + 64 <= newest;
                prop_assert_eq!(heard.has(ms), expected, "{} after {}", ms, newest);
                if !expected {
                    heard.record(ms, 7);
                    known.insert(ms);
                }
                prop_assert!(heard.has(ms));
            }
        }

        #[test]
        fn the_counter_keeps_what_it_is_given(ms in 0..1u64 << 40, advskew: u8, advbase: u8, demote: u8) {
            let stamp = Stamp { ms, advskew, advbase, demote };
            prop_assert_eq!(Stamp::from_counter(stamp.to_counter()), stamp);
        }
    }
}
