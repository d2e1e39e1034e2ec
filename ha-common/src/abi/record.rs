//! The records of the event ring.

use super::{Address, PathKey, VERSION, WatchKey};
use crate::wire::{carp, echo};

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// An advertisement arrived: an [`Advert`].
    Advert = 1,
    /// None arrived for too long: a [`Timeout`].
    Silence = 2,
    /// The timer of a watch fired too late to tell that: a [`Timeout`].
    Stall = 3,
    /// A peer's kernel answered: an [`Answer`].
    Answer = 4,
    /// It did not for too long: a [`Timeout`].
    Unanswered = 5,
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
    /// Whether the watch's timer runs from this frame on: 0 or 1.
    pub watched: u32,
}

/// The timer of a watch fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Timeout {
    /// Kind, version and length.
    pub header: RecordHeader,
    /// When it fired, in ns of `CLOCK_MONOTONIC`.
    pub fired_ns: u64,
    /// The watch.
    pub watch: WatchKey,
    /// Of [`Kind::Unanswered`], the path's slot; else 0.
    pub path: u32,
    /// When the last authentic frame had arrived, in ns; of [`Kind::Unanswered`], when the probe left that has no answer.
    pub last_ns: u64,
    /// When the silence was too long, in ns: a [`Patience`](super::Patience) later, and an interval more for each
    /// stall.
    pub deadline_ns: u64,
}

/// A peer's kernel answered, and that is authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Answer {
    /// Kind, version and length.
    pub header: RecordHeader,
    /// When it arrived, in ns of `CLOCK_MONOTONIC`.
    pub stamp_ns: u64,
    /// Where: its virtual host is 0.
    pub watch: WatchKey,
    /// The path's slot.
    pub path: u32,
    /// When the probe had left, in ns.
    pub departed_ns: u64,
    /// The answer itself.
    pub message: [u8; echo::LEN],
}

/// Any record, as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// An advertisement arrived.
    Advert(Advert),
    /// None arrived for too long.
    Silence(Timeout),
    /// The timer fired too late to tell that, and was armed once more.
    Stall(Timeout),
    /// A peer's kernel answered.
    Answer(Answer),
    /// It did not for too long.
    Unanswered(Timeout),
}

impl Answer {
    /// Length of the record, in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A record.
    #[inline(always)]
    #[must_use]
    pub fn new(stamp_ns: u64, key: &PathKey, path: u32, departed_ns: u64, message: [u8; echo::LEN]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "112 bytes")]
        let length = Self::LEN as u32;
        let header = RecordHeader { kind: Kind::Answer as u16, version: VERSION, length };
        Self { header, stamp_ns, watch: on(key), path, departed_ns, message }
    }

    fn read(header: RecordHeader, bytes: &[u8; Self::LEN]) -> Self {
        Self {
            header,
            stamp_ns: u64::from_ne_bytes(field(bytes, 8)),
            watch: watch(bytes),
            path: u32::from_ne_bytes(field(bytes, 28)),
            departed_ns: u64::from_ne_bytes(field(bytes, 32)),
            message: field(bytes, 40),
        }
    }
}

impl Advert {
    /// Length of the record, in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A record.
    #[inline(always)]
    #[must_use]
    pub fn new(
        stamp_ns: u64,
        watch: WatchKey,
        source: Address,
        signer: u32,
        carp: [u8; carp::LEN],
        watched: bool,
    ) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "88 bytes")]
        let length = Self::LEN as u32;
        Self {
            header: RecordHeader { kind: Kind::Advert as u16, version: VERSION, length },
            stamp_ns,
            watch,
            source,
            signer,
            carp,
            watched: u32::from(watched),
        }
    }

    /// The sender's address.
    #[must_use]
    pub fn source(&self) -> core::net::IpAddr {
        self.source.ip(self.watch.family)
    }

    fn read(header: RecordHeader, bytes: &[u8; Self::LEN]) -> Self {
        Self {
            header,
            stamp_ns: u64::from_ne_bytes(field(bytes, 8)),
            watch: watch(bytes),
            source: Address(field(bytes, 28)),
            signer: u32::from_ne_bytes(field(bytes, 44)),
            carp: field(bytes, 48),
            watched: u32::from_ne_bytes(field(bytes, 84)),
        }
    }
}

impl Timeout {
    /// Length of the record, in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A record of the kind [`Kind::Unanswered`].
    #[inline(always)]
    #[must_use]
    pub fn unanswered(fired_ns: u64, key: &PathKey, path: u32, departed_ns: u64, deadline_ns: u64) -> Self {
        Self { path, ..Self::new(Kind::Unanswered, fired_ns, on(key), departed_ns, deadline_ns) }
    }

