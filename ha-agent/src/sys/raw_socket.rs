//! A raw socket: whole IP packets out of one interface, to a neighbour whom the kernel finds.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};

use super::interface_name;

/// Sends whole IP packets of one family through one interface. Receives nothing.
///
/// One a neighbour: packets that wait for one that is not found fill its buffer.
#[derive(Debug)]
pub struct RawSocket {
    socket: Socket,
    ifindex: u32,
}

impl RawSocket {
    /// Opens a socket for IPv4 packets that is bound to the interface with this index. It never blocks.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_RAW`, `ENODEV` if the interface is gone.
    pub fn open_v4(ifindex: u32) -> io::Result<Self> {
        Self::open(Domain::IPV4, ifindex)
    }

    /// The same for IPv6 packets.
    ///
    /// # Errors
    ///
    /// The same, and `EAFNOSUPPORT` if the kernel has no IPv6.
    pub fn open_v6(ifindex: u32) -> io::Result<Self> {
        Self::open(Domain::IPV6, ifindex)
    }

    fn open(domain: Domain, ifindex: u32) -> io::Result<Self> {
        // This protocol says that packets come with their header, in either family, and receives none.
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        socket.set_nonblocking(true)?;
        // What waits for a neighbour that is not found is old news when he is: the kernel's least is enough.
        socket.set_send_buffer_size(0)?;
        // Only a name can be bound to; the socket stays with the interface when that is renamed.
        socket.bind_device(Some(interface_name::of(ifindex)?.as_bytes()))?;
        Ok(Self { socket, ifindex })
    }

    /// Sends one packet, beginning with its IP header, to an address of the socket's family.
    ///
    /// # Errors
    ///
    /// `ENETUNREACH` if no route through the interface leads there, `ENETDOWN` or `ENXIO` if it is down or
    /// gone, `EAGAIN` or `ENOBUFS` if its queue is full. That the neighbour does not answer shows later, if at
    /// all: as `EHOSTUNREACH`.
    pub fn send(&self, packet: &[u8], to: IpAddr) -> io::Result<()> {
        let address = match to {
            IpAddr::V4(_) => SocketAddr::new(to, 0),
            // A link-local address means nothing without the link.
            IpAddr::V6(ip) if ip.is_unicast_link_local() => SocketAddrV6::new(ip, 0, 0, self.ifindex).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, 0, 0, 0).into(),
        };
        let sent = self.socket.send_to(packet, &address.into())?;
        if sent == packet.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}
