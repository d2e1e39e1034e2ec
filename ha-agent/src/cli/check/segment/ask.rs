//! Asking who has the virtual addresses, in nobody's name: by ARP (RFC 5227 §2.1.1), and as duplicate address detection does
//! (RFC 4862 §5.4.2).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ha_common::wire::ethernet::{self, Mac};
use ha_common::wire::{checksum, ipv6, ndp};

use crate::net::link::Interface;
use crate::sniff::live::Tap;
use crate::sys::packet_socket::PacketSocket;

/// Who says that he has one of these addresses.
pub(super) async fn ask(
    tap: &Tap,
    interface: &Interface,
    asked: &[IpAddr],
) -> io::Result<BTreeMap<IpAddr, Mac>> {
    let socket = PacketSocket::open(interface.index)?;
    let mut holders = BTreeMap::new();
    for _ in 0..PROBES {
        for address in asked {
            socket.send(&match address {
                IpAddr::V4(address) => probe(interface.hardware, *address),
                IpAddr::V6(address) => solicitation(interface.hardware, *address),
            })?;
        }
        let hear = tap.hear_for(PROBE_WAIT, |received| {
            let claimed = claim(received.bytes).filter(|_| !received.outgoing);
            let other = |(address, hardware): &(IpAddr, Mac)| {
                asked.contains(address) && *hardware != interface.hardware
            };
            holders.extend(claimed.filter(other));
        });
        hear.await?;
    }
    Ok(holders)
}

/// The address that the sender of a frame says that it has, and its hardware address.
fn claim(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let header = ethernet::Header(frame.first_chunk()?);
    let is_arp = header.ethertype() == ethernet::ARP && frame.get(14..20)? == [0, 1, 8, 0, 6, 4];
    if is_arp {
        let (hardware, address) = (frame.get(22..)?.first_chunk()?, frame.get(28..)?.first_chunk::<4>()?);
        return Some((Ipv4Addr::from(*address).into(), *hardware));
    }
    // Of this link: nobody has forwarded it (RFC 4861 §7.1.2).
    let is_advertisement = header.ethertype() == ethernet::IPV6
        && frame.get(20..22)? == [ndp::NEXT_HEADER, u8::MAX]
        && *frame.get(MESSAGE)? == NEIGHBOUR_ADVERTISEMENT;
    let address = frame.get(MESSAGE + 8..)?.first_chunk::<16>()?;
    is_advertisement.then(|| (Ipv6Addr::from(*address).into(), header.source()))
}

/// Asks for an IPv4 address, without telling anybody ours.
fn probe(hardware: Mac, address: Ipv4Addr) -> Vec<u8> {
    let header =
        ethernet::Repr { destination: ethernet::BROADCAST, source: hardware, ethertype: ethernet::ARP };
    let request = [0, 1, 8, 0, 6, 4, 0, 1];
    [&header.emit()[..], &request, &hardware, &[0; 10], &address.octets()].concat()
}

/// Asks for an IPv6 address in the same way: a neighbour solicitation from no address, to those whose address ends alike.
fn solicitation(hardware: Mac, address: Ipv6Addr) -> Vec<u8> {
    let target = address.octets();
    let mut destination = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    destination[13..].copy_from_slice(&target[13..]);
    let ethernet = ethernet::Repr {
        destination: ethernet::multicast6(destination),
        source: hardware,
        ethertype: ethernet::IPV6,
    };
    let header =
        ipv6::Repr { source: [0; 16], destination, next_header: ndp::NEXT_HEADER, payload_len: LENGTH };
    let mut message = [0; ndp::SOLICITATION_LEN];
    message[0] = NEIGHBOUR_SOLICITATION;
    message[8..].copy_from_slice(&target);
    // Behind the source, which is zero, comes what else is summed (RFC 4443 §2.3).
    let mut summed = [0; 40 + ndp::SOLICITATION_LEN];
    summed[16..32].copy_from_slice(&destination);
    (summed[35], summed[39]) = (LENGTH, ndp::NEXT_HEADER);
    summed[40..].copy_from_slice(&message);
    message[2..4].copy_from_slice(&checksum::checksum(&summed).to_be_bytes());
    [&ethernet.emit()[..], &header.emit(), &message].concat()
}

/// Where the message begins in a frame.
const MESSAGE: usize = ethernet::LEN + ipv6::LEN;
/// Of a solicitation.
const LENGTH: u8 = 24;
const _: () = assert!(ndp::SOLICITATION_LEN == LENGTH as usize);
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const PROBES: u32 = 2;
const PROBE_WAIT: Duration = Duration::from_millis(150);

#[cfg(test)]
mod tests {
    use super::*;

    const HARDWARE: Mac = [2, 0, 0, 0, 0, 7];

    #[test]
    fn a_probe_has_the_bytes_of_rfc_5227_and_claims_nothing_of_ours() {
        let frame = probe(HARDWARE, Ipv4Addr::new(10, 77, 0, 100));
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[20..], [0, 1, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 77, 0, 100]);
        assert_eq!(claim(&frame), Some((Ipv4Addr::UNSPECIFIED.into(), HARDWARE)));
        for length in 0..32 {
            assert_eq!(claim(&frame[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_solicitation_has_the_bytes_of_rfc_4861_and_claims_nothing() {
        let frame = solicitation(HARDWARE, "2001:db8:77::100".parse().expect("an address"));
        let head = [
            0x33, 0x33, 0xff, 0, 1, 0, 2, 0, 0, 0, 0, 7, 0x86, 0xdd, // Ethernet
            0x60, 0, 0, 0, 0, 24, 58, 255, // IPv6
        ];
        assert_eq!(frame[..22], head);
        assert_eq!(frame[22..38], [0; 16], "from nobody");
        assert_eq!(frame[38..54], [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 1, 0]);
        assert_eq!((frame[54], frame[55], frame.len()), (135, 0, 78));
        assert_eq!(frame[62..], [0x20, 1, 0x0d, 0xb8, 0, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        // Length and next header beside the addresses and the message.
        let mut summed = [0; 60];
        summed[..32].copy_from_slice(&frame[22..54]);
        (summed[33], summed[35]) = (24, 58);
        summed[36..].copy_from_slice(&frame[54..]);
        assert_eq!(checksum::sum(&summed), 0xffff);
        assert_eq!(claim(&frame), None);
    }

    #[test]
    fn an_announcement_claims_its_address() {
        let address: Ipv6Addr = "2001:db8:77::100".parse().expect("an address");
        let frame = ndp::Announcement { hardware: HARDWARE, address: address.octets(), router: false }.emit();
        assert_eq!(claim(&frame), Some((address.into(), HARDWARE)));
        for length in 0..78 {
            assert_eq!(claim(&frame[..length]), None, "{length}");
        }
        let mut forwarded = frame;
        forwarded[21] = 64;
        assert_eq!(claim(&forwarded), None);
    }
}