    /// A record of the kind [`Kind::Silence`] or [`Kind::Stall`].
    #[inline(always)]
    #[must_use]
    pub fn new(kind: Kind, fired_ns: u64, watch: WatchKey, last_ns: u64, deadline_ns: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "48 bytes")]
        let length = Self::LEN as u32;
        let header = RecordHeader { kind: kind as u16, version: VERSION, length };
        Self { header, fired_ns, watch, path: 0, last_ns, deadline_ns }
    }

    fn read(header: RecordHeader, bytes: &[u8; Self::LEN]) -> Self {
        Self {
            header,
            fired_ns: u64::from_ne_bytes(field(bytes, 8)),
            watch: watch(bytes),
            path: u32::from_ne_bytes(field(bytes, 28)),
            last_ns: u64::from_ne_bytes(field(bytes, 32)),
            deadline_ns: u64::from_ne_bytes(field(bytes, 40)),
        }
    }
}

impl Record {
    /// Reads a record as it came out of the ring.
    ///
    /// # Errors
    ///
    /// If the bytes are not a record of this version: the kernel program is of another build.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let first: &[u8; size_of::<RecordHeader>()] =
            bytes.first_chunk().ok_or(RecordError::Length(bytes.len()))?;
        let header = RecordHeader {
            kind: u16::from_ne_bytes(field(first, 0)),
            version: u16::from_ne_bytes(field(first, 2)),
            length: u32::from_ne_bytes(field(first, 4)),
        };
        if header.version != VERSION {
            return Err(RecordError::Version(header.version));
        }
        let timeout = || Ok(Timeout::read(header, exactly(bytes)?));
        match header.kind {
            kind if kind == Kind::Advert as u16 => Ok(Self::Advert(Advert::read(header, exactly(bytes)?))),
            kind if kind == Kind::Silence as u16 => timeout().map(Self::Silence),
            kind if kind == Kind::Stall as u16 => timeout().map(Self::Stall),
            kind if kind == Kind::Answer as u16 => Ok(Self::Answer(Answer::read(header, exactly(bytes)?))),
            kind if kind == Kind::Unanswered as u16 => timeout().map(Self::Unanswered),
            kind => Err(RecordError::Kind(kind)),
        }
    }

    /// When it happened, in ns of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn at_ns(&self) -> u64 {
        match self {
            Self::Advert(advert) => advert.stamp_ns,
            Self::Answer(answer) => answer.stamp_ns,
            Self::Silence(timeout) | Self::Stall(timeout) | Self::Unanswered(timeout) => timeout.fired_ns,
        }
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
            Self::Length(length) => write!(f, "a record of {length} bytes, which no record of its kind has"),
            Self::Kind(kind) => write!(f, "a record of the unknown kind {kind}"),
            Self::Version(version) => write!(f, "a record of version {version}, expected {VERSION}"),
        }
    }
}

impl core::error::Error for RecordError {}

fn exactly<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], RecordError> {
    bytes.try_into().map_err(|_| RecordError::Length(bytes.len()))
}

/// Every record has its watch at the same place.
fn watch<const LEN: usize>(bytes: &[u8; LEN]) -> WatchKey {
    let [vhid, family, reserved @ ..] = field::<4, LEN>(bytes, 24);
    WatchKey {
        ifindex: u32::from_ne_bytes(field(bytes, 16)),
        outer_vlan: u16::from_ne_bytes(field(bytes, 20)),
        vlan: u16::from_ne_bytes(field(bytes, 22)),
        vhid,
        family,
        reserved,
    }
}

/// Where a path is: what a watch would be for a virtual host 0.
#[inline(always)]
fn on(key: &PathKey) -> WatchKey {
    let PathKey { ifindex, outer_vlan, vlan, family, .. } = *key;
    #[expect(clippy::cast_possible_truncation, reason = "4 or 6")]
    let family = family as u8;
    WatchKey { ifindex, outer_vlan, vlan, vhid: 0, family, reserved: [0; 2] }
}

