//! A network of the lab: frames that one guest sends reach all others, multicast among them. It runs in this process, so
//! that it needs no rights, and can fall silent toward a guest whose card still has its carrier.

use std::{
    fs,
    io::{self, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use anyhow::{Context as _, Result};

/// The network. Dropped, it is gone for the guests.
pub(super) struct Hub {
    ports: Arc<[Port]>,
}

/// Where one guest is connected, again and again.
struct Port {
    /// Where QEMU connects to.
    socket: PathBuf,
    /// Whether frames pass.
    open: AtomicBool,
    /// Whether the hub is gone.
    closed: AtomicBool,
    stream: Mutex<Option<UnixStream>>,
    to_guest: SyncSender<Arc<[u8]>>,
}

impl Hub {
    /// One with a port at each of `sockets`, which are created.
    ///
    /// # Errors
    ///
    /// A socket or a thread cannot be made.
    pub(super) fn new(sockets: &[PathBuf]) -> Result<Self> {
        let mut ports = Vec::new();
        let mut work = Vec::new();
        for socket in sockets {
            let listener =
                UnixListener::bind(socket).with_context(|| format!("listening on {}", socket.display()))?;
            let (to_guest, frames) = mpsc::sync_channel(QUEUE);
            work.push((listener, frames));
            ports.push(Port {
                socket: socket.clone(),
                open: AtomicBool::new(true),
                closed: AtomicBool::new(false),
                stream: Mutex::new(None),
                to_guest,
            });
        }
        let ports: Arc<[Port]> = ports.into();
        for (index, (listener, frames)) in work.into_iter().enumerate() {
            let (all, own) = (Arc::clone(&ports), Arc::clone(&ports));
            spawn(move || receive(&all, index, &listener))?;
            spawn(move || deliver(&own[index], &frames))?;
        }
        Ok(Self { ports })
    }

    /// Lets frames pass at the port `socket`, or no more: then the guest does not notice but by the silence.
    pub(super) fn let_pass(&self, socket: &Path, pass: bool) {
        for port in self.ports.iter().filter(|port| port.socket == socket) {
            port.open.store(pass, Ordering::Relaxed);
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        for port in self.ports.iter() {
            port.closed.store(true, Ordering::Relaxed);
            if let Some(stream) = port.stream().take() {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
            // Wakes both threads: this one accepts, the other one finds nobody to deliver to.
            let _ = UnixStream::connect(&port.socket);
            let _ = port.to_guest.try_send(Arc::from([]));
            let _ = fs::remove_file(&port.socket);
        }
    }
}

impl Port {
    fn stream(&self) -> MutexGuard<'_, Option<UnixStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands on what the guest of port `index` sends. It may come again after its end.
fn receive(ports: &[Port], index: usize, listener: &UnixListener) {
    let own = &ports[index];
    for stream in listener.incoming().map_while(Result::ok) {
        if own.closed.load(Ordering::Relaxed) {
            return;
        }
        let Ok(copy) = stream.try_clone() else { continue };
        *own.stream() = Some(copy);
        let mut reader = BufReader::with_capacity(64 * 1024, stream);
        while let Ok(frame) = read(&mut reader) {
            if !own.open.load(Ordering::Relaxed) {
                continue;
            }
            for (other, port) in ports.iter().enumerate() {
                if other != index && port.open.load(Ordering::Relaxed) {
                    // A guest that does not take its frames loses them, as at a switch.
                    let _ = port.to_guest.try_send(Arc::clone(&frame));
                }
            }
        }
        *own.stream() = None;
    }
}

/// Writes `frames` to the guest of `port`.
fn deliver(port: &Port, frames: &Receiver<Arc<[u8]>>) {
    for frame in frames {
        if port.closed.load(Ordering::Relaxed) {
            return;
        }
        let stream = port.stream().as_ref().and_then(|stream| stream.try_clone().ok());
        if let Some(mut stream) = stream {
            // If it ends meanwhile, nobody misses the frame.
            let _ = stream.write_all(&frame);
        }
    }
}

/// A frame with its length (4 bytes, big endian) before it, as QEMU's stream has it.
fn read(reader: &mut impl io::Read) -> io::Result<Arc<[u8]>> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let mut frame = Vec::from(length);
    let expected = u64::from(u32::from_be_bytes(length));
    if expected > MAX_FRAME || reader.take(expected).read_to_end(&mut frame)? as u64 != expected {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(frame.into())
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().name("hub".to_owned()).spawn(work).context("a thread for a network")?;
    Ok(())
}

/// Frames that wait for one guest.
const QUEUE: usize = 1024;
/// Bytes, far above what a card without offloads sends.
const MAX_FRAME: u64 = 128 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn frames_reach_all_others_unless_a_port_is_silent() {
        let dir = std::env::temp_dir().join(format!("hub-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let sockets = ["a", "b", "c"].map(|name| dir.join(name));
        let hub = Hub::new(&sockets).unwrap();
        let mut guests = sockets.each_ref().map(|socket| UnixStream::connect(socket).unwrap());
        for guest in &guests {
            guest.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        }
        // Until all are known to the hub.
        while hub.ports.iter().any(|port| port.stream().is_none()) {
            thread::sleep(Duration::from_millis(1));
        }
        let frame = |byte: u8| [0, 0, 0, 2, byte, byte];
        guests[0].write_all(&frame(1)).unwrap();
        for guest in &mut guests[1..] {
            assert_eq!(&*read(guest).unwrap(), &frame(1));
        }
        hub.let_pass(&sockets[2], false);
        guests[2].write_all(&frame(2)).unwrap();
        guests[0].write_all(&frame(3)).unwrap();
        assert_eq!(&*read(&mut guests[1]).unwrap(), &frame(3));
        assert!(read(&mut guests[2]).is_err(), "a frame has passed");
        drop(hub);
        fs::remove_dir_all(&dir).unwrap();
    }
}
