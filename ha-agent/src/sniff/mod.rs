//! What frames on protocol 112 say, for people: decoded, with the verdict and its reason.
//!
//! It decides by the kernel's decoder and digest, but judges everybody's frames, not only those for virtual hosts of ours.
//!
//! ```text
//! recording or interface ── link      as Ethernet, whatever it was recorded as
//!                           └─ Sniffer
//!                              ├─ outline    who to whom, on which VLAN
//!                              ├─ decode     CARP, VRRP or neither (ha-common)
//!                              ├─ keys       the digest
//!                              ├─ strict     what is replayed or stale
//!                              └─ suspicions what looks recorded in compat mode
//!                                 └─ Sighting: a line, or an object in JSON
//! ```

pub mod keys;
mod link;
pub mod live;
mod outline;
pub mod recording;
mod sighting;
mod strict;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ha_common::decode::{Cursor, Frame, decode};
use ha_common::fresh::Stamp;
use ha_common::reason::Reason;
use ha_common::wire::carp;
use ha_common::wire::ethernet::VLAN_MASK;

use self::keys::Keys;
use self::outline::Outline;
use self::strict::Memory;
use crate::core::suspicion::{Heard, Suspicions};
use crate::core::{Advertisement, Instant, Priority};

pub use self::link::Kind;
pub use self::sighting::{Carp, Sighting, StrictStamp, Verdict, Vrrp};

/// A frame, and what is known of it beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its bytes, as far as they are there.
    pub bytes: &'a [u8],
    /// What they begin with.
    pub kind: Kind,
    /// How many it had, at least as many.
    pub length: usize,
    /// When it was received, in ns since 1970; `None` where nobody knows.
    pub at_ns: Option<u64>,
    /// The control bytes of a VLAN tag that was taken off.
    pub tag: Option<u16>,
    /// Whether this node sent it; of a recording, the node where that was made.
    pub outgoing: bool,
}

/// Looks at frames, one after the other, and remembers what it needs of them. Bounded, however many senders there are.
#[derive(Debug)]
pub struct Sniffer {
    keys: Keys,
    /// How many frames were looked at.
    frames: u64,
    /// When somebody was last heard for a virtual host.
    last: BTreeMap<(IpAddr, u8), u64>,
    memory: Memory,
    suspicions: BTreeMap<u8, Suspicions>,
}

impl Sniffer {
    /// One that checks digests with these keys.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            frames: 0,
            last: BTreeMap::new(),
            memory: Memory::default(),
            suspicions: BTreeMap::new(),
        }
    }

    /// What a frame is; `None` if it is not on protocol 112, or ends before that can be known.
    pub fn see(&mut self, received: &Received<'_>) -> Option<Sighting> {
        self.frames += 1;
        let bytes = received.kind.as_ethernet(received.bytes)?;
        let frame = Tagged { bytes: &bytes, tag: received.tag.map(|tag| tag & VLAN_MASK) };
        let decoded = match decode(&frame) {
            Frame::Foreign => return None,
            decoded @ (Frame::NotCarp(_) | Frame::Carp(_)) => decoded,
        };
        let outline = Outline::of(&frame)?;
        let mut sighting = Sighting::new(self.frames, received, &outline, bytes.len());
        match decoded {
            // Nothing more; it was returned above.
            Frame::Foreign => {}
            Frame::NotCarp(reason) => {
                sighting.vrrp = outline.vrrp(&frame);
                sighting.refuse(reason);
            }
            Frame::Carp(candidate) => {
                let checked = candidate.check(|_| outline.is_for_carp());
                if let Some(said) = candidate.said() {
                    self.hear(&mut sighting, carp::Header(said));
                } else {
                    sighting.vhid = Some(candidate.vhid);
                }
                if let Err(reason) = checked {
                    sighting.refuse(reason);
                }
            }
        }
        Some(sighting)
    }

    /// What an advertisement says, and whether it may be believed.
    fn hear(&mut self, sighting: &mut Sighting, header: carp::Header<'_>) {
        let (vhid, counter) = (header.vhid(), header.counter());
        sighting.vhid = Some(vhid);
        let stamp = Stamp::from_counter(counter);
        let strict = stamp.agrees_with(header).then(|| StrictStamp::new(stamp, sighting.at_ns));
        sighting.carp = Some(Carp::new(header, strict));
        if let Some(at_ns) = sighting.at_ns {
            sighting.since_last_ns = self.since_last(sighting.source, vhid, at_ns);
        }
        match self.keys.authentic(vhid, counter, header.digest()) {
            Ok(true) => sighting.accept(),
            Ok(false) => {
                sighting.authentic = Some(false);
                return sighting.refuse(Reason::BadAuth);
            }
            Err(missing) => return sighting.leave_open(missing),
        }
        if let Some(terms) = self.keys.strict(vhid) {
            if let Err(reason) = self.memory.judge(header, sighting.source, sighting.at_ns, terms) {
                sighting.refuse(reason);
            }
        } else if strict.is_none() {
            self.suspect(sighting, header);
        }
    }

    fn since_last(&mut self, source: IpAddr, vhid: u8, at_ns: u64) -> Option<u64> {
        if self.last.len() >= REMEMBERED && !self.last.contains_key(&(source, vhid)) {
            self.last.clear();
        }
        let before = self.last.insert((source, vhid), at_ns)?;
        at_ns.checked_sub(before)
    }

    fn suspect(&mut self, sighting: &mut Sighting, header: carp::Header<'_>) {
        let now = Instant::from_nanos(sighting.at_ns.unwrap_or_default());
        let priority = Priority { advbase: header.advbase(), advskew: header.advskew() };
        let (counter, demote) = (header.counter(), header.demote());
        let suspicions = self.suspicions.entry(header.vhid()).or_default();
        if sighting.outgoing {
            return suspicions.sent(now, counter, Advertisement { priority, demote });
        }
        let digest = *header.digest();
        let heard = Heard { source: sighting.source, counter, digest, priority, demote };
        let found = suspicions.hear(now, &heard);
        sighting.suspicious.extend(found.iter().map(|found| found.kind.name()));
        sighting.notes.extend(found.iter().map(ToString::to_string));
    }
}

/// A frame, and the tag that was taken off.
#[derive(Clone, Copy)]
struct Tagged<'a> {
    bytes: &'a [u8],
    tag: Option<u16>,
}

impl Cursor for Tagged<'_> {
    fn get<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.bytes.get(offset..)?.first_chunk()
    }

    fn tag(&self) -> Option<u16> {
        self.tag
    }
}

/// How many senders are remembered at once.
const REMEMBERED: usize = 4096;
