//! Vouching for this node: the kernel program lets it answer for its virtual addresses only for as long as this thread runs,
//! and, where there are shared disks, unless another one says that it serves and the disks do not show the contrary.

use std::time::Duration;

use ha_common::abi;

use crate::core::Instant;
use crate::core::vhost::FOLLOWING;
use crate::dataplane::Lease;
use crate::fence::heartbeat::Proof;
use crate::sys::clock;

/// How the lease is granted.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// For how long at a time.
    pub length: Duration,
    /// Whether all frames to the addresses are dropped where it is over, not only requests for them.
    pub all: bool,
    /// The process of this agent, as the whole machine knows it; 0 if its end changes nothing.
    pub process: u32,
    /// How long it lasts at most after the end of that.
    pub after: Duration,
}

/// Whoever grants the lease.
#[derive(Debug)]
pub struct Vouching {
    lease: Lease,
    terms: Terms,
    proof: Option<Proof>,
    grants: Grants,
}

/// What was granted, and is to be; moments are in ns of `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Grants {
    /// Until when it was granted.
    until_ns: Option<u64>,
    /// When it was found that it had run out.
    lapsed_ns: Option<u64>,
    /// How often it ran out.
    lapses: u64,
    /// `None` where it is granted for ever: nothing is served.
    next: Option<Instant>,
    serves: bool,
}

impl Vouching {
    /// Nothing is granted before the detector runs. What an earlier agent has granted stands as long as it was to.
    #[must_use]
    pub fn new(lease: Lease, terms: Terms, proof: Option<Proof>) -> Self {
        let grants = Grants::found(lease.granted().unwrap_or_default(), clock::boot_ns());
        Self { lease, terms, proof, grants }
    }

    /// When it is to be granted anew.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.grants.next
    }

    /// Whether it is time to grant it anew.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.grants.next.is_some_and(|next| now >= next)
    }

    /// The process ends, and another one goes on: the lease lasts as it was granted.
    pub(super) fn stay(&mut self) {
        let lease = self.lease.granted().map(|granted| abi::Lease { process: 0, ..granted });
        if let Err(error) = lease.and_then(|lease| self.lease.grant(lease)) {
            tracing::warn!("until the next agent vouches for this node, it may go quiet: {error}");
        }
    }

    /// It lasts that long at most after the end of the agent's process.
    pub(super) fn outlast(&mut self, after: Duration) {
        self.terms.after = after;
    }

    /// How often it ran out, since this thread did not run.
    pub(super) fn lapses(&self) -> u64 {
        self.grants.lapses
    }

    /// Grants it anew, if it is time. It is about a node that `serves`: without addresses, there is nothing to be kept from
    /// answering. Whoever comes too late grants nothing before it is known that nobody else serves: the disks show it, or it
    /// `is_decided` what the virtual hosts are. Returns for how long it had been over, if it is granted again.
    pub(super) fn renew(
        &mut self,
        now: Instant,
        serves: bool,
        is_decided: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        if serves == self.grants.serves && !self.is_due(now) {
            return None;
        }
        let before = self.grants;
        let proven_ns = self.proof.as_ref().and_then(Proof::since_ns);
        let granted = if serves {
            self.grants.renew(now, clock::boot_ns(), self.terms, proven_ns, is_decided)
        } else {
            self.grants = Grants { lapses: self.grants.lapses, ..Grants::default() };
            Some(abi::Lease::default())
        };
        let result = self.lease.grant(granted?);
        if let Err(error) = result {
            tracing::error!("this node can't be vouched for, and goes quiet: {error}");
            return None;
        }
        let over = Duration::from_nanos(clock::boot_ns().saturating_sub(before.until_ns?));
        Some(over).filter(|over| !over.is_zero())
    }
}

impl Grants {
    /// After what an earlier agent has granted, whose addresses may be there still: nobody knows yet who serves.
    fn found(lease: abi::Lease, boot_ns: u64) -> Self {
        if !lease.has(abi::Lease::GUARDS) {
            return Self::default();
        }
        Self {
            until_ns: Some(lease.until_ns),
            lapsed_ns: Some(boot_ns),
            lapses: (boot_ns >= lease.until_ns).into(),
            next: Some(Instant::from_nanos(0)),
            serves: true,
        }
    }

