//! Listening for a moment, and asking who has the virtual addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ha_common::wire::ethernet::{self, Mac};

use crate::agent::hosts;
use crate::cli::check::Scene;
use crate::config::VhostConfig;
use crate::net::link::Interface;
use crate::sniff::keys::Keys;
use crate::sniff::live::Tap;
use crate::sniff::{Sighting, Sniffer};
use crate::sys::packet_socket::PacketSocket;

/// What was heard on an interface.
pub(super) struct Heard {
    /// Everything on protocol 112.
    pub(super) sightings: Vec<Sighting>,
    /// Who answers for virtual addresses that nobody was heard to advertise.
    pub(super) holders: BTreeMap<Ipv4Addr, Mac>,
    /// For how long.
    pub(super) lasted: Duration,
}

/// Listens for three advertisements of the slowest virtual host there, and a little over a second at least: VRRP routers and
/// others speak once a second. Then asks for the addresses that nobody serves.
pub(super) async fn listen(scene: Scene<'_>, interface: &Interface) -> io::Result<Heard> {
    let keys = Keys::default().with_config(scene.config, |vhost| scene.on(interface).any(|it| it == vhost));
    let tap = Tap::open(interface.index)?;
    let mut sniffer = Sniffer::new(keys);
    let mut sightings: Vec<Sighting> = Vec::new();
    let wait = scene.on(interface).map(wait).max().unwrap_or_default().clamp(SHORTEST, LONGEST);
    let began = Instant::now();
    let hear = tap.hear_for(wait, |received| {
        if sightings.len() < ENOUGH {
            sightings.extend(sniffer.see(received));
        }
    });
    hear.await?;
    let lasted = began.elapsed();
    let is_served = |vhost: &&VhostConfig| sightings.iter().any(|seen| seen.vhid == Some(vhost.vhid));
    let lonely = scene.on(interface).filter(|vhost| scene.agent().is_none() && !is_served(vhost));
    let asked: Vec<Ipv4Addr> = lonely.flat_map(|vhost| vhost.ipv4().map(|net| net.addr())).collect();
    let holders = if asked.is_empty() { BTreeMap::new() } else { ask(&tap, interface, &asked).await? };
    Ok(Heard { sightings, holders, lasted })
}

/// Who says by ARP that he has one of these addresses.
async fn ask(tap: &Tap, interface: &Interface, asked: &[Ipv4Addr]) -> io::Result<BTreeMap<Ipv4Addr, Mac>> {
    let socket = PacketSocket::open(interface.index)?;
    let mut holders = BTreeMap::new();
    for _ in 0..PROBES {
        for address in asked {
            socket.send(&probe(interface.hardware, *address))?;
        }
        let hear = tap.hear_for(PROBE_WAIT, |received| {
            let claimed = claim(received.bytes).filter(|_| !received.outgoing);
            let other = |(address, hardware): &(Ipv4Addr, Mac)| {
                asked.contains(address) && *hardware != interface.hardware
            };
            holders.extend(claimed.filter(other));
        });
        hear.await?;
    }
    Ok(holders)
}

/// A quarter more than three intervals, so that the third advertisement is in it.
fn wait(vhost: &VhostConfig) -> Duration {
    hosts::settings(vhost).advertisement_interval() * 13 / 4
}

/// The address that the sender of an ARP message says that it has, and its hardware address (RFC 826).
fn claim(frame: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let header = ethernet::Header(frame.first_chunk()?);
    let is_arp = header.ethertype() == ethernet::ARP && frame.get(14..20)? == [0, 1, 8, 0, 6, 4];
    let (hardware, address) = (*frame.get(22..)?.first_chunk()?, *frame.get(28..)?.first_chunk::<4>()?);
    is_arp.then(|| (Ipv4Addr::from(address), hardware))
}

/// Asks who has an address, without telling anybody ours (RFC 5227 §2.1.1).
fn probe(hardware: Mac, address: Ipv4Addr) -> Vec<u8> {
    let header =
        ethernet::Repr { destination: ethernet::BROADCAST, source: hardware, ethertype: ethernet::ARP };
    let request = [0, 1, 8, 0, 6, 4, 0, 1];
    [&header.emit()[..], &request, &hardware, &[0; 10], &address.octets()].concat()
}

const SHORTEST: Duration = Duration::from_millis(1200);
const LONGEST: Duration = Duration::from_secs(5);
const PROBES: u32 = 2;
const PROBE_WAIT: Duration = Duration::from_millis(150);
/// Sightings that are kept: more than there are but in a flood.
const ENOUGH: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_has_the_bytes_of_rfc_5227_and_claims_nothing_of_ours() {
        let frame = probe([2, 0, 0, 0, 0, 7], Ipv4Addr::new(10, 77, 0, 100));
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[20..], [0, 1, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 77, 0, 100]);
        assert_eq!(claim(&frame), Some((Ipv4Addr::UNSPECIFIED, [2, 0, 0, 0, 0, 7])));
        for length in 0..32 {
            assert_eq!(claim(&frame[..length]), None, "{length}");
        }
    }
}
