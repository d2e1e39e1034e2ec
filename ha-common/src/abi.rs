//! Map keys, map values and ring-buffer records: what lies in memory that kernel and user space share.
//!
//! Integers are in the machine's own byte order, addresses in network order. Layouts are asserted at
//! compile time; whoever changes one raises [`VERSION`].

use crate::auth::{DIGEST_LEN, Mac, Scratch};
use crate::fresh::{Heard, Stamp};
pub use crate::reason::Counters;
use crate::reason::Reason;

mod countdown;
mod echo;
mod lease;
mod record;
mod standing;

pub use countdown::{Countdown, MOST_STALLS, Patience, UNREAD_NS, bpf_timer, said};
pub use echo::{Asked, DEPARTURES, Departure, EchoWatch, KEYS, MAX_PATHS, Oneself, Path, PathKey, place};
pub use lease::{Guarded, Lease};
pub use record::{Advert, Answer, Kind, Record, RecordError, RecordHeader, Timeout};
pub use standing::Standing;

/// Version of every layout here and in the records.
pub const VERSION: u16 = 6;
/// How many virtual hosts one agent can serve.
pub const MAX_HOSTS: usize = 1024;
/// How many watches there are room for: of each virtual host one a family, twice while it moves to another place.
pub const MAX_WATCHES: usize = 4 * MAX_HOSTS;
/// How many sets of counters there are: one a virtual host and family, and [`COMMON_SLOT`].
pub const COUNTER_SLOTS: usize = 2 * MAX_HOSTS + 1;
/// The counters of frames that belong to no virtual host of ours.
pub const COMMON_SLOT: u32 = 0;
/// How many sets of keys there are: two a virtual host, one in use and one to be written.
pub const KEY_SETS: usize = 2 * MAX_HOSTS;
/// How many macs a set of keys has: two passphrases, each with and without link-local addresses (CARP
/// specification §3.3).
pub const MACS: usize = 4;
/// How many addresses the lists of all virtual hosts have together.
pub const MAX_LISTED: usize = 32 * MAX_HOSTS;
/// How many senders, and sets of open fields, are remembered in strict mode.
pub const MAX_HEARD: usize = 16 * MAX_HOSTS;
/// How many of our own advertisements are known in strict mode; the oldest go.
pub const MAX_GIVEN: usize = 65_536;
/// How many virtual addresses there are room for under the lease.
pub const MAX_GUARDED: usize = MAX_LISTED;
/// Size of the event ring, in bytes: a power of two and a multiple of the page size. Holds 1,365 records, each
/// with 8 bytes of the kernel's own.
pub const RING_BYTES: usize = 128 * 1024;

/// [`WatchKey::family`] of IPv4.
pub const FAMILY_IPV4: u8 = 4;
/// [`WatchKey::family`] of IPv6.
pub const FAMILY_IPV6: u8 = 6;

/// An address of either family; IPv4 in the first four bytes, the rest 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// An IPv4 address.
    #[inline(always)]
    #[must_use]
    pub fn v4([a, b, c, d]: [u8; 4]) -> Self {
        Self([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// As the standard library has it; `family` says how to read it.
    #[must_use]
    pub fn ip(&self, family: u8) -> core::net::IpAddr {
        match (family, self.0) {
            (FAMILY_IPV4, [a, b, c, d, ..]) => core::net::IpAddr::from([a, b, c, d]),
            (_, bytes) => core::net::IpAddr::from(bytes),
        }
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(address) => Self::v4(address.octets()),
            core::net::IpAddr::V6(address) => Self(address.octets()),
        }
    }
}

/// The family of an address, as [`WatchKey::family`] has it.
#[must_use]
pub fn family_of(address: core::net::IpAddr) -> u8 {
    match address {
        core::net::IpAddr::V4(_) => FAMILY_IPV4,
        core::net::IpAddr::V6(_) => FAMILY_IPV6,
    }
}

/// Which advertisements a watch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct WatchKey {
    /// Index of the interface.
    pub ifindex: u32,
    /// Outer VLAN of a doubly tagged frame, else 0.
    pub outer_vlan: u16,
    /// VLAN, or 0.
    pub vlan: u16,
    /// Virtual host, 1 to 255.
    pub vhid: u8,
    /// 4 or 6.
    pub family: u8,
    /// Always 0: a map's key has no hole.
    pub reserved: [u8; 2],
}

/// What the kernel knows of one virtual host in one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Watch {
    /// Its counters: an index into the map of counters, 1 to 2 × [`MAX_HOSTS`].
    pub slot: u32,
    /// The virtual host, both families: whose lists, and what was heard. 1 to [`MAX_HOSTS`].
    pub host: u32,
    /// Its keys: an index into the map of keys, below [`KEY_SETS`].
    pub keys: u32,
    /// [`Watch::STRICT`] and the others.
    pub flags: u32,
    /// Strict mode: how far clocks may differ, in ms.
    pub tolerance_ms: u32,
    /// Always 0.
    pub reserved: u32,
    /// The group that its advertisements are sent to, unless they are [`Watch::UNICAST`].
    pub group: Address,
}

impl Watch {
    /// Flag: the counter is checked, too.
    pub const STRICT: u32 = 1;
    /// Flag: only senders in the list [`Role::PEER`] are heard.
    pub const PEERS_ONLY: u32 = 2;
    /// Flag: advertisements are sent to one of our own addresses, in the list [`Role::OWN`], not to a group.
    pub const UNICAST: u32 = 4;
    /// Flag: what is refused is passed on all the same, not dropped.
    pub const PASS_REFUSED: u32 = 8;

