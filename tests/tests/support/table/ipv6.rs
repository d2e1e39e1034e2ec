//! IPv6: the header, what lies between it and CARP, the wrapping, and VRRP.

use std::net::Ipv6Addr;

use frames::Outcome::{Accepted, Foreign, Refused};
use frames::advertisement::{ADDRESSES6, Advertisement, advertisement};
use frames::packet::{GROUP6, Packet6, sealed};
use frames::site::{OTHER_GROUP6, SLOT_QINQ, SLOT_VLAN, VHID, VHID_OTHER_GROUP, slot, slot6};
use ha_common::reason::Reason;

use super::{
    BAD_VERSION, Case, DOT1AD, DOT1Q, IPV4, NOT_CARP, PLAIN, UNKNOWN, case6, ethernet, raw, vrrp2, vrrp3,
};

pub(super) fn all() -> Vec<Case> {
    [header(), extension_headers(), wrapping(), destinations(), carp(), others_on_112(), order()].concat()
}

fn header() -> Vec<Case> {
    let good = Packet6::default;
    let hops = |hop_limit| Packet6 { hop_limit, ..good() };
    let length = |length| Packet6 { payload_len: Some(length), ..good() };
    let longer = [advertisement(10), vec![0xde, 0xad, 0xbe, 0xef]].concat();
    let (accepted, bad_ttl) = (Accepted(slot6(PLAIN), 0), Refused(slot6(PLAIN), Reason::BadTtl));
    vec![
        case6("IPv6, source ::", Packet6 { source: Ipv6Addr::UNSPECIFIED, ..good() }, accepted),
        case6("IPv6, source is a virtual address", Packet6 { source: ADDRESSES6[1], ..good() }, accepted),
        case6("IPv6, traffic class and flow label", Packet6 { flow: 0x0fff_ffff, ..good() }, accepted),
        case6("IPv6, Ethernet padding", Packet6 { trailer: vec![0xee; 20], ..good() }, accepted),
        case6("hop limit 254", hops(254), bad_ttl),
        case6("hop limit 64", hops(64), bad_ttl),
        case6("hop limit 1", hops(1), bad_ttl),
        case6("hop limit 0", hops(0), bad_ttl),
        case6("payload length 35", length(35), NOT_CARP),
        case6("payload length 37", length(37), NOT_CARP),
        case6("payload length 0", length(0), NOT_CARP),
        case6("payload length 65535", length(65535), NOT_CARP),
        case6("payload length 40, four bytes more", Packet6 { payload: longer.clone(), ..good() }, NOT_CARP),
        case6(
            "payload length 36, four bytes more",
            Packet6 { payload: longer, payload_len: Some(36), ..good() },
            accepted,
        ),
        case6("version 4 behind the EtherType of IPv6", Packet6 { version: 4, ..good() }, Foreign),
        case6("IPv6, version 0", Packet6 { version: 0, ..good() }, Foreign),
        case6("IPv6 behind the EtherType of IPv4", Packet6 { ethertype: IPV4, ..good() }, Foreign),
    ]
}

