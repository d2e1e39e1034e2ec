//! Echo: what the kernel program answers when another node's kernel asks, and whom (docs/echo.md).
//!
//! Generic over the [`Cursor`] and the [`World`], as [`decode`](crate::decode) and [`judge`](crate::judge) are: compiled for
//! BPF, and for user space, where it is tested.
//!
//! Cheap checks come before dear ones. What was answered before is refused before anything is hashed, and what is counted to a
//! peer is only what the peer has sealed: so neither a forger nor somebody who repeats uses up what the peer may ask.

use crate::abi::{Address, Asked, FAMILY_IPV4, FAMILY_IPV6, KEYS, Lease, Oneself, Path, PathKey};
use crate::auth::Scratch;
use crate::decode::{Cursor, link_layer};
use crate::reason::reasons;
use crate::wire::echo::{self, Header, Kind, MOST_ASKED, Repr, Role};
use crate::wire::{ethernet, ipv4, ipv6, udp};

reasons! {
    /// Why a frame to the echo's port was not answered.
    enum Refusal;
    /// What one processor counted for one path, in frames.
    struct EchoCounters {
        /// Frames to the echo's port.
        received,
        /// Probes that were answered, and answers that were heard.
        accepted,
    }
    /// No probe of this version: too short, too long, in fragments or with options, or of another version.
    BadForm, badform, "not a probe of this version, or not of its length";
    /// Fewer than 255 hops left: it came from another link.
    BadTtl, badttl, "a TTL or hop limit other than 255: not from this link";
    /// Not from a peer's address on that interface.
    BadSource, badsource, "from an address that is no peer's on this interface";
    /// Sent to somebody else.
    BadDst, baddst, "sent to another address than our own on this path";
    /// Our own, sent back to us.
    Looped, looped, "said to be from ourselves: sent back to us";
    /// This probe, or a later one, was answered before; or nobody waits for this answer.
    Replay, replay, "answered before, or an answer that nobody waits for: a recorded message was sent again";
    /// Another key.
    BadAuth, badauth, "a wrong seal: made without the pair's key";
    /// More than a peer may ask.
    Limited, limited, "more than a peer may ask";
}

/// What is known besides the frame.
pub trait World {
    /// The path that a probe came on, if it is a peer's.
    fn path(&self, key: &PathKey) -> Option<&Path>;

    /// What was heard on it.
    fn asked(&self, slot: u32) -> Option<Asked>;

    /// When a probe of ours left that is not answered yet, in ns of `CLOCK_MONOTONIC`.
    fn departed(&self, slot: u32, nonce: u64) -> Option<u64>;

    /// Remembers that a probe of ours was answered.
    fn answered(&self, slot: u32, nonce: u64);

    /// Remembers what was heard.
    fn remember(&self, slot: u32, asked: Asked);

    /// What a virtual host is, by the key that it is asked for with.
    fn role(&self, host: u32) -> Role;

    /// The lease, and when another one last said that it serves.
    fn lease(&self) -> (Lease, u64);

    /// Now, in ns of `CLOCK_MONOTONIC`.
    fn now_ns(&self) -> u64;

    /// Now, in ns of `CLOCK_BOOTTIME`.
    fn boot_ns(&self) -> u64;
}

/// A frame to the echo's port.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    outer_vlan: u16,
    vlan: u16,
    network: Network<'a>,
    /// Where the network's header begins, in bytes.
    l3: usize,
    /// `None` where it is not of the one length that there is.
    message: Option<&'a [u8; echo::LEN]>,
}

#[derive(Clone, Copy, Debug)]
enum Network<'a> {
    Ipv4(ipv4::Header<'a>),
    Ipv6(ipv6::Header<'a>),
}

/// Where a frame lies while it is judged. In memory that is given, because the kernel's stack is small.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Desk {
    /// Where it came from.
    pub key: PathKey,
    /// Where the network's header begins, in bytes, and its family: in memory, so that the verifier sees one way to go on,
    /// however a frame was tagged.
    place: (u32, u32),
    /// Which of [`Path::theirs`] is to seal it, and which of [`Path::answers`] its answer: likewise.
    seals: (u32, u32),
    /// When the probe left that it answers, in ns; 0 if it is a probe itself.
    departed_ns: u64,
    /// What it says; where it is to be answered, the answer.
    pub message: [u8; echo::LEN],
    scratch: Scratch,
}

impl Default for Desk {
    fn default() -> Self {
        let key = PathKey { ifindex: 0, outer_vlan: 0, vlan: 0, family: 0, address: Address::default() };
        Self {
            key,
            place: (0, 0),
            seals: (0, 0),
            departed_ns: 0,
            message: [0; echo::LEN],
            scratch: Scratch::default(),
        }
    }
}

impl Desk {
    /// Where the network's header of the frame begins that was judged, 0 to 31 bytes, and whether it is IPv4's.
    #[inline(always)]
    #[must_use]
    pub fn place(&self) -> (usize, bool) {
        let (l3, family) = core::hint::black_box(self).place;
        ((l3 & 31) as usize, family == u32::from(FAMILY_IPV4))
    }
}

