//! Telling the segment where the virtual addresses are now.

use std::io;
use std::net::IpAddr;

use ha_common::wire::{arp, ethernet, ndp};

use crate::sys::packet_socket::PacketSocket;
use crate::sys::sysctl::{self, Family};

/// Announces one virtual host's addresses: by gratuitous ARP, or by an unsolicited neighbour advertisement.
#[derive(Debug)]
pub struct Announcer {
    socket: PacketSocket,
    ifindex: u32,
    hardware: ethernet::Mac,
    addresses: Vec<IpAddr>,
}

impl Announcer {
    /// Announces that these addresses have this hardware address, through a socket on the interface with this
    /// index.
    pub fn new(
        socket: PacketSocket,
        ifindex: u32,
        hardware: ethernet::Mac,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> Self {
        Self { socket, ifindex, hardware, addresses: addresses.collect() }
    }

    /// The index of the interface.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Announces these addresses from now on.
    pub fn readdress(&mut self, addresses: impl Iterator<Item = IpAddr>) {
        self.addresses = addresses.collect();
    }

    /// Announces every address once.
    ///
    /// # Errors
    ///
    /// The first that a frame met; the others are sent all the same.
    pub fn announce(&self) -> io::Result<()> {
        self.announce_those(&self.addresses)
    }

    /// Announces those of its addresses that are among these once.
    ///
    /// # Errors
    ///
    /// The first that a frame met; the others are sent all the same.
    pub fn announce_those(&self, these: &[IpAddr]) -> io::Result<()> {
        let hardware = self.hardware;
        let mut router = None;
        let mut result = Ok(());
        for address in self.addresses.iter().filter(|address| these.contains(address)) {
            result = result.and(match address {
                IpAddr::V4(ip) => {
                    self.socket.send(&arp::Announcement { hardware, address: ip.octets() }.emit())
                }
                IpAddr::V6(ip) => {
                    let router = *router.get_or_insert_with(|| self.is_router());
                    self.socket.send(&ndp::Announcement { hardware, address: ip.octets(), router }.emit())
                }
            });
        }
        result
    }

    /// Asked each time: it may be switched on while we run. Where IPv6 is missing, nothing forwards it.
    fn is_router(&self) -> bool {
        sysctl::read(Family::V6, self.ifindex, "forwarding").is_ok_and(|value| value != 0)
    }
}
