//! The deadlines of a virtual host: a small table, no heap and no tasks.

use serde::{Deserialize, Serialize};

use super::time::Instant;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// MASTER: the next advertisement is due. After a stall: we have listened for long enough.
    Advertise,
    /// BACKUP: the master has been silent for too long; in IPv4, where each family counts for itself.
    MasterDown,
    /// BACKUP: the master has been silent for too long in IPv6, where each family counts for itself.
    MasterDownV6,
    /// BACKUP: the master has bowed out, and our turn has come.
    Turn,
    /// MASTER: the addresses are to be announced again.
    Announce,
    /// MASTER that leaves: the addresses should have been released by now.
    Release,
}

impl Timer {
    /// Every timer, in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Advertise, Self::MasterDown, Self::MasterDownV6, Self::Turn, Self::Announce, Self::Release];
}

/// At most one deadline for each [`Timer`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimerTable {
    deadlines: [Option<Instant>; Timer::ALL.len()],
}

impl TimerTable {
    /// The earliest deadline; of equal ones, the first in the order of [`Timer::ALL`].
    #[must_use]
    pub fn next(&self) -> Option<(Instant, Timer)> {
        Timer::ALL
            .into_iter()
            .filter_map(|timer| Some((self.get(timer)?, timer)))
            .min_by_key(|(deadline, _)| *deadline)
    }

    /// The deadline of `timer`, if it is armed.
    #[must_use]
    pub fn get(&self, timer: Timer) -> Option<Instant> {
        self.deadlines[timer as usize]
    }

    /// Sets the deadline of `timer`, in place of an earlier one.
    pub fn arm(&mut self, timer: Timer, deadline: Instant) {
        self.deadlines[timer as usize] = Some(deadline);
    }

    /// Disarms `timer` and returns its deadline if that has come; otherwise changes nothing.
    pub fn take_due(&mut self, timer: Timer, now: Instant) -> Option<Instant> {
        self.deadlines[timer as usize].take_if(|deadline| *deadline <= now)
    }

    /// Disarms `timer`.
    pub fn disarm(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    /// Disarms all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn all_is_in_the_order_of_the_table() {
        for (index, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, index, "{timer:?}");
        }
    }

    #[test]
    fn next_is_the_earliest() {
        let mut timers = TimerTable::default();
        assert_eq!(timers.next(), None);
        timers.arm(Timer::Advertise, at(30));
        timers.arm(Timer::Release, at(20));
        timers.arm(Timer::Announce, at(20));
        assert_eq!(timers.next(), Some((at(20), Timer::Announce)));
        timers.disarm(Timer::Announce);
        assert_eq!(timers.next(), Some((at(20), Timer::Release)));
        timers.clear();
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn arm_replaces() {
        let mut timers = TimerTable::default();
        for deadline in [10, 15, 5] {
            timers.arm(Timer::MasterDown, at(deadline));
            assert_eq!(timers.get(Timer::MasterDown), Some(at(deadline)));
        }
    }

    #[test]
    fn a_deadline_is_taken_once_and_not_before_its_time() {
        let mut timers = TimerTable::default();
        timers.arm(Timer::Advertise, at(10));
        assert_eq!(timers.take_due(Timer::Advertise, at(9)), None);
        assert_eq!(timers.take_due(Timer::MasterDown, at(10)), None);
        assert_eq!(timers.take_due(Timer::Advertise, at(10)), Some(at(10)));
        assert_eq!(timers.take_due(Timer::Advertise, at(10)), None);
    }
}
