//! From a frame's first byte to a CARP advertisement: Ethernet, VLAN tags, IPv4 or IPv6, CARP.
//!
//! Generic over the [`Cursor`]: compiled for BPF, where it reads the packet in place, and for user space,
//! where it reads slices, is tested and fuzzed. It says what a frame *is*, and what is wrong with it as a
//! frame; who may have sent it is for [`judge`](crate::judge::judge).
//!
//! The work is in two steps, so that the node's other traffic leaves after as few instructions as can be,
//! and refusals are counted for the virtual host that they concern: [`decode`] finds out whether a frame is
//! CARP and for which virtual host; [`Candidate::check`] looks closer, cheap checks before dear ones.

use crate::abi::{Address, FAMILY_IPV4, FAMILY_IPV6};
use crate::reason::Reason;
use crate::wire::{carp, ethernet, ipv4, ipv6};

/// Bytes that can be read at an offset, if they are there.
pub trait Cursor {
    /// `N` bytes at `offset`, or `None` where the frame ends before.
    fn get<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// The VLAN of a tag that was taken off the frame before it can be read, if one was.
    #[inline(always)]
    fn tag(&self) -> Option<u16> {
        None
    }
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
    /// Protocol 112, but somebody else's use of it: [`Reason::NotCarp`] or [`Reason::BadVer`].
    NotCarp(Reason),
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
    network: Network<'a>,
    /// `None` where the frame ends before its 36 bytes do.
    carp: Option<&'a [u8; carp::LEN]>,
}

/// The header that CARP lies behind.
#[derive(Clone, Copy, Debug)]
enum Network<'a> {
    Ipv4(ipv4::Header<'a>),
    Ipv6(ipv6::Header<'a>),
}

/// Finds out whether a frame is CARP.
///
/// It is if and only if it is protocol 112 over IPv4, not a later fragment, or over IPv6 without extension
/// headers, its payload has exactly 36 bytes by the header before it, byte 0 is `0x21` and byte 3 is 7 (CARP
/// specification §1.4). Everything else on protocol 112 belongs to somebody else.
#[inline(always)]
#[must_use]
pub fn decode<C: Cursor>(frame: &C) -> Frame<'_> {
    let Some((outer_vlan, vlan, ethertype, l3)) = link_layer(frame) else { return Frame::Foreign };
    let (network, l4) = if ethertype == ethernet::IPV4 {
        let Some(header) = frame.get(l3) else { return Frame::Foreign };
        let header = ipv4::Header(header);
        if header.protocol() != ipv4::PROTOCOL || header.version() != 4 {
            return Frame::Foreign;
        }
        let header_len = header.header_len();
        if header.is_later_fragment()
            || usize::from(header_len) < ipv4::LEN
            || header.total_len() != u16::from(header_len) + PAYLOAD_LEN
        {
            return Frame::NotCarp(Reason::NotCarp);
        }
        (Network::Ipv4(header), l3 + usize::from(header_len))
    } else if ethertype == ethernet::IPV6 {
        let Some(header) = frame.get(l3) else { return Frame::Foreign };
        let header = ipv6::Header(header);
        if header.next_header() != ipv4::PROTOCOL || header.version() != 6 {
            return Frame::Foreign;
        }
        if header.payload_len() != PAYLOAD_LEN {
            return Frame::NotCarp(Reason::NotCarp);
        }
        (Network::Ipv6(header), l3 + ipv6::LEN)
    } else {
        return Frame::Foreign;
    };
    match frame.get(l4) {
        Some(&[carp::VERSION_AND_TYPE, vhid, _, carp::AUTHLEN]) => {
            Frame::Carp(Candidate { outer_vlan, vlan, vhid, network, carp: frame.get(l4) })
        }
        // VRRP version 3 with seven addresses looks like this; nothing that is known has another version.
        Some(&[first, _, _, carp::AUTHLEN]) if first >> 4 != VRRP_VERSION => Frame::NotCarp(Reason::BadVer),
        _ => Frame::NotCarp(Reason::NotCarp),
    }
}

