//! The echo: what the agent tells the kernel program of its peers and of itself, for it to answer by itself.

use super::Address;
use crate::auth::Seal;

/// How many paths to peers there are room for.
pub const MAX_PATHS: usize = 64;

/// How many keys of each use are good at once.
pub const KEYS: usize = 2;

/// Where a peer's probes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct PathKey {
    /// Index of the interface.
    pub ifindex: u32,
    /// Outer VLAN of a doubly tagged frame, else 0.
    pub outer_vlan: u16,
    /// VLAN, or 0.
    pub vlan: u16,
    /// 4 or 6.
    pub family: u32,
    /// The peer's address there.
    pub address: Address,
}

/// A path to a peer. Written by the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Path {
    /// Its counters and what was heard: an index below [`MAX_PATHS`].
    pub slot: u32,
    /// Which node of the pair the peer is, 0 or 1.
    pub peer: u32,
    /// This node's address there.
    pub own: Address,
    /// Of the probes that the peer sends, by [key number](crate::wire::echo::Header::key): one in use, and one to come.
    pub probes: [Seal; KEYS],
    /// Of the answers to them, likewise.
    pub answers: [Seal; KEYS],
}

/// What this node says of itself. Written by the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Oneself {
    /// Which boot of its machine it is.
    pub boot: u64,
    /// The generation in which it serves, or last did.
    pub generation: u64,
    /// The least time between two answers on one path, on average, in ns; so fast a peer may ask.
    pub pace_ns: u64,
    /// The port, 0 if nothing is answered.
    pub port: u32,
    /// Which node of the pair it is, 0 or 1.
    pub node: u32,
}

/// What was heard on a path. The program's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Asked {
    /// Which boot of the peer's machine the last probe was of.
    pub boot: u64,
    /// Its number.
    pub nonce: u64,
    /// When the peer has used up what it may ask, in ns of `CLOCK_MONOTONIC`: with each answer that moves on by the pace.
    pub used_ns: u64,
}

impl Asked {
    /// How many answers may be given at once after a rest.
    pub const BURST: u64 = 64;

    /// Whether a probe is older than one that was answered, or the same: known before anything is hashed.
    #[inline(always)]
    #[must_use]
    pub fn is_old(&self, boot: u64, nonce: u64) -> bool {
        boot == self.boot && nonce <= self.nonce
    }

    /// Counts one more answer; `None` if that is too many.
    #[inline(always)]
    #[must_use]
    pub fn one_more(&self, now_ns: u64, pace_ns: u64) -> Option<u64> {
        let from_ns = if self.used_ns > now_ns { self.used_ns } else { now_ns };
        let used_ns = from_ns.saturating_add(pace_ns);
        (used_ns - now_ns <= pace_ns.saturating_mul(Self::BURST)).then_some(used_ns)
    }
}

const _: () = {
    assert!(size_of::<PathKey>() == 28);
    assert!(size_of::<Path>() == 184);
    assert!(size_of::<Oneself>() == 32);
    assert!(size_of::<Asked>() == 24);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_is_old_within_one_boot() {
        let asked = Asked { boot: 1, nonce: 10, used_ns: 0 };
        for (boot, nonce, old) in [(1, 9, true), (1, 10, true), (1, 11, false), (2, 9, false)] {
            assert_eq!(asked.is_old(boot, nonce), old, "{boot} {nonce}");
        }
    }

    #[test]
    fn a_burst_is_answered_and_then_no_more_than_the_pace_allows() {
        const PACE: u64 = 100_000;
        let (mut asked, mut answered) = (Asked::default(), 0);
        // A probe each microsecond, for 100 ms, after a rest.
        for now_ns in (0..100_000).map(|us| 1_000_000_000 + us * 1000) {
            if let Some(used_ns) = asked.one_more(now_ns, PACE) {
                asked.used_ns = used_ns;
                answered += 1;
            }
        }
        assert!((1000 + Asked::BURST - 1..=1000 + Asked::BURST).contains(&answered), "{answered}");
    }
}
