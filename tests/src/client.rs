//! A client that talks to the virtual address, and what answers it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use socket2::{Domain, SockRef, Socket, Type};

use crate::capture::now_ns;
use crate::netns::Netns;

/// Answers on the virtual address, whenever the node has it.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Begins to answer on an address that need not be there yet.
    ///
    /// # Errors
    ///
    /// If the port is taken.
    pub fn start(netns: &Netns, address: impl Into<IpAddr>) -> Result<Self> {
        let address = address.into();
        let socket = netns.run(move || listen(address))?.context("the answering socket")?;
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::<AtomicU64>::default();
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = thread::Builder::new().name("echo".to_owned()).spawn(move || {
            let mut buffer = [0; 64];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    // Without its address the node can't answer: the client counts that.
                    let sent = socket.send_to(buffer.get(..length).unwrap_or_default(), from);
                    counted.fetch_add(u64::from(sent.is_ok()), Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self { stop, answered, thread: Some(thread) })
    }

    /// How many times it has answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

/// Asks the virtual address 1000 times a second and writes down when answers came.
#[derive(Debug)]
pub struct Client {
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<BTreeSet<u64>>>,
    answers: Arc<Mutex<Vec<u64>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Client {
    /// Begins to ask.
    ///
    /// # Errors
    ///
    /// If the network is not there.
    pub fn start(netns: &Netns, address: impl Into<IpAddr>) -> Result<Self> {
        let address = address.into();
        let socket = netns.run(move || connect(address))?.context("the client's socket")?;
        let asking = socket.try_clone()?;
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::<Mutex<BTreeSet<u64>>>::default();
        let (asked, answered) = (Arc::clone(&open), Arc::clone(&open));
        let (asker_stop, listener_stop) = (Arc::clone(&stop), Arc::clone(&stop));
        let written = Arc::clone(&answers);
        let asking_thread = thread::Builder::new().name("asker".to_owned()).spawn(move || {
            let mut due = now_ns();
            while !asker_stop.load(Ordering::Relaxed) {
                due += PERIOD_NS;
                sleep_until(due);
                lock(&asked).insert(due);
                // While nobody has the address, the network may say so.
                let _ = asking.send(&due.to_be_bytes());
            }
        })?;
        let listener = thread::Builder::new().name("listener".to_owned()).spawn(move || {
            let mut due = [0; 8];
            while !listener_stop.load(Ordering::Relaxed) {
                if socket.recv(&mut due).is_ok() {
                    lock(&answered).remove(&u64::from_be_bytes(due));
                    lock(&written).push(now_ns());
                }
            }
        })?;
        Ok(Self { stop, open, answers, threads: vec![asking_thread, listener] })
    }

    /// How many requests have had no answer. What is on its way at this moment is no loss.
    #[must_use]
    pub fn lost(&self) -> usize {
        let asked = now_ns();
        loop {
            let lost = lock(&self.open).range(..asked).count();
            if lost == 0 || now_ns() > asked + ANSWER_NS {
                return lost;
            }
            sleep_until(now_ns() + PERIOD_NS);
        }
    }

    /// When answers came, in ns of `CLOCK_MONOTONIC`, ascending.
    #[must_use]
    pub fn answers(&self) -> Vec<u64> {
        lock(&self.answers).clone()
    }

    /// The longest time without an answer between two moments: its beginning and its end.
    #[must_use]
    pub fn longest_gap(&self, from_ns: u64, to_ns: u64) -> Option<(u64, u64)> {
        let answers = self.answers();
        let within: Vec<u64> = answers.into_iter().filter(|at| (from_ns..=to_ns).contains(at)).collect();
        within.windows(2).map(|pair| (pair[0], pair[1])).max_by_key(|(before, after)| after - before)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.threads.drain(..).any(|thread| thread.join().is_err()) {
            eprintln!("the client panicked");
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the answering side panicked");
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(address: IpAddr) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(address, PORT);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    socket.bind(&address.into())?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket.into())
}

fn connect(address: IpAddr) -> io::Result<UdpSocket> {
    let own = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(own, 0))?;
    socket.connect((address, PORT))?;
    SockRef::from(&socket).set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

fn sleep_until(due_ns: u64) {
    let due = TimeSpec::from_duration(Duration::from_nanos(due_ns));
    // Interrupted: then this request leaves early.
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &due);
}

/// UDP port of the answering side.
pub const PORT: u16 = 7777;

/// How long an answer may take on a busy machine.
const ANSWER_NS: u64 = 500_000_000;
const PERIOD_NS: u64 = 1_000_000;
/// How often a thread looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);
