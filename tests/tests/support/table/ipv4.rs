//! IPv4 in every wrapping, and what is not CARP.

use frames::advertisement::advertisement;
use frames::packet::{GROUP, Packet, checksum, sealed};
use frames::site::{
    OTHER_GROUP4, SLOT_LAST, SLOT_QINQ, SLOT_VLAN, VHID_OTHER_GROUP, VHID_OTHER_INTERFACE, slot,
};
use ha_common::reason::Reason;

use super::{
    ARP, BAD_VERSION, Case, DOT1AD, DOT1Q, IPV4, IPV6, NOT_CARP, PLAIN, ROUTER_ALERT, UNKNOWN, case,
    ethernet, raw, vrrp2, vrrp3,
};
use frames::Outcome::{Accepted, Foreign, Refused};

pub(super) fn all() -> Vec<Case> {
    [link_layer(), ipv4(), destinations(), checksums(), carp(), others_on_112(), traffic(), order()].concat()
}

fn link_layer() -> Vec<Case> {
    let good = Packet::default;
    let tagged = |tags: &[(u16, u16)]| Packet { tags: tags.to_vec(), ..good() };
    vec![
        case("L2 broadcast", Packet { to: [0xff; 6], ..good() }, Accepted(PLAIN, 0)),
        case("L2 unicast", Packet { to: [2, 0, 0, 0, 0, 1], ..good() }, Accepted(PLAIN, 0)),
        case("Ethernet padding", Packet { trailer: vec![0xee; 20], ..good() }, Accepted(PLAIN, 0)),
        case("padding of a short segment", Packet { trailer: vec![0; 1444], ..good() }, Accepted(PLAIN, 0)),
        case("another VLAN", tagged(&[(DOT1Q, 6)]), UNKNOWN),
        case("priority tag", tagged(&[(DOT1Q, 0)]), Accepted(PLAIN, 0)),
        case("priority tag, priority 7", tagged(&[(DOT1Q, 0xe000)]), Accepted(PLAIN, 0)),
        case("VLAN, priority 7, may be dropped", tagged(&[(DOT1Q, 0xf005)]), Accepted(SLOT_VLAN, 0)),
        case(
            "the last VLAN, virtual host and slot",
            Packet { tags: vec![(DOT1Q, 4095)], payload: advertisement(255), ..good() },
            Accepted(SLOT_LAST, 0),
        ),
        case("single 802.1ad tag", tagged(&[(DOT1AD, 5)]), Accepted(SLOT_VLAN, 0)),
        case("two 802.1Q tags", tagged(&[(DOT1Q, 100), (DOT1Q, 5)]), Accepted(SLOT_QINQ, 0)),
        case("QinQ, priorities", tagged(&[(DOT1AD, 0xb064), (DOT1Q, 0xf005)]), Accepted(SLOT_QINQ, 0)),
        case("QinQ, swapped", tagged(&[(DOT1AD, 5), (DOT1Q, 100)]), UNKNOWN),
        case("QinQ, another outer", tagged(&[(DOT1AD, 101), (DOT1Q, 5)]), UNKNOWN),
        case("QinQ, another inner", tagged(&[(DOT1AD, 100), (DOT1Q, 6)]), UNKNOWN),
        case("priority tag around a VLAN", tagged(&[(DOT1AD, 0), (DOT1Q, 5)]), Accepted(SLOT_VLAN, 0)),
        case("VLAN around a priority tag", tagged(&[(DOT1AD, 5), (DOT1Q, 0)]), UNKNOWN),
        case("two 802.1ad tags", tagged(&[(DOT1AD, 100), (DOT1AD, 5)]), Foreign),
        case("triple tags", tagged(&[(DOT1AD, 100), (DOT1Q, 5), (DOT1Q, 5)]), Foreign),
        case(
            "VLAN, then IPv4 that says it is IPv6",
            Packet { ethertype: IPV6, ..tagged(&[(DOT1Q, 5)]) },
            Foreign,
        ),
        case("VLAN, then ARP", Packet { ethertype: ARP, ..tagged(&[(DOT1Q, 5)]) }, Foreign),
        case(
            "QinQ, then IPv4 that says it is IPv6",
            Packet { ethertype: IPV6, ..tagged(&[(DOT1AD, 100), (DOT1Q, 5)]) },
            Foreign,
        ),
        case("QinQ of the old kind (0x9100)", tagged(&[(0x9100, 100), (DOT1Q, 5)]), Foreign),
    ]
}

