//! Sending advertisements: one frame a family to the group, or one packet a peer.
//!
//! A frame can be built before it is sent: then sending it needs nothing but the system call, and anybody can do it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ha_common::auth::Mac;
use ha_common::wire::{carp, ethernet, ipv4, ipv6};

use crate::core::{Advertisement, Sources};
use crate::sys::packet_socket::PacketSocket;
use crate::sys::raw_socket::RawSocket;

/// Sends one virtual host's advertisements through one interface.
#[derive(Debug)]
pub struct Advertiser {
    frames: Frames,
    path: Path,
}

/// What the frames of one virtual host on one interface have in common.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    /// Hardware address that they leave from: the interface's, or the virtual one. Unicast packets leave from
    /// the interface's in any case.
    pub hardware: ethernet::Mac,
    /// Addresses that they leave from.
    pub sources: Sources,
    /// Virtual host, 1 to 255.
    pub vhid: u8,
    /// Authenticates them.
    pub mac: Mac,
}

/// How advertisements leave, and to whom.
#[derive(Debug)]
pub struct Path(Arc<Destination>);

/// The frames of one advertisement, and the way that they go.
#[derive(Debug)]
pub struct Prepared {
    path: Arc<Destination>,
    /// Each, and to which of the peers of its family it goes.
    frames: Vec<(Frame, usize)>,
    /// Why one of them could not be built.
    error: Option<SendError>,
}

#[derive(Clone, Copy, Debug)]
enum Frame {
    V4([u8; FRAME_LEN_V4]),
    V6([u8; FRAME_LEN_V6]),
}

#[derive(Debug)]
enum Destination {
    Group { socket: PacketSocket, v4: bool, v6: bool },
    Peers { v4: Vec<Peer<Ipv4Addr>>, v6: Vec<Peer<Ipv6Addr>> },
}

/// A peer and its own socket: what waits for a dead one's neighbours to find it must not fill the buffer of
/// another.
#[derive(Debug)]
struct Peer<A> {
    address: A,
    socket: RawSocket,
}

/// What became of one advertisement.
#[derive(Debug, Default)]
#[must_use]
pub struct Sent {
    /// How many frames left.
    pub frames: usize,
    /// Why the first of those stayed that should have left.
    pub error: Option<SendError>,
}

/// Why a frame did not leave.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There is no IPv6 address to send from, link-local if it goes to the group.
    #[error(
        "IPv6 advertisements need an address of the interface to leave from, to the group a link-local one, and it \
         has none; look with `ip -6 address`"
    )]
    NoSource,
    /// The system call's error.
    #[error("an advertisement to {to} could not be sent: {cause}")]
    Os {
        /// Group or peer that it was meant for.
        to: IpAddr,
        /// The error.
        #[source]
        cause: io::Error,
    },
}

impl Advertiser {
    /// Sends such frames on such a path.
    #[must_use]
    pub fn new(path: Path, frames: Frames) -> Self {
        Self { frames, path }
    }

    /// Builds an advertisement: to the group, one frame a family; to peers, one packet each.
    ///
    /// `next_counter` gives a number never given before, one for each family. In strict mode it carries the
    /// time when it is to leave, and the copy of what is advertised.
    pub fn prepare(&self, advertisement: Advertisement, next_counter: &mut dyn FnMut() -> u64) -> Prepared {
        let Self { frames, path: Path(path) } = self;
        let mut prepared = Prepared { path: Arc::clone(path), frames: Vec::new(), error: None };
        match &**path {
            Destination::Group { v4, v6, socket: _ } => {
                if *v4 {
                    let frame = frames.emit_v4(carp::GROUP.into(), advertisement, next_counter());
                    prepared.frames.push((Frame::V4(frame), 0));
                }
                if *v6 && prepared.has_source(frames.sources.v6) {
                    let frame = frames.emit_v6(ipv6::GROUP.into(), advertisement, next_counter());
                    prepared.frames.push((Frame::V6(frame), 0));
                }
            }
            Destination::Peers { v4, v6 } => {
                if !v4.is_empty() {
                    let counter = next_counter();
                    let frame =
                        |peer: &Peer<_>| Frame::V4(frames.emit_v4(peer.address, advertisement, counter));
                    prepared.frames.extend(v4.iter().map(frame).zip(0..));
                }
                if !v6.is_empty() && prepared.has_source(frames.sources.v6) {
                    let counter = next_counter();
                    let frame =
                        |peer: &Peer<_>| Frame::V6(frames.emit_v6(peer.address, advertisement, counter));
                    prepared.frames.extend(v6.iter().map(frame).zip(0..));
                }
            }
        }
        prepared
    }

    /// The addresses that advertisements leave from.
    #[must_use]
    pub fn sources(&self) -> Sources {
        self.frames.sources
    }

    /// Lets them leave from other addresses.
    pub fn set_sources(&mut self, sources: Sources) {
        self.frames.sources = sources;
    }

    /// Signs them with another key.
    pub fn set_mac(&mut self, mac: Mac) {
        self.frames.mac = mac;
    }
}

impl Prepared {
    /// Sends it.
    ///
    /// A peer that is dead, so that its neighbours can't find it, is no error (CARP specification §1.3). Nor is
    /// a missing IPv4 address: `0.0.0.0` is legal (§1.1), and toward a peer the kernel fills in one.
    pub fn send(self) -> Sent {
        let mut sent = Sent::default();
        for (frame, peer) in &self.frames {
            match (&*self.path, frame) {
                (Destination::Group { socket, .. }, Frame::V4(frame)) => {
                    sent.note(Ipv4Addr::from(carp::GROUP).into(), socket.send(frame));
                }
                (Destination::Group { socket, .. }, Frame::V6(frame)) => {
                    sent.note(Ipv6Addr::from(ipv6::GROUP).into(), socket.send(frame));
                }
                (Destination::Peers { v4, .. }, Frame::V4(frame)) => {
                    v4.get(*peer).into_iter().for_each(|peer| peer.send(frame, &mut sent));
                }
                (Destination::Peers { v6, .. }, Frame::V6(frame)) => {
                    v6.get(*peer).into_iter().for_each(|peer| peer.send(frame, &mut sent));
                }
            }
        }
        if let Some(error) = self.error {
            sent.fail(error);
        }
        sent
    }

