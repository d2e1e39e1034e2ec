//! What is to become of a frame.

use ha_common::abi::{Counters, FAMILY_IPV4, FAMILY_IPV6, WatchKey};
use ha_common::reason::Reason;

/// What is to become of a frame: the lines of the table at the top of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The node's other traffic: passed, not counted.
    Foreign,
    /// Counted in a slot, not pushed.
    Refused(u32, Reason),
    /// The same for a virtual host whose refused frames are passed on.
    Passed(u32, Reason),
    /// Passed, counted in a slot and pushed.
    Accepted(u32),
}

impl Outcome {
    /// What the kernel is told to do with the frame.
    pub(crate) fn verdict(self) -> u32 {
        match self {
            Self::Foreign | Self::Accepted(_) | Self::Passed(..) => XDP_PASS,
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

    /// What one frame adds to the counters of which slot.
    pub(crate) fn counted(self) -> Option<(u32, Counters)> {
        let mut counters = Counters { received: 1, ..Counters::default() };
        match self {
            Self::Foreign => None,
            Self::Refused(slot, reason) | Self::Passed(slot, reason) => {
                counters.count(reason);
                Some((slot, counters))
            }
            Self::Accepted(slot) => {
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
