//! The IPv6 header, as far as CARP needs it (CARP specification §1.2).

/// Length of the header without extension headers, in bytes.
pub const LEN: usize = 40;
/// The hop limit that an advertisement must still have on arrival.
pub const HOP_LIMIT: u8 = 255;
/// The group that advertisements are sent to, `ff02::12`.
pub const GROUP: [u8; 16] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12];

/// A view of the 40 bytes.
///
/// ```text
///  0               1               2               3
/// +-------+---------------+---------------------------------------+
/// |version| traffic class |              flow label               |
/// +-------+---------------+-------+---------------+---------------+
/// |        payload length         |  next header  |   hop limit   |
/// +-------------------------------+---------------+---------------+
/// |                       source (16 bytes)                       |
/// +---------------------------------------------------------------+
/// |                    destination (16 bytes)                     |
/// +---------------------------------------------------------------+
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(pub &'a [u8; LEN]);

impl<'a> Header<'a> {
    /// 6, or the frame is not what its `EtherType` says.
    #[inline(always)]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// Length of what follows the header, in bytes.
    #[inline(always)]
    #[must_use]
    pub fn payload_len(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// What follows: a protocol, or an extension header.
    #[inline(always)]
    #[must_use]
    pub fn next_header(&self) -> u8 {
        self.0[6]
    }

    /// Hops left.
    #[inline(always)]
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.0[7]
    }

    /// Address of the sender.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> &'a [u8; 16] {
        address(self.0, 8)
    }

    /// Address of the receiver, or a group.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> &'a [u8; 16] {
        address(self.0, 24)
    }
}

/// The header of an advertisement to be sent: hop limit 255, next header 112, no extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Address of the sender, normally link-local.
    pub source: [u8; 16],
    /// The group, or a peer.
    pub destination: [u8; 16],
    /// What follows the header.
    pub next_header: u8,
    /// Length of what follows the header, in bytes.
    pub payload_len: u8,
}

impl Repr {
    /// The header's bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = 0x60;
        bytes[5] = self.payload_len;
        bytes[6] = self.next_header;
        bytes[7] = HOP_LIMIT;
        bytes[8..24].copy_from_slice(&self.source);
        bytes[24..].copy_from_slice(&self.destination);
        bytes
    }
}

/// The 16 bytes at an offset that lies within the header.
#[inline(always)]
fn address(bytes: &[u8; LEN], offset: usize) -> &[u8; 16] {
    // Never the second. Written so, it needs no panic.
    bytes.get(offset..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; 16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_emits() {
        let mut source = [0; 16];
        source[..2].copy_from_slice(&[0xfe, 0x80]);
        source[15] = 1;
        let bytes = Repr { source, destination: GROUP, next_header: 112, payload_len: 36 }.emit();
        let header = Header(&bytes);
        assert_eq!((header.version(), header.payload_len(), header.next_header()), (6, 36, 112));
        assert_eq!(header.hop_limit(), 255);
        assert_eq!((*header.source(), *header.destination()), (source, GROUP));
    }
}
