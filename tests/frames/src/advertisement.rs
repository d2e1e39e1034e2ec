//! Makes advertisements, with nothing of the code that is tested.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::packet::sealed;

/// An advertisement, each field as it will stand on the wire but the checksum, which will be right.
#[derive(Clone, Copy, Debug)]
pub struct Advertisement<'a> {
    /// What signs it.
    pub passphrase: &'a str,
    /// Virtual addresses, in any order.
    pub ipv4: &'a [Ipv4Addr],
    /// Those of IPv6.
    pub ipv6: &'a [Ipv6Addr],
    /// Whether link-local addresses are hashed.
    pub link_local: bool,
    /// Virtual host.
    pub vhid: u8,
    /// Open field.
    pub advskew: u8,
    /// Open field.
    pub advbase: u8,
    /// Open field.
    pub demote: u8,
    /// Counter.
    pub counter: u64,
}

impl Advertisement<'_> {
    /// A good one for a virtual host.
    #[must_use]
    pub fn of(vhid: u8) -> Self {
        Self {
            passphrase: PASSPHRASE,
            ipv4: &ADDRESSES4,
            ipv6: &ADDRESSES6,
            link_local: true,
            vhid,
            advskew: 100,
            advbase: 1,
            demote: 0,
            counter: 0x0123_4567_89ab_cdef,
        }
    }

    /// One of strict mode: the counter has the time and a copy of the open fields.
    #[must_use]
    pub fn made_at(self, ms: u64) -> Self {
        let copy = [self.advskew, self.advbase, self.demote];
        let counter = copy.iter().fold(ms, |counter, byte| counter << 8 | u64::from(*byte));
        Self { counter, ..self }
    }

    /// Its 36 bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut carp = vec![0x21, self.vhid, self.advskew, 7, self.demote, self.advbase, 0, 0];
        carp.extend(self.counter.to_be_bytes());
        carp.extend(self.digest());
        sealed(carp)
    }

    /// HMAC-SHA1 by other people's code (CARP specification §3.2).
    fn digest(&self) -> [u8; 20] {
        let mut mac = Hmac::<Sha1>::new_from_slice(self.passphrase.as_bytes()).expect("any length is a key");
        mac.update(&[2, 1, self.vhid]);
        for address in self.ipv4.iter().copied().collect::<BTreeSet<_>>() {
            mac.update(&address.octets());
        }
        for address in self.ipv6.iter().copied().collect::<BTreeSet<_>>() {
            if self.link_local || !address.is_unicast_link_local() {
                mac.update(&address.octets());
            }
        }
        mac.update(&self.counter.to_be_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// The 36 bytes of a good advertisement for a virtual host.
#[must_use]
pub fn advertisement(vhid: u8) -> Vec<u8> {
    Advertisement::of(vhid).bytes()
}

/// What signs unless something else is said.
pub const PASSPHRASE: &str = "secret";
/// The one before, which some virtual hosts still take.
pub const OLD_PASSPHRASE: &str = "old secret";
/// One that nobody takes.
pub const WRONG_PASSPHRASE: &str = "wrong";
/// The virtual addresses of every virtual host here, in no order.
pub const ADDRESSES4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 100), Ipv4Addr::new(10, 8, 0, 200)];
/// Those of IPv6.
pub const ADDRESSES6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100)];
