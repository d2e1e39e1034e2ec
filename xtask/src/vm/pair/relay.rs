//! A path to a disk: what a node says to the target passes here, and can be held up, as by a cable that was pulled, or
//! refused.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};

use super::login;

/// Whether anything passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// All does.
    Open,
    /// Nothing does, and nobody is told: what was sent waits.
    Held,
    /// Connections are cut, and new ones as soon as they are made.
    Refused,
}

/// The path. Dropped, it is refused for good.
pub(super) struct Relay {
    /// Where a node connects to.
    pub(super) address: SocketAddr,
    gate: Arc<Gate>,
}

impl Relay {
    /// One from a free port of this machine, reachable from this machine alone, to `target`, which knows it by `isid`.
    ///
    /// # Errors
    ///
    /// There is no port, or no thread.
    pub(super) fn new(target: SocketAddr, isid: [u8; 6]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening for a disk's path")?;
        let address = listener.local_addr().context("a disk's path")?;
        let gate = Arc::new(Gate {
            state: Mutex::new(State { flow: Flow::Open, streams: Vec::new(), closed: false }),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&gate);
        spawn(move || accept(&own, &listener, target, isid))?;
        Ok(Self { address, gate })
    }

    /// Changes what passes.
    pub(super) fn set(&self, flow: Flow) {
        let mut state = self.gate.lock();
        state.flow = flow;
        if flow == Flow::Refused {
            state.cut();
        }
        drop(state);
        self.gate.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.gate.lock().closed = true;
        self.set(Flow::Refused);
        // Wakes whoever accepts.
        let _ = TcpStream::connect(self.address);
    }
}

struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    flow: Flow,
    /// Both ends of all connections there are.
    streams: Vec<TcpStream>,
    /// Whether the relay is gone.
    closed: bool,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while nothing passes. Whether it does now.
    fn pass(&self) -> bool {
        let state = self.changed.wait_while(self.lock(), |state| state.flow == Flow::Held);
        state.unwrap_or_else(PoisonError::into_inner).flow == Flow::Open
    }
}

impl State {
    fn cut(&mut self) {
        for stream in self.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(gate: &Arc<Gate>, listener: &TcpListener, target: SocketAddr, isid: [u8; 6]) {
    for node in listener.incoming().map_while(Result::ok) {
        if gate.lock().closed {
            return;
        }
        let gate = Arc::clone(gate);
        // What cannot be connected is as good as refused.
        let _ = spawn(move || drop(connect(&gate, node, target, isid)));
    }
}

fn connect(gate: &Arc<Gate>, node: TcpStream, target: SocketAddr, isid: [u8; 6]) -> Result<()> {
    if !gate.pass() {
        return Ok(());
    }
    let mut target = TcpStream::connect(target)?;
    for stream in [&node, &target] {
        stream.set_nodelay(true)?;
    }
    let (mut from_node, from_target) = (node.try_clone()?, target.try_clone()?);
    let mut state = gate.lock();
    state.streams.retain(|stream| stream.peer_addr().is_ok());
    state.streams.extend([node.try_clone()?, target.try_clone()?]);
    if state.flow == Flow::Refused {
        state.cut();
    }
    drop(state);
    let other = Arc::clone(gate);
    spawn(move || copy(&other, from_target, node))?;
    // If it fails, there is nothing to copy either.
    let _ = login::hand_on(&mut from_node, &mut target, isid);
    copy(gate, from_node, target);
    Ok(())
}

fn copy(gate: &Gate, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !gate.pass() || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().name("relay".to_owned()).spawn(work).context("a thread for a disk's path")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use super::*;

    /// Sends a request through `stream` to whoever echoes, and reads it back.
    fn echoed(stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(&REQUEST)?;
        stream.read_exact(&mut [0; REQUEST.len()])
    }

    /// No login.
    const REQUEST: [u8; 48] = [0; 48];

    #[test]
    fn a_path_is_held_up_and_goes_on_or_is_refused() {
        let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Relay::new(target.local_addr().unwrap(), [0; 6]).unwrap();
        thread::spawn(move || {
            for stream in target.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        let connect = || {
            let stream = TcpStream::connect(relay.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            stream
        };
        let mut stream = connect();
        echoed(&mut stream).unwrap();

        relay.set(Flow::Held);
        assert!(echoed(&mut stream).is_err(), "it was not held up");
        relay.set(Flow::Open);
        // The one that waited.
        stream.read_exact(&mut [0; REQUEST.len()]).unwrap();

        relay.set(Flow::Refused);
        assert!(echoed(&mut stream).is_err(), "it was not cut");
        assert!(echoed(&mut connect()).is_err(), "it was not refused");
        relay.set(Flow::Open);
        echoed(&mut connect()).unwrap();
    }
}
