//! Carries out the steps of an update: those that are ordered on this node, and those that the peer passes on.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::reporter::Reporter;
use super::{AgentError, Ended, Files};
use crate::core::State;
use crate::core::pair::Phase;
use crate::journal::events::{Kind, What};
use crate::peer::link::Speaker;
use crate::peer::payload::{decode, encode};
use crate::update::guard::Guard;
use crate::update::package::Places;
use crate::update::staging::{self, Staging};
use crate::update::trial::{Found, Trial};
use crate::update::{Answer, Digest, Identity, Order, Request, TOPIC, Whose, package};

/// Puts another agent in the place of this one.
#[derive(Debug)]
pub(super) struct Updates {
    /// One step at a time.
    staging: Arc<Mutex<Staging>>,
    standing: Standing,
    life: u64,
    state: PathBuf,
    places: Places,
    records: bool,
    digest: Arc<OnceLock<Digest>>,
    ends: mpsc::Sender<Ended>,
}

/// What this agent found when it started.
#[derive(Debug)]
struct Standing {
    /// Whether it is on trial.
    trial: Mutex<Option<Trial>>,
    /// The one before it that did not prove itself.
    failed: Option<Digest>,
}

impl Updates {
    /// Looks at what there is. `ends` receives how this agent is to end.
    ///
    /// # Errors
    ///
    /// If the system does not tell which program this is.
    pub(super) fn new(files: &Files, ends: mpsc::Sender<Ended>) -> Result<Self, AgentError> {
        let os = |what| move |cause| AgentError::Os { what, cause };
        let own = std::env::current_exe().map_err(os("the path of this program"))?;
        let life = getrandom::u64().map_err(io::Error::other).map_err(os("random numbers"))?;
        let found = Trial::found(&files.state, &own).unwrap_or_else(|error| {
            tracing::error!("what is said to be on trial can't be read, and counts as nothing: {error}");
            Found::Nothing
        });
        let (installed, trial, failed) = match found {
            Found::Nothing => (own, None, None),
            Found::This(trial) => (trial.installed.clone(), Some(trial), None),
            Found::Other(trial) => {
                tracing::error!(
                    event = Kind::UpdateFailed.definition().name,
                    "the new agent {} did not prove itself; this one goes on",
                    trial.digest.short()
                );
                (own, None, Some(trial.digest))
            }
        };
        if trial.is_none() {
            let _ = end_trial(&files.state);
        }
        Ok(Self {
            staging: Arc::new(Mutex::new(Staging::beside(&installed))),
            standing: Standing { trial: Mutex::new(trial), failed },
            life,
            state: files.state.clone(),
            places: files.places(),
            records: files.record.is_some(),
            digest: Arc::default(),
            ends,
        })
    }

    /// The agent before this one that did not prove itself, if so.
    pub(super) fn failed(&self) -> Option<Digest> {
        self.standing.failed
    }

    /// An operator ends this agent: whoever is on trial is not to be replaced.
    pub(super) fn call_off(&self) {
        let _ = end_trial(&self.state);
    }

    /// Does a step that the peer passes on.
    pub(super) async fn answer(&self, reporter: &Reporter, payload: &[u8]) -> Result<Bytes, String> {
        match decode(payload).map_err(|error| error.to_string())? {
            Order::Stage { .. } => Err("a package is sent, not named".to_owned()),
            order => encode(&self.carry_out(reporter, order).await?).map_err(|error| error.to_string()),
        }
    }

    /// Has a step done on this node or on the other one.
    pub(super) async fn request(&self, reporter: &Reporter, request: Request) -> Result<Answer, String> {
        let speaker = reporter.speaker.as_ref();
        match (request.of, request.order) {
            (Whose::This, order) => self.carry_out(reporter, order).await,
            (Whose::Peer, Order::Stage { path, digest }) => {
                send(speaker.ok_or(NO_LINK)?, &path, digest).await.map(|()| Answer::Done)
            }
            (Whose::Peer, order) => call(speaker.ok_or(NO_LINK)?, &order).await,
        }
    }

