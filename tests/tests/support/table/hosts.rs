//! Virtual hosts of every kind: lists of addresses, unicast, what is refused and passed, passphrases.

use std::net::{Ipv4Addr, Ipv6Addr};

use frames::Outcome::{self, Accepted, Passed, Refused};
use frames::advertisement::{ADDRESSES4, ADDRESSES6, Advertisement, OLD_PASSPHRASE, WRONG_PASSPHRASE};
use frames::packet::{GROUP6, Packet, Packet6, sealed};
use frames::site::{
    OTHER_GROUP6, VHID, VHID_FORMS, VHID_PASSING, VHID_PEERS, VHID_TWO_KEYS, VHID_UNICAST, slot, slot6,
};
use ha_common::reason::Reason;

use super::{Case, case, case6};

pub(super) fn all() -> Vec<Case> {
    [looped(), peers(), unicast(), passing(), passphrases()].concat()
}

fn looped() -> Vec<Case> {
    let from = |vhid, source| Packet { source, ..packet(vhid) };
    let from6 = |vhid, source| Packet6 { source, ..packet6(vhid) };
    let mapped = Ipv6Addr::new(0x0a4d, 0x0009, 0, 0, 0, 0, 0, 0);
    vec![
        case("our own advertisement", from(VHID, OWN4), Refused(slot(VHID), Reason::Looped)),
        case6("our own advertisement, IPv6", from6(VHID, OWN6), Refused(slot6(slot(VHID)), Reason::Looped)),
        case(
            "our own advertisement, with another's digest",
            Packet { payload: forged(VHID), ..from(VHID, OWN4) },
            Refused(slot(VHID), Reason::Looped),
        ),
        case(
            "our own, where peers are listed",
            from(VHID_PEERS, OWN4),
            Refused(slot(VHID_PEERS), Reason::Looped),
        ),
        // An address of one family is none of the other, though its bytes begin alike.
        case6(
            "our own IPv4 address, read as one of IPv6",
            from6(VHID, mapped),
            Accepted(slot6(slot(VHID)), 0),
        ),
    ]
}

fn peers() -> Vec<Case> {
    let from = |source| Packet { source, ..packet(VHID_PEERS) };
    let from6 = |source| Packet6 { source, ..packet6(VHID_PEERS) };
    let bad = Refused(slot(VHID_PEERS), Reason::BadSource);
    let bad6 = Refused(slot6(slot(VHID_PEERS)), Reason::BadSource);
    vec![
        case("a peer", from(PEER4), Accepted(slot(VHID_PEERS), 0)),
        case6("a peer, IPv6", from6(PEER6), Accepted(slot6(slot(VHID_PEERS)), 0)),
        case("no peer", from([10, 77, 0, 2]), bad),
        case6("no peer, IPv6", from6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)), bad6),
        case("no peer: 0.0.0.0", from([0; 4]), bad),
        case6("no peer: ::", from6(Ipv6Addr::UNSPECIFIED), bad6),
        case("no peer: the virtual address", from(ADDRESSES4[0].octets()), bad),
        case6("no peer: the virtual address, IPv6", from6(ADDRESSES6[0]), bad6),
        case6("a peer of IPv4, read as one of IPv6", from6(Ipv6Addr::new(0x0a4d, 1, 0, 0, 0, 0, 0, 0)), bad6),
        case(
            "no peer, and a wrong digest",
            Packet { payload: forged(VHID_PEERS), ..from([10, 77, 0, 2]) },
            bad,
        ),
        case(
            "a peer with a wrong digest",
            Packet { payload: forged(VHID_PEERS), ..from(PEER4) },
            Refused(slot(VHID_PEERS), Reason::BadAuth),
        ),
        case(
            "no peer, and a wrong checksum",
            Packet { payload: damaged(VHID_PEERS), ..from([10, 77, 0, 2]) },
            Refused(slot(VHID_PEERS), Reason::BadSum),
        ),
    ]
}

