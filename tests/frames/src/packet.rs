//! Builds frames byte by byte, with nothing of the code that is tested.

use std::net::Ipv6Addr;

use crate::advertisement::advertisement;

/// An IPv4 frame on protocol 112, each field as it will stand on the wire. By default a good advertisement
/// for virtual host 10.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Hardware address of the receiver.
    pub to: [u8; 6],
    /// Tags, outermost first: protocol identifier and control bits.
    pub tags: Vec<(u16, u16)>,
    /// What the frame says that it carries.
    pub ethertype: u16,
    /// Version nibble.
    pub version: u8,
    /// Header length in words; the right one if `None`.
    pub ihl: Option<u8>,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// Length of header and payload; the right one if `None`.
    pub total_len: Option<u16>,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Hops left.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: u8,
    /// Header checksum; the right one if `None`.
    pub checksum: Option<u16>,
    /// Sender.
    pub source: [u8; 4],
    /// Receiver or group.
    pub destination: [u8; 4],
    /// What follows the IPv4 header.
    pub payload: Vec<u8>,
    /// What follows the IPv4 packet: Ethernet's padding.
    pub trailer: Vec<u8>,
}

impl Default for Packet {
    fn default() -> Self {
        Self {
            to: [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12],
            tags: Vec::new(),
            ethertype: 0x0800,
            version: 4,
            ihl: None,
            options: Vec::new(),
            total_len: None,
            fragment: 0x4000,
            ttl: 255,
            protocol: 112,
            checksum: None,
            source: [10, 77, 0, 1],
            destination: GROUP,
            payload: advertisement(10),
            trailer: Vec::new(),
        }
    }
}

impl Packet {
    /// The frame's bytes.
    ///
    /// # Panics
    ///
    /// If it is longer than 64 KiB.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let ihl = self.ihl.unwrap_or_else(|| u8::try_from(header_len / 4).expect("at most 60 bytes"));
        let total_len = u16::try_from(header_len + self.payload.len()).expect("at most 64 KiB");

        let mut header = vec![self.version << 4 | ihl, 0x10];
        header.extend(self.total_len.unwrap_or(total_len).to_be_bytes());
        header.extend([0xba, 0xea]);
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.source);
        header.extend(self.destination);
        header.extend(&self.options);
        let checksum = self.checksum.unwrap_or_else(|| checksum(&header));
        header[10..12].copy_from_slice(&checksum.to_be_bytes());

        let mut frame = self.to.to_vec();
        frame.extend([0x00, 0x00, 0x5e, 0x00, 0x01, 0x0a]);
        for (identifier, control) in &self.tags {
            frame.extend(identifier.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend(self.ethertype.to_be_bytes());
        frame.extend(header);
        frame.extend(&self.payload);
        frame.extend(&self.trailer);
        frame
    }
}

/// An IPv6 frame on protocol 112. By default a good advertisement for virtual host 10.
#[derive(Clone, Debug)]
pub struct Packet6 {
    /// Tags, outermost first: protocol identifier and control bits.
    pub tags: Vec<(u16, u16)>,
    /// What the frame says that it carries.
    pub ethertype: u16,
    /// Version nibble.
    pub version: u8,
    /// Traffic class and flow label.
    pub flow: u32,
    /// Length of what follows the header; the right one if `None`.
    pub payload_len: Option<u16>,
    /// What the payload is.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Sender.
    pub source: Ipv6Addr,
    /// Receiver or group.
    pub destination: Ipv6Addr,
    /// What follows the IPv6 header.
    pub payload: Vec<u8>,
    /// What follows the IPv6 packet.
    pub trailer: Vec<u8>,
}

impl Default for Packet6 {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            ethertype: 0x86dd,
            version: 6,
            flow: 0,
            payload_len: None,
            next_header: 112,
            hop_limit: 255,
            source: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
            destination: GROUP6,
            payload: advertisement(10),
            trailer: Vec::new(),
        }
    }
}

impl Packet6 {
    /// The frame's bytes.
    ///
    /// # Panics
    ///
    /// If it is longer than 64 KiB.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let payload_len = u16::try_from(self.payload.len()).expect("at most 64 KiB");
        let mut frame = vec![0x33, 0x33, 0x00, 0x00, 0x00, 0x12, 0x00, 0x00, 0x5e, 0x00, 0x01, 0x0a];
        for (identifier, control) in &self.tags {
            frame.extend(identifier.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend(self.ethertype.to_be_bytes());
        frame.extend((u32::from(self.version) << 28 | self.flow).to_be_bytes());
        frame.extend(self.payload_len.unwrap_or(payload_len).to_be_bytes());
        frame.extend([self.next_header, self.hop_limit]);
        frame.extend(self.source.octets());
        frame.extend(self.destination.octets());
        frame.extend(&self.payload);
        frame.extend(&self.trailer);
        frame
    }
}

/// The same bytes with the checksum that they need at the place where CARP and VRRP have it.
#[must_use]
pub fn sealed(mut carp: Vec<u8>) -> Vec<u8> {
    carp[6..8].fill(0);
    let checksum = checksum(&carp);
    carp[6..8].copy_from_slice(&checksum.to_be_bytes());
    carp
}

/// Puts right the checksums of what looks like an advertisement, so that the checks behind them are reached.
pub fn mend_checksums(frame: &mut [u8]) {
    let network = l3_offset(frame);
    let ipv6 = frame.get(network).is_some_and(|first| first >> 4 == 6);
    let carp = network + if ipv6 { 40 } else { 20 };
    let header = (!ipv6).then_some((network, carp, 10));
    for (begin, end, field) in header.into_iter().chain([(carp, carp + 36, 6)]) {
        if let Some(bytes) = frame.get_mut(begin..end) {
            bytes[field..field + 2].fill(0);
            let checksum = checksum(bytes);
            bytes[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

/// The Internet checksum, in the plain form of RFC 1071 §4.1.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "folded")]
    let sum = sum as u16;
    !sum
}

/// Where the header of IPv4 or IPv6 begins: behind all tags.
#[must_use]
pub fn l3_offset(frame: &[u8]) -> usize {
    let mut offset = 14;
    while matches!(frame.get(offset - 2..offset), Some([0x81, 0x00] | [0x88, 0xa8])) {
        offset += 4;
    }
    offset
}

/// The group of CARP.
pub const GROUP: [u8; 4] = [224, 0, 0, 18];
/// The same in IPv6.
pub const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