    fn renew(
        &mut self,
        now: Instant,
        boot_ns: u64,
        Terms { length, all, process, after }: Terms,
        proven_ns: Option<u64>,
        is_decided: impl FnOnce() -> bool,
    ) -> Option<abi::Lease> {
        self.serves = true;
        if self.lapsed_ns.is_none() && self.until_ns.is_some_and(|until| boot_ns >= until) {
            (self.lapsed_ns, self.lapses) = (Some(boot_ns), self.lapses + 1);
        }
        if let Some(lapsed) = self.lapsed_ns
            && !proven_ns.map_or_else(is_decided, |proven| proven >= lapsed)
        {
            self.next = Some(now + SOON);
            return None;
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = boot_ns.saturating_add(nanos(length));
        (self.lapsed_ns, self.until_ns, self.next) = (None, Some(until_ns), Some(now + length / SHARE));
        let optional = |is: bool, flag: u32| if is { flag } else { 0 };
        Some(abi::Lease {
            until_ns,
            sure_ns: proven_ns.unwrap_or(boot_ns),
            alive_ns: boot_ns,
            flags: abi::Lease::GUARDS
                | optional(all, abi::Lease::ALL)
                | optional(proven_ns.is_some(), abi::Lease::DOUBTS),
            follows: FOLLOWING.into(),
            after_ns: nanos(after),
            process,
            reserved: 0,
        })
    }
}

/// It is granted so many times while it lasts.
const SHARE: u32 = 8;
/// When it is asked again whether it can be granted.
const SOON: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms =
        Terms { length: Duration::from_nanos(800), all: true, process: 7, after: Duration::from_nanos(30) };

    fn at(grants: &mut Grants, ns: u64, proven: Option<u64>, is_decided: bool) -> Option<abi::Lease> {
        grants.renew(Instant::from_nanos(ns), ns, TERMS, proven, || is_decided)
    }

    #[test]
    fn it_is_granted_for_its_length_eight_times_while_it_lasts() {
        let mut grants = Grants::default();
        let granted = at(&mut grants, 1000, None, false).expect("granted");
        assert_eq!((granted.until_ns, granted.sure_ns, granted.follows), (1800, 1000, 128));
        assert_eq!(granted.flags, abi::Lease::GUARDS | abi::Lease::ALL);
        assert_eq!((granted.process, granted.after_ns), (7, 30));
        assert_eq!(grants.next, Some(Instant::from_nanos(1100)));
    }

    #[test]
    fn whoever_comes_too_late_grants_it_once_it_is_decided_who_serves() {
        let mut grants = Grants::default();
        at(&mut grants, 1000, None, true).expect("granted");
        assert_eq!(at(&mut grants, 1800, None, false), None);
        assert_eq!(at(&mut grants, 1900, None, false), None);
        at(&mut grants, 2000, None, true).expect("granted");
        assert_eq!(grants.lapses, 1);
    }

    #[test]
    fn what_an_earlier_agent_has_granted_stands_until_it_is_decided_who_serves() {
        let earlier = abi::Lease { until_ns: 1000, flags: abi::Lease::GUARDS, ..abi::Lease::default() };
        for (found_at, lapses) in [(999, 0), (1000, 1)] {
            let mut grants = Grants::found(earlier, found_at);
            assert_eq!((at(&mut grants, found_at, None, false), grants.lapses), (None, lapses));
            at(&mut grants, 2000, None, true).expect("granted");
            assert_eq!(grants.lapses, lapses);
        }
        assert_eq!(Grants::found(abi::Lease::default(), 5), Grants::default());
    }

    #[test]
    fn where_there_are_disks_they_decide_that_and_are_asked_after_it() {
        let mut grants = Grants::default();
        let granted = at(&mut grants, 1000, Some(900), true).expect("granted");
        assert_eq!((granted.sure_ns, granted.has(abi::Lease::DOUBTS)), (900, true));
        assert_eq!(at(&mut grants, 1800, Some(1799), true), None);
        let granted = at(&mut grants, 1850, Some(1800), false).expect("granted");
        assert_eq!(granted.sure_ns, 1800);
    }
}
