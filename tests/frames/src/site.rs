//! What the frames are judged by: watches of every kind, side by side.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ha_common::abi::{
    Address, COUNTER_SLOTS, FAMILY_IPV4, FAMILY_IPV6, KEY_SETS, Keys, MAX_HOSTS, Role, Watch, WatchKey,
};
use ha_common::auth::{self, Mac, Message};
use lab::Site;

use crate::advertisement::{ADDRESSES4, ADDRESSES6, OLD_PASSPHRASE, PASSPHRASE};
use crate::packet::{GROUP, GROUP6};

/// Virtual hosts of every kind, all in both families: the slot in IPv6 is [`slot6`] of that in IPv4. Each slot
/// is used once.
#[must_use]
pub fn site() -> Site {
    let mut site = Site { clock_offset_ns: CLOCK_OFFSET_NS, ..Site::default() };
    let forms = [(PASSPHRASE, true), (PASSPHRASE, false), (OLD_PASSPHRASE, true), (OLD_PASSPHRASE, false)];
    let hosts: [(u8, u32, Keys); _] = [
        (VHID, 0, keys(VHID)),
        (VHID_OTHER_GROUP, 0, keys(VHID_OTHER_GROUP)),
        (VHID_PEERS, Watch::PEERS_ONLY, keys(VHID_PEERS)),
        (VHID_UNICAST, Watch::UNICAST | Watch::PEERS_ONLY, keys(VHID_UNICAST)),
        (VHID_PASSING, Watch::PASS_REFUSED, keys(VHID_PASSING)),
        (VHID_TWO_KEYS, 0, keys_of(VHID_TWO_KEYS, 1, &[(PASSPHRASE, true), (OLD_PASSPHRASE, true)])),
        (VHID_FORMS, 0, keys_of(VHID_FORMS, 2, &forms)),
        (VHID_STRICT, Watch::STRICT, keys(VHID_STRICT)),
        (VHID_STRICT_TWO_KEYS, Watch::STRICT, keys_of(VHID_STRICT_TWO_KEYS, 2, &forms)),
    ];
    for (vhid, flags, keys) in hosts {
        let host = u32::from(vhid);
        site.keys.insert(host, keys);
        site.lists.insert((host, Role::OWN), OWN.into());
        if flags & Watch::PEERS_ONLY != 0 {
            site.lists.insert((host, Role::PEER), PEERS.into());
        }
        let group = if vhid == VHID_OTHER_GROUP { OTHER_GROUP4 } else { GROUP };
        let group6 = if vhid == VHID_OTHER_GROUP { OTHER_GROUP6 } else { GROUP6 };
        watch_both(&mut site, key(LOOPBACK, 0, 0, vhid), watch(slot(vhid), host, flags, group), group6);
    }
    let plain = |slot| watch(slot, u32::from(VHID), 0, GROUP);
    watch_both(&mut site, key(LOOPBACK, 0, VLAN, VHID), plain(SLOT_VLAN), GROUP6);
    watch_both(&mut site, key(LOOPBACK, OUTER_VLAN, VLAN, VHID), plain(SLOT_QINQ), GROUP6);
    watch_both(&mut site, key(LOOPBACK + 1, 0, 0, VHID_OTHER_INTERFACE), plain(SLOT_OTHER), GROUP6);
    let last = Watch { keys: LAST_KEYS, ..watch(SLOT_LAST, LAST_HOST, 0, GROUP) };
    site.watches.insert(key(LOOPBACK, 0, 4095, 255), last);
    site.keys.insert(LAST_KEYS, keys(255));
    site.lists.insert((LAST_HOST, Role::OWN), OWN.into());
    site
}

/// A watch's key in IPv4.
#[must_use]
pub fn key(ifindex: u32, outer_vlan: u16, vlan: u16, vhid: u8) -> WatchKey {
    WatchKey { ifindex, outer_vlan, vlan, vhid, family: FAMILY_IPV4, reserved: [0; 2] }
}

/// The same for IPv6.
#[must_use]
pub fn key6(ifindex: u32, outer_vlan: u16, vlan: u16, vhid: u8) -> WatchKey {
    WatchKey { family: FAMILY_IPV6, ..key(ifindex, outer_vlan, vlan, vhid) }
}

/// Where an untagged virtual host counts in IPv4.
#[must_use]
pub fn slot(vhid: u8) -> u32 {
    vhid.into()
}

/// Where a watch counts in IPv6 whose slot in IPv4 is this.
#[must_use]
pub fn slot6(slot: u32) -> u32 {
    slot + 1000
}

