//! Builds frames byte by byte, with nothing of the code that is tested.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// An IPv4 frame on protocol 112, each field as it will stand on the wire. By default a good advertisement
/// for virtual host 10.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Hardware address of the receiver.
    pub(crate) to: [u8; 6],
    /// Tags, outermost first: protocol identifier and control bits.
    pub(crate) tags: Vec<(u16, u16)>,
    /// What the frame says that it carries.
    pub(crate) ethertype: u16,
    /// Version nibble.
    pub(crate) version: u8,
    /// Header length in words; the right one if `None`.
    pub(crate) ihl: Option<u8>,
    /// IPv4 options, a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    /// Length of header and payload; the right one if `None`.
    pub(crate) total_len: Option<u16>,
    /// Flags and fragment offset.
    pub(crate) fragment: u16,
    /// Hops left.
    pub(crate) ttl: u8,
    /// What the payload is.
    pub(crate) protocol: u8,
    /// Header checksum; the right one if `None`.
    pub(crate) checksum: Option<u16>,
    /// Sender.
    pub(crate) source: [u8; 4],
    /// Receiver or group.
    pub(crate) destination: [u8; 4],
    /// What follows the IPv4 header.
    pub(crate) payload: Vec<u8>,
    /// What follows the IPv4 packet: Ethernet's padding.
    pub(crate) trailer: Vec<u8>,
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
    pub(crate) fn bytes(&self) -> Vec<u8> {
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
pub(crate) struct Packet6 {
    /// Tags, outermost first: protocol identifier and control bits.
    pub(crate) tags: Vec<(u16, u16)>,
    /// What the frame says that it carries.
    pub(crate) ethertype: u16,
    /// Version nibble.
    pub(crate) version: u8,
    /// Traffic class and flow label.
    pub(crate) flow: u32,
    /// Length of what follows the header; the right one if `None`.
    pub(crate) payload_len: Option<u16>,
    /// What the payload is.
    pub(crate) next_header: u8,
    /// Hops left.
    pub(crate) hop_limit: u8,
    /// Sender.
    pub(crate) source: Ipv6Addr,
    /// Receiver or group.
    pub(crate) destination: Ipv6Addr,
    /// What follows the IPv6 header.
    pub(crate) payload: Vec<u8>,
    /// What follows the IPv6 packet.
    pub(crate) trailer: Vec<u8>,
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
    pub(crate) fn bytes(&self) -> Vec<u8> {
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

/// An advertisement, each field as it will stand on the wire but the checksum, which will be right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Advertisement<'a> {
    /// What signs it.
    pub(crate) passphrase: &'a str,
    /// Whether link-local addresses are hashed.
    pub(crate) link_local: bool,
    /// Virtual host.
    pub(crate) vhid: u8,
    /// Open field.
    pub(crate) advskew: u8,
    /// Open field.
    pub(crate) advbase: u8,
    /// Open field.
    pub(crate) demote: u8,
    /// Counter.
    pub(crate) counter: u64,
}

impl Advertisement<'_> {
    /// A good one for a virtual host.
    pub(crate) fn of(vhid: u8) -> Self {
        Self {
            passphrase: PASSPHRASE,
            link_local: true,
            vhid,
            advskew: 100,
            advbase: 1,
            demote: 0,
            counter: 0x0123_4567_89ab_cdef,
        }
    }

    /// Its 36 bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut carp = vec![0x21, self.vhid, self.advskew, 7, self.demote, self.advbase, 0, 0];
        carp.extend(self.counter.to_be_bytes());
        carp.extend(self.digest());
        sealed(carp)
    }

    /// HMAC-SHA1 by other people's code (CARP specification §3.2), over [`ADDRESSES4`] and [`ADDRESSES6`].
    fn digest(&self) -> [u8; 20] {
        let mut mac = Hmac::<Sha1>::new_from_slice(self.passphrase.as_bytes()).expect("any length is a key");
        mac.update(&[2, 1, self.vhid]);
        for address in BTreeSet::from(ADDRESSES4) {
            mac.update(&address.octets());
        }
        for address in BTreeSet::from(ADDRESSES6) {
            if self.link_local || !address.is_unicast_link_local() {
                mac.update(&address.octets());
            }
        }
        mac.update(&self.counter.to_be_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// The 36 bytes of a good advertisement for a virtual host.
pub(crate) fn advertisement(vhid: u8) -> Vec<u8> {
    Advertisement::of(vhid).bytes()
}

/// The same bytes with the checksum that they need at the place where CARP and VRRP have it.
pub(crate) fn sealed(mut carp: Vec<u8>) -> Vec<u8> {
    carp[6..8].fill(0);
    let checksum = checksum(&carp);
    carp[6..8].copy_from_slice(&checksum.to_be_bytes());
    carp
}

/// The Internet checksum, in the plain form of RFC 1071 §4.1.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// Where the header of IPv4 or IPv6 begins: behind all tags.
pub(crate) fn l3_offset(frame: &[u8]) -> usize {
    let mut offset = 14;
    while matches!(frame.get(offset - 2..offset), Some([0x81, 0x00] | [0x88, 0xa8])) {
        offset += 4;
    }
    offset
}

/// The group of CARP.
pub(crate) const GROUP: [u8; 4] = [224, 0, 0, 18];
/// The same in IPv6.
pub(crate) const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// What signs unless something else is said.
pub(crate) const PASSPHRASE: &str = "secret";
/// The virtual addresses of every virtual host here, in no order.
pub(crate) const ADDRESSES4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 100), Ipv4Addr::new(10, 8, 0, 200)];
/// Those of IPv6.
pub(crate) const ADDRESSES6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100)];
