//! Time as a value. The core never asks for it; it is told.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on `CLOCK_MONOTONIC`, in ns.
///
/// The kernel stamps received frames on the same clock, so the two can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
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

/// Stops at the clock's zero.
impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

/// How durations are written down: as whole ns, at most 584 years.
pub(super) mod nanos {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::core) fn serialize<S: Serializer>(wait: &Duration, to: S) -> Result<S::Ok, S::Error> {
        u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX).serialize(to)
    }

    pub(in crate::core) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_nanos)
    }
}

/// The same, where there may be none.
pub(super) mod maybe_nanos {
    use super::{Duration, nanos};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Nanos(#[serde(with = "nanos")] Duration);

    #[expect(clippy::ref_option, reason = "serde gives it so")]
    pub(in crate::core) fn serialize<S: Serializer>(
        wait: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        wait.map(Nanos).serialize(to)
    }

    pub(in crate::core) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::deserialize(from)?.map(|Nanos(wait)| wait))
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
