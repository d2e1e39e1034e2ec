//! The agent's life: everything started in order, watched while it runs, ended in order.
//!
//! ```text
//!   kernel ──ring──▶ detector (fast thread: core, sender) ──orders──▶ executors ──▶ journal
//!                        ▲  ▲                                             │
//!   netlink ──▶ follower ┘  └──────────────── released ───────────────────┘
//!   control socket ──▶ status: asks the detector, reads journal and counters
//! ```

pub mod detector;
pub mod interfaces;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ha_common::abi::{COMMON_SLOT, Keys, MAX_HOSTS};
use ha_common::auth::{Mac, Message, key};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::cli::exit::Exit;
use crate::config::{Config, Passphrase, VhostConfig};
use crate::control::server::{Server, ServerError, Source};
use crate::control::status::{Clocks, Parts, Status, VhostStatus, by_reason};
use crate::core::{Instant, Priority, Settings};
use crate::dataplane::{Counters, Dataplane, LoadError, Loaded};
use crate::exec::{Executor, Order};
use crate::journal::Journal;
use crate::net::link::Monitor;
use crate::sys::{capabilities, clock};
use detector::{Input, VhostSetup};
use interfaces::{FollowError, Follower, Member, Modes};

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
    /// The kernel program.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An interface.
    #[error(transparent)]
    Interface(#[from] FollowError),
    /// The kernel does not tell about interfaces.
    #[error("the interfaces could not be read by netlink: {0}; is CONFIG_NET available in this kernel?")]
    Netlink(#[source] rtnetlink::Error),
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
            Self::Load(error) => error.exit(),
            Self::Interface(error) => error.exit(),
            Self::Netlink(_) => Exit::Unavailable,
            Self::Os { .. } => Exit::Os,
            Self::Ended(_) => Exit::Software,
        }
    }
}

/// Runs until SIGTERM, SIGINT or SIGHUP, then leaves in order.
///
/// # Errors
///
/// See [`AgentError`]. Whatever was attached or taken until then is given back.
pub async fn run(config: Config, socket: &Path) -> Result<(), AgentError> {
    if let Some(missing) = capabilities::missing() {
        return Err(AgentError::NoPermission(missing));
    }
    if config.vhosts.len() > MAX_HOSTS {
        return Err(AgentError::TooMany(config.vhosts.len()));
    }
    // Before anything is attached: from here on a signal ends the agent in order.
    let mut signals = Signals::new().map_err(|cause| AgentError::Os { what: "signals", cause })?;
    let monitor = Monitor::open().map_err(|cause| AgentError::Os { what: "a netlink socket", cause })?;
    let server = Server::bind(socket)?;
    let Loaded { mut dataplane, mut tables, events, counters, .. } = Dataplane::load()?;
    match dataplane.log() {
        Ok(log) => drop(tokio::spawn(log)),
        Err(error) => tracing::warn!(%error, "the kernel program's own log can't be read"),
    }

    let started = clock::now();
    let journal = Arc::new(Journal::default());
    let modes = Modes::default();
    let (inputs, input_queue) = mpsc::unbounded_channel();
    let mut executors = JoinSet::new();
    let mut setups = Vec::new();
    let mut members = Vec::new();
    let mut faults = Vec::new();
    for (vhost, vhost_config) in config.vhosts.iter().enumerate() {
        let (orders, order_queue) = mpsc::unbounded_channel();
        let (fault, shown_fault) = watch::channel(None);
        let executor = Executor {
            vhost,
            name: vhost_config.name.clone(),
            detector: inputs.clone(),
            journal: Arc::clone(&journal),
            fault,
        };
        executors.spawn(executor.run(order_queue));
        let setup = setup(vhost_config, &config.auth.passphrases[0], orders.clone())?;
        let mut keys = Keys { count: 1, ..Keys::NONE };
        keys.macs[0] = setup.mac;
        tables.set_keys(key_set(vhost), &keys)?;
        setups.push(setup);
        members.push(Member { config: vhost_config.clone(), orders });
        faults.push(shown_fault);
    }
    let mut follower =
        Follower::new(dataplane, tables, monitor.netlink(), members, Arc::clone(&modes), inputs.clone());
    let interfaces = monitor.interfaces().await.map_err(AgentError::Netlink)?;
    // At start, unlike later, an interface that can't be used is a mistake of the operator's.
    if let Some(error) = follower.apply(&interfaces).into_iter().next() {
        return Err(error.into());
    }
    let mut detector = detector::start(setups, events, input_queue)
        .map_err(|cause| AgentError::Os { what: "the detector's thread", cause })?;

    let reporter = Reporter { config, counters, journal, modes, faults, started, detector: inputs.clone() };
    tracing::info!(node = reporter.config.node, socket = %socket.display(), "running");
    let reporter = Arc::new(reporter);
    let result = tokio::select! {
        signal = signals.next() => {
            tracing::info!("{signal}: leaving");
            Ok(())
        }
        () = server.serve(reporter) => Err(AgentError::Ended("the control socket")),
        () = follow(monitor, &mut follower) => Err(AgentError::Ended("the netlink connection")),
        _ = &mut detector => Err(AgentError::Ended("the detector")),
        _ = executors.join_next() => Err(AgentError::Ended("an executor")),
    };
    if !detector.is_terminated() {
        leave(&inputs, detector).await;
    }
    // However the detector ended. The senders of orders go with it and with the follower: the executors then
    // finish what they have.
    follower.release();
    if tokio::time::timeout(PATIENCE, async { while executors.join_next().await.is_some() {} }).await.is_err()
    {
        tracing::error!("the kernel did not finish removing addresses; look with `ip address`");
    }
    result
}

