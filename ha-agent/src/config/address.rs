//! Addresses as they are written: virtual ones with a prefix length, peers without.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::Url;
use super::mistake::Mistake;
use super::quote::Excerpt;
use super::value::decimal;

/// An address family, as it reads in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// The first family that none of these is of.
    pub(super) fn missing(addresses: &[IpAddr]) -> Option<Self> {
        let mut families = [Self::Ipv4, Self::Ipv6].into_iter();
        families.find(|family| !addresses.iter().any(|address| Self::of(*address) == *family))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// What an address is for, as it reads in a sentence.
#[derive(Debug)]
pub(super) struct Role {
    /// What it is called.
    pub(super) noun: &'static str,
    /// What to write instead of one that cannot be used.
    pub(super) instead: &'static str,
}

/// An element of `addresses`.
pub(super) static VIRTUAL: Role = Role { noun: "address", instead: "an address that clients can talk to" };
/// An element of `peers`.
pub(super) static PEER: Role = Role { noun: "peer", instead: "the peer's own address" };
/// An element of `etcd`.
static ETCD: Role = Role { noun: "etcd", instead: "an address of a member of etcd" };
/// The one in `gateway`.
static GATEWAY: Role = Role { noun: "gateway", instead: "the address of a router that both nodes reach" };
/// An element of `trusted_proxies`.
pub(super) static PROXY: Role = Role { noun: "trusted proxy", instead: "the proxy's own address" };
/// An element of `unicast`.
pub(super) static UNICAST: Role = Role { noun: "unicast peer", instead: "the peer's own address" };

/// An address that a client may be told, with the prefix length of its network.
pub(super) fn virtual_address(text: &str) -> Result<IpNet, Mistake> {
    let syntax = || Mistake::AddressSyntax(Excerpt::new(text));
    let (host, prefix) = split(text);
    let address = usable(host, text, &VIRTUAL)?.ok_or_else(syntax)?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    let length = decimal(prefix.ok_or(Mistake::NoPrefix { address, max })?).ok_or_else(syntax)?;
    u8::try_from(length)
        .ok()
        // A length of 0 would send the traffic of the whole internet to this interface.
        .filter(|length| *length != 0)
        .and_then(|length| IpNet::new(address, length).ok())
        .ok_or_else(|| Mistake::PrefixRange { text: Excerpt::new(text), max })
}

/// Another node's address, without a prefix length.
pub(super) fn peer(text: &str, role: &'static Role) -> Result<IpAddr, Mistake> {
    let noun = role.noun;
    let (host, prefix) = split(text);
    let address = usable(host, text, role)?;
    let address = address.ok_or_else(|| Mistake::PeerSyntax { noun, text: Excerpt::new(text) })?;
    match prefix {
        None => Ok(address),
        Some(_) => Err(Mistake::PeerPrefix { noun, text: Excerpt::new(text), address }),
    }
}

/// Which end of a connection an address with a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// An element of `listen` in `[peer]`.
    Listen,
    /// The same in `[web]`.
    Web,
    /// An element of `connect`.
    Connect,
}

/// An address with a port.
pub(super) fn endpoint(text: &str, kind: Endpoint) -> Result<SocketAddr, Mistake> {
    let (noun, instead) = match kind {
        Endpoint::Web => ("listen", "an address of this node, or 127.0.0.1 behind a reverse proxy"),
        Endpoint::Listen => ("listen", "an address of this node, or 0.0.0.0 or [::] for all"),
        Endpoint::Connect => ("connect", "the peer's own address"),
    };
    let endpoint = text.parse::<SocketAddr>().ok().filter(|endpoint| endpoint.port() != 0);
    let endpoint = endpoint.ok_or_else(|| Mistake::EndpointSyntax { noun, text: Excerpt::new(text) })?;
    let unusable = match endpoint.ip() {
        IpAddr::V4(address) => unusable_ipv4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(ipv4) => return Err(Mistake::Mapped { noun, text: Excerpt::new(text), ipv4 }),
            None if address.is_unicast_link_local() => Some(NO_LINK),
            None => unusable_ipv6(address),
        },
    };
    let is_allowed = match kind {
        Endpoint::Listen => endpoint.ip().is_unspecified(),
        Endpoint::Web => endpoint.ip().is_unspecified() || endpoint.ip().is_loopback(),
        Endpoint::Connect => false,
    };
    match unusable.filter(|_| !is_allowed) {
        Some(kind) => Err(Mistake::AddressKind { noun, address: endpoint.ip(), kind, instead }),
        None => Ok(endpoint),
    }
}