fn ipv4() -> Vec<Case> {
    let good = Packet::default;
    let ttl = |ttl| Packet { ttl, ..good() };
    let fragment = |fragment| Packet { fragment, ..good() };
    let total_len = |length| Packet { total_len: Some(length), ..good() };
    let ihl = |words| Packet { ihl: Some(words), ..good() };
    vec![
        case("source 0.0.0.0", Packet { source: [0; 4], ..good() }, Accepted(PLAIN, 0)),
        case(
            "source is the virtual address",
            Packet { source: [10, 77, 0, 100], ..good() },
            Accepted(PLAIN, 0),
        ),
        case("TTL 254", ttl(254), Refused(PLAIN, Reason::BadTtl)),
        case("TTL 64", ttl(64), Refused(PLAIN, Reason::BadTtl)),
        case("TTL 1", ttl(1), Refused(PLAIN, Reason::BadTtl)),
        case("TTL 0", ttl(0), Refused(PLAIN, Reason::BadTtl)),
        case("may be fragmented", fragment(0), Accepted(PLAIN, 0)),
        case("the reserved flag", fragment(0x8000), Accepted(PLAIN, 0)),
        case("more fragments", fragment(0x2000), Refused(PLAIN, Reason::BadFrag)),
        case("more fragments, not to be fragmented", fragment(0x6000), Refused(PLAIN, Reason::BadFrag)),
        case("last fragment", fragment(0x0001), NOT_CARP),
        case("last fragment, far behind", fragment(0x1000), NOT_CARP),
        case("a fragment in the middle", fragment(0x2005), NOT_CARP),
        case("version 6 behind the EtherType of IPv4", Packet { version: 6, ..good() }, Foreign),
        case("version 0", Packet { version: 0, ..good() }, Foreign),
        case("header of 16 bytes", ihl(4), NOT_CARP),
        case("header of 16 bytes, length to match", Packet { total_len: Some(52), ..ihl(4) }, NOT_CARP),
        case("header of 0 bytes", Packet { total_len: Some(36), ..ihl(0) }, NOT_CARP),
        case("header longer than it is", ihl(6), NOT_CARP),
        case("header longer than it is, length to match", Packet { total_len: Some(60), ..ihl(6) }, NOT_CARP),
        case("header longer than the frame", Packet { total_len: Some(96), ..ihl(15) }, NOT_CARP),
        case(
            "options, but not in the length",
            Packet { options: ROUTER_ALERT.to_vec(), total_len: Some(56), ..good() },
            NOT_CARP,
        ),
        case(
            "options and a TTL of 1",
            Packet { options: ROUTER_ALERT.to_vec(), ttl: 1, ..good() },
            Refused(PLAIN, Reason::BadOpts),
        ),
        case("total length 55", total_len(55), NOT_CARP),
        case("total length 57", total_len(57), NOT_CARP),
        case("total length 60", total_len(60), NOT_CARP),
        case(
            "total length 60, four bytes more behind the 36",
            Packet { payload: [advertisement(10), vec![0xde, 0xad, 0xbe, 0xef]].concat(), ..good() },
            NOT_CARP,
        ),
        case("total length 36", total_len(36), NOT_CARP),
        case("total length 35", total_len(35), NOT_CARP),
        case("total length 20", total_len(20), NOT_CARP),
        case("total length 0", total_len(0), NOT_CARP),
        case("total length 65535", total_len(65535), NOT_CARP),
    ]
}

fn destinations() -> Vec<Case> {
    let to = |destination| Packet { destination, ..Packet::default() };
    let to_other = |destination| Packet { payload: advertisement(VHID_OTHER_GROUP), ..to(destination) };
    vec![
        case("all hosts", to([224, 0, 0, 1]), Refused(PLAIN, Reason::BadDst)),
        case("another host's group", to(OTHER_GROUP4), Refused(PLAIN, Reason::BadDst)),
        case("unicast", to([10, 77, 0, 2]), Refused(PLAIN, Reason::BadDst)),
        case("the virtual address", to([10, 77, 0, 100]), Refused(PLAIN, Reason::BadDst)),
        case("broadcast", to([255; 4]), Refused(PLAIN, Reason::BadDst)),
        case("to no one", to([0; 4]), Refused(PLAIN, Reason::BadDst)),
        case("a group of its own", to_other(OTHER_GROUP4), Accepted(slot(VHID_OTHER_GROUP), 0)),
        case(
            "CARP's group, but it has its own",
            to_other(GROUP),
            Refused(slot(VHID_OTHER_GROUP), Reason::BadDst),
        ),
    ]
}