/// Finds out whether a frame is for the echo's port.
#[inline(always)]
#[must_use]
pub fn find<C: Cursor>(frame: &C, port: u16) -> Option<Candidate<'_>> {
    let (outer_vlan, vlan, ethertype, l3) = link_layer(frame)?;
    if ethertype == ethernet::IPV4 {
        let header = ipv4::Header(frame.get(l3)?);
        // With options it is none of ours: then what would be the port is something else.
        if header.protocol() != udp::PROTOCOL
            || usize::from(header.header_len()) != ipv4::LEN
            || header.version() != 4
            || header.is_later_fragment()
        {
            return None;
        }
        let l4 = l3 + ipv4::LEN;
        let ports = udp::Header(frame.get(l4)?);
        if ports.destination() != port {
            return None;
        }
        let is_whole = header.total_len() == IPV4_LEN && !header.more_fragments() && is_whole(ports, port);
        let message = if is_whole { frame.get(l4 + udp::LEN) } else { None };
        Some(Candidate { outer_vlan, vlan, network: Network::Ipv4(header), l3, message })
    } else if ethertype == ethernet::IPV6 {
        let header = ipv6::Header(frame.get(l3)?);
        if header.next_header() != udp::PROTOCOL || header.version() != 6 {
            return None;
        }
        let l4 = l3 + ipv6::LEN;
        let ports = udp::Header(frame.get(l4)?);
        if ports.destination() != port {
            return None;
        }
        let is_whole = header.payload_len() == UDP_LEN && is_whole(ports, port);
        let message = if is_whole { frame.get(l4 + udp::LEN) } else { None };
        Some(Candidate { outer_vlan, vlan, network: Network::Ipv6(header), l3, message })
    } else {
        None
    }
}

#[inline(always)]
fn is_whole(ports: udp::Header<'_>, port: u16) -> bool {
    // From the same port, so that the answer's need not change.
    ports.len() == UDP_LEN && ports.source() == port
}

impl<'a> Candidate<'a> {
    /// What it says, unchecked; `None` where it is not of the one length that there is.
    #[inline(always)]
    #[must_use]
    pub fn message(&self) -> Option<&'a [u8; echo::LEN]> {
        self.message
    }

    /// The path that it takes, where it leaves an interface.
    #[inline(always)]
    #[must_use]
    pub fn way(&self, ifindex: u32) -> PathKey {
        let Self { outer_vlan, vlan, .. } = *self;
        PathKey { ifindex, outer_vlan, vlan, family: self.family(), address: self.destination() }
    }

    #[inline(always)]
    fn family(&self) -> u32 {
        u32::from(match self.network {
            Network::Ipv4(_) => FAMILY_IPV4,
            Network::Ipv6(_) => FAMILY_IPV6,
        })
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        match self.network {
            Network::Ipv4(header) => header.ttl(),
            Network::Ipv6(header) => header.hop_limit(),
        }
    }

    #[inline(always)]
    fn source(&self) -> Address {
        match self.network {
            Network::Ipv4(header) => Address::v4(header.source()),
            Network::Ipv6(header) => Address(*header.source()),
        }
    }

    #[inline(always)]
    fn destination(&self) -> Address {
        match self.network {
            Network::Ipv4(header) => Address::v4(header.destination()),
            Network::Ipv6(header) => Address(*header.destination()),
        }
    }
}

/// What is to become of a message that a peer has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A probe: the answer is on the desk, sealed.
    Answer,
    /// An answer, which is on the desk.
    Heard {
        /// When the probe had left, in ns of `CLOCK_MONOTONIC`.
        departed_ns: u64,
        /// When it arrived.
        now_ns: u64,
    },
}

/// Judges a frame that arrived on an interface. Beside the verdict stands the slot of the path, [`NO_PATH`] where there is none.
#[inline(always)]
pub fn judge(
    candidate: &Candidate<'_>,
    ifindex: u32,
    oneself: &Oneself,
    world: &impl World,
    desk: &mut Desk,
) -> (u32, Result<Accepted, Refusal>) {
    let Candidate { outer_vlan, vlan, .. } = *candidate;
    let family = candidate.family();
    desk.key = PathKey { ifindex, outer_vlan, vlan, family, address: candidate.source() };
    #[expect(clippy::cast_possible_truncation, reason = "22 at most")]
    let l3 = candidate.l3 as u32;
    desk.place = (l3, family);
    let Some(path) = world.path(&desk.key) else { return (NO_PATH, Err(Refusal::BadSource)) };
    (path.slot, accept(candidate, path, oneself, world, desk))
}

