//! The 36 bytes of a CARP advertisement (CARP specification §2).

use super::checksum;

/// Length of the advertisement, in bytes: neither more nor less.
pub const LEN: usize = 36;
/// Version 2, type 1 (advertisement), as they stand in byte 0.
pub const VERSION_AND_TYPE: u8 = 0x21;
/// Counter and digest in 32-bit words. VRRP has its count of addresses here.
pub const AUTHLEN: u8 = 7;
/// The group that advertisements are sent to.
pub const GROUP: [u8; 4] = [224, 0, 0, 18];

/// A view of the 36 bytes.
///
/// ```text
///  0               1               2               3
/// +-------+-------+---------------+---------------+---------------+
/// |version| type  |     vhid      |    advskew    |    authlen    |
/// +-------+-------+---------------+---------------+---------------+
/// |    demote     |    advbase    |           checksum            |
/// +---------------+---------------+-------------------------------+
/// |                       counter (8 bytes)                       |
/// +---------------------------------------------------------------+
/// |                   HMAC-SHA1 digest (20 bytes)                 |
/// +---------------------------------------------------------------+
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(pub &'a [u8; LEN]);

impl<'a> Header<'a> {
    /// The virtual host, 1 to 255.
    #[inline(always)]
    #[must_use]
    pub fn vhid(&self) -> u8 {
        self.0[1]
    }

    /// The finer half of the priority, lower wins; 255 only when leaving.
    #[inline(always)]
    #[must_use]
    pub fn advskew(&self) -> u8 {
        self.0[2]
    }

    /// `OpenBSD`'s demotion counter; others send 0.
    #[inline(always)]
    #[must_use]
    pub fn demote(&self) -> u8 {
        self.0[4]
    }

    /// The coarser half of the priority, in seconds, lower wins.
    #[inline(always)]
    #[must_use]
    pub fn advbase(&self) -> u8 {
        self.0[5]
    }

    /// Whether its sender leaves, or gives way.
    #[inline(always)]
    #[must_use]
    pub fn is_bow_out(&self) -> bool {
        self.advskew() == u8::MAX && self.advbase() == u8::MAX
    }

    /// The number that is hashed with the address list.
    #[inline(always)]
    #[must_use]
    pub fn counter(&self) -> u64 {
        let b = self.0;
        u64::from_be_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]])
    }

    /// What the sender's key made of vhid, addresses and counter.
    #[inline(always)]
    #[must_use]
    pub fn digest(&self) -> &'a [u8; 20] {
        // Never the second: 36 bytes end with 20. Written so, it needs no panic.
        self.0.last_chunk().unwrap_or(&[0; 20])
    }

    /// Whether the checksum over the 36 bytes is right. It has no pseudo-header.
    #[inline(always)]
    #[must_use]
    pub fn checksum_ok(&self) -> bool {
        checksum::sum(self.0) == 0xffff
    }
}

/// An advertisement to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The virtual host, 1 to 255.
    pub vhid: u8,
    /// The coarser half of the priority, in seconds.
    pub advbase: u8,
    /// The finer half of the priority, 0 to 254, or 255 when leaving.
    pub advskew: u8,
    /// `OpenBSD`'s demotion counter.
    pub demote: u8,
    /// A number not used before.
    pub counter: u64,
    /// The digest that belongs to the counter.
    pub digest: [u8; 20],
}

impl Repr {
    /// The advertisement's bytes, checksum included.
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = VERSION_AND_TYPE;
        bytes[1] = self.vhid;
        bytes[2] = self.advskew;
        bytes[3] = AUTHLEN;
        bytes[4] = self.demote;
        bytes[5] = self.advbase;
        bytes[8..16].copy_from_slice(&self.counter.to_be_bytes());
        bytes[16..].copy_from_slice(&self.digest);
        let checksum = checksum::checksum(&bytes);
        bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_emits() {
        let repr = Repr {
            vhid: 10,
            advbase: 1,
            advskew: 2,
            demote: 3,
            counter: 0x0102_0304_0506_0708,
            digest: [9; 20],
        };
        let bytes = repr.emit();
        let header = Header(&bytes);
        let read = Repr {
            vhid: header.vhid(),
            advbase: header.advbase(),
            advskew: header.advskew(),
            demote: header.demote(),
            counter: header.counter(),
            digest: *header.digest(),
        };
        assert_eq!(read, repr);
        assert!(header.checksum_ok());
        assert_eq!((bytes[0], bytes[3]), (VERSION_AND_TYPE, AUTHLEN));
    }
}
