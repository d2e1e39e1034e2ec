//! Telling the segment where the virtual addresses are now.

use std::io;
use std::net::Ipv4Addr;

use ha_common::wire::{arp, ethernet};

use crate::sys::packet_socket::PacketSocket;

/// Announces one virtual host's addresses by gratuitous ARP. The frames lie ready.
#[derive(Debug)]
pub struct Announcer {
    socket: PacketSocket,
    frames: Vec<[u8; arp::FRAME_LEN]>,
}

impl Announcer {
    /// Prepares one frame an address.
    pub fn new(
        socket: PacketSocket,
        hardware: ethernet::Mac,
        addresses: impl Iterator<Item = Ipv4Addr>,
    ) -> Self {
        let frame = |address: Ipv4Addr| arp::Announcement { hardware, address: address.octets() }.emit();
        Self { socket, frames: addresses.map(frame).collect() }
    }

    /// Announces every address once.
    ///
    /// # Errors
    ///
    /// The first that a frame met; the others are sent all the same.
    pub fn announce(&self) -> io::Result<()> {
        let mut result = Ok(());
        for frame in &self.frames {
            result = result.and(self.socket.send(frame));
        }
        result
    }
}