/// No sender uses them, and the program reads none: they are the node's other traffic.
fn extension_headers() -> Vec<Case> {
    let behind = |next_header, header: &[u8]| Packet6 {
        next_header,
        payload: [header, &advertisement(10)].concat(),
        ..Packet6::default()
    };
    vec![
        case6("hop-by-hop options", behind(0, &[112, 0, 5, 2, 0, 0, 1, 0]), Foreign),
        case6("a routing header", behind(43, &[112, 0, 4, 0, 0, 0, 0, 0]), Foreign),
        case6("a fragment header, whole", behind(44, &[112, 0, 0, 0, 0, 0, 0, 1]), Foreign),
        case6("a fragment header, more fragments", behind(44, &[112, 0, 0, 1, 0, 0, 0, 1]), Foreign),
        case6("destination options", behind(60, &[112, 0, 1, 4, 0, 0, 0, 0]), Foreign),
        case6("an authentication header", behind(51, &[112, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), Foreign),
        case6("no next header", behind(59, &[]), Foreign),
        case6("UDP over IPv6", behind(17, &[]), Foreign),
        case6("TCP over IPv6", behind(6, &[]), Foreign),
        case6("ICMPv6", behind(58, &[]), Foreign),
        case6("CARP in IPv6 in IPv6", behind(41, &[]), Foreign),
        case6("an option in front of CARP that says it is CARP", behind(112, &[0; 8]), NOT_CARP),
    ]
}

fn wrapping() -> Vec<Case> {
    let tagged = |tags: &[(u16, u16)]| Packet6 { tags: tags.to_vec(), ..Packet6::default() };
    let (vlan, qinq) = (Accepted(slot6(SLOT_VLAN), 0), Accepted(slot6(SLOT_QINQ), 0));
    vec![
        case6("IPv6, another VLAN", tagged(&[(DOT1Q, 6)]), UNKNOWN),
        case6("IPv6, priority tag", tagged(&[(DOT1Q, 0xe000)]), Accepted(slot6(PLAIN), 0)),
        case6("IPv6, VLAN with priority", tagged(&[(DOT1Q, 0xf005)]), vlan),
        case6("IPv6, single 802.1ad tag", tagged(&[(DOT1AD, 5)]), vlan),
        case6("IPv6, two 802.1Q tags", tagged(&[(DOT1Q, 100), (DOT1Q, 5)]), qinq),
        case6("IPv6, QinQ swapped", tagged(&[(DOT1AD, 5), (DOT1Q, 100)]), UNKNOWN),
        case6("IPv6, two 802.1ad tags", tagged(&[(DOT1AD, 100), (DOT1AD, 5)]), Foreign),
        case6("IPv6, triple tags", tagged(&[(DOT1AD, 100), (DOT1Q, 5), (DOT1Q, 5)]), Foreign),
        case6(
            "IPv6, watched in IPv4 only",
            Packet6 { payload: advertisement(255), ..tagged(&[(DOT1Q, 4095)]) },
            UNKNOWN,
        ),
    ]
}

fn destinations() -> Vec<Case> {
    let to = |destination| Packet6 { destination, ..Packet6::default() };
    let to_other = |destination| Packet6 { payload: advertisement(VHID_OTHER_GROUP), ..to(destination) };
    let bad = Refused(slot6(PLAIN), Reason::BadDst);
    let (other, bad_other) = (slot6(slot(VHID_OTHER_GROUP)), Reason::BadDst);
    vec![
        case6("ff02::1, all nodes", to(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)), bad),
        case6("ff05::12, CARP's group in the site", to(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x12)), bad),
        case6("IPv6, another host's group", to(OTHER_GROUP6), bad),
        case6("IPv6, unicast", to(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)), bad),
        case6("IPv6, our own address", to(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9)), bad),
        case6("IPv6, the virtual address", to(ADDRESSES6[0]), bad),
        case6("IPv6, to no one", to(Ipv6Addr::UNSPECIFIED), bad),
        case6(
            "IPv6, the group of IPv4 in the first bytes",
            to(Ipv6Addr::new(0xe000, 0x0012, 0, 0, 0, 0, 0, 0)),
            bad,
        ),
        case6("IPv6, a group of its own", to_other(OTHER_GROUP6), Accepted(other, 0)),
        case6("IPv6, CARP's group, but it has its own", to_other(GROUP6), Refused(other, bad_other)),
    ]
}

fn carp() -> Vec<Case> {
    let with = |offset: usize, value: u8| {
        let mut payload = advertisement(10);
        payload[offset] = value;
        Packet6 { payload: sealed(payload), ..Packet6::default() }
    };
    let sum = |change: fn(u16) -> u16| {
        let mut payload = advertisement(10);
        let right = u16::from_be_bytes([payload[6], payload[7]]);
        payload[6..8].copy_from_slice(&change(right).to_be_bytes());
        Packet6 { payload, ..Packet6::default() }
    };
    let without = Advertisement { link_local: false, ..Advertisement::of(VHID) }.bytes();
    let (accepted, bad_sum) = (Accepted(slot6(PLAIN), 0), Refused(slot6(PLAIN), Reason::BadSum));
    vec![
        case6("IPv6, CARP checksum off by one", sum(|right| right ^ 1), bad_sum),
        case6("IPv6, CARP checksum not made: 0", sum(|_| 0), bad_sum),
        case6("IPv6, CARP checksum complemented", sum(|right| !right), bad_sum),
        case6("IPv6, CARP checksum with the pseudo-header of VRRP", sum(with_pseudo_header), bad_sum),
        case6("IPv6, CARP version 3", with(0, 0x31), NOT_CARP),
        case6("IPv6, CARP version 1", with(0, 0x11), BAD_VERSION),
        case6("IPv6, CARP type 2", with(0, 0x22), BAD_VERSION),
        case6("IPv6, authlen 6", with(3, 6), NOT_CARP),
        case6("IPv6, unknown virtual host", with(1, 11), UNKNOWN),
        case6("IPv6, virtual host 0", with(1, 0), UNKNOWN),
        case6("IPv6, goodbye: advskew 255", with(2, 255), accepted),
        case6("IPv6, demotion 255", with(4, 255), accepted),
        case6("IPv6, another digest", with(35, 0), Refused(slot6(PLAIN), Reason::BadAuth)),
        case6(
            "IPv6, a digest without link-local addresses, which this host does not take",
            Packet6 { payload: without, ..Packet6::default() },
            Refused(slot6(PLAIN), Reason::BadAuth),
        ),
    ]
}

