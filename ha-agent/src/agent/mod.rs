//! The agent's life: everything started in order, watched while it runs, ended in order.
//!
//! ```text
//!   kernel ──ring──▶ detector (fast thread: core, sender) ──orders──▶ executor ──reports──▶ clerk: journal, log
//!                        ▲  ▲ └──notes──▶ watchman: log              │  (own thread)
//!   netlink ──▶ follower ┘  └──────────────── released ──────────────┘
//!                 ▲    └──▶ rules, in the kernel's maps
//!   peer link ──▶ status: asks nobody, and nobody waits for it
//!   control socket, SIGHUP ──▶ reload; status: asks the detector, reads journal and counters
//! ```

mod clerk;
pub mod detector;
mod exchange;
mod follow_error;
pub mod hosts;
pub mod interfaces;
mod memory;
mod notices;
mod pair;
pub mod realtime;
mod reporter;
mod rules;
mod signals;
pub mod understudy;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ha_common::abi::MAX_HOSTS;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::cli::exit::Exit;
use crate::config::{self, Config, Mode, PeerConfig};
use crate::control::server::{Server, ServerError};
use crate::core::pair::report::Why;
use crate::dataplane::{Dataplane, LoadError, Loaded};
use crate::exec::{self, Report};
use crate::journal::Journal;
use crate::journal::recorder::{RecordError, Recorder, Recording};
use crate::journal::trace::{self, Header};
use crate::net::link::{Interfaces, Monitor};
use crate::net::macvlan::Macvlan;
use crate::peer::link::{self, Link};
use crate::sys::{capabilities, clock};
use clerk::Clerk;
use detector::{Channels, Input, Snapshot, VhostSetup};
use exchange::Known;
pub use follow_error::FollowError;
use interfaces::{Follower, Member, Modes};
use memory::{Keeper, MemoryError};
use notices::{Suspected, Watchman};
pub use pair::RecordFileError;
use pair::Secretary;
use realtime::Granted;
use reporter::Reporter;
use rules::Rules;
use signals::{Signal, Signals};

/// Why the agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Not allowed.
    #[error("no right to run: {0} missing; run as root, or grant them with `setcap` or the service manager")]
    NoPermission(capabilities::Missing),
    /// More virtual hosts than the kernel program holds.
    #[error(
        "{0} virtual hosts are configured, at most {MAX_HOSTS} can be served; split them over two agents"
    )]
    TooMany(usize),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ServerError),
    /// The recording.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What this node stored of its pair.
    #[error(transparent)]
    Pair(#[from] RecordFileError),
    /// What should have been let go could not be: another node may serve it by now.
    #[error(
        "this node of a pair had to end: {0}; look at what `ip address` shows before it is started again"
    )]
    EndedHard(Why),
    /// The kernel program.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An interface.
    #[error(transparent)]
    Interface(#[from] FollowError),
    /// What strict mode remembers.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The kernel does not tell about interfaces.
    #[error("the interfaces could not be read by netlink: {0}; is CONFIG_NET available in this kernel?")]
    Netlink(#[source] rtnetlink::Error),
    /// The kernel does not answer.
    #[error("the kernel did not answer about interfaces within {} s; is the machine overloaded?", PATIENCE.as_secs())]
    Silent,
    /// Something that the operating system always gives was not given.
    #[error("{what}: {cause}; look at the limits of the process (`ulimit -a`)")]
    Os {
        /// What it was.
        what: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// A part that must live as long as the agent ended before it.
    #[error("{0} ended unexpectedly; this is an error in ha-agent, please report it")]
    Ended(&'static str),
}

impl AgentError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoPermission(_) => Exit::NoPermission,
            Self::TooMany(_) => Exit::Config,
            Self::Control(error) => error.exit(),
            Self::Record(error) => error.exit(),
            Self::Pair(RecordFileError::Damaged { .. } | RecordFileError::Newer { .. }) => Exit::Data,
            Self::Pair(RecordFileError::Io { .. }) | Self::EndedHard(_) => Exit::Os,
            Self::Load(error) => error.exit(),
            Self::Interface(error) => error.exit(),
            Self::Memory(error) => error.exit(),
            Self::Netlink(_) | Self::Silent => Exit::Unavailable,
            Self::Os { .. } => Exit::Os,
            Self::Ended(_) => Exit::Software,
        }
    }
}