fn checksums() -> Vec<Case> {
    let good = Packet::default;
    let frame = good().bytes();
    let right = u16::from_be_bytes([frame[24], frame[25]]);
    let ip = |checksum| Packet { checksum: Some(checksum), ..good() };
    let carp = |checksum| with_checksum(advertisement(10), checksum);
    let right_carp = u16::from_be_bytes([frame[40], frame[41]]);
    let bad = Refused(PLAIN, Reason::BadSum);
    vec![
        case("IPv4 checksum off by one", ip(right ^ 1), bad),
        case("IPv4 checksum, bytes swapped", ip(right.swap_bytes()), bad),
        case("IPv4 checksum complemented", ip(!right), bad),
        case("IPv4 checksum not made: 0", ip(0), bad),
        case("IPv4 checksum all ones", ip(0xffff), bad),
        case("CARP checksum off by one", carp(right_carp ^ 1), bad),
        case("CARP checksum, highest bit", carp(right_carp ^ 0x8000), bad),
        case("CARP checksum, bytes swapped", carp(right_carp.swap_bytes()), bad),
        case("CARP checksum complemented", carp(!right_carp), bad),
        case("CARP checksum not made: 0", carp(0), bad),
        case("CARP checksum all ones", carp(0xffff), bad),
        case("CARP checksum with a pseudo-header", carp(checksum_with_pseudo_header()), bad),
        // The two zeros of one's complement: either makes the sum right (RFC 1624 §3).
        case("CARP checksum 0, and right", with_checksum(zero_sum(), 0), Accepted(PLAIN, 0)),
        case("CARP checksum all ones, and right", with_checksum(zero_sum(), 0xffff), Accepted(PLAIN, 0)),
        case("CARP checksum 1 instead of 0", with_checksum(zero_sum(), 1), bad),
    ]
}

fn carp() -> Vec<Case> {
    let with = |offset: usize, value| {
        let mut payload = advertisement(10);
        payload[offset] = value;
        Packet { payload: sealed(payload), ..Packet::default() }
    };
    vec![
        case("version 3", with(0, 0x31), NOT_CARP),
        case("version 1", with(0, 0x11), BAD_VERSION),
        case("version 4", with(0, 0x41), BAD_VERSION),
        case("type 2", with(0, 0x22), BAD_VERSION),
        case("type 0", with(0, 0x20), BAD_VERSION),
        case("authlen 0", with(3, 0), NOT_CARP),
        case("authlen 6", with(3, 6), NOT_CARP),
        case("authlen 8", with(3, 8), NOT_CARP),
        case("unknown virtual host", with(1, 11), UNKNOWN),
        case("virtual host 0", with(1, 0), UNKNOWN),
        case("virtual host 255, watched in a VLAN only", with(1, 255), UNKNOWN),
        case("virtual host watched on another interface", with(1, VHID_OTHER_INTERFACE), UNKNOWN),
        case("goodbye: advskew 255", with(2, 255), Accepted(PLAIN, 0)),
        case("advskew 0, which VRRP calls resigning", with(2, 0), Accepted(PLAIN, 0)),
        case("demotion 255", with(4, 255), Accepted(PLAIN, 0)),
        case("advbase 0", with(5, 0), Accepted(PLAIN, 0)),
        case("another digest", with(35, 0), Refused(PLAIN, Reason::BadAuth)),
    ]
}

fn others_on_112() -> Vec<Case> {
    let payload = |payload: Vec<u8>| Packet { payload, ..Packet::default() };
    let cut_off = sealed(vrrp2(7)[..36].to_vec());
    let in_vlan = |payload: Vec<u8>| Packet { tags: vec![(DOT1Q, 5)], payload, ..Packet::default() };
    vec![
        case("VRRPv2, 1 address", payload(vrrp2(1)), NOT_CARP),
        case("VRRPv2, 5 addresses: 36 bytes", payload(vrrp2(5)), NOT_CARP),
        case("VRRPv2, 7 addresses: 44 bytes", payload(vrrp2(7)), NOT_CARP),
        // No true VRRP leaves out the last 8 bytes. The digest decides (CARP specification §1.4).
        case("VRRPv2, 7 addresses, cut off at 36 bytes", payload(cut_off), Refused(PLAIN, Reason::BadAuth)),
        case("VRRPv3, 1 address", payload(vrrp3(1)), NOT_CARP),
        case("VRRPv3, 7 addresses: 36 bytes, count 7", payload(vrrp3(7)), NOT_CARP),
        case("VRRPv3 in a VLAN", in_vlan(vrrp3(7)), NOT_CARP),
        case(
            "VRRPv2, the padding of a short frame",
            Packet { trailer: vec![0; 6], ..payload(vrrp2(1)) },
            NOT_CARP,
        ),
        case("nothing", payload(Vec::new()), NOT_CARP),
        case("36 zeros", payload(vec![0; 36]), NOT_CARP),
        case("36 ones", payload(vec![0xff; 36]), NOT_CARP),
        case("a full frame", payload(vec![0x21; 1480]), NOT_CARP),
        raw("IPv6, as long as a watched frame", ethernet(IPV6, &[0x45; 56]), Foreign),
    ]
}