#[inline(always)]
fn accept(
    candidate: &Candidate<'_>,
    path: &Path,
    oneself: &Oneself,
    world: &impl World,
    desk: &mut Desk,
) -> Result<Accepted, Refusal> {
    if candidate.hops() != ipv4::TTL {
        return Err(Refusal::BadTtl);
    }
    if candidate.destination() != path.own {
        return Err(Refusal::BadDst);
    }
    desk.message = *candidate.message.ok_or(Refusal::BadForm)?;
    // From here on the frame itself is not looked at: see `judge::accept`.
    look(path, world, desk)?;
    // And nothing is known any more of what was found.
    let Desk { message, scratch, seals: (seal, answer), departed_ns, .. } = core::hint::black_box(desk);
    if !path.theirs[*seal as usize & (2 * KEYS - 1)].is_whole(scratch, message) {
        return Err(Refusal::BadAuth);
    }
    let (now_ns, probe) = (world.now_ns(), Header(message));
    if *departed_ns != 0 {
        world.answered(path.slot, probe.nonce());
        return Ok(Accepted::Heard { departed_ns: *departed_ns, now_ns });
    }
    let asked = world.asked(path.slot).unwrap_or_default();
    let used_ns = asked.one_more(now_ns, oneself.pace_ns).ok_or(Refusal::Limited)?;
    world.remember(path.slot, Asked { boot: probe.boot(), nonce: probe.nonce(), used_ns });
    compose(oneself, world, message);
    path.answers[*answer as usize & (KEYS - 1)].close(scratch, message);
    Ok(Accepted::Answer)
}

/// Looks at a message before anything is hashed, and writes down what it is to be sealed with.
#[inline(always)]
fn look(path: &Path, world: &impl World, desk: &mut Desk) -> Result<(), Refusal> {
    let probe = Header(core::hint::black_box(&desk.message));
    let kind = probe.kind().ok_or(Refusal::BadForm)?;
    if u32::from(probe.sender()) != path.peer {
        return Err(Refusal::Looped);
    }
    desk.departed_ns = match kind {
        Kind::Probe => {
            let asked = world.asked(path.slot).unwrap_or_default();
            if asked.is_old(probe.boot(), probe.nonce()) {
                return Err(Refusal::Replay);
            }
            0
        }
        Kind::Answer => world.departed(path.slot, probe.nonce()).ok_or(Refusal::Replay)?,
    };
    let key = path.key(probe.key()).ok_or(Refusal::BadAuth)?;
    desk.seals = match kind {
        Kind::Probe => (key, key),
        Kind::Answer => (OF_ANSWERS + key, key),
    };
    Ok(())
}

/// Makes the answer out of a probe, not sealed yet. A function of its own, also in the kernel, whose stack is small.
#[inline(never)]
fn compose(oneself: &Oneself, world: &impl World, message: &mut [u8; echo::LEN]) {
    let (oneself, message) = (core::hint::black_box(oneself), core::hint::black_box(message));
    let probe = Header(message);
    let (lease, doubt_ns) = world.lease();
    let boot_ns = world.boot_ns();
    let mut hosts = probe.hosts();
    for (index, host) in hosts.iter_mut().enumerate() {
        *host = if index < probe.count() { world.role(*host) as u32 } else { 0 };
    }
    Repr {
        kind: Kind::Answer,
        #[expect(clippy::cast_possible_truncation, reason = "0 or 1")]
        sender: oneself.node as u8,
        nonce: probe.nonce(),
        boot: oneself.boot,
        generation: oneself.generation,
        lease_us: lease.left_us(boot_ns, doubt_ns),
        age_us: microseconds(boot_ns.saturating_sub(lease.alive_ns)),
        #[expect(clippy::cast_possible_truncation, reason = "at most 3")]
        count: probe.count() as u8,
        flags: if lease.has(Lease::ENDED) { echo::GONE } else { 0 },
        key: probe.key(),
        hosts,
    }
    .write(message);
}

/// In whole µs, as many as there is room for.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "compared before")]
pub(crate) fn microseconds(ns: u64) -> u32 {
    let us = ns / 1000;
    // The last number means something else.
    if us < u64::from(echo::NO_LEASE) { us as u32 } else { echo::NO_LEASE - 1 }
}

/// Where in [`Path::theirs`] the seals of answers begin.
#[expect(clippy::cast_possible_truncation, reason = "2")]
const OF_ANSWERS: u32 = KEYS as u32;

/// No path is known: the slot whose counters are those of all such frames.
#[expect(clippy::cast_possible_truncation, reason = "64")]
pub const NO_PATH: u32 = crate::abi::MAX_PATHS as u32;

const _: () = assert!(MOST_ASKED == 3 && ipv4::TTL == ipv6::HOP_LIMIT);

/// Length of UDP's header and the message, in bytes.
#[expect(clippy::cast_possible_truncation, reason = "80")]
const UDP_LEN: u16 = (udp::LEN + echo::LEN) as u16;
#[expect(clippy::cast_possible_truncation, reason = "20")]
const IPV4_LEN: u16 = ipv4::LEN as u16 + UDP_LEN;