/// What the agent is run with.
#[derive(Debug)]
pub struct Files {
    /// Where the configuration is; it is read again on a reload.
    pub config: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Where is kept what survives a restart; used in strict mode only.
    pub state: PathBuf,
    /// Where is recorded what the machines are told and decide; `None` for nowhere. It must not exist.
    pub record: Option<PathBuf>,
}

/// What was asked, and where the answer goes: what was done, or why nothing was.
type Reload = oneshot::Sender<Result<String, String>>;

/// Runs until SIGTERM or SIGINT, then leaves in order. SIGHUP reloads the configuration.
///
/// # Errors
///
/// See [`AgentError`]. Whatever was attached or taken until then is given back.
pub async fn run(config: Config, files: Files) -> Result<(), AgentError> {
    if let Some(missing) = capabilities::missing() {
        return Err(AgentError::NoPermission(missing));
    }
    if config.vhosts.len() > MAX_HOSTS {
        return Err(AgentError::TooMany(config.vhosts.len()));
    }
    // Before anything is attached: from here on a signal ends the agent in order.
    let mut signals = Signals::new().map_err(|cause| AgentError::Os { what: "signals", cause })?;
    let monitor = Monitor::open().map_err(|cause| AgentError::Os { what: "a netlink socket", cause })?;
    let server = Server::bind(&files.socket)?;
    let recording = files.record.as_deref().map(Recording::create).transpose()?;
    let Loaded { mut dataplane, tables, events, counters, memory, given, patiences } = Dataplane::load()?;
    match dataplane.log() {
        Ok(log) => drop(tokio::spawn(log)),
        Err(error) => tracing::warn!(%error, "the kernel program's own log can't be read"),
    }

    let journal = Arc::new(Journal::default());
    let modes = Modes::default();
    let counters = Arc::new(counters);
    let (inputs, input_queue) = mpsc::unbounded_channel();
    let (notes, note_queue) = mpsc::unbounded_channel();
    let (pair_outputs, pair_queue) = mpsc::unbounded_channel();
    let is_paired = pair::is_paired(&config);
    let secretary = match &config.peer {
        Some(_) => {
            let record = pair::stored(&files.state)?;
            let secretary = Secretary::new(&files.state, record, inputs.clone(), pair_queue);
            Some(secretary.map_err(|cause| AgentError::Os { what: "a place for the pair's record", cause })?)
        }
        None => None,
    };
    let news = secretary.as_ref().map(Secretary::news);
    let rules = Rules::new(tables, &config)?;
    let (keeper, stored) = Keeper::open(&files.state, &config, memory, inputs.clone())?;
    let (reports, report_queue) = mpsc::unbounded_channel();
    let Prepared { setups, members, clerk, faults } = prepare(&config, &stored, &journal, &inputs, reports)?;
    let mut executor = tokio::spawn(clerk.run(report_queue));
    let mut follower =
        Follower::new(dataplane, rules, monitor.netlink(), members, Arc::clone(&modes), inputs.clone());
    // At start, unlike later, an interface that can't be used is a mistake of the operator's.
    if let Err(error) = begin(&monitor, &mut follower).await {
        drop(setups);
        end(follower, executor).await;
        return Err(error);
    }
    // After everything that was needed for the start only: what is locked stays.
    let granted = Granted::ask(&config.realtime);
    let started = record(recording, &config).and_then(|(recorder, written)| {
        let inputs = input_queue;
        let pair = pair_outputs;
        let channels = Channels { events, given, patiences, inputs, notes, pair, is_paired, recorder };
        Ok((detector::start(setups, config.auth.mode, config.realtime.priority, channels)?, written))
    });
    let (mut detector, written) = match started {
        Ok(started) => started,
        Err(cause) => {
            end(follower, executor).await;
            return Err(AgentError::Os { what: "a thread", cause });
        }
    };

    let mut link = start_link(&config);
    let mut pairing = tokio::spawn(pair(&config, link.as_mut(), secretary));
    let (pair, known) = watch::channel(Known::default());
    let names = config.vhosts.iter().map(|vhost| vhost.name.clone()).collect();
    let suspected = Suspected::new(config.vhosts.len());
    let watchman = Watchman::new(names, Arc::clone(&counters), suspected.clone(), inputs.clone());
    let (reloads, mut reload_queue) = mpsc::channel(1);
    let (shown_config, config) = watch::channel(Arc::new(config));
    let reporter = Arc::new(Reporter {
        config,
        counters,
        journal,
        modes,
        faults,
        suspected,
        granted,
        started: clock::now(),
        detector: inputs.clone(),
        reloads: reloads.clone(),
        link: link.as_ref().map(Link::status),
        pair: known,
        news,
    });
    tracing::info!(node = reporter.node(), socket = %files.socket.display(), "running");
    let (end_keeping, kept) = oneshot::channel();
    let mut keeping = tokio::spawn(keeper.run(reporter.config.clone(), kept));
    let follow = follow(monitor, &mut follower, &mut reload_queue, &shown_config, &files.config);
    let result = tokio::select! {
        signal = until_told_to_end(&mut signals, &reloads) => {
            tracing::info!("{signal}: leaving");
            Ok(())
        }
        () = exchange::run(link.as_ref(), &reporter, pair) => Err(AgentError::Ended("the peer link")),
        () = server.serve(Arc::clone(&reporter)) => Err(AgentError::Ended("the control socket")),
        () = follow => Err(AgentError::Ended("the netlink connection")),
        () = watchman.run(note_queue) => Err(AgentError::Ended("the detector")),
        why = &mut pairing => Err(why.map_or(AgentError::Ended("the pair"), AgentError::EndedHard)),
        _ = &mut keeping => Err(AgentError::Ended("the memory")),
        _ = &mut detector => Err(AgentError::Ended("the detector")),
        _ = &mut executor => Err(AgentError::Ended("the executor")),
    };
    if result.is_ok() {
        reporter.hand_over().await;
    }
    let last = if detector.is_terminated() { None } else { leave(&inputs, detector).await };
    // It is gone only if it failed.
    let _ = end_keeping.send(last.filter(|_| reporter.mode() == Mode::Strict));
    if !keeping.is_finished() && tokio::time::timeout(PATIENCE, keeping).await.is_err() {
        tracing::error!("what was heard could not be written in time; look at {}", files.state.display());
    }
    // However the detector ended. The senders of orders go with it and with the follower.
    end(follower, executor).await;
    pairing.abort();
    if let Some(link) = link {
        link.close().await;
    }
    // Last: nothing else waits for a disk that does not answer.
    if let Some(written) = written
        && tokio::time::timeout(PATIENCE, written).await.is_err()
    {
        tracing::error!("the recording could not be written to its end in time; is the disk slow?");
    }
    result
}