fn traffic() -> Vec<Case> {
    let protocol = |protocol| Packet { protocol, ..Packet::default() };
    vec![
        case("TCP", protocol(6), Foreign),
        case("UDP", protocol(17), Foreign),
        case("ICMP", protocol(1), Foreign),
        case("IGMP", protocol(2), Foreign),
        case("protocol 111", protocol(111), Foreign),
        case("protocol 113", protocol(113), Foreign),
        case("TCP of 1500 bytes", Packet { payload: vec![0x70; 1480], ..protocol(6) }, Foreign),
        case("UDP in a VLAN", Packet { tags: vec![(DOT1Q, 5)], ..protocol(17) }, Foreign),
        raw("ARP", ethernet(ARP, &[0, 1, 8, 0, 6, 4, 0, 1]), Foreign),
        raw("LLDP", ethernet(0x88cc, &[2, 7, 4, 0, 0, 0x5e, 0, 1, 10]), Foreign),
        raw("an IEEE 802.3 length", ethernet(0x0026, &[0x42, 0x42, 3]), Foreign),
        case("an unknown EtherType around CARP", Packet { ethertype: 0x88b5, ..Packet::default() }, Foreign),
        raw("14 bytes", ethernet(IPV4, &[]), Foreign),
        raw("14 bytes, a tag begun", ethernet(DOT1Q, &[]), Foreign),
    ]
}

/// Of several faults, the first check's is counted.
fn order() -> Vec<Case> {
    let stranger = || Packet { payload: advertisement(11), ..Packet::default() };
    let mut damaged = advertisement(10);
    damaged[35] ^= 1;
    vec![
        case("unknown virtual host, TTL 1", Packet { ttl: 1, ..stranger() }, UNKNOWN),
        case("unknown virtual host, unicast", Packet { destination: [10, 0, 0, 1], ..stranger() }, UNKNOWN),
        case("unknown virtual host, checksum", Packet { checksum: Some(1), ..stranger() }, UNKNOWN),
        case(
            "options, more fragments",
            Packet { options: ROUTER_ALERT.to_vec(), fragment: 0x2000, ..Packet::default() },
            Refused(PLAIN, Reason::BadOpts),
        ),
        case(
            "more fragments, TTL 1",
            Packet { fragment: 0x2000, ttl: 1, ..Packet::default() },
            Refused(PLAIN, Reason::BadFrag),
        ),
        case(
            "TTL 1, unicast",
            Packet { ttl: 1, destination: [10, 0, 0, 1], ..Packet::default() },
            Refused(PLAIN, Reason::BadTtl),
        ),
        case(
            "unicast, damaged",
            Packet { destination: [10, 0, 0, 1], payload: damaged.clone(), ..Packet::default() },
            Refused(PLAIN, Reason::BadDst),
        ),
        raw("one byte missing", Packet::default().bytes()[..69].to_vec(), Refused(PLAIN, Reason::BadLen)),
        raw(
            "one byte missing, TTL 1",
            Packet { ttl: 1, ..Packet::default() }.bytes()[..69].to_vec(),
            Refused(PLAIN, Reason::BadTtl),
        ),
        raw(
            "one byte missing, unicast",
            Packet { destination: [10, 0, 0, 1], ..Packet::default() }.bytes()[..69].to_vec(),
            Refused(PLAIN, Reason::BadLen),
        ),
        case("damaged", Packet { payload: damaged, ..Packet::default() }, Refused(PLAIN, Reason::BadSum)),
        case(
            "TTL 1 in a VLAN",
            Packet { tags: vec![(DOT1Q, 5)], ttl: 1, ..Packet::default() },
            Refused(SLOT_VLAN, Reason::BadTtl),
        ),
        case(
            "TTL 1 in QinQ",
            Packet { tags: vec![(DOT1AD, 100), (DOT1Q, 5)], ttl: 1, ..Packet::default() },
            Refused(SLOT_QINQ, Reason::BadTtl),
        ),
    ]
}

/// An advertisement with any checksum.
fn with_checksum(mut payload: Vec<u8>, checksum: u16) -> Packet {
    payload[6..8].copy_from_slice(&checksum.to_be_bytes());
    Packet { payload, ..Packet::default() }
}

/// An advertisement whose right checksum is zero, by the open fields behind the digest's back.
fn zero_sum() -> Vec<u8> {
    let mut payload = advertisement(10);
    payload[4..8].fill(0);
    let rest = checksum(&payload);
    payload[4..6].copy_from_slice(&rest.to_be_bytes());
    payload
}

/// What the checksum would be with the pseudo-header of TCP and VRRP version 3.
fn checksum_with_pseudo_header() -> u16 {
    let Packet { source, destination, mut payload, .. } = Packet::default();
    payload[6..8].fill(0);
    checksum(&[&source[..], &destination, &[0, 112, 0, 36], &payload].concat())
}