/// Keeps everything in line with the interfaces, for ever.
async fn follow(mut monitor: Monitor, follower: &mut Follower) {
    let mut shown = Vec::new();
    loop {
        let troubles = match monitor.interfaces().await {
            Ok(interfaces) => follower.apply(&interfaces).iter().map(ToString::to_string).collect(),
            Err(error) => vec![AgentError::Netlink(error).to_string()],
        };
        for trouble in &troubles {
            if !shown.contains(trouble) {
                tracing::warn!("{trouble}");
            }
        }
        let retry = if troubles.is_empty() { Duration::MAX } else { RETRY };
        shown = troubles;
        match tokio::time::timeout(retry, monitor.changed()).await {
            Ok(true) | Err(_) => {}
            Ok(false) => return,
        }
    }
}

/// Lets the detector leave all virtual hosts, and waits until it has.
async fn leave(inputs: &mpsc::UnboundedSender<Input>, detector: oneshot::Receiver<()>) {
    // If it is gone, there is nothing to leave.
    let _ = inputs.send(Input::Leave);
    match tokio::time::timeout(PATIENCE, detector).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::error!("the detector ended before it could leave"),
        Err(_) => tracing::error!("the detector does not leave; ending without it"),
    }
}

fn setup(
    config: &VhostConfig,
    passphrase: &Passphrase,
    orders: mpsc::UnboundedSender<Order>,
) -> Result<VhostSetup, AgentError> {
    let addresses: Vec<[u8; 4]> = config.ipv4().map(|network| network.addr().octets()).collect();
    let message = Message { vhid: config.vhid, ipv4: &addresses, ipv6: &[], link_local: true, lladdr: None };
    let counter = getrandom::u64()
        .map_err(|error| AgentError::Os { what: "random numbers", cause: io::Error::other(error) })?;
    Ok(VhostSetup {
        settings: Settings {
            priority: Priority { advbase: config.advbase, advskew: config.advskew },
            pace: config.pace.into(),
            preempt: config.preempt,
        },
        vhid: config.vhid,
        mac: Mac::new(&key(passphrase.as_bytes()), &message),
        counter,
        orders,
    })
}

/// The number of a virtual host in the kernel's maps, by its index in the configuration.
fn number(vhost: usize) -> u32 {
    // There are at most MAX_HOSTS.
    u32::try_from(vhost).unwrap_or(u32::MAX).saturating_add(1)
}

/// Where its keys are.
fn key_set(vhost: usize) -> u32 {
    2 * (number(vhost) - 1)
}

/// Where its counters are.
fn slot(vhost: usize) -> u32 {
    2 * number(vhost) - 1
}

/// Puts the status together from those who know.
struct Reporter {
    config: Config,
    counters: Counters,
    journal: Arc<Journal>,
    modes: Modes,
    faults: Vec<watch::Receiver<Option<String>>>,
    started: Instant,
    detector: mpsc::UnboundedSender<Input>,
}

impl Source for Reporter {
    async fn status(&self) -> Result<Status, String> {
        let (reply, answer) = oneshot::channel();
        let asked = self.detector.send(Input::Snapshot(reply));
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let (Ok(()), Ok(Ok(snapshot))) = (asked, answer) else {
            return Err("the detector does not answer".to_owned());
        };
        let clocks = Clocks { wall: Timestamp::now(), monotonic: clock::now() };
        let read = |slot| self.counters.read(slot).map_err(|error| error.to_string());
        let modes: BTreeMap<_, _> = self.modes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut vhosts = Vec::new();
        for (vhost, config) in self.config.vhosts.iter().enumerate() {
            let (Some(detector), Some(fault)) = (snapshot.vhosts.get(vhost), self.faults.get(vhost)) else {
                continue;
            };
            let parts = Parts {
                config,
                detector,
                kernel: read(slot(vhost))?,
                journal: self.journal.of(vhost),
                started: self.started,
                receive: modes.get(&config.interface).map(ToString::to_string),
                fault: fault.borrow().clone(),
            };
            vhosts.push(VhostStatus::new(clocks, &parts));
        }
        Ok(Status {
            node: self.config.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            as_of: clocks.wall,
            as_of_monotonic_ns: clocks.monotonic.as_nanos(),
            vhosts,
            other_frames: by_reason(&read(COMMON_SLOT)?),
        })
    }
}

/// The signals that end the agent.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    /// The terminal was closed.
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

/// How long a part of the agent may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long until an interface that could not be used is tried again.
const RETRY: Duration = Duration::from_secs(1);
