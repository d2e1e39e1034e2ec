//! Keeps the configuration that the two nodes share the same on both.
//!
//! ```text
//!   operator ── apply ──▶ own check ──▶ the peer's check ──▶ stored here ──▶ taken up here
//!                          (refused)        (refused)        decided        └──▶ the peer: stored, taken up
//!
//!   the peer tells another version ──▶ fetched ──▶ own check ──▶ stored ──▶ taken up
//! ```
//!
//! That a change is stored on the node that it was made on decides it. Until then, nothing has happened anywhere; from
//! then on, the peer takes it at once, or when it meets this node again. The file is read anew each time: what is in it
//! counts, not what is remembered.

mod change;
mod follow;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

pub(super) use self::words::TOPIC;
use self::words::{Answer, Ask};
use super::exchange::Known as Pair;
use super::{PATIENCE, Reload};
use crate::config::shared::Shared;
use crate::config::{self, Config};
use crate::control::shared::Document;
use crate::core::shared::Told;
use crate::peer::link::{CallError, Speaker};
use crate::peer::payload::{decode, encode};

/// Whoever keeps it.
#[derive(Debug)]
pub(super) struct Sharing {
    /// The node's own file.
    config: PathBuf,
    /// The file of what is shared.
    file: PathBuf,
    running: watch::Receiver<Arc<Config>>,
    reloads: mpsc::Sender<Reload>,
    /// `None` without a link.
    speaker: Option<Speaker>,
    /// Held by whoever changes the document.
    turn: Mutex<()>,
    known: StdMutex<Known>,
}

/// What was found in the file last.
#[derive(Debug)]
struct Known {
    told: Told,
    text: String,
}

/// What a document does to a node. Displayed, it is a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Effect {
    node: String,
    /// What can be taken up while the agent runs.
    changes: Vec<String>,
    /// Why it needs a restart, if it does.
    waits: Option<String>,
}

impl Sharing {
    /// Starts it, if the running configuration shares anything.
    pub(super) fn start(
        config: &Path,
        running: &watch::Receiver<Arc<Config>>,
        reloads: &mpsc::Sender<Reload>,
        speaker: Option<Speaker>,
        pair: &watch::Receiver<Pair>,
    ) -> Option<Arc<Self>> {
        let sharing = Arc::new(Self::new(config, running.clone(), reloads.clone(), speaker)?);
        tokio::spawn(follow::follow(Arc::clone(&sharing), pair.clone()));
        Some(sharing)
    }

    fn new(
        config: &Path,
        running: watch::Receiver<Arc<Config>>,
        reloads: mpsc::Sender<Reload>,
        speaker: Option<Speaker>,
    ) -> Option<Self> {
        let (file, shared) = {
            let running = running.borrow();
            (running.peer.as_ref()?.shared.clone()?, running.shared.clone()?)
        };
        let told = Told { standing: shared.standing(), waits: None, trouble: None };
        let known = StdMutex::new(Known { told, text: shared.text });
        let turn = Mutex::new(());
        Some(Self { config: config.to_owned(), file, running, reloads, speaker, turn, known })
    }

    /// What the peer and the status are told.
    pub(super) fn told(&self) -> Told {
        let mut known = self.known();
        let is_running = |text: &str| {
            let running = self.running.borrow();
            running.shared.as_ref().is_some_and(|shared| shared.text == text)
        };
        if known.told.waits.is_some() && is_running(&known.text) {
            known.told.waits = None;
        }
        known.told.clone()
    }

    /// The document of this node or of the peer.
    pub(super) async fn document(&self, peer: bool) -> Result<Document, String> {
        if !peer {
            return Ok(Document { node: self.node(), shared: self.read().await? });
        }
        let (node, shared) = self.fetch().await.map_err(|error| error.to_string())?;
        Ok(Document { node, shared })
    }

    fn node(&self) -> String {
        self.running.borrow().node.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in the file.
    async fn read(&self) -> Result<Shared, String> {
        let file = self.file.clone();
        blocking(move || config::shared::read(&file)).await
    }

    /// What a document would do to this node; or why it can't be had here. `name` is what it is called in mistakes.
    async fn judge(&self, name: &str, shared: Shared) -> Result<Effect, String> {
        let (path, name) = (self.config.clone(), PathBuf::from(name));
        let new = blocking(move || config::load_with(&path, &name, shared)).await?;
        let running = Arc::clone(&self.running.borrow());
        let node = running.node.clone();
        Ok(match running.changes_to(new) {
            Ok(reload) => {
                let changes = reload.changes.iter().map(ToString::to_string).collect();
                Effect { node, changes, waits: None }
            }
            Err(error) => Effect { node, changes: Vec::new(), waits: Some(error.to_string()) },
        })
    }

    /// Puts `new` where `old` was found, and has the agent take it up, unless that needs a restart.
    async fn put(&self, old: &Shared, new: Shared, mut effect: Effect) -> Result<Effect, String> {
        if self.read().await? != *old {
            return Err(format!("{} was changed by somebody else just now; try again", self.file.display()));
        }
        let file = self.file.clone();
        let stored = blocking(move || config::shared::write(&file, &new).map(|()| new)).await?;
        if effect.waits.is_none() && old.text != stored.text {
            effect.waits = self.reload().await.err();
        }
        let mut known = self.known();
        known.told.standing = stored.standing();
        if old.text != stored.text {
            known.told.waits.clone_from(&effect.waits);
        }
        known.text = stored.text;
        Ok(effect)
    }

    async fn reload(&self) -> Result<String, String> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.reloads.send(reply).await.ok()?;
            answer.await.ok()
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await.ok().flatten();
        answer.unwrap_or_else(|| {
            Err("the agent is busy with its interfaces; `ha-agent reload` takes it up".to_owned())
        })
    }

    /// The peer's document, with its name.
    async fn fetch(&self) -> Result<(String, Shared), CallError> {
        match self.ask(&Ask::Fetch).await? {
            Answer::Document { node, shared } => Ok((node, shared.checked().map_err(CallError::Refused)?)),
            Answer::Effect(_) => Err(CallError::Refused("the peer answered something else".to_owned())),
        }
    }

    async fn ask(&self, question: &Ask) -> Result<Answer, CallError> {
        let speaker = self.speaker.as_ref().ok_or(CallError::NotUp)?;
        let payload = encode(question).map_err(|error| CallError::Refused(error.to_string()))?;
        let answer = speaker.call(TOPIC, payload, ANSWER).await?;
        decode(&answer).map_err(|error| CallError::Refused(error.to_string()))
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, changes, waits } = self;
        match waits {
            Some(why) => write!(f, "{node}: not before a restart: {why}"),
            None if changes.is_empty() => write!(f, "{node}: nothing that it runs with changes"),
            None => write!(f, "{node}: {}", changes.join("; ")),
        }
    }
}

/// Does what may wait for a disk where that keeps nobody waiting.
async fn blocking<T: Send + 'static, E: fmt::Display + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the agent is ending".to_owned()),
    }
}

/// How long the peer may take to check a document, or to store and take it up.
const ANSWER: Duration = Duration::from_secs(5);
