//! The headers' views and what they are made from.

use ha_common::wire::{carp, checksum, ipv4, ipv6};

use crate::packet;

/// Reads bytes as each header, sends what was read again, and reads that.
///
/// # Panics
///
/// If something changed on the way, or a checksum is not that of RFC 1071.
pub fn carp_header(bytes: &[u8]) {
    if let Some(bytes) = bytes.first_chunk() {
        carp_of(bytes);
    }
    if let Some(bytes) = bytes.first_chunk() {
        ipv4_of(bytes);
    }
    if let Some(bytes) = bytes.first_chunk() {
        ipv6_of(bytes);
    }
}

fn carp_of(bytes: &[u8; carp::LEN]) {
    assert_eq!(checksum::checksum(bytes), packet::checksum(bytes), "checksum");
    let view = carp::Header(bytes);
    assert_eq!(view.checksum_ok(), packet::checksum(bytes) == 0, "whether the checksum is right");
    let repr = carp_repr(view);
    let sent = repr.emit();
    let again = carp::Header(&sent);
    assert_eq!(carp_repr(again), repr, "fields");
    assert!(again.checksum_ok(), "the checksum that we send");
    assert_eq!([sent[0], sent[3]], [carp::VERSION_AND_TYPE, carp::AUTHLEN]);
    if [bytes[0], bytes[3]] == [carp::VERSION_AND_TYPE, carp::AUTHLEN] && view.checksum_ok() {
        let zeros = [[0, 0], [0xff, 0xff]];
        let (ours, theirs) = ([sent[6], sent[7]], [bytes[6], bytes[7]]);
        assert!(
            ours == theirs || zeros.contains(&ours) && zeros.contains(&theirs),
            "{ours:?}, not {theirs:?}"
        );
        assert_eq!((&sent[..6], &sent[8..]), (&bytes[..6], &bytes[8..]), "bytes");
    }
}

fn carp_repr(view: carp::Header<'_>) -> carp::Repr {
    carp::Repr {
        vhid: view.vhid(),
        advbase: view.advbase(),
        advskew: view.advskew(),
        demote: view.demote(),
        counter: view.counter(),
        digest: *view.digest(),
    }
}

fn ipv4_of(bytes: &[u8; ipv4::LEN]) {
    let view = ipv4::Header(bytes);
    assert_eq!(view.checksum_ok(), packet::checksum(bytes) == 0, "whether the checksum is right");
    let repr = ipv4::Repr { source: view.source(), destination: view.destination(), payload_len: bytes[3] };
    let sent = repr.emit();
    let again = ipv4::Header(&sent);
    assert!(again.checksum_ok(), "the checksum that we send");
    assert_eq!((again.source(), again.destination()), (repr.source, repr.destination));
    assert_eq!(again.total_len(), 20 + u16::from(repr.payload_len));
    assert!(!again.more_fragments() && !again.is_later_fragment());
    assert_eq!((again.version(), usize::from(again.header_len()), again.ttl()), (4, ipv4::LEN, ipv4::TTL));
}

fn ipv6_of(bytes: &[u8; ipv6::LEN]) {
    let view = ipv6::Header(bytes);
    let repr = ipv6::Repr {
        source: *view.source(),
        destination: *view.destination(),
        next_header: view.next_header(),
        payload_len: bytes[5],
    };
    let sent = repr.emit();
    let again = ipv6::Header(&sent);
    assert_eq!((again.source(), again.destination()), (&repr.source, &repr.destination));
    assert_eq!((again.next_header(), again.payload_len()), (repr.next_header, repr.payload_len.into()));
    assert_eq!((again.version(), again.hop_limit()), (6, ipv6::HOP_LIMIT));
}
