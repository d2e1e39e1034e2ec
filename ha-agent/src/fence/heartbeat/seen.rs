//! What follows from the keys that were read. Pure: it has no clock.

use std::time::Duration;

use super::super::key::Key;
use crate::core::Instant;
use crate::core::liveness::DiskKeys;

/// What was read on a few disks.
#[derive(Clone, Debug)]
pub struct Seen {
    patience: Duration,
    disks: Vec<Option<Known>>,
    moved: Option<Instant>,
}

/// What is known of one disk.
#[derive(Clone, Debug)]
struct Known {
    /// The peer's keys there.
    keys: Vec<Key>,
    /// Whether one of them is new, compared with those before.
    moved: bool,
    /// Since when they have not changed, at least: when they had been read for the first time.
    since: Instant,
    /// Until when they have not changed, at least: when the last reading of them began.
    until: Instant,
    /// When that reading ended.
    read: Instant,
}

/// What the keys say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// As evidence.
    pub keys: DiskKeys,
    /// When a key was last seen to have moved.
    pub moved: Option<Instant>,
}

impl Seen {
    /// Nothing, of so many disks. Keys are still that have not changed for `patience`.
    #[must_use]
    pub fn new(disks: usize, patience: Duration) -> Self {
        Self { patience, disks: vec![None; disks], moved: None }
    }

    /// On this disk the peer has these keys; the reading began and ended then.
    pub fn note(&mut self, disk: usize, began: Instant, ended: Instant, mut keys: Vec<Key>) {
        let Some(slot) = self.disks.get_mut(disk) else { return };
        keys.sort_unstable();
        match slot {
            Some(known) if known.keys == keys => (known.until, known.read) = (began, ended),
            _ => {
                // Keys that go are taken away by whomever. A new one only its owner can register.
                let is_new = |key: &Key| slot.as_ref().is_some_and(|known| !known.keys.contains(key));
                let moved = keys.iter().any(is_new);
                if moved {
                    self.moved = self.moved.max(Some(ended));
                }
                *slot = Some(Known { keys, moved, since: ended, until: began, read: ended });
            }
        }
    }

    /// What they say now.
    ///
    /// A disk's are still if two readings of the same are the patience apart: that this node did not come to read is not
    /// taken for that. They move from a change until then. One disk that moves is enough for life; for its end, most must
    /// be still.
    #[must_use]
    pub fn word(&self, now: Instant) -> Word {
        let known = self.disks.iter().flatten();
        let fresh = known.filter(|known| now.saturating_since(known.read) <= self.patience);
        let is_still = |known: &&Known| known.until.saturating_since(known.since) >= self.patience;
        let (still, others): (Vec<&Known>, Vec<&Known>) = fresh.partition(is_still);
        let keys = if self.disks.is_empty() {
            DiskKeys::None
        } else if others.iter().any(|known| known.moved) {
            DiskKeys::Moving
        } else if still.len() * 2 > self.disks.len() {
            if still.iter().all(|known| known.keys.is_empty()) { DiskKeys::Absent } else { DiskKeys::Still }
        } else {
            DiskKeys::Unreadable
        };
        Word { keys, moved: self.moved }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: u64 = 200;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(0) + Duration::from_millis(ms)
    }

    fn keys(raw: u64) -> Vec<Key> {
        Key::new(raw).into_iter().collect()
    }

    fn seen(disks: usize) -> Seen {
        Seen::new(disks, Duration::from_millis(3 * INTERVAL))
    }

    #[test]
    fn a_key_that_moves_is_life_and_one_that_stops_is_still_after_the_patience() {
        let mut seen = seen(3);
        let mut word = Vec::new();
        // It moves until 1000 ms.
        for now in (0..=2000).step_by(200) {
            for disk in 0..3 {
                seen.note(disk, at(now), at(now + 1), keys(1 + now.min(1000)));
            }
            word.push((now, seen.word(at(now + 2)).keys));
        }
        let of = |keys| -> Vec<u64> {
            word.iter().filter(|(_, word)| *word == keys).map(|(now, _)| *now).collect()
        };
        assert_eq!(of(DiskKeys::Unreadable), [0]);
        assert_eq!(of(DiskKeys::Moving), [200, 400, 600, 800, 1000, 1200, 1400, 1600]);
        // Readings end 1 ms after they begin, so that three intervals are 1 ms too few.
        assert_eq!(of(DiskKeys::Still), [1800, 2000]);
        assert_eq!(seen.word(at(2001)).moved, Some(at(1001)));
    }

    #[test]
    fn most_disks_must_be_read_for_stillness_and_one_is_enough_for_life() {
        let mut seen = seen(3);
        for now in (0..=1000).step_by(200) {
            seen.note(0, at(now), at(now), keys(5));
        }
        assert_eq!(seen.word(at(1000)).keys, DiskKeys::Unreadable, "one of three");
        for now in (0..=1000).step_by(200) {
            seen.note(1, at(now), at(now), Vec::new());
        }
        assert_eq!(seen.word(at(1000)).keys, DiskKeys::Still, "two of three, on one of them no key at all");
        seen.note(2, at(900), at(1000), keys(1));
        seen.note(2, at(1001), at(1001), keys(2));
        assert_eq!(seen.word(at(1001)).keys, DiskKeys::Moving);
        assert_eq!(seen.word(at(3000)).keys, DiskKeys::Unreadable, "nobody reads any more");
    }

    #[test]
    fn who_has_no_key_anywhere_is_no_heartbeat_that_has_stopped() {
        let mut seen = seen(2);
        for now in (0..=1000).step_by(200) {
            seen.note(0, at(now), at(now), Vec::new());
            seen.note(1, at(now), at(now), Vec::new());
        }
        assert_eq!(seen.word(at(1000)).keys, DiskKeys::Absent);
    }

    #[test]
    fn a_key_that_goes_is_no_life() {
        let mut seen = seen(1);
        seen.note(0, at(0), at(0), keys(1));
        seen.note(0, at(100), at(100), Vec::new());
        assert_eq!(seen.word(at(100)).moved, None);
        seen.note(0, at(200), at(200), keys(1));
        assert_eq!(seen.word(at(200)), Word { keys: DiskKeys::Moving, moved: Some(at(200)) });
        assert_eq!(Seen::new(0, Duration::ZERO).word(at(0)).keys, DiskKeys::None);
        seen.note(7, at(0), at(0), Vec::new());
    }

    proptest! {
        #[test]
        fn who_reads_late_never_calls_a_living_key_still(pauses in proptest::collection::vec(1_u64..3000, 1..60)) {
            // The holder moves its key every interval; the watcher reads when it comes to it.
            let mut seen = seen(1);
            let mut now = 0;
            for pause in pauses {
                now += pause;
                seen.note(0, at(now), at(now), keys(1 + now / INTERVAL));
                prop_assert_ne!(seen.word(at(now)).keys, DiskKeys::Still);
            }
        }
    }
}
