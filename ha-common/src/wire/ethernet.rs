//! Ethernet II and 802.1Q.

/// A hardware address.
pub type Mac = [u8; 6];

/// Length of the header without tags, in bytes.
pub const LEN: usize = 14;
/// Length of one 802.1Q tag together with the `EtherType` behind it, in bytes.
pub const TAG_LEN: usize = 4;
/// `EtherType` of IPv4.
pub const IPV4: u16 = 0x0800;
/// `EtherType` of IPv6.
pub const IPV6: u16 = 0x86dd;
/// `EtherType` of ARP.
pub const ARP: u16 = 0x0806;
/// `EtherType` of an 802.1Q tag.
pub const DOT1Q: u16 = 0x8100;
/// `EtherType` of an outer (802.1ad) tag.
pub const DOT1AD: u16 = 0x88a8;
/// The bits of a tag that are the VLAN identifier.
pub const VLAN_MASK: u16 = 0x0fff;
/// The broadcast address.
pub const BROADCAST: Mac = [0xff; 6];

/// A view of the 14 bytes.
///
/// ```text
///  0           6           12      14
/// +-----------+-----------+-------+
/// |destination|  source   | type  |
/// +-----------+-----------+-------+
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(pub &'a [u8; LEN]);

impl Header<'_> {
    /// What follows: an `EtherType`, or the mark of a tag.
    #[inline(always)]
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.0[12], self.0[13]])
    }

    /// Hardware address of the sender.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Mac {
        [self.0[6], self.0[7], self.0[8], self.0[9], self.0[10], self.0[11]]
    }
}

/// A view of a tag's two control bytes and the `EtherType` behind them.
#[derive(Clone, Copy, Debug)]
pub struct Tag<'a>(pub &'a [u8; TAG_LEN]);

impl Tag<'_> {
    /// The VLAN identifier, 0 to 4095; 0 is a priority tag, that is, no VLAN.
    #[inline(always)]
    #[must_use]
    pub fn vlan(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]]) & VLAN_MASK
    }

    /// What follows the tag.
    #[inline(always)]
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }
}

/// A header to be sent, untagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Hardware address of the receiver, or a group.
    pub destination: Mac,
    /// Hardware address of the sender.
    pub source: Mac,
    /// What follows.
    pub ethertype: u16,
}

impl Repr {
    /// The header's bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let [d0, d1, d2, d3, d4, d5] = self.destination;
        let [s0, s1, s2, s3, s4, s5] = self.source;
        let [t0, t1] = self.ethertype.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]
    }
}

/// The hardware group that an IPv4 group maps to (RFC 1112 §6.4): the low 23 bits behind `01:00:5e`.
#[must_use]
pub fn multicast(group: [u8; 4]) -> Mac {
    [0x01, 0x00, 0x5e, group[1] & 0x7f, group[2], group[3]]
}

/// The hardware group that an IPv6 group maps to (RFC 2464 §7): the low 32 bits behind `33:33`.
#[must_use]
pub fn multicast6(group: [u8; 16]) -> Mac {
    [0x33, 0x33, group[12], group[13], group[14], group[15]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_groups_as_captured() {
        assert_eq!(multicast([224, 0, 0, 18]), [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12]);
        assert_eq!(multicast([239, 192, 0, 5]), [0x01, 0x00, 0x5e, 0x40, 0x00, 0x05]);
    }

    #[test]
    fn reads_what_it_emits() {
        let repr = Repr { destination: BROADCAST, source: [2, 0, 0, 0, 0, 1], ethertype: ARP };
        let bytes = repr.emit();
        assert_eq!(Header(&bytes).ethertype(), ARP);
        assert_eq!(Header(&bytes).source(), repr.source);
        assert_eq!(bytes[..6], BROADCAST);
    }

    #[test]
    fn keeps_priority_bits_out_of_the_vlan() {
        let tag = Tag(&[0xef, 0xff, 0x08, 0x00]);
        assert_eq!(tag.vlan(), 0x0fff);
        assert_eq!(tag.ethertype(), IPV4);
    }
}
