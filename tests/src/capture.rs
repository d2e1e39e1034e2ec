//! What passes on the wire, with the kernel's stamps.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use ha_common::abi::Address;
use ha_common::decode::{Frame, decode};
use ha_common::wire::{carp, ethernet, ipv4};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal};
use nix::time::{ClockId, clock_gettime};

use crate::client;
use crate::netns::Netns;
use crate::watched::Watched;

/// A frame, and when it arrived.
#[derive(Clone, Debug)]
pub struct Captured {
    /// `CLOCK_MONOTONIC`, in ns.
    pub at_ns: u64,
    /// The whole frame.
    pub frame: Vec<u8>,
}

/// Everything that one namespace receives, until it is dropped.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    frames: Watched<Vec<Captured>>,
    stop: AtomicBool,
}

/// An advertisement on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `CLOCK_MONOTONIC`, in ns.
    pub at_ns: u64,
    /// Sender.
    pub source: Ipv4Addr,
    /// Virtual host.
    pub vhid: u8,
    /// Priority: seconds.
    pub advbase: u8,
    /// Priority: 1/256 seconds.
    pub advskew: u8,
}

impl Captured {
    /// The advertisement that it is, if it is one.
    #[must_use]
    pub fn advertisement(&self) -> Option<Seen> {
        let frame = self.frame.as_slice();
        let Frame::Carp(candidate) = decode(&frame) else { return None };
        let group = Address::v4(carp::GROUP);
        let header = carp::Header(candidate.check(|address| *address == group).ok()?);
        let IpAddr::V4(source) = candidate.source().ip(candidate.family()) else { return None };
        Some(Seen {
            at_ns: self.at_ns,
            source,
            vhid: header.vhid(),
            advbase: header.advbase(),
            advskew: header.advskew(),
        })
    }

    /// The address that it announces, if it is a gratuitous ARP.
    #[must_use]
    pub fn announces(&self) -> Option<Ipv4Addr> {
        let header = ethernet::Header(self.frame.first_chunk()?);
        let sender: [u8; 4] = self.frame.get(28..32)?.try_into().ok()?;
        let target: [u8; 4] = self.frame.get(38..42)?.try_into().ok()?;
        (header.ethertype() == ethernet::ARP && sender == target).then_some(sender.into())
    }

    /// The answer to the client that it is, if it is one.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        let (header, payload) = self.frame.split_first_chunk()?;
        let header = ethernet::Header(header);
        let (packet, payload) = payload.split_first_chunk()?;
        let packet = ipv4::Header(packet);
        let is_udp = header.ethertype() == ethernet::IPV4 && packet.protocol() == client::PROTOCOL;
        let port = u16::from_be_bytes(*payload.first_chunk()?);
        (is_udp && port == client::PORT).then(|| Answer {
            at_ns: self.at_ns,
            address: packet.source().into(),
            hardware: header.source(),
        })
    }

    /// Hardware address of the sender.
    #[must_use]
    pub fn hardware(&self) -> Option<ethernet::Mac> {
        Some(ethernet::Header(self.frame.first_chunk()?).source())
    }
}

/// An answer to the [`Client`](client::Client).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `CLOCK_MONOTONIC`, in ns.
    pub at_ns: u64,
    /// The virtual address.
    pub address: Ipv4Addr,
    /// Hardware address of the node that answered.
    pub hardware: ethernet::Mac,
}

impl Seen {
    /// Whether it says goodbye.
    #[must_use]
    pub fn is_bow_out(&self) -> bool {
        (self.advbase, self.advskew) == (255, 255)
    }
}

impl Capture {
    /// Begins to capture whatever the namespace receives.
    ///
    /// # Errors
    ///
    /// Without root.
    pub fn start(netns: &Netns) -> Result<Self> {
        let socket = netns.run(open)??;
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let thread = thread::Builder::new().name("capture".to_owned()).spawn(move || {
            let mut clocks = Clocks::default();
            while !writer.stop.load(Ordering::Relaxed) {
                clocks.compare();
                if let Some(captured) = receive(&socket, &clocks) {
                    writer.frames.update(|frames| frames.push(captured));
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// How many frames there are: where to look from for what comes.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.shared.frames.lock().len()
    }

    /// The frames from the `from`th on.
    #[must_use]
    pub fn frames(&self, from: usize) -> Vec<Captured> {
        self.shared.frames.lock().get(from..).unwrap_or_default().to_vec()
    }

    /// The advertisements from the `from`th frame on.
    #[must_use]
    pub fn advertisements(&self, from: usize) -> Vec<Seen> {
        self.frames(from).iter().filter_map(Captured::advertisement).collect()
    }

    /// Waits for a frame, from the `from`th on, in which `look` finds something.
    ///
    /// # Errors
    ///
    /// If none comes within `patience`.
    pub fn wait_for<T>(
        &self,
        from: usize,
        patience: Duration,
        mut look: impl FnMut(&Captured) -> Option<T>,
    ) -> Result<T> {
        let mut next = from;
        let found = self.shared.frames.wait(patience, |frames| {
            let found = frames.iter().skip(next).find_map(&mut look);
            next = frames.len().max(from);
            found
        });
        found.context("waiting for a frame")
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the capture panicked");
        }
    }
}

/// Now, on the clock of the stamps, in ns.
#[must_use]
pub fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| nanos(&time))
}

fn open() -> Result<OwnedFd> {
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(SockProtocol::EthAll))?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20))?;
    // Wakes up now and then to see whether it should stop.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000))?;
    Ok(socket)
}

fn receive(socket: &OwnedFd, clocks: &Clocks) -> Option<Captured> {
    let mut buffer = [0; 2048];
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty()).ok()?;
    let stamp = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(nanos(&time)),
        _ => None,
    })?;
    let length = message.bytes;
    let at_ns = clocks.monotonic(stamp)?;
    Some(Captured { at_ns, frame: buffer.get(..length)?.to_vec() })
}

/// How far the time of day, which the stamps have, is ahead of the monotonic clock. It changes: the time of
/// day is corrected now and then.
#[derive(Debug, Default)]
struct Clocks {
    ahead_ns: Option<i128>,
}

impl Clocks {
    /// Reads both clocks. What was read with an interruption in between counts only if there is nothing else.
    fn compare(&mut self) {
        let before = now_ns();
        let wall = clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |time| nanos(&time));
        let took = now_ns() - before;
        if took < UNDISTURBED_NS || self.ahead_ns.is_none() {
            self.ahead_ns = Some(i128::from(wall) - i128::from(before) - i128::from(took) / 2);
        }
    }

    fn monotonic(&self, wall: u64) -> Option<u64> {
        u64::try_from(i128::from(wall) - self.ahead_ns?).ok()
    }
}

fn nanos(time: &TimeSpec) -> u64 {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or_default()
}

/// Reading two clocks takes less than this unless something comes in between.
const UNDISTURBED_NS: u64 = 5_000;