/// A watch in IPv4 whose keys have the number of the virtual host.
#[must_use]
pub fn watch(slot: u32, host: u32, flags: u32, group: [u8; 4]) -> Watch {
    let tolerance_ms = u32::from(flags & Watch::STRICT != 0) * TOLERANCE_MS;
    Watch { slot, host, keys: host, flags, tolerance_ms, reserved: 0, group: Address::v4(group) }
}

/// Adds a watch for both families.
pub fn watch_both(site: &mut Site, key: WatchKey, watch: Watch, group: Ipv6Addr) {
    site.watches.insert(key, watch);
    let watch6 = Watch { slot: slot6(watch.slot), group: IpAddr::from(group).into(), ..watch };
    site.watches.insert(WatchKey { family: FAMILY_IPV6, ..key }, watch6);
}

/// The keys of a virtual host with one passphrase.
#[must_use]
pub fn keys(vhid: u8) -> Keys {
    keys_of(vhid, 1, &[(PASSPHRASE, true)])
}

/// Keys by passphrase, and by whether link-local addresses are hashed.
///
/// # Panics
///
/// If there are more than four.
#[must_use]
pub fn keys_of(vhid: u8, forms: u32, passphrases: &[(&str, bool)]) -> Keys {
    let mut keys = Keys { forms, ..Keys::NONE };
    for (mac, (passphrase, link_local)) in keys.macs.iter_mut().zip(passphrases) {
        *mac = mac_of(passphrase, vhid, *link_local);
        keys.count += 1;
    }
    assert_eq!(usize::try_from(keys.count), Ok(passphrases.len()), "more keys than there is room for");
    keys
}

/// Our HMAC over the addresses of every virtual host here.
#[must_use]
pub fn mac_of(passphrase: &str, vhid: u8, link_local: bool) -> Mac {
    let (ipv4, ipv6) = (ADDRESSES4.map(|ip| ip.octets()), ADDRESSES6.map(|ip| ip.octets()));
    let message = Message { vhid, ipv4: &ipv4, ipv6: &ipv6, link_local, lladdr: None };
    Mac::new(&auth::key(passphrase.as_bytes()), &message)
}

/// The plain one, watched in VLANs, too.
pub const VHID: u8 = 10;
/// Sends to [`OTHER_GROUP4`] and [`OTHER_GROUP6`].
pub const VHID_OTHER_GROUP: u8 = 20;
/// Watched on another interface only.
pub const VHID_OTHER_INTERFACE: u8 = 30;
/// Hears [`PEERS`] only.
pub const VHID_PEERS: u8 = 40;
/// Is sent to [`OWN`] by [`PEERS`].
pub const VHID_UNICAST: u8 = 50;
/// Passes on what it refuses.
pub const VHID_PASSING: u8 = 60;
/// Has two passphrases of one form.
pub const VHID_TWO_KEYS: u8 = 70;
/// Has two passphrases of both forms.
pub const VHID_FORMS: u8 = 80;
/// In strict mode.
pub const VHID_STRICT: u8 = 90;
/// In strict mode, with two passphrases of both forms.
pub const VHID_STRICT_TWO_KEYS: u8 = 91;

/// Inner or only VLAN.
pub const VLAN: u16 = 5;
/// Outer VLAN.
pub const OUTER_VLAN: u16 = 100;
/// [`VHID`] in [`VLAN`].
pub const SLOT_VLAN: u32 = 301;
/// [`VHID`] in [`VLAN`] in [`OUTER_VLAN`].
pub const SLOT_QINQ: u32 = 302;
/// [`VHID_OTHER_INTERFACE`].
pub const SLOT_OTHER: u32 = 303;
/// The last there is: virtual host 255 in VLAN 4095, IPv4 only.
#[expect(clippy::cast_possible_truncation, reason = "some thousand")]
pub const SLOT_LAST: u32 = COUNTER_SLOTS as u32 - 1;
#[expect(clippy::cast_possible_truncation, reason = "some thousand")]
const LAST_HOST: u32 = MAX_HOSTS as u32;
#[expect(clippy::cast_possible_truncation, reason = "some thousand")]
const LAST_KEYS: u32 = KEY_SETS as u32 - 1;

/// This node's addresses.
pub const OWN: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 77, 0, 9)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9))];
/// Who may be heard where not all may.
pub const PEERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))];
/// Another group than CARP's.
pub const OTHER_GROUP4: [u8; 4] = [239, 192, 0, 5];
/// The same in IPv6.
pub const OTHER_GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x1112);

/// How far clocks may differ in strict mode, in ms.
pub const TOLERANCE_MS: u32 = 2_000;
/// Some years after 2025.
const CLOCK_OFFSET_NS: u64 = 50_000_000_000_000_000;

/// The interface on which `BPF_PROG_TEST_RUN` lets frames arrive: the first of every network namespace.
pub const LOOPBACK: u32 = 1;