    fn has_source(&mut self, source: Ipv6Addr) -> bool {
        if source.is_unspecified() {
            self.error = Some(SendError::NoSource);
        }
        !source.is_unspecified()
    }
}

impl<A: Copy + Into<IpAddr>> Peer<A> {
    fn send(&self, frame: &[u8], sent: &mut Sent) {
        let to = self.address.into();
        sent.note_peer(to, self.socket.send(packet(frame), to));
    }
}

impl Path {
    /// To the groups of these families, through the interface with this index.
    ///
    /// # Errors
    ///
    /// Those of [`PacketSocket::open`].
    pub fn to_group(ifindex: u32, v4: bool, v6: bool) -> io::Result<Self> {
        Ok(Self(Arc::new(Destination::Group { socket: PacketSocket::open(ifindex)?, v4, v6 })))
    }

    /// To these peers, through the interface with this index.
    ///
    /// # Errors
    ///
    /// Those of [`RawSocket::open_v4`] and [`RawSocket::open_v6`].
    pub fn to_peers(ifindex: u32, peers: &[IpAddr]) -> io::Result<Self> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for &peer in peers {
            match peer {
                IpAddr::V4(address) => v4.push(Peer { address, socket: RawSocket::open_v4(ifindex)? }),
                IpAddr::V6(address) => v6.push(Peer { address, socket: RawSocket::open_v6(ifindex)? }),
            }
        }
        Ok(Self(Arc::new(Destination::Peers { v4, v6 })))
    }
}

impl Frames {
    /// The whole frame to an IPv4 group or peer. Toward a peer the hardware address is the kernel's matter:
    /// there it is left out.
    #[must_use]
    pub fn emit_v4(&self, to: Ipv4Addr, advertisement: Advertisement, counter: u64) -> [u8; FRAME_LEN_V4] {
        let ethernet = ethernet::Repr {
            destination: ethernet::multicast(to.octets()),
            source: self.hardware,
            ethertype: ethernet::IPV4,
        };
        let ipv4 = ipv4::Repr {
            source: self.sources.v4.octets(),
            destination: to.octets(),
            payload_len: PAYLOAD_LEN,
        };
        let mut frame = [0; FRAME_LEN_V4];
        frame[..ethernet::LEN].copy_from_slice(&ethernet.emit());
        frame[ethernet::LEN..IPV4_END].copy_from_slice(&ipv4.emit());
        frame[IPV4_END..].copy_from_slice(&self.carp(advertisement, counter).emit());
        frame
    }

    /// The whole frame to an IPv6 group or peer.
    #[must_use]
    pub fn emit_v6(&self, to: Ipv6Addr, advertisement: Advertisement, counter: u64) -> [u8; FRAME_LEN_V6] {
        let ethernet = ethernet::Repr {
            destination: ethernet::multicast6(to.octets()),
            source: self.hardware,
            ethertype: ethernet::IPV6,
        };
        let ipv6 = ipv6::Repr {
            source: self.sources.v6.octets(),
            destination: to.octets(),
            next_header: ipv4::PROTOCOL,
            payload_len: PAYLOAD_LEN,
        };
        let mut frame = [0; FRAME_LEN_V6];
        frame[..ethernet::LEN].copy_from_slice(&ethernet.emit());
        frame[ethernet::LEN..IPV6_END].copy_from_slice(&ipv6.emit());
        frame[IPV6_END..].copy_from_slice(&self.carp(advertisement, counter).emit());
        frame
    }

    fn carp(&self, advertisement: Advertisement, counter: u64) -> carp::Repr {
        let Advertisement { priority, demote } = advertisement;
        carp::Repr {
            vhid: self.vhid,
            advbase: priority.advbase,
            advskew: priority.advskew,
            demote,
            counter,
            digest: self.mac.digest(counter),
        }
    }
}

impl Sent {
    fn note(&mut self, to: IpAddr, result: io::Result<()>) {
        match result {
            Ok(()) => self.frames += 1,
            Err(cause) => self.fail(SendError::Os { to, cause }),
        }
    }

    fn note_peer(&mut self, to: IpAddr, result: io::Result<()>) {
        match result {
            Err(cause) if is_dead_peer(&cause) => {}
            other => self.note(to, other),
        }
    }

    fn fail(&mut self, error: SendError) {
        self.error.get_or_insert(error);
    }
}

/// Nobody answers at a peer's address; `EAGAIN` while earlier packets to it wait for somebody to.
fn is_dead_peer(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::EAGAIN))
}

/// A frame without its Ethernet header.
fn packet(frame: &[u8]) -> &[u8] {
    frame.get(ethernet::LEN..).unwrap_or_default()
}

/// Length of a whole IPv4 frame, in bytes.
pub const FRAME_LEN_V4: usize = IPV4_END + carp::LEN;
/// Length of a whole IPv6 frame, in bytes.
pub const FRAME_LEN_V6: usize = IPV6_END + carp::LEN;

const IPV4_END: usize = ethernet::LEN + ipv4::LEN;
const IPV6_END: usize = ethernet::LEN + ipv6::LEN;
#[expect(clippy::cast_possible_truncation, reason = "36")]
const PAYLOAD_LEN: u8 = carp::LEN as u8;

#[cfg(test)]
mod tests;
