//! The frames that a flood is made of: right in everything but what their sender can't know.

use std::fmt::{self, Display, Formatter};

use ha_common::wire::{carp, checksum, ethernet, ipv4};
use lab::Random;
use lab::pair::VIRTUAL;
use lab::peer::VHID;

/// What a standby is flooded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Nothing: the peer by itself.
    None,
    /// CARP for the virtual host, from anybody, with any priority; only the digest is wrong.
    Forged,
    /// The same for any other virtual host.
    RandomVhid,
    /// VRRP version 3 for the virtual router, from strangers, with priorities that a standby has to discard.
    ///
    /// VRRP authenticates nobody, so one frame with a better priority would be believed.
    Vrrp,
}

impl Flood {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Forged, Self::RandomVhid, Self::Vrrp];

    /// So many different frames.
    pub(crate) fn frames(self, count: usize) -> Vec<Vec<u8>> {
        let mut random = Random::new(SEED);
        let make = |_| match self {
            Self::None => None,
            Self::Forged => Some(advertisement(&mut random, VHID)),
            Self::RandomVhid => {
                let vhid = match random.byte() {
                    0 | VHID => VHID + 1,
                    vhid => vhid,
                };
                Some(advertisement(&mut random, vhid))
            }
            Self::Vrrp => Some(vrrp(&mut random)),
        };
        (0..count).filter_map(make).collect()
    }
}

impl Display for Flood {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Forged => "forged",
            Self::RandomVhid => "random_vhid",
            Self::Vrrp => "vrrp",
        })
    }
}

fn advertisement(random: &mut Random, vhid: u8) -> Vec<u8> {
    let advertisement = carp::Repr {
        vhid,
        advbase: random.byte(),
        advskew: random.byte(),
        demote: 0,
        counter: random.number(),
        digest: random.bytes(),
    };
    // Of everybody on the wire, the true master among them.
    frame(random.byte(), &advertisement.emit())
}

/// The advertisement of RFC 5798 §5.1.
fn vrrp(random: &mut Random) -> Vec<u8> {
    let host = 3 + u8::try_from(random.below(252)).unwrap_or_default();
    let priority = 1 + u8::try_from(random.below(usize::from(STANDBY_PRIORITY) - 1)).unwrap_or_default();
    let [a, b, c, d] = VIRTUAL.octets();
    let mut message = [VRRP, VHID, priority, 1, 0, HUNDREDTHS, 0, 0, a, b, c, d];
    let mut whole = [0; 24];
    whole[..4].copy_from_slice(&source(host));
    whole[4..8].copy_from_slice(&carp::GROUP);
    whole[8..12].copy_from_slice(&[0, ipv4::PROTOCOL, 0, 12]);
    whole[12..].copy_from_slice(&message);
    message[6..8].copy_from_slice(&checksum::checksum(&whole).to_be_bytes());
    frame(host, &message)
}

fn frame(host: u8, payload: &[u8]) -> Vec<u8> {
    let ethernet = ethernet::Repr {
        destination: ethernet::multicast(carp::GROUP),
        source: [2, 0, 0, 0, 0, host],
        ethertype: ethernet::IPV4,
    };
    let payload_len = u8::try_from(payload.len()).unwrap_or_default();
    let ipv4 = ipv4::Repr { source: source(host), destination: carp::GROUP, payload_len };
    [ethernet.emit().as_slice(), &ipv4.emit(), payload].concat()
}

fn source(host: u8) -> [u8; 4] {
    [10, 77, 0, host]
}

/// keepalived's on the standby.
pub(crate) const STANDBY_PRIORITY: u8 = 150;
/// Between two advertisements, as keepalived is configured, in 1/100 s.
pub(crate) const HUNDREDTHS: u8 = 1;
/// Version 3, advertisement.
const VRRP: u8 = 0x31;
const SEED: u64 = 20_261_124;
