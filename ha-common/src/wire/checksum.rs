//! The Internet checksum (RFC 1071), as IPv4 and CARP use it.

use super::udp;

/// The one's-complement sum of `N` bytes as big-endian words, folded to 16 bits. An odd last byte counts
/// as the high half of a word.
///
/// Data that carries its own correct checksum sums to `0xffff` (CARP specification §2).
#[inline(always)]
#[must_use]
pub fn sum<const N: usize>(bytes: &[u8; N]) -> u16 {
    let mut sum: u32 = 0;
    // By index: an iterator compares pointers into the packet, and where that loop stays rolled, the verifier
    // does not see it end.
    let mut at = 0;
    while at + 1 < N {
        sum += u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        at += 2;
    }
    if at < N {
        sum += u32::from(bytes[at]) << 8;
    }
    // At most 64 KiB are summed, so two folds are enough.
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits just above")]
    {
        sum as u16
    }
}

/// The checksum to put into a header whose checksum field is zero.
#[inline(always)]
#[must_use]
pub fn checksum<const N: usize>(bytes: &[u8; N]) -> u16 {
    !sum(bytes)
}

/// The checksum of a UDP datagram (RFC 768; RFC 8200 §8.1) whose own field is zero, from the sum of its addresses. Never 0,
/// which would say that there is none.
#[inline(always)]
#[must_use]
pub fn udp<const N: usize>(addresses: u16, header: &[u8; 8], payload: &[u8; N]) -> u16 {
    // The length counts twice: in the header and before it.
    let length = u16::from_be_bytes([header[4], header[5]]);
    let mut total = u32::from(addresses)
        + u32::from(udp::PROTOCOL)
        + u32::from(length)
        + u32::from(sum(header))
        + u32::from(sum(payload));
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits just above")]
    let checksum = !(total as u16);
    if checksum == 0 { u16::MAX } else { checksum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn pads_an_odd_byte_and_folds_all_ones() {
        assert_eq!(sum(&[0x12]), 0x1200);
        assert_eq!(sum(&[0xff; 36]), 0xffff);
        assert_eq!(checksum(&[0; 20]), 0xffff);
    }
}
