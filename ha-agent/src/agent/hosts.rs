//! What follows from a virtual host's configuration: its numbers in the kernel's maps, its keys, its settings.

use std::net::IpAddr;

use ha_common::abi::{Address, FAMILY_IPV4, FAMILY_IPV6, Keys, Watch};
use ha_common::auth::{Mac, Message, is_link_local, key};
use ha_common::wire::{carp, ipv6};
use ipnet::IpNet;

use crate::config::{self, Auth, MacChoice, Mode, PaceConfig, Passphrase, Refused, VhostConfig};
use crate::core::{Families, Family, FamilyRule, Pace, Priority, Settings};
use crate::journal::trace::Recorded;

/// The number of a virtual host in the kernel's maps, by its index.
pub(super) fn number(vhost: usize) -> u32 {
    // There are at most MAX_HOSTS.
    u32::try_from(vhost).unwrap_or(u32::MAX - 1) + 1
}

/// Where the kernel counts its frames of a family.
pub(super) fn slot(vhost: usize, family: Family) -> u32 {
    match family {
        Family::V4 => 2 * number(vhost) - 1,
        Family::V6 => 2 * number(vhost),
    }
}

/// Where the kernel looks for its keys: in one of two places, so that new ones can be written while the old are
/// in use.
pub(super) fn key_set(vhost: usize, second: bool) -> u32 {
    2 * (number(vhost) - 1) + u32::from(second)
}

/// A family as the kernel program has it.
pub(super) fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => FAMILY_IPV4,
        Family::V6 => FAMILY_IPV6,
    }
}

/// And back.
pub(super) fn family(number: u8) -> Family {
    if number == FAMILY_IPV6 { Family::V6 } else { Family::V4 }
}

/// Everything that may sign its advertisements: with its addresses, and with those `before`, as far as there is room.
///
/// With link-local addresses each passphrase has two forms: `OpenBSD` leaves them out of the digest when it sends
/// (CARP specification §3.3).
pub(super) fn keys(config: &VhostConfig, passphrases: &[Passphrase], before: &[Vec<IpNet>]) -> Keys {
    let lists = || std::iter::once(&config.addresses).chain(before);
    let forms: &[bool] =
        if lists().any(|addresses| has_link_local(addresses)) { &[true, false] } else { &[true] };
    let mut keys = Keys::NONE;
    keys.forms = if forms.len() == 2 { 2 } else { 1 };
    let mut places = keys.macs.iter_mut();
    for addresses in lists() {
        for passphrase in passphrases {
            for (form, place) in forms.iter().zip(&mut places) {
                *place = mac(config.vhid, addresses, passphrase.as_bytes(), *form);
                keys.count += 1;
            }
        }
    }
    keys
}

/// What signs our own advertisements with these addresses. With link-local ones, as FreeBSD does it: a peer that has the
/// same addresses takes that too, whoever it is.
pub(super) fn signer(vhid: u8, addresses: &[IpNet], auth: &Auth) -> Mac {
    let passphrase = auth.passphrases.first().map_or(&[][..], Passphrase::as_bytes);
    mac(vhid, addresses, passphrase, true)
}

/// What the kernel is to know of it in a family.
pub(super) fn watch(
    vhost: usize,
    family: Family,
    config: &VhostConfig,
    auth: &Auth,
    second_keys: bool,
) -> Watch {
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    Watch {
        slot: slot(vhost, family),
        host: number(vhost),
        keys: key_set(vhost, second_keys),
        flags: flag(auth.mode == Mode::Strict, Watch::STRICT)
            | flag(!heard(config).is_empty(), Watch::PEERS_ONLY)
            | flag(!config.unicast.is_empty(), Watch::UNICAST)
            | flag(config.refused == Refused::Pass, Watch::PASS_REFUSED),
        tolerance_ms: u32::try_from(auth.clock_difference.as_millis()).unwrap_or(u32::MAX),
        reserved: 0,
        group: match family {
            Family::V4 => Address::v4(carp::GROUP),
            Family::V6 => Address(ipv6::GROUP),
        },
    }
}

/// Who may be heard; empty for everybody.
#[must_use]
pub fn heard(config: &VhostConfig) -> &[IpAddr] {
    if config.unicast.is_empty() { &config.peers } else { &config.unicast }
}

/// The families that it advertises in.
#[must_use]
pub fn families(config: &VhostConfig) -> Families {
    let has = |wanted: Family| {
        if config.unicast.is_empty() {
            config.addresses.iter().any(|net| Family::of(net.addr()) == wanted)
        } else {
            config.unicast.iter().any(|peer| Family::of(*peer) == wanted)
        }
    };
    let rule = match config.families {
        config::FamilyRule::Either => FamilyRule::Either,
        config::FamilyRule::Both => FamilyRule::Both,
    };
    Families { v4: has(Family::V4), v6: has(Family::V6), rule }
}

/// The same, one by one.
pub(super) fn each_family(config: &VhostConfig) -> impl Iterator<Item = Family> + use<> {
    let families = families(config);
    Family::ALL.into_iter().filter(move |family| match family {
        Family::V4 => families.v4,
        Family::V6 => families.v6,
    })
}

/// What the core is to know of it.
#[must_use]
pub fn settings(config: &VhostConfig) -> Settings {
    Settings {
        priority: Priority { advbase: config.advbase, advskew: config.advskew },
        pace: pace(config.pace),
        preempt: config.preempt,
        families: families(config),
        announce_every: config.announce_every,
    }
}

/// What a recording is to know of it.
pub(super) fn recorded(config: &VhostConfig) -> Recorded {
    Recorded {
        name: config.name.clone(),
        interface: config.interface.clone(),
        vhid: config.vhid,
        settings: settings(config),
    }
}

/// The pace as the core has it.
#[must_use]
pub fn pace(pace: PaceConfig) -> Pace {
    match pace {
        PaceConfig::Classic => Pace::Classic,
        PaceConfig::Fast { interval, detect } => Pace::Fast { interval, detect },
    }
}

/// Whether it has an interface of its own, with the virtual hardware address.
pub(super) fn has_macvlan(config: &VhostConfig) -> bool {
    config.mac == MacChoice::Virtual
}

/// Whether it has IPv6 addresses.
pub(super) fn has_v6(config: &VhostConfig) -> bool {
    config.addresses.iter().any(|net| net.addr().is_ipv6())
}

fn mac(vhid: u8, addresses: &[IpNet], passphrase: &[u8], link_local: bool) -> Mac {
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address.addr() {
            IpAddr::V4(address) => ipv4.push(address.octets()),
            IpAddr::V6(address) => ipv6.push(address.octets()),
        }
    }
    let message = Message { vhid, ipv4: &ipv4, ipv6: &ipv6, link_local, lladdr: None };
    Mac::new(&key(passphrase), &message)
}

fn has_link_local(addresses: &[IpNet]) -> bool {
    addresses.iter().any(|address| match address.addr() {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => is_link_local(&address.octets()),
    })
}
