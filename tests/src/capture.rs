//! What passes on the wire, with the kernel's stamps.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal};
use nix::time::{ClockId, clock_gettime};
use socket2::SockRef;

use crate::client;
use crate::frame::{self, Advertisement, Hardware, Neighbour};
use crate::netns::Netns;
use crate::pauses::go_before_others;
use crate::watched::Watched;

/// A frame, and when it arrived.
#[derive(Clone, Debug)]
pub struct Captured {
    /// `CLOCK_MONOTONIC`, in ns.
    pub at_ns: u64,
    /// The whole frame.
    pub frame: Vec<u8>,
}

/// Everything that one namespace, or one interface, receives and sends, until it is dropped.
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

/// Looks at everything that one namespace receives and keeps nothing: for more frames than a [`Capture`] could hold.
#[derive(Debug)]
pub struct Tap<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(T, u32)>,
}

/// An advertisement on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `CLOCK_MONOTONIC`, in ns.
    pub at_ns: u64,
    /// Sender.
    pub source: IpAddr,
    /// Group, or the peer that it is meant for.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Virtual host.
    pub vhid: u8,
    /// Priority: seconds.
    pub advbase: u8,
    /// Priority: 1/256 seconds.
    pub advskew: u8,
    /// How much its sender wants to give up.
    pub demotion: u8,
}

impl Captured {
    /// The advertisement that it is, if it is one.
    #[must_use]
    pub fn advertisement(&self) -> Option<Seen> {
        let parsed = Advertisement::parse(&self.frame)?;
        Some(Seen {
            at_ns: self.at_ns,
            source: parsed.source,
            destination: parsed.destination,
            ttl: parsed.ttl,
            vhid: parsed.vhid(),
            advbase: parsed.advbase(),
            advskew: parsed.advskew(),
            demotion: parsed.demotion(),
        })
    }

    /// The address that it announces, if it is a gratuitous ARP.
    #[must_use]
    pub fn announces(&self) -> Option<Ipv4Addr> {
        frame::gratuitous_arp(&self.frame)
    }

    /// The address that its sender has, by what it says, if it is ARP of any kind or a neighbour advertisement.
    #[must_use]
    pub fn claims(&self) -> Option<IpAddr> {
        frame::claimed(&self.frame)
    }

    /// The unsolicited neighbour advertisement that it is, if it is one.
    #[must_use]
    pub fn neighbour(&self) -> Option<Neighbour> {
        Neighbour::parse(&self.frame)
    }

    /// The answer to the client that it is, if it is one.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        let address = frame::datagram(&self.frame, client::PORT)?;
        Some(Answer { at_ns: self.at_ns, address, hardware: self.hardware()? })
    }

    /// Hardware address of the sender.
    #[must_use]
    pub fn hardware(&self) -> Option<Hardware> {
        self.frame.get(6..12)?.try_into().ok()
    }
}

/// An answer to the [`Client`](client::Client).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `CLOCK_MONOTONIC`, in ns.
    pub at_ns: u64,
    /// The virtual address.
    pub address: IpAddr,
    /// Hardware address of the node that answered.
    pub hardware: Hardware,
}

impl Seen {
    /// Whether it says goodbye.
    #[must_use]
    pub fn is_bow_out(&self) -> bool {
        (self.advbase, self.advskew) == (255, 255)
    }
}

impl Capture {
    /// Begins to capture whatever passes the interfaces of a namespace.
    ///
    /// # Errors
    ///
    /// Without root.
    pub fn start(netns: &Netns) -> Result<Self> {
        Self::of(netns.run(|| open(None))??)
    }

    /// Begins to capture whatever passes one interface of a namespace.
    ///
    /// # Errors
    ///
    /// Without root, or without the interface.
    pub fn on(netns: &Netns, interface: &str) -> Result<Self> {
        let interface = interface.to_owned();
        Self::of(netns.run(move || open(Some(&interface)))??)
    }

    fn of(socket: OwnedFd) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let thread = thread::Builder::new().name("capture".to_owned()).spawn(move || {
            let mut clocks = Clocks::default();
            while !writer.stop.load(Ordering::Relaxed) {
                clocks.compare();
                if let Some((captured, _)) = receive(&socket, &clocks) {
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

impl<T: Send + 'static> Tap<T> {
    /// Begins to look, if it may with the least real-time priority: it must keep up with those that send. It does not
    /// wait for frames but looks now and then: to wake it costs their sender more than to send one.
    ///
    /// # Errors
    ///
    /// Without root.
    pub fn start(
        netns: &Netns,
        mut found: T,
        mut look: impl FnMut(&mut T, &Captured) + Send + 'static,
    ) -> Result<Self> {
        let socket = netns.run(|| open(None))??;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        SockRef::from(&socket).set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("tap".to_owned()).spawn(move || {
            // If it may not, those that it had no time for are counted.
            let _ = go_before_others(1);
            let (mut clocks, mut lost) = (Clocks::default(), 0);
            loop {
                let end = stopped.load(Ordering::Relaxed).then(now_ns);
                clocks.compare();
                while let Some((captured, dropped)) = receive(&socket, &clocks) {
                    if end.is_some_and(|end| captured.at_ns > end) {
                        break;
                    }
                    look(&mut found, &captured);
                    lost = dropped;
                }
                if end.is_some() {
                    return (found, lost);
                }
                thread::sleep(BETWEEN_LOOKS);
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Looks at what has come until now, and ends. Returns what was found, and how many frames there was no room for.
    ///
    /// # Errors
    ///
    /// If the look panicked.
    pub fn end(self) -> Result<(T, u32)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the tap panicked"))
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

/// A socket that sends whole frames on one interface of this thread's namespace.
///
/// # Errors
///
/// Without root, or without the interface.
pub fn sending_socket(interface: &str) -> Result<OwnedFd> {
    bound(socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?, interface)
}

fn bound(socket: OwnedFd, interface: &str) -> Result<OwnedFd> {
    let links = getifaddrs()?.filter(|link| link.interface_name == interface);
    let address = links.filter_map(|link| link.address).find_map(|it| it.as_link_addr().copied());
    bind(socket.as_raw_fd(), &address.with_context(|| format!("there is no {interface}"))?)?;
    Ok(socket)
}

fn open(interface: Option<&str>) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, Some(SockProtocol::EthAll))?;
    let socket = match interface {
        Some(interface) => bound(socket, interface)?,
        None => socket,
    };
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20))?;
    // Wakes up now and then to see whether it should stop.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000))?;
    Ok(socket)
}

/// A frame, and how many the socket had no room for so far, if it counts them.
fn receive(socket: &OwnedFd, clocks: &Clocks) -> Option<(Captured, u32)> {
    let mut buffer = [0; 2048];
    let mut control = nix::cmsg_space!(TimeSpec, u32);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty()).ok()?;
    let (mut stamp, mut lost) = (None, 0);
    for control in message.cmsgs().ok()? {
        match control {
            ControlMessageOwned::ScmTimestampns(time) => stamp = Some(nanos(&time)),
            ControlMessageOwned::RxqOvfl(dropped) => lost = dropped,
            _ => {}
        }
    }
    let length = message.bytes;
    let at_ns = clocks.monotonic(stamp?)?;
    Some((Captured { at_ns, frame: buffer.get(..length)?.to_vec() }, lost))
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

/// In this time not more frames come than a socket holds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// Reading two clocks takes less than this unless something comes in between.
const UNDISTURBED_NS: u64 = 5_000;
