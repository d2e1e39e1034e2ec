//! Frames taken apart and put together byte by byte, without the code that is tested.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A hardware address.
pub type Hardware = [u8; 6];

/// A frame that carries one advertisement, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Hardware address that it goes to.
    pub to: Hardware,
    /// Hardware address that it comes from.
    pub from: Hardware,
    /// Address that it comes from; its family is the frame's.
    pub source: IpAddr,
    /// Address that it goes to.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// The 36 bytes of CARP. The checksum among them is made anew when the frame is.
    pub carp: [u8; CARP_LEN],
}

/// An unsolicited neighbour advertisement (RFC 4861 §4.4, §7.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The address that is announced.
    pub target: Ipv6Addr,
    /// The hardware address that it is announced for.
    pub hardware: Hardware,
    /// Whether what is known of it is to be replaced.
    pub is_override: bool,
}

impl Advertisement {
    /// Takes a frame apart. `None` if it is no advertisement: neither options nor extension headers, 36 bytes,
    /// and both checksums right.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (to, rest) = frame.split_first_chunk()?;
        let (from, rest) = rest.split_first_chunk()?;
        let (ethertype, packet) = rest.split_first_chunk()?;
        let (source, destination, ttl, payload) = match u16::from_be_bytes(*ethertype) {
            IPV4 => parse_ipv4(packet)?,
            IPV6 => parse_ipv6(packet, PROTOCOL)?,
            _ => return None,
        };
        let carp: [u8; CARP_LEN] = payload.try_into().ok()?;
        let is_carp = carp[0] == 0x21 && carp[3] == 7 && sum(&carp) == 0xffff;
        is_carp.then_some(Self { to: *to, from: *from, source, destination, ttl, carp })
    }

    /// The frame, with checksums that are right.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let mut carp = self.carp;
        carp[6..8].fill(0);
        let checksum = !sum(&carp);
        carp[6..8].copy_from_slice(&checksum.to_be_bytes());
        let mut frame = [self.to, self.from].concat();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend(IPV4.to_be_bytes());
                // 56 bytes, not to be fragmented.
                let mut header = [0x45, 0x10, 0, 56, 0, 0, 0x40, 0, self.ttl, PROTOCOL, 0, 0].to_vec();
                header.extend(source.octets());
                header.extend(destination.octets());
                let checksum = !sum(&header);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                frame.extend(header);
            }
            (source, destination) => {
                frame.extend(IPV6.to_be_bytes());
                frame.extend([0x60, 0, 0, 0, 0, 36, PROTOCOL, self.ttl]);
                frame.extend(wide(source).octets());
                frame.extend(wide(destination).octets());
            }
        }
        frame.extend(carp);
        frame
    }

    /// The same with another priority. The digest does not cover it.
    #[must_use]
    pub fn with_priority(mut self, advbase: u8, advskew: u8) -> Self {
        (self.carp[5], self.carp[2]) = (advbase, advskew);
        self
    }

    /// The same with another demotion. The digest does not cover it.
    #[must_use]
    pub fn with_demotion(mut self, demotion: u8) -> Self {
        self.carp[4] = demotion;
        self
    }

    /// The same from another address, to its family's group.
    #[must_use]
    pub fn with_source(self, source: impl Into<IpAddr>) -> Self {
        let source = source.into();
        let (to, destination) = match source {
            IpAddr::V4(_) => ([0x01, 0x00, 0x5e, 0, 0, 0x12], GROUP.into()),
            IpAddr::V6(_) => ([0x33, 0x33, 0, 0, 0, 0x12], GROUP6.into()),
        };
        Self { to, source, destination, ..self }
    }

    /// Virtual host.
    #[must_use]
    pub fn vhid(&self) -> u8 {
        self.carp[1]
    }

    /// Priority: seconds.
    #[must_use]
    pub fn advbase(&self) -> u8 {
        self.carp[5]
    }

    /// Priority: 1/256 seconds.
    #[must_use]
    pub fn advskew(&self) -> u8 {
        self.carp[2]
    }

    /// How much its sender wants to give up.
    #[must_use]
    pub fn demotion(&self) -> u8 {
        self.carp[4]
    }

    /// What the digest was made for, beside the addresses.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.carp[8..16].iter().fold(0, |counter, byte| counter << 8 | u64::from(*byte))
    }
}

impl Neighbour {
    /// Takes a frame apart. `None` if it is no unsolicited neighbour advertisement to all nodes, valid and with
    /// the hardware address.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (destination, message) = icmpv6(frame, NEIGHBOUR_ADVERTISEMENT)?;
        let is_solicited = message.get(4)? & 0x40 != 0;
        let option: [u8; 2] = message.get(24..26)?.try_into().ok()?;
        (destination == ALL_NODES
            && frame.starts_with(&[0x33, 0x33, 0, 0, 0, 1])
            && !is_solicited
            && option == [2, 1])
        .then_some(Self {
            target: address6(message.get(8..24)?)?,
            hardware: message.get(26..32)?.try_into().ok()?,
            is_override: message.get(4)? & 0x20 != 0,
        })
    }
}