    /// Whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// What an address is to a virtual host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Role(pub u8);

impl Role {
    /// It is this node's own; never a virtual address.
    pub const OWN: Self = Self(1);
    /// A node whose advertisements may be heard.
    pub const PEER: Self = Self(2);
}

/// An address in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct ListKey {
    /// The virtual host: [`Watch::host`].
    pub host: u32,
    /// Which list.
    pub role: Role,
    /// 4 or 6.
    pub family: u8,
    /// Always 0.
    pub reserved: [u8; 2],
    /// The address.
    pub address: Address,
}

/// The keys of a virtual host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Keys {
    /// How many of the macs are used.
    pub count: u32,
    /// How many of them belong to one passphrase, 1 or 2.
    pub forms: u32,
    /// All that may sign: those of the first passphrase, then those of the second.
    pub macs: [Mac; MACS],
}

impl Keys {
    /// Nobody can sign.
    pub const NONE: Self = Self { count: 0, forms: 1, macs: [Mac::UNUSED; MACS] };

    /// Which of the passphrases makes this digest, counted from 0.
    #[inline(always)]
    #[must_use]
    pub fn signer(&self, scratch: &mut Scratch, counter: u64, digest: &[u8; DIGEST_LEN]) -> Option<u32> {
        for (index, mac) in (0..).zip(&self.macs) {
            if index >= self.count {
                break;
            }
            if mac.verify_in(scratch, counter, digest) {
                return Some(if self.forms == 2 { index / 2 } else { index });
            }
        }
        None
    }
}

/// Under which name times are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct HeardKey {
    /// The virtual host: [`Watch::host`].
    pub host: u32,
    /// 4 or 6: a sender's address. [`HeardKey::FIELDS`]: open fields.
    pub kind: u8,
    /// Always 0.
    pub reserved: [u8; 3],
    /// The address, or advskew, advbase and demote.
    pub name: Address,
}

impl HeardKey {
    /// [`HeardKey::kind`]: all advertisements with the same open fields.
    pub const FIELDS: u8 = 1;

    /// All advertisements of one sender.
    #[inline(always)]
    #[must_use]
    pub fn sender(host: u32, family: u8, source: Address) -> Self {
        Self { host, kind: family, reserved: [0; 3], name: source }
    }

    /// All advertisements with the same open fields.
    #[inline(always)]
    #[must_use]
    pub fn fields(host: u32, stamp: Stamp) -> Self {
        let name = Address::v4([stamp.advskew, stamp.advbase, stamp.demote, 0]);
        Self { host, kind: Self::FIELDS, reserved: [0; 3], name }
    }
}

/// An advertisement of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct GivenKey {
    /// Its counter.
    pub counter: u64,
    /// The virtual host: [`Watch::host`].
    pub host: u32,
    /// Always 0.
    pub reserved: u32,
}

/// What was heard, behind the lock that the kernel program takes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Remembered {
    /// The kernel's.
    pub lock: bpf_spin_lock,
    /// Always 0.
    pub reserved: u32,
    /// Which times.
    pub heard: Heard,
}

/// The kernel finds a lock in a map's value by the name of its type.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct bpf_spin_lock {
    /// The kernel's.
    pub val: u32,
}

/// Who was refused last for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sighting {
    /// When, in ns of `CLOCK_MONOTONIC`; 0 if nobody was.
    pub at_ns: u64,
    /// The sender.
    pub source: Address,
}

/// Who was refused last, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sightings(pub [Sighting; Reason::COUNT]);

// SAFETY: all are repr(C), Copy, without padding (asserted below), and valid for any bytes.
#[cfg(feature = "user")]
mod pod {
    use super::{
        Asked, Counters, GivenKey, Guarded, HeardKey, Keys, Lease, ListKey, Oneself, Path, PathKey, Patience,
        Remembered, Sightings, Standing, Watch, WatchKey,
    };

    // SAFETY: see the module.
    unsafe impl aya::Pod for WatchKey {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Watch {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Patience {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Counters {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for ListKey {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Keys {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for HeardKey {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for GivenKey {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Remembered {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Sightings {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Lease {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Guarded {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Standing {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for PathKey {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Path {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Oneself {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for Asked {}
    // SAFETY: see the module.
    unsafe impl aya::Pod for crate::echo::EchoCounters {}
}

const _: () = {
    assert!(size_of::<WatchKey>() == 12 && align_of::<WatchKey>() == 4);
    assert!(size_of::<Watch>() == 40);
    assert!(size_of::<ListKey>() == 24);
    assert!(size_of::<Mac>() == 176 && size_of::<Keys>() == 8 + MACS * 176);
    assert!(size_of::<HeardKey>() == 24);
    assert!(size_of::<GivenKey>() == 16);
    assert!(size_of::<Remembered>() == 32 && core::mem::offset_of!(Remembered, heard) == 8);
    assert!(size_of::<Sightings>() == Reason::COUNT * 24);
    assert!(size_of::<Lease>() == 48 && size_of::<Guarded>() == 20);
    assert!(size_of::<Standing>() == 16);
    assert!(core::mem::offset_of!(WatchKey, vhid) == 8);
    assert!(RING_BYTES.is_power_of_two());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_to_the_kernel() {
        for address in ["10.0.0.1", "0.0.0.0", "fe80::1", "::", "::ffff:10.0.0.1"] {
            let address: core::net::IpAddr = address.parse().unwrap();
            assert_eq!(Address::from(address).ip(family_of(address)), address);
        }
    }
}