/// Starts the link to the peer, if there is to be one. It is no reason not to serve.
fn start_link(config: &Config) -> Option<Link> {
    let PeerConfig { listen, connect, heartbeat, dead_after, directory } = config.peer.clone()?;
    let node = config.node.clone();
    let settings = link::Settings { node, listen, connect, heartbeat, dead_after, directory };
    let started = Link::start(settings);
    started.inspect_err(|error| tracing::error!("no link to the peer: {error}; restart ha-agent")).ok()
}

/// What the pair machine can't do itself, if this node is to be one of two.
fn pair(
    config: &Config,
    link: Option<&mut Link>,
    secretary: Option<Secretary>,
) -> impl Future<Output = Why> + use<> {
    let parts = config.peer.clone().zip(link).zip(secretary).and_then(|((peer, link), secretary)| {
        let messages = link.take_messages()?;
        Some(secretary.run(config.clone(), peer, link.status(), messages, link.speaker()))
    });
    async move {
        match parts {
            Some(run) => run.await,
            None => std::future::pending().await,
        }
    }
}

/// Begins the recording, if there is to be one. The receiver receives when it is written to its end.
fn record(
    recording: Option<Recording>,
    config: &Config,
) -> io::Result<(Option<Recorder>, Option<oneshot::Receiver<()>>)> {
    let Some(recording) = recording else { return Ok((None, None)) };
    let (recorder, written) = recording.begin(Header {
        format: trace::FORMAT.to_owned(),
        version: trace::VERSION,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        node: config.node.clone(),
        began: Timestamp::now(),
        began_ns: clock::now(),
        vhosts: config.vhosts.iter().map(hosts::recorded).collect(),
    })?;
    Ok((Some(recorder), Some(written)))
}

