//! The lease: until when the agent vouches for this node, and what comes of it when it does not.

use super::Address;

/// Until when the agent vouches for this node. Written by the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Lease {
    /// Until when, in ns of `CLOCK_BOOTTIME`, which goes on while the machine sleeps (`bpf_ktime_get_boot_ns`, since 5.8).
    pub until_ns: u64,
    /// As of when the agent was sure that nobody else has what this node serves, in ns of `CLOCK_BOOTTIME`.
    pub sure_ns: u64,
    /// [`Lease::GUARDS`] and the others.
    pub flags: u32,
    /// An advertisement that is demoted less than this says that its sender serves.
    pub follows: u32,
    /// How long it lasts at most after the agent's process has ended, in ns.
    pub after_ns: u64,
    /// When the agent gave its last sign of life, in ns of `CLOCK_BOOTTIME`: at each grant.
    pub alive_ns: u64,
    /// That process, as the whole machine knows it; 0 if its end changes nothing.
    pub process: u32,
    /// Always 0.
    pub reserved: u32,
}

impl Lease {
    /// Flag: there is a lease, and where it is over, requests for guarded addresses are dropped (ARP, neighbour
    /// solicitation).
    pub const GUARDS: u32 = 1;
    /// Flag: all frames to guarded addresses are dropped then.
    pub const ALL: u32 = 2;
    /// Flag: another one who says that it serves puts an end to it, until the agent is sure anew. He may have taken over
    /// while this machine stood still, and its clock with it.
    pub const DOUBTS: u32 = 4;

    /// Flag: that process has ended. Set by the program.
    pub const ENDED: u32 = 8;

    /// Whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// When it ends, in ns of `CLOCK_BOOTTIME`, should the agent's process end now.
    #[inline(always)]
    #[must_use]
    pub fn without_agent(&self, now_ns: u64) -> u64 {
        let end_ns = now_ns.saturating_add(self.after_ns);
        if end_ns < self.until_ns { end_ns } else { self.until_ns }
    }

    /// Whether this node may answer; `doubt_ns` is when another one last said that it serves, 0 if never.
    #[inline(always)]
    #[must_use]
    pub fn holds(&self, now_ns: u64, doubt_ns: u64) -> bool {
        !self.has(Self::GUARDS)
            || (now_ns < self.until_ns
                && !(self.has(Self::DOUBTS) && doubt_ns >= self.sure_ns && doubt_ns > 0))
    }
}

impl Lease {
    /// What is left of it, in µs; 0 if it is over, [`NO_LEASE`](crate::wire::echo::NO_LEASE) if there is none.
    #[inline(always)]
    #[must_use]
    pub fn left_us(&self, now_ns: u64, doubt_ns: u64) -> u32 {
        if !self.has(Self::GUARDS) {
            return crate::wire::echo::NO_LEASE;
        }
        if self.holds(now_ns, doubt_ns) { crate::echo::microseconds(self.until_ns - now_ns) } else { 0 }
    }
}

/// An address that this node may answer for only as long as the lease holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Guarded {
    /// The address.
    pub address: Address,
    /// 4 or 6.
    pub family: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_until_its_end_and_unless_another_one_serves() {
        let flags = Lease::GUARDS | Lease::DOUBTS;
        let lease = Lease { until_ns: 100, sure_ns: 50, flags, follows: 128, ..Lease::default() };
        let without = |flag: u32| Lease { flags: lease.flags & !flag, ..lease };
        let table = [
            (lease, 99, 0, true),
            (lease, 100, 0, false),
            (lease, 99, 49, true),
            (lease, 99, 50, false),
            (lease, 99, 51, false),
            (Lease { sure_ns: 0, ..lease }, 99, 0, true),
            (without(Lease::DOUBTS), 99, 51, true),
            (without(Lease::GUARDS), 100, 51, true),
        ];
        for (lease, now_ns, doubt_ns, holds) in table {
            assert_eq!(lease.holds(now_ns, doubt_ns), holds, "{lease:?} {now_ns} {doubt_ns}");
        }
    }

    #[test]
    fn the_end_of_the_agent_makes_it_no_longer() {
        let lease = Lease { until_ns: 100, after_ns: 30, ..Lease::default() };
        for (now_ns, end_ns) in [(0, 30), (69, 99), (70, 100), (90, 100), (u64::MAX, 100)] {
            assert_eq!(lease.without_agent(now_ns), end_ns, "{now_ns}");
        }
    }
}
