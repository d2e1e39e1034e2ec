//! Somebody on the LAN who has no key: records frames, changes what no digest covers, and sends them again.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{MsgFlags, send};

use crate::capture::{Capture, Captured, sending_socket};
use crate::frame::{Advertisement, Hardware};
use crate::lan::{Lan, Node};

/// A node of its own, on which nothing else runs.
#[derive(Debug)]
pub struct Attacker {
    /// Everything that it receives.
    pub capture: Arc<Capture>,
    socket: Arc<OwnedFd>,
    hardware: Hardware,
    /// 10.77.0.66
    pub node: Node,
}

/// Frames that are sent over and over, until this is dropped.
#[derive(Debug)]
pub struct Barrage {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Attacker {
    /// Joins the LAN.
    ///
    /// # Errors
    ///
    /// Without root.
    pub fn new(lan: &Lan) -> Result<Self> {
        let node = lan.node("attacker", ATTACKER)?;
        let capture = Arc::new(Capture::on(&node.netns, "eth0")?);
        let socket = Arc::new(node.netns.run(|| sending_socket("eth0"))??);
        let hardware = node.hardware("eth0")?;
        Ok(Self { capture, socket, hardware, node })
    }

    /// Records the next advertisement that comes from an address.
    ///
    /// # Errors
    ///
    /// If none comes within 10 s.
    pub fn record(&self, source: impl Into<IpAddr>) -> Result<Advertisement> {
        let source = source.into();
        let look = |frame: &Captured| self.heard(frame).filter(|it| it.source == source);
        self.capture.wait_for(self.capture.mark(), PATIENCE, look).context("nothing to record")
    }

    /// The last advertisement that came from an address.
    ///
    /// # Errors
    ///
    /// If there was none.
    pub fn last(&self, source: impl Into<IpAddr>) -> Result<Advertisement> {
        let source = source.into();
        let frames = self.capture.frames(0);
        let mut recorded = frames.iter().rev().filter_map(|frame| self.heard(frame));
        recorded.find(|it| it.source == source).context("nothing was recorded")
    }

    /// Sends a frame once. As always, from its own hardware address: switches would send it the master's
    /// traffic otherwise.
    ///
    /// # Errors
    ///
    /// If it does not leave.
    pub fn send(&self, advertisement: &Advertisement) -> Result<()> {
        transmit(&self.socket, &Advertisement { from: self.hardware, ..*advertisement }.frame())
    }

    /// Begins to send a frame over and over.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn repeat(&self, advertisement: &Advertisement, every: Duration) -> Result<Barrage> {
        let frame = Advertisement { from: self.hardware, ..*advertisement }.frame();
        self.barrage(move |socket, sent| {
            if transmit(socket, &frame).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(every);
        })
    }

    /// Begins to answer each advertisement that `change` does not turn down with a changed one, as soon as it is
    /// heard.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn echo(
        &self,
        change: impl Fn(Advertisement) -> Option<Advertisement> + Send + 'static,
    ) -> Result<Barrage> {
        let (heard, from) = (Arc::clone(&self.capture), self.hardware);
        let mut next = heard.mark();
        self.barrage(move |socket, sent| {
            // Nothing came: then it looks whether it should stop.
            let _ = heard.wait_for(next, LOOK, |_| Some(()));
            let frames = heard.frames(next);
            next += frames.len();
            // Not what it has sent itself.
            let heard =
                frames.iter().filter_map(|it| Advertisement::parse(&it.frame)).filter(|it| it.from != from);
            for changed in heard.filter_map(&change) {
                if transmit(socket, &Advertisement { from, ..changed }.frame()).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    }

    /// The advertisement that a frame is, if it is one that somebody else sent.
    fn heard(&self, frame: &Captured) -> Option<Advertisement> {
        Advertisement::parse(&frame.frame).filter(|it| it.from != self.hardware)
    }

    fn barrage(&self, mut round: impl FnMut(&OwnedFd, &AtomicU64) + Send + 'static) -> Result<Barrage> {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted, socket) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&self.socket));
        let thread = thread::Builder::new().name("attacker".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                round(&socket, &counted);
            }
        })?;
        Ok(Barrage { stop, sent, thread: Some(thread) })
    }
}

impl Barrage {
    /// How many frames have left.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it; returns how many frames have left.
    #[must_use]
    pub fn stop(mut self) -> u64 {
        self.end();
        self.sent()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the attacker panicked");
        }
    }
}

impl Drop for Barrage {
    fn drop(&mut self) {
        self.end();
    }
}

fn transmit(socket: &OwnedFd, frame: &[u8]) -> Result<()> {
    let sent = send(socket.as_raw_fd(), frame, MsgFlags::empty()).context("sending a frame")?;
    anyhow::ensure!(sent == frame.len(), "{sent} bytes of {} were sent", frame.len());
    Ok(())
}

/// The address of the [`Attacker`].
pub const ATTACKER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 66);

const PATIENCE: Duration = Duration::from_secs(10);
/// How often a thread looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);
