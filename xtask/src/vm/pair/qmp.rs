//! QEMU's own control connection (QMP): JSON, a line each way, and events in between
//! (<https://www.qemu.org/docs/master/interop/qmp-spec.html>).

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use ::lab::is_interrupted;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

/// What QEMU said without having been asked.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// `RESET`, `SHUTDOWN`, `STOP`, `GUEST_PANICKED` and the like.
    pub(super) name: String,
    /// What belongs to it.
    pub(super) data: Value,
    /// When it was read here.
    pub(super) at: Instant,
}

/// A connection to one QEMU.
pub(super) struct Qmp {
    stream: UnixStream,
    replies: Receiver<Value>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Qmp {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    ///
    /// Nobody listens there (yet), or whoever does is no QEMU.
    pub(super) fn connect(path: &Path) -> Result<Self> {
        let stream =
            UnixStream::connect(path).with_context(|| format!("connecting to {}", path.display()))?;
        let reader = BufReader::new(stream.try_clone().context("QMP")?);
        let (sender, replies) = mpsc::channel();
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        // It ends with QEMU, or when we shut the stream.
        let read = move || {
            for line in reader.lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
                if let Some(name) = value["event"].as_str() {
                    let event =
                        Event { name: name.to_owned(), data: value["data"].clone(), at: Instant::now() };
                    lock(&seen).push(event);
                } else if sender.send(value).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("qmp".to_owned()).spawn(read).context("a thread for QMP")?;
        let mut qmp = Self { stream, replies, events };
        ensure!(qmp.reply()?["QMP"].is_object(), "{} is not QEMU's", path.display());
        qmp.command("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Has QEMU execute `name`, and returns what it answers.
    ///
    /// # Errors
    ///
    /// It refuses, or does not answer.
    pub(super) fn command(&mut self, name: &str, arguments: &Value) -> Result<Value> {
        let line = json!({ "execute": name, "arguments": arguments });
        writeln!(self.stream, "{line}").with_context(|| format!("sending {name} to QEMU"))?;
        let mut reply = self.reply().with_context(|| format!("QEMU and {name}"))?;
        if let Some(error) = reply["error"]["desc"].as_str() {
            bail!("QEMU refuses {name}: {error}");
        }
        Ok(reply["return"].take())
    }

    /// All events since the connection was made.
    pub(super) fn events(&self) -> Vec<Event> {
        lock(&self.events).clone()
    }

    fn reply(&self) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.replies.recv_timeout(LOOK) {
                Ok(value) => return Ok(value),
                Err(mpsc::RecvTimeoutError::Disconnected) => bail!("QEMU has ended"),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    ensure!(!is_interrupted(), "interrupted");
                    ensure!(Instant::now() < deadline, "no answer within {PATIENCE:?}");
                }
            }
        }
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        // The reader has a copy of the stream.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// QEMU answers at once, but gets little of two processors.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often we look whether we were interrupted.
const LOOK: Duration = Duration::from_millis(50);