/// `N` bytes at an offset that lies within the record.
fn field<const N: usize, const LEN: usize>(bytes: &[u8; LEN], offset: usize) -> [u8; N] {
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
    assert!(core::mem::offset_of!(Advert, watched) == 84);
    assert!(Answer::LEN == 112 && Answer::LEN.is_multiple_of(8));
    assert!(core::mem::offset_of!(Answer, watch) == 16);
    assert!(core::mem::offset_of!(Answer, path) == 28);
    assert!(core::mem::offset_of!(Answer, departed_ns) == 32);
    assert!(core::mem::offset_of!(Answer, message) == 40);
    assert!(Timeout::LEN == 48);
    assert!(core::mem::offset_of!(Timeout, path) == 28);
    assert!(core::mem::offset_of!(Timeout, fired_ns) == 8);
    assert!(core::mem::offset_of!(Timeout, watch) == 16);
    assert!(core::mem::offset_of!(Timeout, last_ns) == 32);
    assert!(core::mem::offset_of!(Timeout, deadline_ns) == 40);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::FAMILY_IPV4;
    use std::vec::Vec;

    const WATCH: WatchKey =
        WatchKey { ifindex: 7, outer_vlan: 8, vlan: 9, vhid: 10, family: FAMILY_IPV4, reserved: [0; 2] };

    fn advert() -> Advert {
        Advert::new(0x0102_0304_0506_0708, WATCH, Address::v4([10, 0, 0, 1]), 1, [3; 36], true)
    }

    fn beginning(header: RecordHeader, at_ns: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(header.kind.to_ne_bytes());
        bytes.extend(header.version.to_ne_bytes());
        bytes.extend(header.length.to_ne_bytes());
        bytes.extend(at_ns.to_ne_bytes());
        bytes.extend(WATCH.ifindex.to_ne_bytes());
        bytes.extend(WATCH.outer_vlan.to_ne_bytes());
        bytes.extend(WATCH.vlan.to_ne_bytes());
        bytes.extend([WATCH.vhid, WATCH.family, 0, 0]);
        bytes
    }

    fn bytes(advert: &Advert) -> Vec<u8> {
        let mut bytes = beginning(advert.header, advert.stamp_ns);
        bytes.extend(advert.source.0);
        bytes.extend(advert.signer.to_ne_bytes());
        bytes.extend(advert.carp);
        bytes.extend(advert.watched.to_ne_bytes());
        bytes
    }

    #[test]
    fn reads_an_advertisement_back() {
        assert_eq!(Record::from_bytes(&bytes(&advert())), Ok(Record::Advert(advert())));
        assert_eq!(advert().source(), core::net::IpAddr::from([10, 0, 0, 1]));
    }

    #[test]
    fn reads_timeouts_back() {
        for (kind, record) in
            [(Kind::Silence, Record::Silence as fn(Timeout) -> Record), (Kind::Stall, Record::Stall)]
        {
            let timeout = Timeout::new(kind, 30, WATCH, 10, 20);
            let mut bytes = beginning(timeout.header, 30);
            bytes.extend([0; 4]);
            bytes.extend(10_u64.to_ne_bytes());
            bytes.extend(20_u64.to_ne_bytes());
            assert_eq!(Record::from_bytes(&bytes), Ok(record(timeout)));
            assert_eq!(record(timeout).at_ns(), 30);
            bytes.push(0);
            assert_eq!(Record::from_bytes(&bytes), Err(RecordError::Length(49)));
        }
    }

    #[test]
    fn reads_answers_and_their_absence_back() {
        let WatchKey { ifindex, outer_vlan, vlan, .. } = WATCH;
        let key = PathKey { ifindex, outer_vlan, vlan, family: 4, address: Address::v4([10, 0, 0, 1]) };
        let nobody = |bytes: &mut Vec<u8>| bytes[24] = 0;
        let answer = Answer::new(30, &key, 5, 20, [7; echo::LEN]);
        let mut bytes = beginning(answer.header, 30);
        nobody(&mut bytes);
        bytes.extend(5_u32.to_ne_bytes());
        bytes.extend(20_u64.to_ne_bytes());
        bytes.extend([7; echo::LEN]);
        assert_eq!(Record::from_bytes(&bytes), Ok(Record::Answer(answer)));
        let none = Timeout::unanswered(30, &key, 5, 10, 20);
        let mut bytes = beginning(none.header, 30);
        nobody(&mut bytes);
        bytes.extend(5_u32.to_ne_bytes());
        bytes.extend(10_u64.to_ne_bytes());
        bytes.extend(20_u64.to_ne_bytes());
        assert_eq!(Record::from_bytes(&bytes), Ok(Record::Unanswered(none)));
    }

    #[test]
    fn refuses_what_is_no_record_of_ours() {
        let good = bytes(&advert());
        assert_eq!(Record::from_bytes(&good[..87]), Err(RecordError::Length(87)));
        assert_eq!(Record::from_bytes(&good[..7]), Err(RecordError::Length(7)));
        assert_eq!(Record::from_bytes(&[]), Err(RecordError::Length(0)));
        let mut kind = good.clone();
        kind[..2].copy_from_slice(&9u16.to_ne_bytes());
        assert_eq!(Record::from_bytes(&kind), Err(RecordError::Kind(9)));
        let mut version = good;
        version[2..4].copy_from_slice(&9u16.to_ne_bytes());
        assert_eq!(Record::from_bytes(&version), Err(RecordError::Version(9)));
    }
}