fn unicast() -> Vec<Case> {
    let to = |destination| Packet { destination, ..packet(VHID_UNICAST) };
    let to6 = |destination| Packet6 { destination, ..packet6(VHID_UNICAST) };
    let (slot, slot6) = (slot(VHID_UNICAST), slot6(slot(VHID_UNICAST)));
    let (bad, bad6) = (Refused(slot, Reason::BadDst), Refused(slot6, Reason::BadDst));
    vec![
        case("unicast to us", to(OWN4), Accepted(slot, 0)),
        case6("unicast to us, IPv6", to6(OWN6), Accepted(slot6, 0)),
        case("unicast host, sent to the group", packet(VHID_UNICAST), bad),
        case6("unicast host, sent to the group, IPv6", packet6(VHID_UNICAST), bad6),
        case6("unicast host, sent to another group, IPv6", to6(OTHER_GROUP6), bad6),
        case("unicast host, sent to another", to([10, 77, 0, 8]), bad),
        case6("unicast host, sent to another, IPv6", to6(PEER6), bad6),
        case("unicast host, sent to the virtual address", to(ADDRESSES4[0].octets()), bad),
        case("unicast to us, TTL 254", Packet { ttl: 254, ..to(OWN4) }, Refused(slot, Reason::BadTtl)),
        case6(
            "unicast to us, hop limit 254",
            Packet6 { hop_limit: 254, ..to6(OWN6) },
            Refused(slot6, Reason::BadTtl),
        ),
        case(
            "unicast to us, from somebody else",
            Packet { source: [10, 77, 0, 2], ..to(OWN4) },
            Refused(slot, Reason::BadSource),
        ),
        case(
            "unicast to us, from ourselves",
            Packet { source: OWN4, ..to(OWN4) },
            Refused(slot, Reason::Looped),
        ),
        case(
            "unicast to us, with another's digest",
            Packet { payload: forged(VHID_UNICAST), ..to(OWN4) },
            Refused(slot, Reason::BadAuth),
        ),
    ]
}

fn passing() -> Vec<Case> {
    let good = || packet(VHID_PASSING);
    let good6 = || packet6(VHID_PASSING);
    let passed = |reason| Passed(slot(VHID_PASSING), reason);
    let passed6 = |reason| Passed(slot6(slot(VHID_PASSING)), reason);
    let with = |payload: fn(u8) -> Vec<u8>| Packet { payload: payload(VHID_PASSING), ..good() };
    let without_end = good().bytes()[..69].to_vec();
    vec![
        case("refused is passed: good", good(), Accepted(slot(VHID_PASSING), 0)),
        case6("refused is passed: good, IPv6", good6(), Accepted(slot6(slot(VHID_PASSING)), 0)),
        case("refused is passed: TTL", Packet { ttl: 64, ..good() }, passed(Reason::BadTtl)),
        case6("refused is passed: hop limit", Packet6 { hop_limit: 64, ..good6() }, passed6(Reason::BadTtl)),
        case("refused is passed: options", Packet { options: vec![1; 4], ..good() }, passed(Reason::BadOpts)),
        case("refused is passed: fragment", Packet { fragment: 0x2000, ..good() }, passed(Reason::BadFrag)),
        super::raw("refused is passed: length", without_end, passed(Reason::BadLen)),
        case("refused is passed: unicast", Packet { destination: OWN4, ..good() }, passed(Reason::BadDst)),
        case("refused is passed: checksum", with(damaged), passed(Reason::BadSum)),
        case("refused is passed: looped", Packet { source: OWN4, ..good() }, passed(Reason::Looped)),
        case("refused is passed: digest", with(forged), passed(Reason::BadAuth)),
        case6(
            "refused is passed: digest, IPv6",
            Packet6 { payload: forged(VHID_PASSING), ..good6() },
            passed6(Reason::BadAuth),
        ),
    ]
}

