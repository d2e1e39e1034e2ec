//! Probes, and what is sent back, byte by byte with nothing of the code that is tested.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::packet::{Packet, Packet6, checksum, l3_offset};

/// A probe of a peer. By default a good one.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Of whom it is, and to whom.
    pub from: IpAddr,
    /// Likewise.
    pub to: IpAddr,
    /// Both ports.
    pub ports: [u16; 2],
    /// Hops left.
    pub hops: u8,
    /// First two bytes.
    pub magic: [u8; 2],
    /// Format.
    pub version: u8,
    /// 1 asks, 2 answers; and whose it is.
    pub kind_and_sender: u8,
    /// Its number.
    pub nonce: u64,
    /// The sender's boot.
    pub boot: u64,
    /// Virtual hosts that are asked for.
    pub hosts: [u32; 3],
    /// How many of them.
    pub count: u8,
    /// Which of the keys it says that it is sealed with.
    pub name: u16,
    /// What seals it.
    pub key: [u8; 20],
    /// Whether UDP has a checksum.
    pub summed: bool,
}

impl Probe {
    /// Of node 1 to node 0.
    #[must_use]
    pub fn between(from: IpAddr, to: IpAddr, nonce: u64) -> Self {
        Self {
            from,
            to,
            ports: [PORT; 2],
            hops: 255,
            magic: *b"hE",
            version: 1,
            kind_and_sender: 0x11,
            nonce,
            boot: BOOT_OF_PEER,
            hosts: [0; 3],
            count: 0,
            name: NAMES[0],
            key: KEYS_OF_PROBES[0],
            summed: true,
        }
    }

    /// What it says, sealed.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend([self.version, self.kind_and_sender]);
        bytes.extend(self.nonce.to_be_bytes());
        bytes.extend(self.boot.to_be_bytes());
        bytes.extend(7u64.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend([self.count, 0]);
        bytes.extend(self.name.to_be_bytes());
        self.hosts.iter().for_each(|host| bytes.extend(host.to_be_bytes()));
        bytes.extend(tag(&self.key, &bytes));
        bytes
    }

    /// The frame, with tags before it.
    #[must_use]
    pub fn frame(&self, tags: &[(u16, u16)]) -> Vec<u8> {
        self.carrying(&self.message(), tags)
    }

    /// The frame with something else in it.
    ///
    /// # Panics
    ///
    /// If that is longer than 64 KiB, or the addresses are of two families.
    #[must_use]
    pub fn carrying(&self, message: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
        let mut payload = Vec::new();
        self.ports.iter().for_each(|port| payload.extend(port.to_be_bytes()));
        let length = u16::try_from(8 + message.len()).expect("short");
        payload.extend(length.to_be_bytes());
        payload.extend([0; 2]);
        payload.extend(message);
        if self.summed {
            let sum = udp_checksum(self.from, self.to, &payload);
            payload[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Packet {
                to: MAC,
                tags: tags.to_vec(),
                ttl: self.hops,
                protocol: 17,
                source: from.octets(),
                destination: to.octets(),
                payload,
                ..Packet::default()
            }
            .bytes(),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Packet6 {
                tags: tags.to_vec(),
                hop_limit: self.hops,
                next_header: 17,
                source,
                destination,
                payload,
                ..Packet6::default()
            }
            .bytes(),
            (from, to) => panic!("{from} and {to} are of two families"),
        }
    }
}

/// What was sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose it is.
    pub sender: u8,
    /// The number of the probe.
    pub nonce: u64,
    /// The sender's boot.
    pub boot: u64,
    /// The generation.
    pub generation: u64,
    /// Left of the lease, in µs.
    pub lease_us: u32,
    /// Since the agent's last sign of life, in µs.
    pub age_us: u32,
    /// Whether the agent has ended.
    pub gone: bool,
    /// What the virtual hosts are that were asked for.
    pub roles: Vec<u32>,
}

