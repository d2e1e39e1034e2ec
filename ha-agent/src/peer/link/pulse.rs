//! Heartbeats on one connection: when the next is due, and whether the peer answers. Pure: time comes in.

use std::collections::VecDeque;
use std::time::Duration;

use crate::core::Instant;

/// What is known of the peer's answers.
#[derive(Debug)]
pub(super) struct Pulse {
    heartbeat: Duration,
    dead: Duration,
    /// The number of the last heartbeat.
    sequence: u64,
    next: Instant,
    /// Those without an answer, oldest first.
    open: VecDeque<(u64, Instant)>,
    /// When the last answer came, or there was a reason to begin counting anew.
    answered: Instant,
    heard: Instant,
    round_trip: Option<Duration>,
}

/// Whether the peer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answering {
    /// Not yet: the first answer is not due.
    NotYet,
    /// It does.
    Yes {
        /// From the last heartbeat that was answered to its answer.
        round_trip: Duration,
    },
    /// It has not for the dead time.
    No,
    /// It has not for so long that a new connection is worth a try.
    GivenUp,
}

impl Pulse {
    /// The first heartbeat is due at once. `dead` is after how long without an answer the peer does not answer.
    pub(super) fn new(now: Instant, heartbeat: Duration, dead: Duration) -> Self {
        let open = VecDeque::new();
        Self { heartbeat, dead, sequence: 0, next: now, open, answered: now, heard: now, round_trip: None }
    }

    /// When to look again: later than `now`, unless a heartbeat is due.
    pub(super) fn wake(&self, now: Instant) -> Instant {
        let silent = self.answered + self.dead;
        if silent > now { silent.min(self.next) } else { self.next }
    }

    /// The number of the heartbeat that is to be sent now, if one is due. To be called when it is time to look, or
    /// later: what could have come while this node itself did not run is no silence of the peer's.
    pub(super) fn beat(&mut self, now: Instant) -> Option<u64> {
        if now < self.next {
            return None;
        }
        if now.saturating_since(self.next) > self.heartbeat {
            self.answered = now;
        }
        self.sequence += 1;
        self.next = now + self.heartbeat;
        self.open.push_back((self.sequence, now));
        if self.open.len() > OPEN_LIMIT {
            self.open.pop_front();
        }
        Some(self.sequence)
    }

    /// The peer said something.
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The peer answered a heartbeat. An answer to none is no answer.
    pub(super) fn answer(&mut self, now: Instant, sequence: u64) {
        let Some(at) = self.open.iter().position(|(open, _)| *open == sequence) else { return };
        if let Some((_, sent)) = self.open.drain(..=at).next_back() {
            self.round_trip = Some(now.saturating_since(sent));
            self.answered = now;
        }
    }

    /// Whether it answers.
    pub(super) fn answering(&self, now: Instant) -> Answering {
        let silence = now.saturating_since(self.answered);
        if silence >= self.dead.max(GIVE_UP) {
            return Answering::GivenUp;
        }
        match self.round_trip {
            _ if silence >= self.dead => Answering::No,
            Some(round_trip) => Answering::Yes { round_trip },
            None => Answering::NotYet,
        }
    }

    /// When the peer was heard last.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }
}

/// Heartbeats whose answers are waited for.
const OPEN_LIMIT: usize = 64;
/// After how long without an answer a new connection is tried: this one may hang where the peer's agent is a new one.
const GIVE_UP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const HEARTBEAT: Duration = Duration::from_millis(200);
    const DEAD: Duration = Duration::from_millis(400);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(1_000_000_000 + ms * 1_000_000)
    }

    fn yes(ms: u64) -> Answering {
        Answering::Yes { round_trip: Duration::from_millis(ms) }
    }

    #[test]
    fn who_answers_is_up_and_who_stops_is_noticed_after_two_heartbeats() {
        let mut pulse = Pulse::new(at(0), HEARTBEAT, DEAD);
        assert_eq!((pulse.wake(at(0)), pulse.answering(at(0))), (at(0), Answering::NotYet));
        assert_eq!(pulse.beat(at(0)), Some(1));
        assert_eq!(pulse.beat(at(199)), None);
        pulse.answer(at(3), 1);
        assert_eq!((pulse.answering(at(3)), pulse.wake(at(3))), (yes(3), at(200)));
        assert_eq!(pulse.beat(at(200)), Some(2));
        // Stopped from here on.
        assert_eq!((pulse.answering(at(402)), pulse.answering(at(403))), (yes(3), Answering::No));
        assert_eq!(pulse.beat(at(400)), Some(3));
        assert_eq!(pulse.wake(at(400)), at(403));
        // Late, but an answer.
        pulse.answer(at(500), 2);
        assert_eq!(pulse.answering(at(500)), yes(300));
        assert_eq!(pulse.answering(at(10_499)), Answering::No);
        assert_eq!(pulse.answering(at(10_500)), Answering::GivenUp);
    }

    #[test]
    fn a_peer_that_never_answers_is_noticed_too() {
        let mut pulse = Pulse::new(at(0), HEARTBEAT, DEAD);
        assert_eq!(pulse.beat(at(0)), Some(1));
        assert_eq!(pulse.answering(at(399)), Answering::NotYet);
        assert_eq!(pulse.answering(at(400)), Answering::No);
    }

    #[test]
    fn what_answers_nothing_is_no_answer() {
        let mut pulse = Pulse::new(at(0), HEARTBEAT, DEAD);
        assert_eq!(pulse.beat(at(0)), Some(1));
        pulse.answer(at(1), 1);
        for sequence in [0, 1, 2, u64::MAX] {
            pulse.answer(at(390), sequence);
        }
        assert_eq!(pulse.answering(at(401)), Answering::No);
    }

    #[test]
    fn a_stall_of_our_own_is_no_silence_of_the_peer() {
        let mut pulse = Pulse::new(at(0), HEARTBEAT, DEAD);
        assert_eq!(pulse.beat(at(0)), Some(1));
        pulse.answer(at(1), 1);
        assert_eq!(pulse.beat(at(5_000)), Some(2));
        assert_eq!(pulse.answering(at(5_000)), yes(1));
        assert_eq!(pulse.answering(at(5_400)), Answering::No);
    }

    proptest! {
        /// Whatever happens in whatever order: whoever looks when told notices a silence the moment it is one.
        #[test]
        fn silence_is_noticed_in_time(steps in vec((0u64..700, any::<bool>(), 0u64..4), 1..60)) {
            let (mut now, mut pulse, mut last) = (at(0), Pulse::new(at(0), HEARTBEAT, DEAD), 0);
            let is_silent = |pulse: &Pulse, now| matches!(pulse.answering(now), Answering::No | Answering::GivenUp);
            for (wait, answers, behind) in steps {
                let until = now + Duration::from_millis(wait);
                while pulse.wake(now) <= until {
                    let (wake, was_silent) = (pulse.wake(now), is_silent(&pulse, now));
                    let before = Instant::from_nanos(wake.as_nanos() - 1);
                    prop_assert!(was_silent || before < now || !is_silent(&pulse, before));
                    now = wake;
                    last = pulse.beat(now).unwrap_or(last);
                    prop_assert!(pulse.wake(now) > now);
                }
                now = until;
                if answers {
                    pulse.answer(now, last.saturating_sub(behind));
                }
                prop_assert!(pulse.open.len() <= OPEN_LIMIT);
            }
        }
    }
}
