//! Time as a value. The core never asks for it; it is told.

use std::ops::Add;
use std::time::Duration;

/// A moment on `CLOCK_MONOTONIC`, in ns.
///
/// The kernel stamps received frames on the same clock, so the two can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment `nanos` ns after the clock's zero.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The ns since the clock's zero.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How much later this moment is than `earlier`; zero if it is not later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Stops at the end of the clock, 584 years after its zero.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addition_and_difference_saturate() {
        let (early, late) = (Instant::from_nanos(5), Instant::from_nanos(12));
        assert_eq!(early + Duration::from_nanos(7), late);
        assert_eq!(late.saturating_since(early), Duration::from_nanos(7));
        assert_eq!(early.saturating_since(late), Duration::ZERO);

        let end = Instant::from_nanos(u64::MAX);
        assert_eq!(late + Duration::from_nanos(u64::MAX), end);
        assert_eq!(early + Duration::MAX, end);
    }
}
