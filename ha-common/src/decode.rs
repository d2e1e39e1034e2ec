//! From a frame's first byte to a CARP advertisement: Ethernet, VLAN tags, IPv4, CARP.
//!
//! Generic over the [`Cursor`]: compiled for BPF, where it reads the packet in place, and for user space,
//! where it reads slices, is tested and fuzzed. It says what a frame *is*; the verdict is the caller's.
//!
//! The work is in two steps, so that the node's other traffic leaves after as few instructions as can be,
//! and refusals are counted for the virtual host that they concern: [`decode`] finds out whether a frame is
//! CARP and for which virtual host; [`Candidate::check`] judges it, cheap checks before dear ones.

use crate::reason::Reason;
use crate::wire::{carp, ethernet, ipv4};

/// Bytes that can be read at an offset, if they are there.
pub trait Cursor {
    /// `N` bytes at `offset`, or `None` where the frame ends before.
    fn get<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;
}

impl Cursor for &[u8] {
    #[inline(always)]
    fn get<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        <[u8]>::get(self, offset..)?.first_chunk()
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// Not protocol 112: the node's other traffic.
    Foreign,
    /// Protocol 112, but VRRP or something unknown.
    NotCarp,
    /// CARP, for some virtual host.
    Carp(Candidate<'a>),
}

/// A frame that says it is CARP; nothing of it is checked yet.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Outer VLAN of a doubly tagged frame, else 0.
    pub outer_vlan: u16,
    /// VLAN, or 0.
    pub vlan: u16,
    /// The virtual host that it names, 0 to 255.
    pub vhid: u8,
    ipv4: ipv4::Header<'a>,
    /// `None` where the frame ends before its 36 bytes do.
    carp: Option<&'a [u8; carp::LEN]>,
}

/// Finds out whether a frame is CARP.
///
/// It is if and only if it is IPv4, protocol 112, not a later fragment, its payload has exactly 36 bytes by
/// the IPv4 header, byte 0 is `0x21` and byte 3 is 7 (CARP specification §1.4). Everything else on protocol
/// 112 belongs to somebody else.
#[inline(always)]
#[must_use]
pub fn decode<C: Cursor>(frame: &C) -> Frame<'_> {
    let Some((outer_vlan, vlan, l3)) = link_layer(frame) else { return Frame::Foreign };
    let Some(header) = frame.get(l3) else { return Frame::Foreign };
    let ipv4 = ipv4::Header(header);
    if ipv4.protocol() != ipv4::PROTOCOL || ipv4.version() != 4 {
        return Frame::Foreign;
    }
    let header_len = ipv4.header_len();
    if ipv4.is_later_fragment()
        || usize::from(header_len) < ipv4::LEN
        || ipv4.total_len() != u16::from(header_len) + PAYLOAD_LEN
    {
        return Frame::NotCarp;
    }
    let l4 = l3 + usize::from(header_len);
    match frame.get(l4) {
        Some(&[carp::VERSION_AND_TYPE, vhid, _, carp::AUTHLEN]) => {
            Frame::Carp(Candidate { outer_vlan, vlan, vhid, ipv4, carp: frame.get(l4) })
        }
        _ => Frame::NotCarp,
    }
}

impl<'a> Candidate<'a> {
    /// Judges the frame against what its virtual host expects.
    ///
    /// # Errors
    ///
    /// The first reason, in the order of the checks, for which the frame is refused.
    #[inline(always)]
    pub fn check(&self, group: [u8; 4]) -> Result<&'a [u8; carp::LEN], Reason> {
        if usize::from(self.ipv4.header_len()) != ipv4::LEN {
            return Err(Reason::BadOpts);
        }
        if self.ipv4.more_fragments() {
            return Err(Reason::BadFrag);
        }
        if self.ipv4.ttl() != ipv4::TTL {
            return Err(Reason::BadTtl);
        }
        let carp = self.carp.ok_or(Reason::BadLen)?;
        if self.ipv4.destination() != group {
            return Err(Reason::BadDst);
        }
        if !self.ipv4.checksum_ok() || !carp::Header(carp).checksum_ok() {
            return Err(Reason::BadSum);
        }
        Ok(carp)
    }

    /// Address of the sender; may be `0.0.0.0`, and may be a virtual address (CARP specification §1.1).
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> [u8; 4] {
        self.ipv4.source()
    }
}

/// Outer VLAN, VLAN and the offset of the IPv4 header.
#[inline(always)]
fn link_layer<C: Cursor>(frame: &C) -> Option<(u16, u16, usize)> {
    let ethertype = ethernet::Header(frame.get(0)?).ethertype();
    if ethertype == ethernet::IPV4 {
        return Some((0, 0, ethernet::LEN));
    }
    if ethertype != ethernet::DOT1Q && ethertype != ethernet::DOT1AD {
        return None;
    }
    let first = ethernet::Tag(frame.get(ethernet::LEN)?);
    if first.ethertype() == ethernet::IPV4 {
        return Some((0, first.vlan(), ethernet::LEN + ethernet::TAG_LEN));
    }
    if first.ethertype() != ethernet::DOT1Q {
        return None;
    }
    let second = ethernet::Tag(frame.get(ethernet::LEN + ethernet::TAG_LEN)?);
    (second.ethertype() == ethernet::IPV4).then_some((
        first.vlan(),
        second.vlan(),
        ethernet::LEN + 2 * ethernet::TAG_LEN,
    ))
}

#[expect(clippy::cast_possible_truncation, reason = "36")]
const PAYLOAD_LEN: u16 = carp::LEN as u16;