fn passphrases() -> Vec<Case> {
    let by = |vhid, passphrase, link_local| {
        Advertisement { passphrase, link_local, ..Advertisement::of(vhid) }.bytes()
    };
    let ipv4 = |name, payload, outcome| case(name, Packet { payload, ..Packet::default() }, outcome);
    let ipv6 = |name, payload, outcome| case6(name, Packet6 { payload, ..Packet6::default() }, outcome);
    let good = frames::advertisement::PASSPHRASE;
    let (one, two, forms) = (slot(VHID), slot(VHID_TWO_KEYS), slot(VHID_FORMS));
    let refused = |slot| -> Outcome { Refused(slot, Reason::BadAuth) };
    vec![
        ipv4("an older passphrase, no longer taken", by(VHID, OLD_PASSPHRASE, true), refused(one)),
        ipv4("an empty passphrase", by(VHID, "", true), refused(one)),
        ipv4("another host's digest", other_host_s_digest(), refused(one)),
        ipv4("the new of two passphrases", by(VHID_TWO_KEYS, good, true), Accepted(two, 0)),
        ipv4("the old of two passphrases", by(VHID_TWO_KEYS, OLD_PASSPHRASE, true), Accepted(two, 1)),
        ipv6("the new of two, IPv6", by(VHID_TWO_KEYS, good, true), Accepted(slot6(two), 0)),
        ipv6("the old of two, IPv6", by(VHID_TWO_KEYS, OLD_PASSPHRASE, true), Accepted(slot6(two), 1)),
        ipv4("neither of two", by(VHID_TWO_KEYS, WRONG_PASSPHRASE, true), refused(two)),
        ipv4("the new of two, in a form that is not taken", by(VHID_TWO_KEYS, good, false), refused(two)),
        ipv4("both forms: with link-local", by(VHID_FORMS, good, true), Accepted(forms, 0)),
        ipv4("both forms: without", by(VHID_FORMS, good, false), Accepted(forms, 0)),
        ipv4("both forms: old, with link-local", by(VHID_FORMS, OLD_PASSPHRASE, true), Accepted(forms, 1)),
        ipv4("both forms: old, without", by(VHID_FORMS, OLD_PASSPHRASE, false), Accepted(forms, 1)),
        ipv6("both forms, IPv6: with link-local", by(VHID_FORMS, good, true), Accepted(slot6(forms), 0)),
        ipv6(
            "both forms, IPv6: old, without",
            by(VHID_FORMS, OLD_PASSPHRASE, false),
            Accepted(slot6(forms), 1),
        ),
        ipv4("both forms: neither passphrase", by(VHID_FORMS, WRONG_PASSPHRASE, true), refused(forms)),
        ipv6("both forms, IPv6: neither", by(VHID_FORMS, WRONG_PASSPHRASE, false), refused(slot6(forms))),
    ]
}

/// A good advertisement of a listed peer.
fn packet(vhid: u8) -> Packet {
    Packet { source: PEER4, payload: Advertisement::of(vhid).bytes(), ..Packet::default() }
}

/// The same in IPv6.
fn packet6(vhid: u8) -> Packet6 {
    Packet6 {
        source: PEER6,
        destination: GROUP6,
        payload: Advertisement::of(vhid).bytes(),
        ..Packet6::default()
    }
}

/// Right in everything but the passphrase.
fn forged(vhid: u8) -> Vec<u8> {
    Advertisement { passphrase: WRONG_PASSPHRASE, ..Advertisement::of(vhid) }.bytes()
}

/// With a wrong checksum.
fn damaged(vhid: u8) -> Vec<u8> {
    let mut payload = Advertisement::of(vhid).bytes();
    payload[35] ^= 1;
    payload
}

/// What one virtual host said, sent for another.
fn other_host_s_digest() -> Vec<u8> {
    let mut payload = Advertisement::of(VHID_TWO_KEYS).bytes();
    payload[1] = VHID;
    sealed(payload)
}

const OWN4: [u8; 4] = Ipv4Addr::new(10, 77, 0, 9).octets();
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
const PEER4: [u8; 4] = Ipv4Addr::new(10, 77, 0, 1).octets();
const PEER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
