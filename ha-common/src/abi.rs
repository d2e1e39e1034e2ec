//! Map keys, map values and ring-buffer records: what lies in memory that kernel and user space share.
//!
//! Integers are in the machine's own byte order, addresses in network order. Layouts are asserted at
//! compile time; whoever changes one raises [`VERSION`].

pub use crate::reason::Counters;
use crate::wire::carp;

/// Version of every layout in this file.
pub const VERSION: u16 = 1;
/// How many virtual hosts one agent can watch.
pub const MAX_WATCHES: usize = 1024;
/// How many sets of counters there are: one a watch, and [`COMMON_SLOT`].
pub const COUNTER_SLOTS: usize = MAX_WATCHES + 1;
/// The counters of frames that belong to no virtual host of ours.
pub const COMMON_SLOT: u32 = 0;
/// Size of the event ring, in bytes: a power of two and a multiple of the page size. Holds 2,978 records, each with 8 bytes of the kernel's own.
pub const RING_BYTES: usize = 256 * 1024;

/// [`WatchKey::family`] of IPv4.
pub const FAMILY_IPV4: u8 = 4;

/// Which advertisements a watch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct WatchKey {
    /// Index of the interface.
    pub ifindex: u32,
    /// Outer VLAN of a doubly tagged frame, else 0.
    pub outer_vlan: u16,
    /// VLAN, or 0.
    pub vlan: u16,
    /// Virtual host, 1 to 255.
    pub vhid: u8,
    /// 4 or 6.
    pub family: u8,
    /// Always 0: a map's key has no hole.
    pub reserved: [u8; 2],
}

/// What the kernel knows of one virtual host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Watch {
    /// Its counters: an index into the map of counters, 1 to [`MAX_WATCHES`].
    pub slot: u32,
    /// The group that its advertisements are sent to.
    pub group: [u8; 4],
}

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

/// An advertisement that passed every check of the kernel program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Advert {
    /// Kind, version and length.
    pub header: RecordHeader,
    /// When it arrived, in ns of `CLOCK_MONOTONIC`.
    pub stamp_ns: u64,
    /// The watch it belongs to.
    pub watch: WatchKey,
    /// Sender, IPv4 in the first four bytes, the rest 0.
    pub source: [u8; 16],
    /// The advertisement itself.
    pub carp: [u8; carp::LEN],
}

impl Advert {
    /// Length of the record, in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A record of an IPv4 advertisement.
    #[inline(always)]
    #[must_use]
    pub fn new(stamp_ns: u64, watch: WatchKey, source: [u8; 4], carp: [u8; carp::LEN]) -> Self {
        let [a, b, c, d] = source;
        #[expect(clippy::cast_possible_truncation, reason = "88 bytes")]
        let length = Self::LEN as u32;
        Self {
            header: RecordHeader { kind: Kind::Advert as u16, version: VERSION, length },
            stamp_ns,
            watch,
            source: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            carp,
        }
    }

    /// The sender's IPv4 address.
    #[must_use]
    pub fn source_v4(&self) -> [u8; 4] {
        [self.source[0], self.source[1], self.source[2], self.source[3]]
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
            source: field(bytes, 28),
            carp: field(bytes, 44),
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

// SAFETY: all three are repr(C), Copy, without padding (asserted below), and valid for any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for WatchKey {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Watch {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Counters {}

/// `N` bytes at an offset that lies within the record.
fn field<const N: usize>(bytes: &[u8; Advert::LEN], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

const _: () = {
    assert!(size_of::<WatchKey>() == 12 && align_of::<WatchKey>() == 4);
    assert!(size_of::<Watch>() == 8);
    assert!(size_of::<RecordHeader>() == 8);
    assert!(Advert::LEN == 80 && Advert::LEN.is_multiple_of(8));
    assert!(core::mem::offset_of!(Advert, stamp_ns) == 8);
    assert!(core::mem::offset_of!(Advert, watch) == 16);
    assert!(core::mem::offset_of!(Advert, source) == 28);
    assert!(core::mem::offset_of!(Advert, carp) == 44);
    assert!(core::mem::offset_of!(WatchKey, vhid) == 8);
    assert!(RING_BYTES.is_power_of_two());
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn advert() -> Advert {
        let watch =
            WatchKey { ifindex: 7, outer_vlan: 8, vlan: 9, vhid: 10, family: FAMILY_IPV4, reserved: [0; 2] };
        Advert::new(0x0102_0304_0506_0708, watch, [10, 0, 0, 1], [3; 36])
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
        bytes.extend(advert.source);
        bytes.extend(advert.carp);
        bytes
    }

    #[test]
    fn reads_a_record_back() {
        assert_eq!(Advert::from_bytes(&bytes(&advert())), Ok(advert()));
        assert_eq!(advert().source_v4(), [10, 0, 0, 1]);
    }

    #[test]
    fn refuses_what_is_no_record_of_ours() {
        let good = bytes(&advert());
        assert_eq!(Advert::from_bytes(&good[..79]), Err(RecordError::Length(79)));
        assert_eq!(Advert::from_bytes(&[]), Err(RecordError::Length(0)));
        let mut kind = good.clone();
        kind[..2].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(Advert::from_bytes(&kind), Err(RecordError::Kind(2)));
        let mut version = good;
        version[2..4].copy_from_slice(&9u16.to_ne_bytes());
        assert_eq!(Advert::from_bytes(&version), Err(RecordError::Version(9)));
    }
}
