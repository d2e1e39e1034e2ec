//! The times of the witness: how long a node may rest on its lease, and how long the other one waits.

use std::time::Duration;

use crate::config::{PeerConfig, WitnessConfig, WitnessKind};

/// What follows from the length of the lease. Both nodes have the same.
///
/// ```text
///  sent        the node stops resting on it      nothing serves      the witness may give it away
///   │                        │                         │                          │
///   ├────────────────────────┼─────────────────────────┼──────────────────────────┤
///   │                        │◀──────── release ──────▶│◀─── drift of clocks ────▶│
///   │◀───────────────────────────────── lease ───────────────────────────────────▶│
/// ```
///
/// The witness counts from when it receives what was sent: later, so its lease ends later than this one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    lease: Duration,
    link_dead: Duration,
    heartbeat: Duration,
    /// Whether only one node can have the lease at a time.
    exclusive: bool,
}

impl Terms {
    /// By the configuration.
    #[must_use]
    pub fn new(witness: &WitnessConfig, peer: &PeerConfig) -> Self {
        Self {
            lease: witness.lease,
            link_dead: peer.heartbeat * u32::from(peer.dead_after),
            heartbeat: peer.heartbeat,
            exclusive: match witness.kind {
                WitnessKind::Etcd { .. } => true,
                WitnessKind::Gateway(_) => false,
            },
        }
    }

    /// How long a lease is asked for.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// How long a node may take to stop serving, when it has to; what takes longer ends it.
    #[must_use]
    pub fn release(&self) -> Duration {
        self.lease / 4
    }

    /// For how long a node may rest on a lease of this length, from when it asked for it.
    #[must_use]
    pub fn rests(&self, granted: Duration) -> Duration {
        granted.saturating_sub(granted / CLOCKS_DIFFER + self.release())
    }

    /// Whether only one node can have the lease at a time.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// How often the lease is renewed.
    #[must_use]
    pub fn renew(&self) -> Duration {
        self.lease / 6
    }

    /// How often a node asks that wants it and does not have it, or that sees nobody who has it.
    #[must_use]
    pub fn retry(&self) -> Duration {
        self.lease / 12
    }

    /// How often a node that does not want the lease looks whether the witness is there.
    #[must_use]
    pub fn look(&self) -> Duration {
        self.lease / 2
    }

    /// How long one request may take, from the connection to the whole answer: so that several fit in what a node may
    /// rest.
    #[must_use]
    pub fn request(&self) -> Duration {
        self.lease / 8
    }

    /// For how long it may not answer before it counts as lost.
    #[must_use]
    pub fn lost(&self) -> Duration {
        self.lease / 2
    }

    /// How long a node that has just got the lease waits before it takes over from a peer that does not answer. That one
    /// may serve because this node has answered it until a moment ago: it has to find that the link is dead, and to stop.
    /// A gateway vouches for both at once, so the peer may rest on it for a lease longer.
    #[must_use]
    pub fn quiet(&self) -> Duration {
        let link = self.link_dead + self.release();
        let quiet = if self.exclusive { link } else { link.max(self.lease) };
        // Its own last heartbeat may have been under way.
        quiet + self.heartbeat
    }
}

/// Two clocks differ by less than one part in so many in what they call a second: crystals by 0.01 %, and whoever sets them
/// right slows them down or speeds them up by at most 0.05 %.
const CLOCKS_DIFFER: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(exclusive: bool) -> Terms {
        let lease = Duration::from_secs(3);
        let heartbeat = Duration::from_millis(200);
        Terms { lease, link_dead: heartbeat * 2, heartbeat, exclusive }
    }

    #[test]
    fn nothing_serves_any_more_when_the_witness_gives_the_lease_away() {
        for terms in [terms(true), terms(false)] {
            let lease = terms.lease();
            // A clock that is slow by the most.
            let stopped = (terms.rests(lease) + terms.release()).mul_f64(1.01);
            assert!(stopped <= lease, "{stopped:?}");
            assert!(terms.renew() + terms.request() * 2 < terms.rests(lease), "two requests may be lost");
        }
    }

    #[test]
    fn who_has_the_lease_waits_until_the_other_one_has_stopped() {
        assert_eq!(terms(true).quiet(), Duration::from_millis(400 + 750 + 200));
        assert_eq!(terms(false).quiet(), Duration::from_millis(3000 + 200));
    }
}
