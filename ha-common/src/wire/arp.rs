//! Gratuitous ARP: tells the segment which hardware address a virtual address has now (RFC 5227 §3).

use super::ethernet::{self, Mac};

/// Length of the message behind the Ethernet header, in bytes.
pub const LEN: usize = 28;
/// Length of the whole frame, in bytes.
pub const FRAME_LEN: usize = ethernet::LEN + LEN;

/// An announcement: a broadcast request in which sender and target are the announced address.
///
/// ```text
///  0               2               4       5       6
/// +---------------+---------------+-------+-------+---------------+
/// | hardware (1)  |protocol (IPv4)| 6     | 4     | request (1)   |
/// +---------------+---------------+-------+-------+---------------+
/// | sender hardware (6) | sender address (4)                      |
/// +---------------------+-----------------------------------------+
/// | target hardware (6) | target address (4)                      |
/// +---------------------+-----------------------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The hardware address that answers now.
    pub hardware: Mac,
    /// The virtual address.
    pub address: [u8; 4],
}

impl Announcement {
    /// The whole frame's bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; FRAME_LEN] {
        let header = ethernet::Repr {
            destination: ethernet::BROADCAST,
            source: self.hardware,
            ethertype: ethernet::ARP,
        };
        let mut frame = [0; FRAME_LEN];
        frame[..14].copy_from_slice(&header.emit());
        frame[14..22].copy_from_slice(&[0, 1, 0x08, 0, 6, 4, 0, 1]);
        frame[22..28].copy_from_slice(&self.hardware);
        frame[28..32].copy_from_slice(&self.address);
        // The target's hardware address stays zero: that is what is asked for.
        frame[38..42].copy_from_slice(&self.address);
        frame
    }
}

/// Whom a message asks for, if it is a request. What kind of addresses it is about is not looked at: nobody asks for an
/// address of IPv4 otherwise.
#[inline(always)]
#[must_use]
pub fn requested(message: &[u8; LEN]) -> Option<[u8; 4]> {
    let [_, _, _, _, _, _, 0, REQUEST, .., a, b, c, d] = *message else { return None };
    Some([a, b, c, d])
}

const REQUEST: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_bytes_of_rfc_5227() {
        let frame = Announcement { hardware: [2, 0, 0, 0, 0, 7], address: [10, 77, 0, 100] }.emit();
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 0x08, 0x06, // Ethernet
            0, 1, 0x08, 0, 6, 4, 0, 1, // Ethernet/IPv4 request
            2, 0, 0, 0, 0, 7, 10, 77, 0, 100, // sender
            0, 0, 0, 0, 0, 0, 10, 77, 0, 100, // target
        ];
        assert_eq!(frame, expected);
    }
}
