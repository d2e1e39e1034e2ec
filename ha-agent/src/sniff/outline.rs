//! Who sent a frame on protocol 112 to whom; and what it says if it is VRRP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ha_common::decode::{Cursor, link_layer};
use ha_common::wire::{carp, ethernet, ipv4, ipv6};

use super::Vrrp;

/// The headers before what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) outer_vlan: u16,
    pub(super) vlan: u16,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Time to live, or hop limit.
    pub(super) ttl: u8,
    /// Whether it is a fragment, the first one or a later one.
    pub(super) fragment: bool,
    /// Where the payload begins, and how long it should be.
    payload: (usize, usize),
}

impl Outline {
    /// `None` where the frame ends before, or is neither IPv4 nor IPv6.
    pub(super) fn of(frame: &impl Cursor) -> Option<Self> {
        let (outer_vlan, vlan, ethertype, at) = link_layer(frame)?;
        match ethertype {
            ethernet::IPV4 => {
                let header = ipv4::Header(frame.get(at)?);
                let length = usize::from(header.header_len());
                Some(Self {
                    outer_vlan,
                    vlan,
                    source: Ipv4Addr::from(header.source()).into(),
                    destination: Ipv4Addr::from(header.destination()).into(),
                    ttl: header.ttl(),
                    fragment: header.is_later_fragment() || header.more_fragments(),
                    payload: (at + length, usize::from(header.total_len()).saturating_sub(length)),
                })
            }
            ethernet::IPV6 => {
                let header = ipv6::Header(frame.get(at)?);
                Some(Self {
                    outer_vlan,
                    vlan,
                    source: Ipv6Addr::from(*header.source()).into(),
                    destination: Ipv6Addr::from(*header.destination()).into(),
                    ttl: header.hop_limit(),
                    fragment: false,
                    payload: (at + ipv6::LEN, header.payload_len().into()),
                })
            }
            _ => None,
        }
    }

    /// Whether CARP is sent there: to its groups, and to single nodes.
    pub(super) fn is_for_carp(&self) -> bool {
        let group = match self.destination {
            IpAddr::V4(address) => address.octets() == carp::GROUP,
            IpAddr::V6(address) => address.octets() == ipv6::GROUP,
        };
        group || !self.destination.is_multicast()
    }

    /// What it says if it is VRRP of version 2 or 3 (RFC 3768, RFC 9568): an advertisement with as many addresses as it has
    /// room for. A first fragment or an only one.
    pub(super) fn vrrp(&self, frame: &impl Cursor) -> Option<Vrrp> {
        let (at, length) = self.payload;
        let [first, router, priority, count, ..] = *frame.get::<8>(at)?;
        let (version, kind) = (first >> 4, first & 0xf);
        let (each, authentication) = match (version, self.source) {
            (2, IpAddr::V4(_)) => (4, 8),
            (3, IpAddr::V4(_)) => (4, 0),
            (3, IpAddr::V6(_)) => (16, 0),
            _ => return None,
        };
        let fits = length == 8 + usize::from(count) * each + authentication;
        (kind == 1 && fits && !self.fragment).then_some(Vrrp { version, router, priority })
    }
}
