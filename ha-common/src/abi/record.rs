//! The records of the event ring.

use super::{Address, VERSION, WatchKey};
use crate::wire::carp;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// An advertisement arrived: an [`Advert`].
    Advert = 1,
}

/// The beginning of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RecordHeader {
    /// A [`Kind`].
    pub kind: u16,
    /// [`VERSION`].
    pub version: u16,
    /// Length of the whole record, in bytes.
    pub length: u32,
}

/// An advertisement that passed every check of the kernel program: it is authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Advert {
    /// Kind, version and length.
    pub header: RecordHeader,
    /// When it arrived, in ns of `CLOCK_MONOTONIC`.
    pub stamp_ns: u64,
    /// The watch it belongs to.
    pub watch: WatchKey,
    /// Sender.
    pub source: Address,
    /// Which of the passphrases signed it, counted from 0.
    pub signer: u32,
    /// The advertisement itself.
    pub carp: [u8; carp::LEN],
    /// Always 0.
    pub reserved: u32,
}

impl Advert {
    /// Length of the record, in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A record.
    #[inline(always)]
    #[must_use]
    pub fn new(stamp_ns: u64, watch: WatchKey, source: Address, signer: u32, carp: [u8; carp::LEN]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "88 bytes")]
        let length = Self::LEN as u32;
        Self {
            header: RecordHeader { kind: Kind::Advert as u16, version: VERSION, length },
            stamp_ns,
            watch,
            source,
            signer,
            carp,
            reserved: 0,
        }
    }

    /// The sender's address.
    #[must_use]
    pub fn source(&self) -> core::net::IpAddr {
        self.source.ip(self.watch.family)
    }

    /// Reads a record as it came out of the ring.
    ///
    /// # Errors
    ///
    /// If the bytes are not a record of this version: the kernel program is of another build.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().map_err(|_| RecordError::Length(bytes.len()))?;
        let header = RecordHeader {
            kind: u16::from_ne_bytes(field(bytes, 0)),
            version: u16::from_ne_bytes(field(bytes, 2)),
            length: u32::from_ne_bytes(field(bytes, 4)),
        };
        if header.kind != Kind::Advert as u16 {
            return Err(RecordError::Kind(header.kind));
        }
        if header.version != VERSION {
            return Err(RecordError::Version(header.version));
        }
        Ok(Self {
            header,
            stamp_ns: u64::from_ne_bytes(field(bytes, 8)),
            watch: WatchKey {
                ifindex: u32::from_ne_bytes(field(bytes, 16)),
                outer_vlan: u16::from_ne_bytes(field(bytes, 20)),
                vlan: u16::from_ne_bytes(field(bytes, 22)),
                vhid: bytes[24],
                family: bytes[25],
                reserved: field(bytes, 26),
            },
            source: Address(field(bytes, 28)),
            signer: u32::from_ne_bytes(field(bytes, 44)),
            carp: field(bytes, 48),
            reserved: 0,
        })
    }
}

/// Why bytes from the ring are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Another length, in bytes.
    Length(usize),
    /// An unknown kind.
    Kind(u16),
    /// Another version of the layout.
    Version(u16),
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length(length) => write!(f, "a record of {length} bytes, expected {}", Advert::LEN),
            Self::Kind(kind) => write!(f, "a record of the unknown kind {kind}"),
            Self::Version(version) => write!(f, "a record of version {version}, expected {VERSION}"),
        }
    }
}

impl core::error::Error for RecordError {}

/// `N` bytes at an offset that lies within the record.
fn field<const N: usize>(bytes: &[u8; Advert::LEN], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

const _: () = {
    assert!(size_of::<RecordHeader>() == 8);
    assert!(Advert::LEN == 88 && Advert::LEN.is_multiple_of(8));
    assert!(core::mem::offset_of!(Advert, stamp_ns) == 8);
    assert!(core::mem::offset_of!(Advert, watch) == 16);
    assert!(core::mem::offset_of!(Advert, source) == 28);
    assert!(core::mem::offset_of!(Advert, signer) == 44);
    assert!(core::mem::offset_of!(Advert, carp) == 48);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::FAMILY_IPV4;
    use std::vec::Vec;

    fn advert() -> Advert {
        let watch =
            WatchKey { ifindex: 7, outer_vlan: 8, vlan: 9, vhid: 10, family: FAMILY_IPV4, reserved: [0; 2] };
        Advert::new(0x0102_0304_0506_0708, watch, Address::v4([10, 0, 0, 1]), 1, [3; 36])
    }

    fn bytes(advert: &Advert) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(advert.header.kind.to_ne_bytes());
        bytes.extend(advert.header.version.to_ne_bytes());
        bytes.extend(advert.header.length.to_ne_bytes());
        bytes.extend(advert.stamp_ns.to_ne_bytes());
        bytes.extend(advert.watch.ifindex.to_ne_bytes());
        bytes.extend(advert.watch.outer_vlan.to_ne_bytes());
        bytes.extend(advert.watch.vlan.to_ne_bytes());
        bytes.extend([advert.watch.vhid, advert.watch.family, 0, 0]);
        bytes.extend(advert.source.0);
        bytes.extend(advert.signer.to_ne_bytes());
        bytes.extend(advert.carp);
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn reads_a_record_back() {
        assert_eq!(Advert::from_bytes(&bytes(&advert())), Ok(advert()));
        assert_eq!(advert().source(), core::net::IpAddr::from([10, 0, 0, 1]));
    }

    #[test]
    fn refuses_what_is_no_record_of_ours() {
        let good = bytes(&advert());
        assert_eq!(Advert::from_bytes(&good[..87]), Err(RecordError::Length(87)));
        assert_eq!(Advert::from_bytes(&[]), Err(RecordError::Length(0)));
        let mut kind = good.clone();
        kind[..2].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(Advert::from_bytes(&kind), Err(RecordError::Kind(2)));
        let mut version = good;
        version[2..4].copy_from_slice(&9u16.to_ne_bytes());
        assert_eq!(Advert::from_bytes(&version), Err(RecordError::Version(9)));
    }
}
