//! The link itself: connections on one or several paths, on the agent's ordinary runtime.
//!
//! Both nodes listen and dial; of two connections on one path, both keep the same. All that stand carry heartbeats,
//! the best one the messages. Nobody ever waits for the peer: what is to be sent is put into an outbox, where the newest
//! state replaces the one before, and what came is left where the newest one counts.
//!
//! ```text
//!   keeper ── the files, rotation ──▶ credentials
//!                                         │
//!   dialer (one an address) ──┐           ▼
//!                             ├──▶ connection: hello, heartbeats ◀──▶ paths ──▶ status
//!   listener, strangers ──────┘           │    ▲                        ▲
//!                                         ▼    └─ outbox ◀── state, pair┘
//!                                   inbox, calls
//! ```

mod calls;
mod connection;
mod dialer;
mod keeper;
mod listener;
mod outbox;
mod paths;
mod pulse;
pub mod status;
mod strangers;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use self::calls::{Call, CallError};
pub(crate) use self::listener::bind;

use self::calls::Calls;
use self::keeper::{Credentials, Keeper, Request};
use self::paths::Paths;
use self::status::{Condition, LinkStatus};
use self::strangers::Strangers;
use super::codec::PAYLOAD_LIMIT;
use super::message::{Hello, Message, OLDEST, VERSION};

/// What the link is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node's name.
    pub node: String,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Where the peer listens, best first.
    pub connect: Vec<SocketAddr>,
    /// From one heartbeat to the next.
    pub heartbeat: Duration,
    /// After how many heartbeats without an answer the peer does not answer.
    pub dead_after: u8,
    /// Where the files are.
    pub directory: PathBuf,
}

/// A link that runs, until it is dropped.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    messages: Option<mpsc::Receiver<Bytes>>,
    calls: Option<mpsc::Receiver<Call>>,
    tasks: JoinSet<()>,
}

/// The newest state that the peer told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// Tells the lives of the peer's agent apart.
    pub life: u64,
    /// Grows within a life.
    pub sequence: u64,
    /// What it told.
    pub payload: Bytes,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No path is up.
    #[error("the peer does not answer; look at the peer link in `ha-agent status`")]
    NotUp,
    /// Too many wait to be sent.
    #[error("the peer does not read; look at the peer link in `ha-agent status`")]
    Full,
    /// It is larger than [`PAYLOAD_LIMIT`].
    #[error(
        "a message for the peer has more than {PAYLOAD_LIMIT} bytes; this is an error in ha-agent, please report it"
    )]
    TooLarge,
}

impl Link {
    /// Starts it. What is not in order shows in its status, and is tried again: it is no reason not to serve.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn start(settings: Settings) -> std::io::Result<Self> {
        let life = getrandom::u64().map_err(std::io::Error::other)?;
        let paths = Paths::new(&settings.connect);
        let (credentials, shown_credentials) = watch::channel(None);
        let (messages, message_queue) = mpsc::channel(MESSAGES);
        let (requests, request_queue) = mpsc::channel(REQUESTS);
        let (calls, call_queue) = Calls::new();
        let known = settings.connect.iter().map(|address| address.ip().to_canonical()).collect();
        let shared = Arc::new(Shared {
            life,
            status: watch::Sender::new(paths.status()),
            paths: Mutex::new(paths),
            states: watch::Sender::new(None),
            sequence: AtomicU64::new(0),
            messages,
            calls,
            requests,
            strangers: Strangers::new(known),
            credentials: shown_credentials,
            settings,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(Keeper::new(Arc::clone(&shared), credentials).run(request_queue));
        for address in shared.settings.listen.clone() {
            tasks.spawn(listener::run(Arc::clone(&shared), address));
        }
        for address in shared.settings.connect.clone() {
            tasks.spawn(dialer::run(Arc::clone(&shared), address));
        }
        tasks.spawn(tell(shared.status.subscribe()));
        Ok(Self { shared, messages: Some(message_queue), calls: Some(call_queue), tasks })
    }

    /// How it is, now and from now on.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.shared.status.subscribe()
    }

    /// What the peer tells of itself; `None` until it does.
    #[must_use]
    pub fn peer_state(&self) -> watch::Receiver<Option<PeerState>> {
        self.shared.states.subscribe()
    }

    /// The peer's messages about the pair, in their order; given once. What is not read is dropped, from the 64th on.
    pub fn take_messages(&mut self) -> Option<mpsc::Receiver<Bytes>> {
        self.messages.take()
    }

    /// What the peer calls for; given once. Each is to be answered; from the 9th unanswered one on, the link refuses.
    pub fn take_calls(&mut self) -> Option<mpsc::Receiver<Call>> {
        self.calls.take()
    }

