//! What is to become of a frame.

use ha_common::abi::{COMMON_SLOT, Counters, FAMILY_IPV4, FAMILY_IPV6, Watch, WatchKey};
use ha_common::decode::{Frame, decode};
use ha_common::judge::{Desk, Judgement, judge};
use ha_common::reason::Reason;
use lab::Site;

/// What is to become of a frame: the lines of the table at the top of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The node's other traffic: passed, not counted.
    Foreign,
    /// Counted in a slot, not pushed.
    Refused(u32, Reason),
    /// The same for a virtual host whose refused frames are passed on.
    Passed(u32, Reason),
    /// Passed, counted in a slot and pushed, with which of the passphrases signed it.
    Accepted(u32, u32),
}

impl Outcome {
    /// What becomes of a frame on the loopback interface, by user space's build of the judge. The site remembers
    /// what it heard.
    pub(crate) fn predict(frame: &[u8], site: &Site) -> Self {
        let candidate = match decode(&frame) {
            Frame::Foreign => return Self::Foreign,
            Frame::NotCarp(reason) => return Self::Refused(COMMON_SLOT, reason),
            Frame::Carp(candidate) => candidate,
        };
        let mut desk = Desk::default();
        let judgement = judge(&candidate, LOOPBACK, site, &mut desk);
        let slot = desk.watch.slot;
        match judgement {
            Judgement::Others(reason) => Self::Refused(COMMON_SLOT, reason),
            Judgement::Refused(reason) if desk.watch.has(Watch::PASS_REFUSED) => Self::Passed(slot, reason),
            Judgement::Refused(reason) => Self::Refused(slot, reason),
            Judgement::Accepted { signer, .. } => Self::Accepted(slot, signer),
        }
    }

    /// What the kernel is told to do with the frame.
    pub(crate) fn verdict(self) -> u32 {
        match self {
            Self::Foreign | Self::Accepted(..) | Self::Passed(..) => XDP_PASS,
            Self::Refused(_, reason) => match reason {
                Reason::NotCarp | Reason::BadVer | Reason::BadVhid | Reason::RingFull => XDP_PASS,
                Reason::BadOpts
                | Reason::BadFrag
                | Reason::BadTtl
                | Reason::BadLen
                | Reason::BadDst
                | Reason::BadSum
                | Reason::Looped
                | Reason::BadSource
                | Reason::BadAuth
                | Reason::Rewritten
                | Reason::Stale
                | Reason::Replay
                | Reason::NoRoom => XDP_DROP,
            },
        }
    }

    /// A short name: of the counter, where there is one.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Refused(_, reason) => reason.label(),
            Self::Passed(..) => "passed",
            Self::Accepted(..) => "accepted",
        }
    }

    /// What one frame adds to the counters of which slot.
    pub(crate) fn counted(self) -> Option<(u32, Counters)> {
        let mut counters = Counters { received: 1, ..Counters::default() };
        match self {
            Self::Foreign => None,
            Self::Refused(slot, reason) | Self::Passed(slot, reason) => {
                counters.count(reason);
                Some((slot, counters))
            }
            Self::Accepted(slot, _) => {
                counters.accepted = 1;
                Some((slot, counters))
            }
        }
    }
}

/// A watch's key.
pub(crate) fn key(ifindex: u32, outer_vlan: u16, vlan: u16, vhid: u8) -> WatchKey {
    WatchKey { ifindex, outer_vlan, vlan, vhid, family: FAMILY_IPV4, reserved: [0; 2] }
}

/// The same for IPv6.
pub(crate) fn key6(ifindex: u32, outer_vlan: u16, vlan: u16, vhid: u8) -> WatchKey {
    WatchKey { family: FAMILY_IPV6, ..key(ifindex, outer_vlan, vlan, vhid) }
}

/// The interface on which `BPF_PROG_TEST_RUN` lets frames arrive: the first of every network namespace.
pub(crate) const LOOPBACK: u32 = 1;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
