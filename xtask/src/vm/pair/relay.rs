//! A path to a disk: what a node says to the target passes here, and can be held up, as by a cable that was pulled, or
//! refused. What the target has answered is noted at once, also where the node does not hear of it.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use anyhow::{Context as _, Result};

use super::{
    ledger::{Conversation, Ledger},
    login,
    who::Node,
};

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

/// Whose path it is, and to where.
#[derive(Clone)]
pub(super) struct Ends {
    pub(super) node: Node,
    pub(super) target: SocketAddr,
    /// By which the target knows the node.
    pub(super) isid: [u8; 6],
    /// Where it is noted what the node writes.
    pub(super) ledger: Arc<Ledger>,
}

/// The path. Dropped, it is refused for good.
pub(super) struct Relay {
    /// Where a node connects to.
    pub(super) address: SocketAddr,
    gate: Arc<Gate>,
}

impl Relay {
    /// One from a free port of this machine, reachable from this machine alone.
    ///
    /// # Errors
    ///
    /// There is no port, or no thread.
    pub(super) fn new(ends: Ends) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening for a disk's path")?;
        let address = listener.local_addr().context("a disk's path")?;
        let gate = Arc::new(Gate {
            state: Mutex::new(State { flow: Flow::Open, streams: Vec::new(), closed: false }),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&gate);
        spawn(move || accept(&own, &listener, &ends))?;
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

fn accept(gate: &Arc<Gate>, listener: &TcpListener, ends: &Ends) {
    for node in listener.incoming().map_while(Result::ok) {
        if gate.lock().closed {
            return;
        }
        let (gate, ends) = (Arc::clone(gate), ends.clone());
        // What cannot be connected is as good as refused.
        let _ = spawn(move || drop(connect(&gate, node, ends)));
    }
}

fn connect(gate: &Arc<Gate>, node: TcpStream, ends: Ends) -> Result<()> {
    if !gate.pass() {
        return Ok(());
    }
    let mut target = TcpStream::connect(ends.target)?;
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
    let talk = Arc::new(Conversation::new(ends.ledger, ends.node));
    let (answers, held) = mpsc::channel();
    let (hearer, other) = (Arc::clone(&talk), Arc::clone(gate));
    spawn(move || hear(&hearer, from_target, &answers))?;
    spawn(move || hand_on(&other, &held, node))?;
    // If it fails, there is nothing to copy either.
    let _ = login::hand_on(&mut from_node, &mut target, ends.isid);
    copy(gate, &talk, from_node, target);
    Ok(())
}

/// What the node says.
fn copy(gate: &Gate, talk: &Conversation, mut node: TcpStream, mut target: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = node.read(&mut buffer) {
        if !gate.pass() {
            break;
        }
        talk.request(&buffer[..length]);
        if target.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    for stream in [node, target] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// What the target says. It is never more than the node has asked for.
fn hear(talk: &Conversation, mut target: TcpStream, answers: &Sender<Vec<u8>>) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = target.read(&mut buffer) {
        talk.answer(&buffer[..length]);
        if answers.send(buffer[..length].to_vec()).is_err() {
            break;
        }
    }
    let _ = target.shutdown(Shutdown::Both);
}

fn hand_on(gate: &Gate, answers: &Receiver<Vec<u8>>, mut node: TcpStream) {
    for answer in answers {
        if !gate.pass() || node.write_all(&answer).is_err() {
            break;
        }
    }
    let _ = node.shutdown(Shutdown::Both);
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().name("relay".to_owned()).spawn(work).context("a thread for a disk's path")?;
    Ok(())
}

/// Bytes that are read at once.
const BUFFER: usize = 64 * 1024;

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
        let relay = Relay::new(Ends {
            node: Node::A,
            target: target.local_addr().unwrap(),
            isid: [0; 6],
            ledger: Arc::default(),
        })
        .unwrap();
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
