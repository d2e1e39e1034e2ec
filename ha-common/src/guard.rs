//! Which frames a node whose lease is over must not answer: those that ask who has a virtual address, and those that are
//! sent to one.

use crate::abi::{Address, FAMILY_IPV4, FAMILY_IPV6};
use crate::decode::{Cursor, link_layer};
use crate::wire::{arp, ethernet, ipv4, ipv6, ndp};

/// Whether a frame asks for an address that is guarded or, where it is about `all` frames, is sent to one.
#[inline(always)]
#[must_use]
pub fn concerns<C: Cursor>(frame: &C, all: bool, is_guarded: impl Fn(u8, &Address) -> bool) -> bool {
    let Some((_, _, ethertype, l3)) = link_layer(frame) else { return false };
    match ethertype {
        ethernet::ARP => {
            let Some(message) = frame.get(l3) else { return false };
            arp::requested(message).is_some_and(|target| is_guarded(FAMILY_IPV4, &Address::v4(target)))
        }
        ethernet::IPV4 => {
            let Some(header) = frame.get(l3) else { return false };
            all && is_guarded(FAMILY_IPV4, &Address::v4(ipv4::Header(header).destination()))
        }
        ethernet::IPV6 => {
            let Some(header) = frame.get(l3) else { return false };
            let header = ipv6::Header(header);
            if all && is_guarded(FAMILY_IPV6, &Address(*header.destination())) {
                return true;
            }
            if header.next_header() != ndp::NEXT_HEADER {
                return false;
            }
            let Some(message) = frame.get(l3 + ipv6::LEN) else { return false };
            ndp::solicited(message).is_some_and(|target| is_guarded(FAMILY_IPV6, &Address(target)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    /// `10.0.0.1` and `fe80::1` are guarded.
    fn judged(frame: &[u8], all: bool) -> bool {
        concerns(&frame, all, |family, address| {
            let ip = address.ip(family).to_string();
            ["10.0.0.1", "fe80::1"].contains(&ip.as_str())
        })
    }

    fn tagged(tags: &[u8], ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
        [&[2; 12], tags, &ethertype, payload].concat()
    }

    fn arp(operation: u8, target: [u8; 4]) -> Vec<u8> {
        [&[0, 1, 8, 0, 6, 4, 0, operation], [0; 16].as_slice(), &target].concat()
    }

    fn ipv4(destination: [u8; 4]) -> Vec<u8> {
        [&[0x45], [0; 15].as_slice(), &destination].concat()
    }

    fn ipv6(next_header: u8, destination: u8, kind: u8, target: u8) -> Vec<u8> {
        let address = |last| [&[0xfe, 0x80], [0; 13].as_slice(), &[last]].concat();
        let head = [&[0x60, 0, 0, 0, 0, 24, next_header, 255], [0; 16].as_slice()].concat();
        [head, address(destination), Vec::from([kind, 0, 0, 0, 0, 0, 0, 0]), address(target)].concat()
    }

    #[test]
    fn requests_for_guarded_addresses_concern_and_frames_to_them_do_where_all_do() {
        const ARP: [u8; 2] = [8, 6];
        const V4: [u8; 2] = [8, 0];
        const V6: [u8; 2] = [0x86, 0xdd];
        let (one, two) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let table = [
            (ARP, arp(1, one), true, true),
            (ARP, arp(1, two), false, false),
            (ARP, arp(2, one), false, false),
            (V4, ipv4(one), false, true),
            (V4, ipv4(two), false, false),
            (V6, ipv6(6, 1, 0, 9), false, true),
            (V6, ipv6(6, 9, 135, 1), false, false),
            (V6, ipv6(58, 9, 135, 1), true, true),
            (V6, ipv6(58, 9, 135, 9), false, false),
            (V6, ipv6(58, 9, 136, 1), false, false),
            ([0x88, 0xcc], arp(1, one), false, false),
        ];
        let (single, double) = ([0x81, 0, 0, 7], [0x88, 0xa8, 0, 7, 0x81, 0, 0, 8]);
        for (ethertype, payload, some, all) in table {
            for tags in [&[] as &[u8], &single, &double] {
                let frame = tagged(tags, ethertype, &payload);
                assert_eq!((judged(&frame, false), judged(&frame, true)), (some, all), "{frame:02x?}");
                for end in 0..frame.len().min(14 + tags.len() + 20) {
                    assert!(!judged(&frame[..end], false), "cut off after {end}: {frame:02x?}");
                }
            }
        }
    }
}
