//! The witness: a third opinion, which says which of two nodes may be active when they can't ask each other.
//!
//! ```text
//! keeper      gets the lease, keeps it and gives it back, as the pair machine wants it
//! ├─ etcd     a key in etcd that is there once, and attached to a lease; its members in turn
//! │  └─ http  one member: a request at a time, each bounded in time and length
//! ├─ gateway  the modest form: an address that answers an echo request
//! └─ terms    the times of all that
//! ```
//!
//! Whoever is active may rest on the lease until a moment that is told to the detector's thread beforehand: so nothing
//! that delays this part of the agent delays the stepping down.

mod error;
mod etcd;
pub(crate) mod gateway;
mod http;
mod keeper;
mod terms;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::core::Instant;
use crate::core::pair::Generation;
use crate::sys::clock;

pub use self::error::{WitnessError, WitnessFileError};
pub use self::keeper::{Keeper, Own, Wanted};
pub use self::terms::Terms;

/// A moment, by which one counts on while the machine sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    at: Instant,
    asleep: Duration,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self { at: clock::now(), asleep: clock::asleep() }
    }

    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { at: self.at + time, ..self }
    }

    /// The same on `CLOCK_MONOTONIC`, which stands still while the machine sleeps; `asleep` is how long it has, up to now.
    #[must_use]
    pub fn on_monotonic(self, asleep: Duration) -> Instant {
        self.at - asleep.saturating_sub(self.asleep)
    }
}

/// The witness vouches for this node, until then at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// For this generation.
    pub generation: Generation,
    /// From then on the node must not rest on it: there is just enough time left to stop.
    pub until: Moment,
}

/// What was last known of the witness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessNow {
    /// When it answered last.
    pub answered: Option<Instant>,
    /// Which of its addresses did.
    pub via: Option<String>,
    /// Who has the lease.
    pub holder: Holder,
    /// Why it did not answer, if it was asked since.
    pub error: Option<String>,
}

impl WitnessNow {
    /// Whether it can't be reached: one answer that is missing does not say so yet.
    #[must_use]
    pub fn is_lost(&self, now: Instant, terms: &Terms) -> bool {
        let is_recent = self.answered.is_some_and(|at| now.saturating_since(at) < terms.lost());
        self.error.is_some() && !is_recent
    }
}

/// Who has the lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// Nobody, or nobody knows: there is no such thing with a gateway.
    #[default]
    Nobody,
    /// This node.
    This,
    /// Another one: its name.
    Other(String),
}
