//! What is to become of a frame.

use ha_common::abi::{Advert, COMMON_SLOT, Counters, Watch};
use ha_common::decode::{Frame, decode};
use ha_common::judge::{Desk, Judgement, judge};
use ha_common::reason::Reason;
use lab::Site;

use crate::site::LOOPBACK;

/// What is to become of a frame: the lines of the table at the top of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The node's other traffic: passed, not counted.
    Foreign,
    /// Counted in a slot, not pushed.
    Refused(u32, Reason),
    /// The same for a virtual host whose refused frames are passed on.
    Passed(u32, Reason),
    /// Passed, counted in a slot and pushed, with which of the passphrases signed it.
    Accepted(u32, u32),
}

/// What user space's build of the judge says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What is to become of it.
    pub outcome: Outcome,
    /// The record that is pushed, if it is accepted.
    pub advert: Option<Advert>,
}

impl Judged {
    /// Judges a frame that arrived on the loopback interface. The site remembers what it heard.
    #[must_use]
    pub fn of(frame: &[u8], site: &Site) -> Self {
        let alone = |outcome| Self { outcome, advert: None };
        let candidate = match decode(&frame) {
            Frame::Foreign => return alone(Outcome::Foreign),
            Frame::NotCarp(reason) => return alone(Outcome::Refused(COMMON_SLOT, reason)),
            Frame::Carp(candidate) => candidate,
        };
        let mut desk = Desk::default();
        let judgement = judge(&candidate, LOOPBACK, site, &mut desk);
        let slot = desk.watch.slot;
        match judgement {
            Judgement::Others(reason) => alone(Outcome::Refused(COMMON_SLOT, reason)),
            Judgement::Refused(reason) if desk.watch.has(Watch::PASS_REFUSED) => {
                alone(Outcome::Passed(slot, reason))
            }
            Judgement::Refused(reason) => alone(Outcome::Refused(slot, reason)),
            Judgement::Accepted { stamp_ns, signer } => Self {
                outcome: Outcome::Accepted(slot, signer),
                advert: Some(Advert::new(stamp_ns, desk.key, desk.source, signer, desk.carp, false)),
            },
        }
    }
}

impl Outcome {
    /// What the kernel is told to do with the frame.
    #[must_use]
    pub fn verdict(self) -> u32 {
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
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Refused(_, reason) => reason.label(),
            Self::Passed(..) => "passed",
            Self::Accepted(..) => "accepted",
        }
    }

    /// What one frame adds to the counters of which slot.
    #[must_use]
    pub fn counted(self) -> Option<(u32, Counters)> {
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

pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;