/// Where etcd listens: one of its members may be on this node.
pub(super) fn url(text: &str) -> Result<Url, Mistake> {
    let syntax = || Mistake::UrlSyntax(Excerpt::new(text));
    let (scheme, rest) = text.split_once("://").ok_or_else(syntax)?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err(syntax()),
    };
    let address = rest.strip_suffix('/').unwrap_or(rest).parse::<SocketAddr>();
    let address = address.ok().filter(|address| address.port() != 0).ok_or_else(syntax)?;
    let Role { noun, instead } = ETCD;
    match usable(&address.ip().to_string(), text, &ETCD) {
        Ok(_) if !is_link_local(address.ip()) => Ok(Url::new(tls, address)),
        Ok(_) => Err(Mistake::AddressKind { noun, address: address.ip(), kind: NO_LINK, instead }),
        Err(Mistake::AddressKind { .. }) if address.ip().is_loopback() => Ok(Url::new(tls, address)),
        Err(mistake) => Err(mistake),
    }
}

/// An address that answers an echo request.
pub(super) fn gateway(text: &str) -> Result<IpAddr, Mistake> {
    let address = peer(text, &GATEWAY)?;
    let Role { noun, instead } = GATEWAY;
    if is_link_local(address) {
        return Err(Mistake::AddressKind { noun, address, kind: NO_LINK, instead });
    }
    Ok(address)
}

/// Whether an address means something only on its link.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        // 169.254/16 is link-local too, but to the kernel it is like any other.
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(host, prefix)| (host, Some(prefix)))
}

/// The address in `host`, a part of `text`, if a single host can have it; `None` if it is no address.
fn usable(host: &str, text: &str, role: &'static Role) -> Result<Option<IpAddr>, Mistake> {
    let Role { noun, instead } = *role;
    let Ok(address) = host.parse::<IpAddr>() else {
        return match host.split_once('%') {
            Some((address, zone)) if address.parse::<Ipv6Addr>().is_ok() => {
                Err(Mistake::Zone { noun, text: Excerpt::new(text), zone: Excerpt::new(zone) })
            }
            Some(_) | None => Ok(None),
        };
    };
    let kind = match address {
        IpAddr::V4(address) => unusable_ipv4(address),
        IpAddr::V6(address) => {
            if let Some(ipv4) = address.to_ipv4_mapped() {
                return Err(Mistake::Mapped { noun, text: Excerpt::new(text), ipv4 });
            }
            unusable_ipv6(address)
        }
    };
    match kind {
        Some(kind) => Err(Mistake::AddressKind { noun, address, kind, instead }),
        None => Ok(Some(address)),
    }
}

fn unusable_ipv4(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_broadcast() {
        Some("the broadcast address")
    } else {
        None
    }
}

fn unusable_ipv6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.segments()[..6] == [0; 6] {
        Some("an IPv4-compatible address, which no host uses any more")
    } else if address.is_unicast_link_local() && address.segments()[1..4] != [0; 3] {
        // RFC 4291 §2.5.6. BSD kernels keep the interface in there and clear it in the digest (CARP
        // specification §3.2), so that two such addresses would be one.
        Some("a link-local address outside of fe80::/64")
    } else {
        None
    }
}

const NO_LINK: &str = "a link-local address, which is none without its interface";
