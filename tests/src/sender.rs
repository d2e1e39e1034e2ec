//! Sends frames as fast as one processor can.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::Result;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};
use nix::unistd::Pid;

use crate::capture::sending_socket;
use crate::lan::{Lan, Node};

/// A thread that has a processor to itself and sends the same frames over and over, until it is dropped.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    sent: AtomicU64,
    stop: AtomicBool,
}

impl Sender {
    /// Begins to flood one node, and nobody else: the frames enter at the bridge's end of its cable. Without
    /// frames, nothing is sent. Once a node.
    ///
    /// # Errors
    ///
    /// Without root, or without `tc`.
    pub fn start(lan: &Lan, node: &Node, frames: Vec<Vec<u8>>, processor: usize) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        if frames.is_empty() {
            return Ok(Self { shared, thread: None });
        }
        lan.queue(node)?;
        let port = lan.port(node);
        let socket = lan.netns().run(move || sending_socket(&port))??;
        let mut own = CpuSet::new();
        own.set(processor)?;
        let told = Arc::clone(&shared);
        let thread = thread::Builder::new().name("flood".to_owned()).spawn(move || {
            // If it may not choose, it sends from wherever it is.
            let _ = sched_setaffinity(Pid::from_raw(0), &own);
            send(&socket, &frames, &told);
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// How many frames it has sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the sender panicked");
        }
    }
}

/// The processors that we may use, ascending.
///
/// # Errors
///
/// If the kernel does not tell.
pub fn processors() -> Result<Vec<usize>> {
    let all = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|&processor| all.is_set(processor).unwrap_or(false)).collect())
}

fn send(socket: &OwnedFd, frames: &[Vec<u8>], shared: &Shared) {
    let slices: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
    let addresses = [None::<()>; BATCH];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    for batch in slices.chunks(BATCH).cycle() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        // What the interface does not take is lost, as on a wire that is full.
        if let Ok(sent) = sendmmsg(socket.as_raw_fd(), &mut headers, batch, addresses, [], MsgFlags::empty())
        {
            shared.sent.fetch_add(sent.count() as u64, Ordering::Relaxed);
        }
    }
}

const BATCH: usize = 64;
