//! The IPv4 header, as far as CARP needs it (CARP specification §1.1).

use super::checksum;

/// Length of the header without options, in bytes.
pub const LEN: usize = 20;
/// Protocol number that CARP and VRRP share.
pub const PROTOCOL: u8 = 112;
/// The hop count that an advertisement must still have on arrival, so that it can't come from another link.
pub const TTL: u8 = 255;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
const TOS_LOW_DELAY: u8 = 0x10;

/// A view of the 20 fixed bytes.
///
/// ```text
///  0               1               2               3
/// +-------+-------+---------------+-------------------------------+
/// |version|  IHL  |      TOS      |         total length          |
/// +-------+-------+---------------+-----+-------------------------+
/// |        identification         |flags|     fragment offset     |
/// +---------------+---------------+-----+-------------------------+
/// |      TTL      |   protocol    |        header checksum        |
/// +---------------+---------------+-------------------------------+
/// |                            source                             |
/// +---------------------------------------------------------------+
/// |                          destination                          |
/// +---------------------------------------------------------------+
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(pub &'a [u8; LEN]);

impl Header<'_> {
    /// 4, or the frame is not what its `EtherType` says.
    #[inline(always)]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// Length with options, in bytes, 0 to 60; a true one has at least 20.
    #[inline(always)]
    #[must_use]
    pub fn header_len(&self) -> u8 {
        (self.0[0] & 0x0f) * 4
    }

    /// Length of header and payload, in bytes.
    #[inline(always)]
    #[must_use]
    pub fn total_len(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Whether more fragments follow.
    #[inline(always)]
    #[must_use]
    pub fn more_fragments(&self) -> bool {
        u16::from_be_bytes([self.0[6], self.0[7]]) & MORE_FRAGMENTS != 0
    }

    /// Whether this is a later fragment, one that does not begin with the payload's header.
    #[inline(always)]
    #[must_use]
    pub fn is_later_fragment(&self) -> bool {
        u16::from_be_bytes([self.0[6], self.0[7]]) & OFFSET != 0
    }

    /// Hops left.
    #[inline(always)]
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.0[8]
    }

    /// What the payload is.
    #[inline(always)]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.0[9]
    }

    /// Address of the sender.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> [u8; 4] {
        [self.0[12], self.0[13], self.0[14], self.0[15]]
    }

    /// Address of the receiver, or a group.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> [u8; 4] {
        [self.0[16], self.0[17], self.0[18], self.0[19]]
    }

    /// Whether the header checksum is right; meaningful for headers without options only.
    #[inline(always)]
    #[must_use]
    pub fn checksum_ok(&self) -> bool {
        checksum::sum(self.0) == 0xffff
    }
}

/// The header of an advertisement to be sent: TTL 255, protocol 112, not to be fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Address of the sender; `0.0.0.0` where the interface has none.
    pub source: [u8; 4],
    /// The group, or a peer.
    pub destination: [u8; 4],
    /// Length of what follows the header, in bytes.
    pub payload_len: u8,
}

impl Repr {
    /// The header's bytes, checksum included.
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = 0x45;
        bytes[1] = TOS_LOW_DELAY;
        bytes[2..4].copy_from_slice(&(20 + u16::from(self.payload_len)).to_be_bytes());
        bytes[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
        bytes[8] = TTL;
        bytes[9] = PROTOCOL;
        bytes[12..16].copy_from_slice(&self.source);
        bytes[16..20].copy_from_slice(&self.destination);
        let checksum = checksum::checksum(&bytes);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emits_what_the_view_reads() {
        let bytes = Repr { source: [10, 9, 0, 1], destination: [224, 0, 0, 18], payload_len: 36 }.emit();
        let header = Header(&bytes);
        assert_eq!((header.version(), header.header_len(), header.total_len()), (4, 20, 56));
        assert_eq!((header.ttl(), header.protocol()), (255, 112));
        assert_eq!((header.source(), header.destination()), ([10, 9, 0, 1], [224, 0, 0, 18]));
        assert!(!header.more_fragments() && !header.is_later_fragment());
        assert!(header.checksum_ok());
    }

    #[test]
    fn notices_any_flipped_bit() {
        let good = Repr { source: [10, 9, 0, 1], destination: [224, 0, 0, 18], payload_len: 36 }.emit();
        for bit in 0..LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!Header(&bad).checksum_ok(), "bit {bit}");
        }
    }
}