/// The address that a frame asks for as a node does that wants to use it: detection of duplicates
/// (RFC 4862 §5.4.2).
#[must_use]
pub fn duplicate_detection(frame: &[u8]) -> Option<Ipv6Addr> {
    let (_, message) = icmpv6(frame, NEIGHBOUR_SOLICITATION)?;
    let source = address6(frame.get(22..38)?)?;
    source.is_unspecified().then_some(address6(message.get(8..24)?)?)
}

/// The sender of a UDP datagram that comes from a port.
pub(crate) fn datagram(frame: &[u8], port: u16) -> Option<IpAddr> {
    let packet = frame.get(14..)?;
    let (source, payload) = match u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]) {
        IPV4 if packet.get(9) == Some(&UDP) => {
            (IpAddr::from(*packet.get(12..)?.first_chunk::<4>()?), packet.get(20..)?)
        }
        IPV6 if packet.get(6) == Some(&UDP) => (address6(packet.get(8..24)?)?.into(), packet.get(40..)?),
        _ => return None,
    };
    payload.starts_with(&port.to_be_bytes()).then_some(source)
}

/// The address that a gratuitous ARP announces.
pub(crate) fn gratuitous_arp(frame: &[u8]) -> Option<Ipv4Addr> {
    let target: [u8; 4] = frame.get(38..42)?.try_into().ok()?;
    arp_sender(frame).filter(|sender| *sender == Ipv4Addr::from(target))
}

/// The address that a node says is its own: the sender of ARP, the target of a neighbour advertisement, asked for or not.
pub(crate) fn claimed(frame: &[u8]) -> Option<IpAddr> {
    let target = || address6(icmpv6(frame, NEIGHBOUR_ADVERTISEMENT)?.1.get(8..24)?);
    arp_sender(frame).map(IpAddr::from).or_else(|| target().map(IpAddr::from))
}

/// The sender's own address, if it is ARP.
fn arp_sender(frame: &[u8]) -> Option<Ipv4Addr> {
    let sender: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
    (frame.get(12..14) == Some(&ARP.to_be_bytes())).then_some(sender.into())
}

type Packet<'a> = (IpAddr, IpAddr, u8, &'a [u8]);

fn parse_ipv4(packet: &[u8]) -> Option<Packet<'_>> {
    let (header, payload) = packet.split_first_chunk::<20>()?;
    let is_whole = [header[6] & 0x3f, header[7]] == [0, 0];
    let length = usize::from(u16::from_be_bytes([header[2], header[3]])).checked_sub(20)?;
    let (source, destination) = (*header[12..].first_chunk::<4>()?, *header.last_chunk::<4>()?);
    (header[0] == 0x45 && header[9] == PROTOCOL && is_whole && sum(header) == 0xffff).then_some((
        source.into(),
        destination.into(),
        header[8],
        payload.get(..length)?,
    ))
}

fn parse_ipv6(packet: &[u8], protocol: u8) -> Option<Packet<'_>> {
    let (header, payload) = packet.split_first_chunk::<40>()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let (source, destination) = (address6(&header[8..24])?, address6(&header[24..40])?);
    (header[0] >> 4 == 6 && header[6] == protocol).then_some((
        source.into(),
        destination.into(),
        header[7],
        payload.get(..length)?,
    ))
}

/// Destination and message, if it is of this kind and valid: from this link, with a checksum that is right.
fn icmpv6(frame: &[u8], kind: u8) -> Option<(Ipv6Addr, &[u8])> {
    let is_ipv6 = frame.get(12..14)? == IPV6.to_be_bytes();
    let (source, destination, hop_limit, message) = parse_ipv6(frame.get(14..)?, ICMPV6)?;
    let (source, destination) = (wide(source), wide(destination));
    let length = u32::try_from(message.len()).ok()?.to_be_bytes();
    let whole = [&source.octets()[..], &destination.octets(), &length, &[0, 0, 0, ICMPV6], message].concat();
    let is_valid = is_ipv6 && hop_limit == 255 && message.starts_with(&[kind, 0]) && sum(&whole) == 0xffff;
    is_valid.then_some((destination, message))
}

fn address6(bytes: &[u8]) -> Option<Ipv6Addr> {
    Some(<[u8; 16]>::try_from(bytes).ok()?.into())
}

fn wide(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// The one's complement sum of 16-bit words (RFC 1071). All ones over what has a checksum that is right.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    words.fold(0, |sum, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

/// Where advertisements go, by IPv4.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where advertisements go, by IPv6.
pub const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// Length of CARP's header, which is the whole of an advertisement.
pub const CARP_LEN: usize = 36;

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const PROTOCOL: u8 = 112;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
