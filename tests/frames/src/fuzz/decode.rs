//! Any frame through the decoder and the judge.

use std::net::{Ipv4Addr, Ipv6Addr};

use ha_common::abi::{COMMON_SLOT, FAMILY_IPV4};
use lab::Site;

use crate::outcome::{Judged, Outcome};
use crate::packet::{GROUP, GROUP6, checksum, l3_offset};
use crate::site::{OTHER_GROUP4, OTHER_GROUP6, OWN, site};

/// Judges a frame, and demands of what is accepted that it is so to the naked eye; that nothing hangs on what
/// lies behind the packet; that a frame that was cut off is not taken.
///
/// # Panics
///
/// If something of that does not hold.
pub fn decode(frame: &[u8]) {
    thread_local!(static SITE: Site = Site { now_ns: Some(1_000_000_000), ..site() });
    SITE.with(|site| {
        let judge = |frame: &[u8]| {
            site.heard.borrow_mut().clear();
            Judged::of(frame, site)
        };
        let judged = judge(frame);
        if judged.advert.is_some() {
            demand_plain(frame, &judged);
        }
        // What lies behind the packet is of no account, unless it is taken for its end.
        let whole = frame.len() >= carp_end(frame);
        match judged.outcome {
            Outcome::Foreign | Outcome::Refused(COMMON_SLOT, _) => {}
            Outcome::Refused(..) | Outcome::Passed(..) if !whole => {}
            Outcome::Accepted(..) | Outcome::Refused(..) | Outcome::Passed(..) => {
                assert_eq!(judge(&[frame, &[0; 46]].concat()), judged, "with padding");
            }
        }
        if let Some(end) = judged.advert.map(|_| carp_end(frame)) {
            for length in (0..end).rev().take(60) {
                let cut = judge(&frame[..length]);
                assert!(cut.advert.is_none(), "accepted with {length} of {end} bytes");
            }
        }
    });
}

/// Where an advertisement ends if this is one without options.
fn carp_end(frame: &[u8]) -> usize {
    let network = l3_offset(frame);
    network + if frame.get(network).is_some_and(|first| first >> 4 == 6) { 76 } else { 56 }
}

/// Reads an accepted frame byte by byte.
fn demand_plain(frame: &[u8], judged: &Judged) {
    let advert = judged.advert.expect("it was accepted");
    let packet = &frame[l3_offset(frame)..];
    let carp = if advert.watch.family == FAMILY_IPV4 {
        assert_eq!(packet[0], 0x45, "options");
        assert_eq!(packet[2..4], [0, 56], "length");
        assert_eq!([packet[6] & 0x3f, packet[7]], [0, 0], "a fragment");
        assert_eq!(packet[8..10], [255, 112], "TTL and protocol");
        assert_eq!(checksum(&packet[..20]), 0, "header checksum");
        let address = |bytes: &[u8]| Ipv4Addr::from(<[u8; 4]>::try_from(bytes).expect("4 bytes"));
        let (source, destination) = (address(&packet[12..16]), address(&packet[16..20]));
        let groups = [GROUP, OTHER_GROUP4].map(Ipv4Addr::from);
        assert!(groups.contains(&destination) || OWN.contains(&destination.into()), "destination");
        assert_eq!(advert.source(), source, "source");
        assert!(!OWN.contains(&source.into()), "looped");
        &packet[20..56]
    } else {
        assert_eq!(packet[0] >> 4, 6, "version");
        assert_eq!(packet[4..8], [0, 36, 112, 255], "length, next header and hop limit");
        let address = |bytes: &[u8]| Ipv6Addr::from(<[u8; 16]>::try_from(bytes).expect("16 bytes"));
        let (source, destination) = (address(&packet[8..24]), address(&packet[24..40]));
        let groups = [GROUP6, OTHER_GROUP6];
        assert!(groups.contains(&destination) || OWN.contains(&destination.into()), "destination");
        assert_eq!(advert.source(), source, "source");
        assert!(!OWN.contains(&source.into()), "looped");
        &packet[40..76]
    };
    assert_eq!([carp[0], carp[1], carp[3]], [0x21, advert.watch.vhid, 7], "version, virtual host, length");
    assert_eq!(checksum(carp), 0, "checksum");
    assert_eq!(advert.carp, carp, "another advertisement");
}