/// Follows the interfaces for the first time.
async fn begin(monitor: &Monitor, follower: &mut Follower) -> Result<(), AgentError> {
    let interfaces = read(monitor).await?;
    match follower.apply(&interfaces).await.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Gives everything back. The follower has the last senders of orders: the executor finishes what it has, and with it
/// the clerk, and then nobody uses the virtual hosts' own interfaces any more.
async fn end(follower: Follower, executor: JoinHandle<()>) {
    let macvlans = follower.release();
    if !executor.is_finished() && tokio::time::timeout(PATIENCE, executor).await.is_err() {
        tracing::error!("the kernel did not finish removing addresses; look with `ip address`");
    }
    remove(macvlans).await;
}

/// Reads the interfaces.
async fn read(monitor: &Monitor) -> Result<Interfaces, AgentError> {
    match tokio::time::timeout(PATIENCE, monitor.interfaces()).await {
        Ok(read) => read.map_err(AgentError::Netlink),
        Err(_) => Err(AgentError::Silent),
    }
}

/// What there is one of for each virtual host.
struct Prepared {
    setups: Vec<VhostSetup>,
    members: Vec<Member>,
    clerk: Clerk,
    faults: Vec<watch::Receiver<Option<String>>>,
}

/// Starts the executor. `stored` are the last times that an earlier life gave.
fn prepare(
    config: &Config,
    stored: &[Option<u64>],
    journal: &Arc<Journal>,
    detector: &mpsc::UnboundedSender<Input>,
    reports: mpsc::UnboundedSender<Report>,
) -> Result<Prepared, AgentError> {
    // Below the fast thread: an advertisement is due at its time, an address as soon as possible.
    let priority = config.realtime.priority.map(|priority| (priority - 1).max(1));
    let orders = exec::start(config.vhosts.len(), priority, detector, reports)
        .map_err(|cause| AgentError::Os { what: "the executor's thread", cause })?;
    let clerk = Clerk { names: Vec::new(), journal: Arc::clone(journal), faults: Vec::new() };
    let mut prepared = Prepared { setups: Vec::new(), members: Vec::new(), clerk, faults: Vec::new() };
    for (vhost, (vhost_config, orders)) in config.vhosts.iter().zip(orders).enumerate() {
        let (fault, shown_fault) = watch::channel(None);
        prepared.clerk.names.push(vhost_config.name.clone());
        prepared.clerk.faults.push(fault);
        prepared.setups.push(VhostSetup {
            settings: hosts::settings(vhost_config),
            interface: vhost_config.interface.clone(),
            vhid: vhost_config.vhid,
            mac: hosts::signer(vhost_config, &config.auth),
            random: random()?,
            stored_ms: stored.get(vhost).copied().flatten(),
            orders: orders.clone(),
        });
        prepared.members.push(Member { config: vhost_config.clone(), orders, macvlan: None, equipped: None });
        prepared.faults.push(shown_fault);
    }
    Ok(prepared)
}

/// Reloads on each SIGHUP. Returns the name of the signal that is to end the agent.
async fn until_told_to_end(signals: &mut Signals, reloads: &mpsc::Sender<Reload>) -> &'static str {
    loop {
        match signals.next().await {
            Signal::End(name) => return name,
            Signal::Reload => {
                let (reply, answer) = oneshot::channel();
                // The log tells how it went.
                let _ = reloads.send(reply).await;
                drop(answer.await);
            }
        }
    }
}