impl<'a> Candidate<'a> {
    /// Looks at the frame as a frame. `is_ours` says whether the virtual host takes frames that are sent to an
    /// address.
    ///
    /// # Errors
    ///
    /// The first reason, in the order of the checks, for which the frame is refused.
    #[inline(always)]
    pub fn check(&self, is_ours: impl FnOnce(&Address) -> bool) -> Result<&'a [u8; carp::LEN], Reason> {
        match self.network {
            Network::Ipv4(header) => {
                if usize::from(header.header_len()) != ipv4::LEN {
                    return Err(Reason::BadOpts);
                }
                if header.more_fragments() {
                    return Err(Reason::BadFrag);
                }
                if header.ttl() != ipv4::TTL {
                    return Err(Reason::BadTtl);
                }
            }
            Network::Ipv6(header) => {
                if header.hop_limit() != ipv6::HOP_LIMIT {
                    return Err(Reason::BadTtl);
                }
            }
        }
        let carp = self.carp.ok_or(Reason::BadLen)?;
        if !is_ours(&self.destination()) {
            return Err(Reason::BadDst);
        }
        let header_ok = match self.network {
            Network::Ipv4(header) => header.checksum_ok(),
            // It has none.
            Network::Ipv6(_) => true,
        };
        if !header_ok || !carp::Header(carp).checksum_ok() {
            return Err(Reason::BadSum);
        }
        Ok(carp)
    }

    /// What it says, unchecked; `None` where the frame ends before.
    #[inline(always)]
    #[must_use]
    pub fn said(&self) -> Option<&'a [u8; carp::LEN]> {
        self.carp
    }

    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    #[inline(always)]
    #[must_use]
    pub fn family(&self) -> u8 {
        match self.network {
            Network::Ipv4(_) => FAMILY_IPV4,
            Network::Ipv6(_) => FAMILY_IPV6,
        }
    }

    /// Address of the sender; may be unspecified, and may be a virtual address (CARP specification §1.1).
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Address {
        match self.network {
            Network::Ipv4(header) => Address::v4(header.source()),
            Network::Ipv6(header) => Address(*header.source()),
        }
    }

    /// Address of the receiver, or a group.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> Address {
        match self.network {
            Network::Ipv4(header) => Address::v4(header.destination()),
            Network::Ipv6(header) => Address(*header.destination()),
        }
    }
}

/// Outer VLAN, VLAN, what follows after two tags at most, and its offset; `None` where the frame ends before.
#[inline(always)]
#[must_use]
pub fn link_layer<C: Cursor>(frame: &C) -> Option<(u16, u16, u16, usize)> {
    let ethertype = ethernet::Header(frame.get(0)?).ethertype();
    if let Some(taken_off) = frame.tag() {
        if ethertype != ethernet::DOT1Q {
            return Some((0, taken_off, ethertype, ethernet::LEN));
        }
        let inner = ethernet::Tag(frame.get(ethernet::LEN)?);
        return Some((taken_off, inner.vlan(), inner.ethertype(), ethernet::LEN + ethernet::TAG_LEN));
    }
    if ethertype != ethernet::DOT1Q && ethertype != ethernet::DOT1AD {
        return Some((0, 0, ethertype, ethernet::LEN));
    }
    let first = ethernet::Tag(frame.get(ethernet::LEN)?);
    if first.ethertype() != ethernet::DOT1Q {
        return Some((0, first.vlan(), first.ethertype(), ethernet::LEN + ethernet::TAG_LEN));
    }
    let second = ethernet::Tag(frame.get(ethernet::LEN + ethernet::TAG_LEN)?);
    Some((first.vlan(), second.vlan(), second.ethertype(), ethernet::LEN + 2 * ethernet::TAG_LEN))
}

#[expect(clippy::cast_possible_truncation, reason = "36")]
const PAYLOAD_LEN: u16 = carp::LEN as u16;
/// VRRP over IPv4 and IPv6 (RFC 9568); its version 2 differs from CARP in the byte after next.
const VRRP_VERSION: u8 = 3;