    /// Does a step on this node.
    async fn carry_out(&self, reporter: &Reporter, order: Order) -> Result<Answer, String> {
        match order {
            Order::Identify => Ok(Answer::Identity(Box::new(self.identity(reporter).await?))),
            Order::Stage { path, digest } => {
                self.stage(move |staging| staging.take(&path, digest).map_err(|e| e.to_string())).await
            }
            Order::Begin { size, digest } => {
                self.stage(move |staging| staging.begin(size, digest).map_err(|e| e.to_string())).await
            }
            Order::Chunk { offset, data } => {
                self.stage(move |staging| staging.chunk(offset, &data).map_err(|e| e.to_string())).await
            }
            Order::Check { digest } => {
                let places = self.places.clone();
                self.with_staging(move |staging| {
                    staging.verify(digest).map_err(|error| error.to_string())?;
                    let version = package::inspect(&staging.path(), &places).map_err(|e| e.to_string())?;
                    Ok(Answer::Fits { version })
                })
                .await
            }
            Order::Try { digest } => self.try_out(reporter, digest).await,
            Order::Keep { digest } => self.keep(reporter, digest).await,
            Order::Revert => self.revert().await,
        }
    }

    async fn identity(&self, reporter: &Reporter) -> Result<Identity, String> {
        let digest = Arc::clone(&self.digest);
        // Once: a program that runs does not change, whatever becomes of its file.
        let own = move || match digest.get() {
            Some(digest) => Ok(*digest),
            None => Digest::of(Path::new("/proc/self/exe")).map(|own| *digest.get_or_init(|| own)),
        };
        let digest = blocking(move || own().map_err(|error| error.to_string())).await?;
        let snapshot = reporter.snapshot().await?;
        let has_link = snapshot.vhosts.values().all(|vhost| vhost.state != State::Init);
        let pair = snapshot.pair.as_ref();
        let is_at_rest = pair.is_some_and(|pair| matches!(pair.phase, Phase::Standby | Phase::Active));
        Ok(Identity {
            node: reporter.node(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            digest,
            life: format!("{:016x}", self.life),
            boot: std::fs::read_to_string(BOOT).unwrap_or_default().trim().to_owned(),
            pid: std::process::id(),
            phase: pair.map(|pair| pair.phase.name().to_owned()),
            settled: is_at_rest && has_link && pair.is_some_and(|pair| pair.peer.is_some()),
            on_trial: self.trial().is_some(),
            failed: self.standing.failed,
        })
    }

    async fn try_out(&self, reporter: &Reporter, digest: Digest) -> Result<Answer, String> {
        if self.records {
            return Err("this agent makes a recording (--record), which a new one can't go on with; restart it without"
                .to_owned());
        }
        if self.trial().is_some() {
            return Err("this agent is on trial itself".to_owned());
        }
        let phase = reporter.snapshot().await?.pair.map(|pair| pair.phase);
        if phase != Some(Phase::Standby) {
            let phase = phase.map_or("in no pair", Phase::name);
            return Err(format!("only a standby tries a new agent, and this node is {phase}"));
        }
        let state = self.state.clone();
        let staged = self.with_staging(move |staging| {
            staging.verify(digest).map_err(|error| error.to_string())?;
            let (staged, installed) = (staging.path(), staging.installed().to_owned());
            let trial = Trial { digest, staged: staged.clone(), installed: installed.clone() };
            let written = |error| format!("what is on trial can't be written down: {error}");
            trial.begin(&state).map_err(written)?;
            let arguments = std::env::args_os().skip(1).collect();
            let guard = Guard { pid: std::process::id(), state: state.clone(), installed, arguments };
            guard.set().map_err(|error| {
                let _ = end_trial(&state);
                format!("no guard could be set over the new agent: {error}")
            })?;
            Ok(staged)
        });
        self.succeed(staged.await?)
    }

    async fn keep(&self, reporter: &Reporter, digest: Digest) -> Result<Answer, String> {
        let trial = self.trial().filter(|trial| trial.digest == digest);
        if trial.is_none() {
            return Err(format!("the agent {} is not on trial here", digest.short()));
        }
        let state = self.state.clone();
        self.with_staging(move |staging| {
            staging.verify(digest).and_then(|()| staging.install()).map_err(|error| error.to_string())?;
            end_trial(&state)
        })
        .await?;
        *self.standing.trial.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        reporter.events.tell(None, What::UpdateKept { version });
        Ok(Answer::Done)
    }

    async fn revert(&self) -> Result<Answer, String> {
        let Some(trial) = self.trial() else {
            return self
                .with_staging(|staging| {
                    staging.discard();
                    Ok(Answer::Done)
                })
                .await;
        };
        let state = self.state.clone();
        blocking(move || end_trial(&state)).await?;
        self.succeed(trial.installed)
    }

    /// Lets this agent leave, and that program go on.
    fn succeed(&self, program: PathBuf) -> Result<Answer, String> {
        let told = self.ends.try_send(Ended::Succeeded(program));
        told.map(|()| Answer::Done).map_err(|_| "this agent is leaving already".to_owned())
    }

    fn trial(&self) -> Option<Trial> {
        self.standing.trial.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn stage(
        &self,
        work: impl FnOnce(&mut Staging) -> Result<(), String> + Send + 'static,
    ) -> Result<Answer, String> {
        // What is on trial is in the place of what would come.
        if self.trial().is_some() {
            return Err("an agent is on trial here: it is to be kept or reverted first".to_owned());
        }
        self.with_staging(|staging| work(staging).map(|()| Answer::Done)).await
    }

    /// Works where waiting for a disk or a process harms nobody; one step at a time.
    async fn with_staging<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Staging) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let staging = Arc::clone(&self.staging);
        blocking(move || {
            let Ok(mut staging) = staging.try_lock() else {
                return Err("another step of an update is under way".to_owned());
            };
            work(&mut staging)
        })
        .await
    }
}