/// Keeps everything in line with the interfaces and the configuration, for ever.
async fn follow(
    mut monitor: Monitor,
    follower: &mut Follower,
    reloads: &mut mpsc::Receiver<Reload>,
    shown: &watch::Sender<Arc<Config>>,
    path: &Path,
) {
    let mut complaints: Vec<String> = Vec::new();
    let mut applied = None;
    let mut clock = tokio::time::interval(CLOCK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut changed, mut due) = (false, true);
    loop {
        if changed || due {
            let read = read(&monitor).await;
            // What a try that failed has changed itself is no reason for the next one: that would never rest.
            let known = !due && !complaints.is_empty() && read.as_ref().ok() == applied.as_ref();
            if !known {
                let troubles = match &read {
                    Ok(interfaces) => apply(follower, interfaces).await,
                    Err(error) => vec![error.to_string()],
                };
                for trouble in troubles.iter().filter(|trouble| !complaints.contains(*trouble)) {
                    tracing::warn!("{trouble}");
                }
                complaints = troubles;
                applied = read.ok();
            }
        }
        (changed, due) = (false, false);
        tokio::select! {
            more = monitor.changed() => if more { changed = true } else { return },
            // Also the pace at which an interface that could not be used is tried again.
            _ = clock.tick() => {
                follower.set_clock();
                due = !complaints.is_empty();
            }
            reload = reloads.recv() => if let Some(reply) = reload {
                let result = reload_from(path, follower, shown).await;
                match &result {
                    Ok(done) => tracing::info!("{done}"),
                    Err(cause) => tracing::error!("{cause}"),
                }
                // Whoever asked may have gone.
                let _ = reply.send(result);
            },
        }
    }
}

/// Brings the follower in line with the interfaces. Returns what is wrong, in sentences.
async fn apply(follower: &mut Follower, interfaces: &Interfaces) -> Vec<String> {
    match tokio::time::timeout(PATIENCE, follower.apply(interfaces)).await {
        Ok(errors) => errors.iter().map(ToString::to_string).collect(),
        Err(_) => vec![AgentError::Silent.to_string()],
    }
}

/// Reads the configuration again, and applies it whole or not at all.
async fn reload_from(
    path: &Path,
    follower: &mut Follower,
    shown: &watch::Sender<Arc<Config>>,
) -> Result<String, String> {
    let refused = |cause: String| format!("not reloaded, the running configuration stays: {cause}");
    let path = path.to_owned();
    let loaded = tokio::task::spawn_blocking(move || config::load(&path)).await;
    let new =
        loaded.map_err(|error| refused(error.to_string()))?.map_err(|error| refused(error.to_string()))?;
    for warning in &new.warnings {
        tracing::warn!("{warning}");
    }
    let running = Arc::clone(&shown.borrow());
    let reload = running.changes_to(new).map_err(|error| refused(error.to_string()))?;
    follower.reload(&reload.config).map_err(|error| format!("reloaded in part only: {error}"))?;
    shown.send_replace(Arc::new(reload.config));
    let changes: Vec<_> = reload.changes.iter().map(ToString::to_string).collect();
    Ok(if changes.is_empty() {
        "reloaded: nothing is new".to_owned()
    } else {
        format!("reloaded: {}", changes.join("; "))
    })
}

/// Lets the detector leave all virtual hosts, and waits until it has. Returns how it was then.
async fn leave(
    inputs: &mpsc::UnboundedSender<Input>,
    detector: oneshot::Receiver<Snapshot>,
) -> Option<Snapshot> {
    // If it is gone, there is nothing to leave.
    let _ = inputs.send(Input::Leave);
    match tokio::time::timeout(PATIENCE, detector).await {
        Ok(Ok(last)) => return Some(last),
        Ok(Err(_)) => tracing::error!("the detector ended before it could leave"),
        Err(_) => tracing::error!("the detector does not leave; ending without it"),
    }
    None
}

/// Removes the virtual hosts' own interfaces, which nobody uses any more.
async fn remove(macvlans: Vec<Arc<Macvlan>>) {
    for macvlan in macvlans {
        let name = macvlan.name().to_owned();
        match Arc::into_inner(macvlan) {
            Some(macvlan) => {
                if let Err(error) = macvlan.remove().await {
                    tracing::error!("{error}");
                }
            }
            None => {
                tracing::error!("interface {name} is still in use; remove it with `ip link delete {name}`");
            }
        }
    }
}

/// A counter to begin with in compat mode. With the highest bit set: read as a time of strict mode, it lies past
/// 2042, so that nothing that is recorded now can be taken for one made just now then.
fn random() -> Result<u64, AgentError> {
    getrandom::u64()
        .map(|random| random | 1 << 63)
        .map_err(|error| AgentError::Os { what: "random numbers", cause: io::Error::other(error) })
}

/// How long a part of the agent may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the kernel program is told the time of day, and what went wrong is tried again.
const CLOCK: Duration = Duration::from_secs(1);