    /// Tells the peer this node's state, now or when it is there again. Replaces what was not told yet.
    ///
    /// # Errors
    ///
    /// Only [`SendError::TooLarge`].
    pub fn publish(&self, payload: Bytes) -> Result<(), SendError> {
        if payload.len() > PAYLOAD_LIMIT {
            return Err(SendError::TooLarge);
        }
        let sequence = self.shared.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared.update(|paths| paths.set_state(sequence, payload));
        Ok(())
    }

    /// What speaks to the peer about the pair.
    #[must_use]
    pub fn speaker(&self) -> Speaker {
        Speaker(Arc::clone(&self.shared))
    }

    /// Ends it, and says so to the peer where that takes no time.
    pub async fn close(mut self) {
        self.shared.update(|paths| paths.end_others(None, &[], LEAVING));
        // Connections say it themselves.
        tokio::time::sleep(PARTING).await;
        self.tasks.shutdown().await;
    }
}

/// Speaks to the peer about the pair, as long as the link runs.
#[derive(Clone, Debug)]
pub struct Speaker(Arc<Shared>);

impl Speaker {
    /// Sends the peer a message about the pair, on the best path. That it was taken does not say that it arrives.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn send(&self, payload: Bytes) -> Result<(), SendError> {
        if payload.len() > PAYLOAD_LIMIT {
            return Err(SendError::TooLarge);
        }
        match self.0.update(|paths| paths.send(Message::Pair { payload })) {
            Some(true) => Ok(()),
            Some(false) => Err(SendError::Full),
            None => Err(SendError::NotUp),
        }
    }

    /// Calls the peer, and waits for its answer, `patience` at most. Cancel-safe: an answer to one that is not waited for
    /// any more is dropped. That there is none does not say that nothing was done.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn call(&self, topic: &str, payload: Bytes, patience: Duration) -> Result<Bytes, CallError> {
        self.0.calls.call(&self.0, topic, payload, patience).await
    }

    /// Asks the peer whether it lives, on all paths: whatever it says shows in the status. At once, beside the heartbeats.
    pub fn ask(&self) {
        self.0.update(|paths| paths.ask());
    }
}

/// What all parts of it know.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    life: u64,
    status: watch::Sender<LinkStatus>,
    paths: Mutex<Paths>,
    /// What the peer tells of itself.
    states: watch::Sender<Option<PeerState>>,
    /// The number of this node's last state.
    sequence: AtomicU64,
    messages: mpsc::Sender<Bytes>,
    calls: Calls,
    requests: mpsc::Sender<Request>,
    strangers: Arc<Strangers>,
    credentials: watch::Receiver<Option<Arc<Credentials>>>,
}

impl Shared {
    /// Changes what is known of the paths, and shows it.
    fn update<T>(&self, change: impl FnOnce(&mut Paths) -> T) -> T {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut paths);
        paths.settle();
        let status = paths.status();
        // Under the lock: else an older one could be shown last.
        self.status.send_if_modified(|shown| {
            let is_new = *shown != status;
            *shown = status;
            is_new
        });
        result
    }

    /// What this node says of itself.
    fn hello(&self) -> Hello {
        Hello {
            version: VERSION,
            oldest: OLDEST,
            node: self.settings.node.clone(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            life: self.life,
        }
    }

    /// After how long without an answer the peer does not answer.
    fn dead(&self) -> Duration {
        self.settings.heartbeat * u32::from(self.settings.dead_after)
    }
}

/// Writes into the log how the link is, whenever that is something else.
async fn tell(mut status: watch::Receiver<LinkStatus>) {
    let mut told = None;
    loop {
        let (condition, name) = {
            let status = status.borrow_and_update();
            let name = status.peer.as_ref().map_or("peer", |peer| peer.name.as_str()).to_owned();
            (status.condition.clone(), name)
        };
        if told != Some(condition.name()) {
            told = Some(condition.name());
            match condition {
                Condition::Up { .. } => tracing::info!("peer link to {name}: {condition}"),
                Condition::Unpaired | Condition::NotAnswering { .. } | Condition::Down { .. } => {
                    tracing::warn!("peer link to {name}: {condition}");
                }
            }
            // A link that comes and goes all the time is worth a line now and then.
            tokio::time::sleep(PAUSE).await;
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Messages about the pair that were not read yet.
const MESSAGES: usize = 64;
/// What the keeper is asked for, and did not get to yet.
const REQUESTS: usize = 8;
/// How long connections have to part.
const PARTING: Duration = Duration::from_millis(100);
/// Between two lines of the log.
const PAUSE: Duration = Duration::from_millis(500);
const LEAVING: &str = "the agent ends";
