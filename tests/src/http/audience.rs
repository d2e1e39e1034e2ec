//! Many who look at a page at once.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, poll};

use super::{PATIENCE, Page};

/// Viewers of a page's events who read all that they are sent, and come back when they are sent away; until this is dropped.
#[derive(Debug)]
pub struct Audience {
    viewers: usize,
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Audience {
    /// So many, who have all been answered when this returns. The first one waits for somebody to listen.
    ///
    /// # Errors
    ///
    /// If one of them is not answered.
    pub fn gather(page: &Page<'_>, viewers: usize) -> Result<Self> {
        let request = page.request("GET", "/api/events", "", "");
        let address = page.address;
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&seen));
        let (report, arrived) = mpsc::channel();
        // In the page's namespace, so that whoever comes back does so there.
        let thread = page.netns.run(move || {
            thread::Builder::new().name("audience".to_owned()).spawn(move || {
                let all = arrive(address, &request, viewers);
                let failed = all.as_ref().err().map(ToString::to_string);
                if report.send(failed).is_ok()
                    && let Ok(all) = all
                {
                    look(all, (address, &request), &stopped, &counted);
                }
            })
        })??;
        let audience = Self { viewers, stop, seen, thread: Some(thread) };
        let failed = arrived.recv().context("the audience")?;
        ensure!(failed.is_none(), "a viewer was not answered: {}", failed.unwrap_or_default());
        Ok(audience)
    }

    /// How many they are.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.viewers
    }

    /// How many snapshots each of them was sent so far, on average.
    #[must_use]
    pub fn seen_by_each(&self) -> u64 {
        self.seen.load(Ordering::Relaxed) / u64::try_from(self.viewers.max(1)).unwrap_or(u64::MAX)
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Viewer(TcpStream);

impl Viewer {
    fn new(address: SocketAddr, request: &str) -> Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        ensure!(status == *b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&status));
        stream.set_nonblocking(true)?;
        Ok(Self(stream))
    }

    /// How many snapshots began in what has come; `None` at the end of the stream.
    fn read(&mut self, buffer: &mut [u8]) -> Option<u64> {
        match self.0.read(buffer) {
            Ok(0) => None,
            // One that is cut in two by the buffer is not counted.
            Ok(count) => Some(buffer[..count].windows(6).filter(|part| *part == b"data: ").count() as u64),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        }
    }
}

fn arrive(address: SocketAddr, request: &str, viewers: usize) -> Result<Vec<Viewer>> {
    let began = Instant::now();
    while TcpStream::connect_timeout(&address, PATIENCE).is_err() && began.elapsed() < PATIENCE {
        thread::sleep(AGAIN);
    }
    (0..viewers).map(|_| Viewer::new(address, request)).collect()
}

fn look(mut all: Vec<Viewer>, (address, request): (SocketAddr, &str), stop: &AtomicBool, seen: &AtomicU64) {
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        let mut asked: Vec<_> = all.iter().map(|it| PollFd::new(it.0.as_fd(), PollFlags::POLLIN)).collect();
        if poll(&mut asked, LOOKS).is_err() {
            continue;
        }
        let ready: Vec<bool> = asked.iter().map(|it| it.any().unwrap_or(false)).collect();
        for (viewer, ready) in all.iter_mut().zip(ready) {
            if !ready {
                continue;
            }
            match viewer.read(&mut buffer) {
                Some(snapshots) => {
                    seen.fetch_add(snapshots, Ordering::Relaxed);
                }
                // The agent may be starting.
                None => match Viewer::new(address, request) {
                    Ok(again) => *viewer = again,
                    Err(_) => thread::sleep(AGAIN),
                },
            }
        }
    }
}

/// So often it is seen whether it is to end, in ms.
const LOOKS: u8 = 100;
/// Between two attempts to come back.
const AGAIN: Duration = Duration::from_millis(10);