/// Sends the peer a package, piece by piece.
async fn send(speaker: &Speaker, path: &Path, digest: Digest) -> Result<(), String> {
    let named = path.to_owned();
    let (mut file, size) = blocking(move || staging::open(&named).map_err(|error| error.to_string())).await?;
    call(speaker, &Order::Begin { size, digest }).await?;
    let mut offset = 0;
    while offset < size {
        let read = move || {
            let mut data = Vec::with_capacity(PIECE);
            let read = file.by_ref().take(PIECE as u64).read_to_end(&mut data);
            read.map(|_| (file, data)).map_err(|error| error.to_string())
        };
        let (back, data) = blocking(read).await?;
        file = back;
        if data.is_empty() {
            return Err(format!("{} has become shorter; begin the update again", path.display()));
        }
        let length = data.len() as u64;
        call(speaker, &Order::Chunk { offset, data: Bytes::from(data) }).await?;
        offset += length;
    }
    Ok(())
}

async fn call(speaker: &Speaker, order: &Order) -> Result<Answer, String> {
    let payload = encode(order).map_err(|error| error.to_string())?;
    let answer = speaker.call(TOPIC, payload, ANSWER).await.map_err(|error| error.to_string())?;
    decode(&answer).map_err(|error| error.to_string())
}

fn end_trial(state: &Path) -> Result<(), String> {
    Trial::end(state).map_err(|error| {
        let sentence = format!("{}: what is on trial can't be ended: {error}", Trial::path(state).display());
        tracing::error!("{sentence}");
        sentence
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// Bytes of a piece: with what is around it, it fits into a message.
const PIECE: usize = 48 * 1024;
/// How long the peer may take for a step; it may run the package twice.
const ANSWER: Duration = Duration::from_secs(40);
/// This boot of the machine.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
const NO_LINK: &str = "this node has no link to a peer; see `ha-agent pair`";