fn others_on_112() -> Vec<Case> {
    let payload = |payload: Vec<u8>| Packet6 { payload, ..Packet6::default() };
    // Over IPv6, VRRP version 3 has addresses of 16 bytes (RFC 9568 §5.1): none makes 36 bytes.
    let vrrp3_of = |addresses: u8| {
        let mut vrrp = vec![0x31, 10, 100, addresses, 0, 100, 0, 0];
        (0..addresses).for_each(|host| vrrp.extend([[0xfe; 15].as_slice(), &[host]].concat()));
        payload(sealed(vrrp))
    };
    vec![
        case6("VRRPv3 over IPv6, 1 address", vrrp3_of(1), NOT_CARP),
        case6("VRRPv3 over IPv6, 2 addresses", vrrp3_of(2), NOT_CARP),
        case6("VRRPv3 over IPv6, 7 addresses", vrrp3_of(7), NOT_CARP),
        case6("VRRPv3 as over IPv4, 7 addresses: 36 bytes, count 7", payload(vrrp3(7)), NOT_CARP),
        case6("VRRPv2 as over IPv4, 5 addresses: 36 bytes", payload(vrrp2(5)), NOT_CARP),
        case6("IPv6, nothing", payload(Vec::new()), NOT_CARP),
        case6("IPv6, 36 zeros", payload(vec![0; 36]), NOT_CARP),
        case6("IPv6, 36 ones", payload(vec![0xff; 36]), NOT_CARP),
        case6("IPv6, a full frame", payload(vec![0x21; 1460]), NOT_CARP),
        raw("14 bytes, IPv6", ethernet(0x86dd, &[]), Foreign),
    ]
}

/// Of several faults, the first check's is counted.
fn order() -> Vec<Case> {
    let unicast = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    let mut damaged = advertisement(10);
    damaged[35] ^= 1;
    let cut = |packet: Packet6| packet.bytes()[..89].to_vec();
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    let refused = |reason| Refused(slot6(PLAIN), reason);
    vec![
        case6(
            "IPv6, unknown virtual host, hop limit 1",
            Packet6 { payload: advertisement(11), hop_limit: 1, ..Packet6::default() },
            UNKNOWN,
        ),
        raw("IPv6, one byte missing", cut(Packet6::default()), refused(Reason::BadLen)),
        raw(
            "IPv6, one byte missing, hop limit 1",
            cut(Packet6 { hop_limit: 1, ..Packet6::default() }),
            refused(Reason::BadTtl),
        ),
        raw(
            "IPv6, one byte missing, unicast",
            cut(Packet6 { destination: unicast, ..Packet6::default() }),
            refused(Reason::BadLen),
        ),
        case6(
            "IPv6, unicast, damaged",
            Packet6 { destination: unicast, payload: damaged.clone(), ..Packet6::default() },
            refused(Reason::BadDst),
        ),
        case6(
            "IPv6, looped, damaged",
            Packet6 { source: own, payload: damaged, ..Packet6::default() },
            refused(Reason::BadSum),
        ),
    ]
}

/// What the checksum would be with the pseudo-header of IPv6 (RFC 8200 §8.1).
fn with_pseudo_header(_: u16) -> u16 {
    let Packet6 { source, destination, mut payload, .. } = Packet6::default();
    payload[6..8].fill(0);
    let rest = [0, 0, 0, 36, 0, 0, 0, 112];
    frames::packet::checksum(&[&source.octets()[..], &destination.octets(), &rest, &payload].concat())
}
