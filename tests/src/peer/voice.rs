//! Who says what on the wire, in each protocol, and what a standby's takeovers are.

use std::net::Ipv4Addr;
use std::time::Duration;

use ha_common::wire::{carp, ethernet, ipv4};

use super::{Pace, Peer, milliseconds, nanos};
use crate::capture::Captured;
use crate::pair::{A, B};

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// The active one is there.
    Active,
    /// The active one goes.
    Farewell,
    /// The standby takes over: it advertises, or says that it hears nothing of its peer.
    Standby,
}

/// The last advertisement of the active one, and the first of the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// In ns of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
    /// In ns of `CLOCK_MONOTONIC`.
    pub first_ns: u64,
}

impl Peer {
    /// What a frame says of a pair whose active one is [`Pair::a`](crate::Pair::a). IPv4 only.
    #[must_use]
    pub fn voice(self, frame: &Captured) -> Option<Voice> {
        let (header, packet) = frame.frame.split_first_chunk()?;
        let ip = ipv4::Header(packet.first_chunk()?);
        if ethernet::Header(header).ethertype() != ethernet::IPV4 {
            return None;
        }
        let message = packet.get(ip.header_len().into()..)?;
        let source = ip.source().into();
        match (self, ip.protocol()) {
            (Self::HaAgent | Self::Ucarp, ipv4::PROTOCOL) => {
                let message = carp::Header(message.first_chunk()?);
                advertisement(source, (message.advbase(), message.advskew()) == BOW_OUT)
            }
            (Self::Keepalived | Self::KeepalivedRt | Self::Vrrpd, ipv4::PROTOCOL) => {
                advertisement(source, message.get(2) == Some(&GIVES_UP))
            }
            (Self::Bfdd, UDP) if message.get(2..4)? == BFD => bfd(source, message.get(8..)?),
            (_, _) => None,
        }
    }

    /// Where the standby began to advertise: after a silence that was as long as its patience, and in which the
    /// active one was heard. So neither its hiccups count nor that two masters talk in turn.
    #[must_use]
    pub fn takeovers(self, pace: Pace, frames: &[Captured]) -> Vec<Takeover> {
        let dead_ns = nanos(self.dead_time(pace));
        let mut found = Vec::new();
        let (mut of_standby, mut of_active, mut heard) = (None, 0, true);
        for frame in frames {
            match self.voice(frame) {
                Some(Voice::Standby) => {
                    let silent = |last: u64| frame.at_ns.saturating_sub(last) >= dead_ns;
                    if heard && of_standby.is_none_or(silent) {
                        found.push(Takeover { last_ns: of_active, first_ns: frame.at_ns });
                    }
                    (of_standby, heard) = (Some(frame.at_ns), false);
                }
                Some(Voice::Active | Voice::Farewell) => (of_active, heard) = (frame.at_ns, true),
                None => {}
            }
        }
        found
    }
}

impl Takeover {
    /// How much longer it took than a dead time.
    #[must_use]
    pub fn overshoot_ms(&self, dead_time: Duration) -> f64 {
        milliseconds(self.first_ns, self.last_ns + nanos(dead_time))
    }
}

/// CARP and VRRP: whoever advertises is active, or wants to be.
fn advertisement(source: Ipv4Addr, farewell: bool) -> Option<Voice> {
    match (source, farewell) {
        (A, false) => Some(Voice::Active),
        (A, true) => Some(Voice::Farewell),
        (B, false) => Some(Voice::Standby),
        // The standby gives back what it should not have had, or it is somebody else.
        (_, _) => None,
    }
}

/// BFD (RFC 5880 §4.1): a standby that has lost its peer says that it is down, and that it found out itself.
fn bfd(source: Ipv4Addr, message: &[u8]) -> Option<Voice> {
    let (diagnostic, state) = (message.first()? & 0x1f, message.get(1)? >> 6);
    match (source, diagnostic, state) {
        (A, _, UP) => Some(Voice::Active),
        (B, DETECTION_TIME_EXPIRED, DOWN) => Some(Voice::Standby),
        (_, _, _) => None,
    }
}

/// CARP: advbase and advskew of the one that leaves.
const BOW_OUT: (u8, u8) = (255, 255);
/// VRRP: the priority of the one that leaves.
const GIVES_UP: u8 = 0;
const UDP: u8 = 17;
/// Its port, 3784.
const BFD: [u8; 2] = 3784_u16.to_be_bytes();
// RFC 5880 §4.1, diagnostics and states.
const DETECTION_TIME_EXPIRED: u8 = 1;
const DOWN: u8 = 1;
const UP: u8 = 3;
