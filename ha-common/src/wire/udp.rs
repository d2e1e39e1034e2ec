//! The UDP header (RFC 768).

/// Length of the header, in bytes.
pub const LEN: usize = 8;
/// Protocol number, and next header of IPv6.
pub const PROTOCOL: u8 = 17;

/// A view of the 8 bytes.
///
/// ```text
///  0               1               2               3
/// +-------------------------------+-------------------------------+
/// |          source port          |       destination port        |
/// +-------------------------------+-------------------------------+
/// |            length             |           checksum            |
/// +-------------------------------+-------------------------------+
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(pub &'a [u8; LEN]);

impl Header<'_> {
    /// Where it comes from.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Where it goes to.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Length of header and payload, in bytes.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Whether the length says that there is no payload.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        usize::from(self.len()) <= LEN
    }
}
