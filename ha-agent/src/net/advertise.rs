//! Sending advertisements: the whole frame lies ready before it is due.

use std::io;
use std::net::Ipv4Addr;

use ha_common::auth::Mac;
use ha_common::wire::{carp, ethernet, ipv4};

use crate::core::Priority;
use crate::sys::packet_socket::PacketSocket;

/// Sends one virtual host's advertisements through one interface.
#[derive(Debug)]
pub struct Advertiser {
    socket: PacketSocket,
    frames: Frames,
    priority: Priority,
    /// The next frame, if it leaves with the usual priority.
    prepared: [u8; FRAME_LEN],
}

/// What the frames of one virtual host on one interface have in common.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    /// Hardware address of the interface.
    pub hardware: ethernet::Mac,
    /// Address that they leave from; `0.0.0.0` where the interface has none.
    pub source: Ipv4Addr,
    /// Group that they go to.
    pub group: Ipv4Addr,
    /// Virtual host, 1 to 255.
    pub vhid: u8,
    /// Authenticates them.
    pub mac: Mac,
    /// Counter of the next frame.
    pub counter: u64,
}

impl Advertiser {
    /// Prepares the first frame.
    #[must_use]
    pub fn new(socket: PacketSocket, frames: Frames, priority: Priority) -> Self {
        let prepared = frames.emit(priority);
        Self { socket, frames, priority, prepared }
    }

    /// Sends an advertisement and prepares the next.
    ///
    /// # Errors
    ///
    /// The system call's. The counter moves on all the same: a number is never used for two frames.
    pub fn send(&mut self, priority: Priority) -> io::Result<()> {
        let sent = if priority == self.priority {
            self.socket.send(&self.prepared)
        } else {
            self.socket.send(&self.frames.emit(priority))
        };
        self.frames.counter = self.frames.counter.wrapping_add(1);
        self.prepared = self.frames.emit(self.priority);
        sent
    }

    /// The address that advertisements leave from.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        self.frames.source
    }

    /// Lets them leave from another address.
    pub fn set_source(&mut self, source: Ipv4Addr) {
        self.frames.source = source;
        self.prepared = self.frames.emit(self.priority);
    }

    /// The counter of the next frame.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.frames.counter
    }
}

impl Frames {
    /// The whole frame for a priority.
    #[must_use]
    pub fn emit(&self, priority: Priority) -> [u8; FRAME_LEN] {
        let group = self.group.octets();
        let ethernet = ethernet::Repr {
            destination: ethernet::multicast(group),
            source: self.hardware,
            ethertype: ethernet::IPV4,
        };
        let ipv4 = ipv4::Repr { source: self.source.octets(), destination: group, payload_len: CARP_LEN };
        let carp = carp::Repr {
            vhid: self.vhid,
            advbase: priority.advbase,
            advskew: priority.advskew,
            demote: 0,
            counter: self.counter,
            digest: self.mac.digest(self.counter),
        };
        let mut frame = [0; FRAME_LEN];
        frame[..ethernet::LEN].copy_from_slice(&ethernet.emit());
        frame[ethernet::LEN..IPV4_END].copy_from_slice(&ipv4.emit());
        frame[IPV4_END..].copy_from_slice(&carp.emit());
        frame
    }
}

/// Length of a whole frame, in bytes.
pub const FRAME_LEN: usize = IPV4_END + carp::LEN;

const IPV4_END: usize = ethernet::LEN + ipv4::LEN;
#[expect(clippy::cast_possible_truncation, reason = "36")]
const CARP_LEN: u8 = carp::LEN as u8;

#[cfg(test)]
mod tests {
    use super::*;
    use ha_common::auth::{Message, key};
    use ha_common::decode::{Frame, decode};

    fn frames(counter: u64) -> Frames {
        let message =
            Message { vhid: 10, ipv4: &[[10, 77, 0, 100]], ipv6: &[], link_local: true, lladdr: None };
        Frames {
            hardware: [2, 0, 0, 0, 0, 1],
            source: Ipv4Addr::new(10, 77, 0, 1),
            group: carp::GROUP.into(),
            vhid: 10,
            mac: Mac::new(&key(b"secret"), &message),
            counter,
        }
    }

    #[test]
    fn emits_what_our_own_decoder_takes() {
        let frames = frames(41);
        for priority in [Priority { advbase: 1, advskew: 100 }, Priority::BOW_OUT] {
            let frame = frames.emit(priority);
            let frame = frame.as_slice();
            let Frame::Carp(candidate) = decode(&frame) else { panic!("not CARP") };
            let header = carp::Header(candidate.check(carp::GROUP).unwrap());
            assert_eq!((candidate.vhid, candidate.source()), (10, [10, 77, 0, 1]));
            assert_eq!((header.advbase(), header.advskew()), (priority.advbase, priority.advskew));
            assert!(frames.mac.verify(header.counter(), header.digest()));
            assert_eq!(frame[..6], [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12]);
        }
    }
}
