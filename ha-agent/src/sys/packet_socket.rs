//! A packet socket: whole frames out of one interface.

use std::io;
use std::mem::size_of;

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

/// Sends whole Ethernet frames through one interface. Receives nothing.
#[derive(Debug)]
pub struct PacketSocket(Socket);

impl PacketSocket {
    /// Opens a socket that is bound to the interface with this index. It never blocks.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_RAW`, `ENODEV` if the interface is gone.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        // Protocol 0: nothing is ever received, so nothing ever has to be read.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address(ifindex)?)?;
        Ok(Self(socket))
    }

    /// Sends one frame, beginning with its Ethernet header.
    ///
    /// # Errors
    ///
    /// `ENETDOWN` or `ENXIO` if the interface is down or gone, `EAGAIN` or `ENOBUFS` if its queue is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let sent = self.0.send(frame)?;
        if sent == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

fn address(ifindex: u32) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is as large as any socket address, zeroed, and sockaddr_ll is plain integers, for
    // which zero is valid.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
    link.sll_ifindex = i32::try_from(ifindex).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: the storage holds a sockaddr_ll of this length, written just above.
    Ok(unsafe { SockAddr::new(storage, length) })
}
