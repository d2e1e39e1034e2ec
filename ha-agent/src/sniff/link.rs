//! What a recorded frame begins with, by the numbers that recordings have for it (`LINKTYPE_…`, tcpdump.org).

use std::borrow::Cow;

use ha_common::wire::ethernet;

/// What the bytes of a frame begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An Ethernet header.
    Ethernet,
    /// Linux' cooked header, as `tcpdump -i any` wrote it.
    Cooked,
    /// The newer one of these.
    Cooked2,
    /// An IP header.
    Ip,
}

impl Kind {
    /// The kind with this number; `None` if it is not understood.
    #[must_use]
    pub fn of(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::Ethernet),
            113 => Some(Self::Cooked),
            276 => Some(Self::Cooked2),
            // Numbers of old systems for the first, and those for one version only.
            12 | 14 | 101 | 228 | 229 => Some(Self::Ip),
            _ => None,
        }
    }

    /// The frame with an Ethernet header, whose addresses are zero where they are not known; `None` where it ends before.
    pub(super) fn as_ethernet(self, bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
        let behind = |ethertype: [u8; 2], source: [u8; 6], rest: &[u8]| {
            let [s0, s1, s2, s3, s4, s5] = source;
            let [t0, t1] = ethertype;
            let header = [0, 0, 0, 0, 0, 0, s0, s1, s2, s3, s4, s5, t0, t1];
            Cow::Owned([&header, rest].concat())
        };
        let two = |at: usize| bytes.get(at..)?.first_chunk::<2>().copied();
        let six = |at: usize| bytes.get(at..)?.first_chunk::<6>().copied();
        match self {
            Self::Ethernet => Some(Cow::Borrowed(bytes)),
            Self::Cooked => Some(behind(two(14)?, six(6)?, bytes.get(16..)?)),
            Self::Cooked2 => Some(behind(two(0)?, six(12)?, bytes.get(20..)?)),
            Self::Ip => {
                let ethertype = match bytes.first()? >> 4 {
                    4 => ethernet::IPV4,
                    6 => ethernet::IPV6,
                    _ => return None,
                };
                Some(behind(ethertype.to_be_bytes(), [0; 6], bytes))
            }
        }
    }

    /// How many bytes more the frame has in this form than with an Ethernet header.
    pub(super) fn excess(self) -> isize {
        match self {
            Self::Ethernet => 0,
            Self::Cooked => 2,
            Self::Cooked2 => 6,
            Self::Ip => -14,
        }
    }

    /// Whether the node where it was recorded sent it, as far as the header tells.
    #[must_use]
    pub fn is_outgoing(self, bytes: &[u8]) -> bool {
        let kind = match self {
            Self::Ethernet | Self::Ip => None,
            Self::Cooked => bytes.get(1),
            Self::Cooked2 => bytes.get(10),
        };
        kind == Some(&OUTGOING)
    }
}

/// `PACKET_OUTGOING` (`linux/if_packet.h`).
const OUTGOING: u8 = 4;
