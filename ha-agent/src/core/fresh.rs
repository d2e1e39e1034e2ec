//! The clock in the advertisements of strict mode: how a sender's time goes on.

use std::time::Duration;

use super::time::Instant;

/// Gives each frame its time, in ms since 2025-01-01T00:00:00Z.
///
/// A receiver takes no time twice, and none far from its own. So the time of a sender never repeats or goes
/// back, and where the wall clock is set while we run, it follows gently: a step of 1 s back is made good in 10 s, one
/// forward in 20 frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderClock {
    /// The time given last, by this process or an earlier one, in ms.
    last: Option<u64>,
    /// Where the clock stands, finer than ms, since 2025; `None` before the first frame.
    stand: Option<Stand>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stand {
    time: Duration,
    at: Instant,
}

impl SenderClock {
    /// `stored` is the last time (ms) that an earlier process gave, if that is known.
    #[must_use]
    pub fn new(stored: Option<u64>) -> Self {
        Self { last: stored, stand: None }
    }

    /// The time of the next frame, in ms; `wall` is the wall clock since 2025, zero before it.
    ///
    /// The first is the wall clock's, but after the stored one. From then on the clock follows `now`, as it strives
    /// for `wall`: up to a tenth slower where it is ahead, up to a tenth or 50 ms a frame faster where it is behind.
    /// Whoever knows us does not notice: the least tolerance is 100 ms. Whoever does not soon takes us for true. Each frame gets at least 1 ms more than the one before:
    /// sent faster than one each ms, frames run ahead of the clock.
    pub fn next(&mut self, now: Instant, wall: Duration) -> u64 {
        let after_last = self.last.map_or(0, |last| last.saturating_add(1));
        let time = match self.stand {
            None => wall.max(Duration::from_millis(after_last)),
            Some(Stand { time, at }) => {
                let passed = now.saturating_since(at);
                let leeway = passed / MOST_DRIFT;
                let slowest = time.saturating_add(passed.saturating_sub(leeway));
                let fastest = time.saturating_add(passed).saturating_add(leeway.max(CATCH_UP));
                wall.clamp(slowest, fastest)
            }
        };
        self.stand = Some(Stand { time, at: now });
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(after_last);
        self.last = Some(millis);
        millis
    }

    /// The time given last (ms), to be stored.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.last
    }
}

/// The clock deviates from the time that passed by at most one part in this many.
const MOST_DRIFT: u32 = 10;
/// But it makes up for at least so much each frame where it is behind.
const CATCH_UP: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_time_is_the_wall_clock_or_after_the_stored_one() {
        let table = [
            (None, 0, 0),
            (None, 1_000, 1_000),
            (Some(0), 0, 1),
            (Some(999), 1_000, 1_000),
            (Some(1_000), 1_000, 1_001),
            (Some(5_000), 1_000, 5_001),
            (Some(u64::MAX), 1_000, u64::MAX),
        ];
        for (stored, wall, expected) in table {
            let mut clock = SenderClock::new(stored);
            assert_eq!(clock.last(), stored);
            assert_eq!(clock.next(at(7), ms(wall)), expected, "{stored:?} {wall}");
            assert_eq!(clock.last(), Some(expected));
        }
    }

    #[test]
    fn two_frames_of_one_tick_differ_and_do_not_add_up() {
        let mut clock = SenderClock::new(None);
        for tick in 0..1_000 {
            let now = at(tick * 2_000_000);
            let wall = ms(5_000 + tick * 2);
            assert_eq!(clock.next(now, wall), 5_000 + tick * 2);
            assert_eq!(clock.next(now, wall), 5_001 + tick * 2);
        }
    }

    #[test]
    fn a_step_back_of_the_wall_clock_is_made_good_in_ten_times_its_length() {
        for step in [-3_000_i64, -1, 0] {
            let mut clock = SenderClock::new(None);
            clock.next(at(0), ms(100_000));
            let needed = step.unsigned_abs() * 10;
            for passed in (10..=needed + 20).step_by(10) {
                let wall = (100_000 + passed).checked_add_signed(step).expect("after 2025");
                let time = clock.next(at(passed * 1_000_000), ms(wall));
                if passed >= needed + 10 {
                    assert_eq!(time, wall, "{step} after {passed}");
                } else {
                    let behind = step.unsigned_abs() - passed / 10;
                    assert!(
                        time.abs_diff(wall).abs_diff(behind) <= 1,
                        "{step} after {passed}: {time} {wall}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_step_forward_of_the_wall_clock_is_made_good_by_50_ms_a_frame() {
        let mut clock = SenderClock::new(None);
        clock.next(at(0), ms(100_000));
        for frame in 1..=100 {
            let time = clock.next(at(frame * 10_000_000), ms(100_000 + frame * 10 + 3_000));
            assert_eq!(time, 100_000 + frame * 10 + (frame * 50).min(3_000), "frame {frame}");
        }
    }

    proptest! {
        #[test]
        fn it_grows_and_stays_near_the_time_that_passed(
            stored in prop::option::of(0..2_000_000_u64),
            ticks in prop::collection::vec((0..20_000_000_u64, 0..2_000_000_u64), 1..100),
        ) {
            let mut clock = SenderClock::new(stored);
            let mut now = 0;
            let mut last = stored;
            // The bounds, by integer sums in tenths of a ns.
            let mut bounds: Option<(u128, u128)> = None;
            for (passed, wall) in ticks {
                now += passed;
                let time = clock.next(at(now), ms(wall));
                prop_assert!(last.is_none_or(|last| last < time), "{last:?} then {time}");
                let after_last = last.map_or(0, |last| last + 1);
                let first = u128::from(wall.max(after_last)) * 10_000_000;
                let (low, high) = bounds.map_or((first, first), |(low, high)| {
                    let passed = u128::from(passed);
                    // A tenth is cut to whole ns.
                    (low + passed * 9, high + passed * 10 + (passed + 10).max(500_000_000))
                });
                bounds = Some((low, high));
                prop_assert!(u128::from(time) >= low / 10_000_000, "{time} is slow");
                prop_assert!(u128::from(time) <= (high / 10_000_000).max(after_last.into()), "{time} is fast");
                last = Some(time);
            }
        }
    }

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
}
