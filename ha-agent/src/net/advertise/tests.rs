use super::*;
use crate::core::Priority;
use ha_common::abi::Address;
use ha_common::auth::{Message, key};
use ha_common::decode::{Frame, decode};

const SOURCES: Sources =
    Sources { v4: Ipv4Addr::new(10, 77, 0, 1), v6: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1) };

fn frames() -> Frames {
    let message = Message { vhid: 10, ipv4: &[[10, 77, 0, 100]], ipv6: &[], link_local: true, lladdr: None };
    let mac = Mac::new(&key(b"secret"), &message);
    Frames { hardware: [2, 0, 0, 0, 0, 1], sources: SOURCES, vhid: 10, mac }
}

fn advertisement(advskew: u8, demote: u8) -> Advertisement {
    Advertisement { priority: Priority { advbase: 1, advskew }, demote }
}

#[test]
fn emits_what_our_own_decoder_takes() {
    let bow_out = Advertisement { priority: Priority::BOW_OUT, demote: 0 };
    for advertisement in [advertisement(100, 0), advertisement(240, 7), bow_out] {
        let frame = frames().emit_v4(carp::GROUP.into(), advertisement, 41);
        let frame = frame.as_slice();
        let Frame::Carp(candidate) = decode(&frame) else { panic!("not CARP") };
        let header = carp::Header(candidate.check(|address| *address == Address::v4(carp::GROUP)).unwrap());
        assert_eq!((candidate.vhid, candidate.source()), (10, Address::v4([10, 77, 0, 1])));
        let Advertisement { priority, demote } = advertisement;
        assert_eq!(
            (header.advbase(), header.advskew(), header.demote()),
            (priority.advbase, priority.advskew, demote)
        );
        assert_eq!(header.counter(), 41);
        assert!(frames().mac.verify(header.counter(), header.digest()));
        assert_eq!(frame[..12], [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12, 2, 0, 0, 0, 0, 1]);
    }
}

#[test]
fn the_families_differ_in_their_headers_only() {
    let (v4, v6) = (
        frames().emit_v4(carp::GROUP.into(), advertisement(0, 0), 7),
        frames().emit_v6(ipv6::GROUP.into(), advertisement(0, 0), 7),
    );
    assert_eq!(v4[IPV4_END..], v6[IPV6_END..]);
    assert_eq!(v6[..14], [0x33, 0x33, 0, 0, 0, 0x12, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
    let header = ipv6::Header(v6[ethernet::LEN..IPV6_END].first_chunk().unwrap());
    assert_eq!((header.version(), header.payload_len(), header.next_header()), (6, 36, 112));
    assert_eq!(header.hop_limit(), 255);
    assert_eq!((*header.source(), *header.destination()), (SOURCES.v6.octets(), ipv6::GROUP));
    assert!(carp::Header(v6[IPV6_END..].first_chunk().unwrap()).checksum_ok());
}

#[test]
fn a_dead_peer_is_no_error_and_the_first_other_one_is_told() {
    let peer = IpAddr::from(SOURCES.v4);
    let mut sent = Sent::default();
    for code in [libc::EHOSTUNREACH, libc::EHOSTDOWN] {
        sent.note_peer(peer, Err(io::Error::from_raw_os_error(code)));
    }
    assert!((sent.frames, sent.error.is_none()) == (0, true), "{sent:?}");
    sent.note_peer(peer, Ok(()));
    sent.note_peer(peer, Err(io::Error::from_raw_os_error(libc::ENETDOWN)));
    sent.note_peer(peer, Err(io::Error::from_raw_os_error(libc::ENOBUFS)));
    assert_eq!(sent.frames, 1);
    let Some(SendError::Os { to, cause }) = sent.error else { panic!("{sent:?}") };
    assert_eq!((to, cause.raw_os_error()), (peer, Some(libc::ENETDOWN)));
    // To the group, the same answer is an error: it has no neighbour that could be dead.
    let mut sent = Sent::default();
    sent.note(peer, Err(io::Error::from_raw_os_error(libc::EHOSTUNREACH)));
    assert!(sent.error.is_some());
}
