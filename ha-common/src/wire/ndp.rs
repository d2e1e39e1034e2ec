//! Unsolicited neighbour advertisement: tells the segment which hardware address a virtual IPv6 address has now
//! (RFC 4861 §4.4, §7.2.6; CARP specification §6).

use super::ethernet::{self, Mac};
use super::{checksum, ipv6};

/// Length of the message behind the IPv6 header, in bytes.
pub const LEN: usize = 32;
/// Length of the whole frame, in bytes.
pub const FRAME_LEN: usize = MESSAGE + LEN;
/// Length of a neighbour solicitation without options, in bytes.
pub const SOLICITATION_LEN: usize = 24;
/// Next header of `ICMPv6`.
pub const NEXT_HEADER: u8 = 58;
/// All nodes of the link, `ff02::1`: whom it is told.
pub const ALL_NODES: [u8; 16] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// An announcement: not solicited, overriding what neighbours believe, from the announced address itself.
///
/// ```text
///  0               1               2               3
/// +---------------+---------------+-------------------------------+
/// |   type 136    |    code 0     |           checksum            |
/// +-+-+-+---------+---------------+-------------------------------+
/// |R|S|O|                       reserved                          |
/// +-+-+-+---------------------------------------------------------+
/// |                  target: the address (16 bytes)               |
/// +---------------+---------------+-------------------------------+
/// |   option 2    | length 1 (*8) |     hardware address (6)      |
/// +---------------+---------------+-------------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The hardware address that answers now.
    pub hardware: Mac,
    /// The virtual address.
    pub address: [u8; 16],
    /// Whether this node forwards: neighbours drop a router that says it is none (RFC 4861 §7.2.5).
    pub router: bool,
}

impl Announcement {
    /// The whole frame's bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; FRAME_LEN] {
        let ethernet = ethernet::Repr {
            destination: ethernet::multicast6(ALL_NODES),
            source: self.hardware,
            ethertype: ethernet::IPV6,
        };
        let ipv6 = ipv6::Repr {
            source: self.address,
            destination: ALL_NODES,
            next_header: NEXT_HEADER,
            payload_len: PAYLOAD_LEN,
        };
        let mut message = [0; LEN];
        message[0] = NEIGHBOUR_ADVERTISEMENT;
        message[4] = if self.router { ROUTER | OVERRIDE } else { OVERRIDE };
        message[8..24].copy_from_slice(&self.address);
        message[24..26].copy_from_slice(&[TARGET_LINK_LAYER_ADDRESS, 1]);
        message[26..].copy_from_slice(&self.hardware);
        let checksum = checksum(&self.address, &message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());

        let mut frame = [0; FRAME_LEN];
        frame[..ethernet::LEN].copy_from_slice(&ethernet.emit());
        frame[ethernet::LEN..MESSAGE].copy_from_slice(&ipv6.emit());
        frame[MESSAGE..].copy_from_slice(&message);
        frame
    }
}

/// Whom a message of `ICMPv6`, as far as it is needed for that, asks for, if it is a neighbour solicitation (RFC 4861 §4.3).
#[inline(always)]
#[must_use]
pub fn solicited(message: &[u8; SOLICITATION_LEN]) -> Option<[u8; 16]> {
    let (head, target) = message.split_first_chunk::<8>()?;
    let target = target.first_chunk::<16>()?;
    (head[0] == NEIGHBOUR_SOLICITATION).then_some(*target)
}

/// The checksum over pseudo-header and message (RFC 4443 §2.3), for a message whose checksum field is zero.
fn checksum(source: &[u8; 16], message: &[u8; LEN]) -> u16 {
    let mut summed = [0; PSEUDO_HEADER_LEN + LEN];
    summed[..16].copy_from_slice(source);
    summed[16..32].copy_from_slice(&ALL_NODES);
    // Length and next header have four bytes each.
    summed[35] = PAYLOAD_LEN;
    summed[39] = NEXT_HEADER;
    summed[PSEUDO_HEADER_LEN..].copy_from_slice(message);
    checksum::checksum(&summed)
}

/// Where the message begins in the frame.
const MESSAGE: usize = ethernet::LEN + ipv6::LEN;
const PSEUDO_HEADER_LEN: usize = 40;
#[expect(clippy::cast_possible_truncation, reason = "32")]
const PAYLOAD_LEN: u8 = LEN as u8;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const ROUTER: u8 = 0x80;
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const ANNOUNCEMENT: Announcement = Announcement {
        hardware: [2, 0, 0, 0, 0, 7],
        address: [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        router: false,
    };

    #[test]
    fn has_the_bytes_of_rfc_4861() {
        // By hand: 2001+0db8+0100 + ff02+0001 + 0020+003a + 8800+2000 + 2001+0db8+0100 + 0201+0200+0007 is
        // 208d7, folded 08d9, inverted f726.
        let expected = [
            0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7, 0x86, 0xdd, // Ethernet
            0x60, 0, 0, 0, 0, 32, 58, 255, // IPv6
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, // source
            0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // destination
            136, 0, 0xf7, 0x26, // type, code, checksum
            0x20, 0, 0, 0, // Override
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, // target
            2, 1, 2, 0, 0, 0, 0, 7, // target link-layer address
        ];
        assert_eq!(ANNOUNCEMENT.emit(), expected);
    }

    #[test]
    fn a_router_says_so() {
        let (host, router) = (ANNOUNCEMENT.emit(), Announcement { router: true, ..ANNOUNCEMENT }.emit());
        assert_eq!((host[58], router[58]), (0x20, 0xa0));
        let checksum = |frame: &[u8; FRAME_LEN]| u16::from_be_bytes([frame[56], frame[57]]);
        // One's complement: the flag is the high bit of a word.
        assert_eq!(checksum(&host) - 0x8000, checksum(&router));
    }
}
