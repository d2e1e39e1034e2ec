//! The echo: what the agent tells the kernel program of its peers and of itself, for it to answer by itself.

use super::{Address, Patience, bpf_timer};
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
    /// How long it may take until a probe of ours is answered, 0 if nobody is missed yet; and from one to the next.
    pub patience: Patience,
    /// The [names](crate::wire::echo::Header::key) of the keys: one in use, and one to come.
    pub names: [u32; KEYS],
    /// Of the probes that the peer sends, in this order; then of the answers that it sends.
    pub theirs: [Seal; 2 * KEYS],
    /// Of the answers to its probes.
    pub answers: [Seal; KEYS],
}

impl Path {
    /// Which of the keys has a name.
    #[inline(always)]
    #[must_use]
    pub fn key(&self, name: u16) -> Option<u32> {
        let [first, second] = self.names;
        if first == u32::from(name) {
            Some(0)
        } else if second == u32::from(name) {
            Some(1)
        } else {
            None
        }
    }
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

/// A probe of ours that left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Departure {
    /// Its number; the place where it stands is that number's last four bits.
    pub nonce: u64,
    /// When it left, in ns of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
}

/// The watch for the answers to our probes on one path. The program's own.
///
/// Who sends writes down departures, who receives writes down what was answered, and the timer judges from both: so none of them
/// waits for another.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EchoWatch {
    /// The kernel's.
    pub timer: bpf_timer,
    /// The probes that left last, as many as can be on their way.
    pub departures: [Departure; DEPARTURES],
    /// The greatest number that was answered.
    pub answered: u64,
    /// When the answer is too late, in ns: of the oldest probe that has none.
    pub deadline_ns: u64,
    /// When the timer is to judge next, in ns.
    pub due_ns: u64,
    /// Of which path.
    pub key: PathKey,
    /// [`EchoWatch::IDLE`] and the others.
    pub state: u32,
    /// Whether the timer has its callback.
    pub ready: u32,
    /// How often in a row it fired too late.
    pub stalls: u32,
}

impl EchoWatch {
    /// Nothing is on its way.
    pub const IDLE: u32 = 0;
    /// The timer runs.
    pub const ARMED: u32 = 1;
    /// The silence was told: until something is answered, nothing more is.
    pub const SILENT: u32 = 2;

    /// When a probe left that is not answered yet; `None` if there is none.
    #[inline(always)]
    #[must_use]
    pub fn departed(&self, nonce: u64) -> Option<u64> {
        let Departure { nonce: there, at_ns } = self.departures[place(nonce)];
        (there == nonce && nonce > self.answered).then_some(at_ns)
    }

    /// When the oldest probe left that has no answer, nor a later one an answer, in ns; `u64::MAX` if there is none.
    #[inline(always)]
    #[must_use]
    pub fn oldest_ns(&self) -> u64 {
        let mut oldest_ns = u64::MAX;
        let mut at = 0;
        // By index: see `checksum::sum`.
        while at < DEPARTURES {
            let Departure { nonce, at_ns } = self.departures[at];
            if nonce > self.answered && at_ns < oldest_ns {
                oldest_ns = at_ns;
            }
            at += 1;
        }
        oldest_ns
    }
}

/// Where the departure of a probe is written down.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "four bits")]
pub fn place(nonce: u64) -> usize {
    nonce as usize & (DEPARTURES - 1)
}

/// How many probes can be on their way, of which the answers are waited for: a power of two.
pub const DEPARTURES: usize = 16;

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
    assert!(size_of::<Path>() == 288);
    assert!(size_of::<Oneself>() == 32);
    assert!(size_of::<Asked>() == 24);
    assert!(size_of::<EchoWatch>() == 336 && core::mem::offset_of!(EchoWatch, timer) == 0);
    assert!(DEPARTURES.is_power_of_two());
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
    fn a_probe_is_on_its_way_until_it_or_a_later_one_is_answered() {
        let mut watch = EchoWatch {
            timer: bpf_timer::default(),
            departures: [Departure::default(); DEPARTURES],
            answered: 0,
            deadline_ns: 0,
            due_ns: 0,
            key: PathKey { ifindex: 1, outer_vlan: 0, vlan: 0, family: 4, address: Address::default() },
            state: EchoWatch::IDLE,
            ready: 0,
            stalls: 0,
        };
        assert_eq!((watch.oldest_ns(), watch.departed(1)), (u64::MAX, None));
        for nonce in 1..=20 {
            watch.departures[place(nonce)] = Departure { nonce, at_ns: nonce * 100 };
        }
        // Those that are too many are forgotten.
        assert_eq!((watch.oldest_ns(), watch.departed(4), watch.departed(5)), (500, None, Some(500)));
        watch.answered = 7;
        assert_eq!((watch.oldest_ns(), watch.departed(7), watch.departed(8)), (800, None, Some(800)));
        watch.answered = 20;
        assert_eq!((watch.oldest_ns(), watch.departed(20), watch.departed(21)), (u64::MAX, None, None));
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