impl Answer {
    /// Reads it out of a frame, and demands that it is an answer to another frame: sent back to where that came from, as
    /// long, whole, and with right checksums.
    ///
    /// # Panics
    ///
    /// If it is not.
    #[must_use]
    pub fn to(probe: &[u8], frame: &[u8]) -> Self {
        assert_eq!(frame.len(), probe.len(), "an answer is as long as its probe");
        assert_eq!((&frame[..6], &frame[6..12]), (&probe[6..12], &probe[..6]), "hardware addresses");
        let l3 = l3_offset(frame);
        assert_eq!(frame[12..l3], probe[12..l3], "tags");
        let (before, [from, to], l4) = addresses(frame, l3);
        let (same, [asked_from, asked_to], _) = addresses(probe, l3);
        assert_eq!((from, to), (asked_to, asked_from), "addresses");
        assert_eq!(before, same, "the header before them");
        let (header, message) = frame[l4..].split_at(8);
        assert_eq!(header[..6], probe[l4..l4 + 6], "ports and length");
        let mut unsummed = frame[l4..].to_vec();
        unsummed[6..8].fill(0);
        assert_eq!(header[6..8], udp_checksum(from, to, &unsummed).to_be_bytes(), "checksum");
        assert_eq!(message[38..40], probe[l4 + 8 + 38..l4 + 8 + 40], "the key's number");
        Self::read(message)
    }

    /// Reads a message, and demands that it is an answer and whole.
    ///
    /// # Panics
    ///
    /// If it is not.
    #[must_use]
    pub fn read(message: &[u8]) -> Self {
        assert_eq!(message.len(), 72, "{message:02x?}");
        let (covered, seal) = message.split_at(52);
        let name = u16::from_be_bytes([covered[38], covered[39]]);
        let key = NAMES.iter().position(|it| *it == name).expect("a key's name");
        assert_eq!(seal, tag(&KEYS_OF_ANSWERS[key], covered), "the seal");
        assert_eq!((&covered[..3], covered[3] >> 4), (b"hE\x01".as_slice(), 2), "{covered:02x?}");
        let u64_at = |at: usize| u64::from_be_bytes(covered[at..at + 8].try_into().expect("eight"));
        let u32_at = |at: usize| u32::from_be_bytes(covered[at..at + 4].try_into().expect("four"));
        Self {
            sender: covered[3] & 0xf,
            nonce: u64_at(4),
            boot: u64_at(12),
            generation: u64_at(20),
            lease_us: u32_at(28),
            age_us: u32_at(32),
            gone: covered[37] == 1,
            roles: (0..usize::from(covered[36])).map(|host| u32_at(40 + 4 * host)).collect(),
        }
    }
}

/// What stands before the addresses of a packet, these, and where the payload begins.
fn addresses(frame: &[u8], l3: usize) -> (&[u8], [IpAddr; 2], usize) {
    if frame[l3] >> 4 == 6 {
        let at = |at: usize| {
            let octets: [u8; 16] = frame[at..at + 16].try_into().expect("sixteen");
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        (&frame[l3..l3 + 8], [at(l3 + 8), at(l3 + 24)], l3 + 40)
    } else {
        let at = |at: usize| {
            let octets: [u8; 4] = frame[at..at + 4].try_into().expect("four");
            IpAddr::V4(Ipv4Addr::from(octets))
        };
        (&frame[l3..l3 + 12], [at(l3 + 12), at(l3 + 16)], l3 + 20)
    }
}

/// RFC 768: over the addresses, the protocol, the length, and all of it; never 0.
fn udp_checksum(from: IpAddr, to: IpAddr, udp: &[u8]) -> u16 {
    let mut all = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => all.extend(address.octets()),
            IpAddr::V6(address) => all.extend(address.octets()),
        }
    }
    all.extend([0, 17]);
    all.extend(u16::try_from(udp.len()).expect("short").to_be_bytes());
    all.extend(udp);
    match checksum(&all) {
        0 => u16::MAX,
        sum => sum,
    }
}

fn tag(key: &[u8], covered: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any length is a key");
    mac.update(covered);
    mac.finalize().into_bytes().to_vec()
}

/// Where it is asked.
pub const PORT: u16 = 7782;
/// What the keys are called.
pub const NAMES: [u16; 2] = [0x1234, 0xff00];
/// Of the peer's probes.
pub const KEYS_OF_PROBES: [[u8; 20]; 2] = [[0x51; 20], [0x52; 20]];
/// Of our answers.
pub const KEYS_OF_ANSWERS: [[u8; 20]; 2] = [[0xa1; 20], [0xa2; 20]];
/// The peer's.
pub const BOOT_OF_PEER: u64 = 0x1122_3344_5566_7788;
const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];
