//! The agent's life: everything started in order, watched while it runs, ended in order.
//!
//! ```text
//!   kernel ──ring──▶ detector (fast thread: core, sender) ──orders──▶ executor ──reports──▶ clerk: journal, log
//!                        ▲  ▲ └──notes──▶ watchman: log              │  (own thread)
//!   netlink ──▶ follower ┘  └──────────────── released ──────────────┘
//!                 ▲    └──▶ rules, in the kernel's maps
//!   peer link ──▶ status: asks nobody, and nobody waits for it
//!             └──▶ shared: what both are configured with ──▶ reload
//!   control socket, SIGHUP ──▶ reload; status: asks the detector, reads journal and counters
//! ```

mod attachments;
mod calls;
mod clerk;
pub mod detector;
mod ending;
mod error;
mod exchange;
mod follow_error;
mod follow_events;
mod follow_switchover;
pub mod hosts;
pub mod interfaces;
mod manager;
mod memory;
mod notices;
mod notifier;
mod observer;
mod pair;
pub mod realtime;
mod reception;
mod reporter;
mod restarts;
mod rules;
mod shared;
mod signals;
pub mod understudy;
mod updates;
mod upkeep;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ha_common::abi::{self, MAX_HOSTS};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{Config, LeaseConfig, LeaseDrop, PeerConfig};
use crate::control::http;
use crate::control::server::Server;
use crate::control::views::Views;
use crate::core::reasons::Heartbeat;
use crate::dataplane::{Dataplane, Lease, Loaded, Pins, Standings};
use crate::exec::{self, Desk};
use crate::journal::Journal;
use crate::journal::events::Events;
use crate::journal::recorder::{Recorder, Recording};
use crate::journal::trace::{self, Header};
use crate::net::link::Monitor;
use crate::peer::link::{self, Link};
use crate::sys::hurry::Hurry;
use crate::sys::{capabilities, clock, process};
use crate::update::package::Places;
use clerk::{Clerk, Faults};
use detector::groups::Groups;
use detector::lease::{Terms, Vouching};
use detector::{Channels, Input, Snapshot, VhostSetup};
use ending::{Parts, end};
pub use error::AgentError;
use exchange::Known;
pub use follow_error::FollowError;
use interfaces::{Follower, Member, Modes, Stays, Told};
use memory::Keeper;
use notices::{Suspected, Watchman};
use pair::{ChargeHandle, Secretary};
pub use pair::{RecordFileError, examine};
use realtime::Granted;
use reception::Reception;
use reporter::Reporter;
use restarts::Restarts;
pub use restarts::keeps_pace;
use rules::Rules;
use shared::Sharing;
use signals::{Signal, Signals};
use updates::Updates;

/// What the agent is run with.
#[derive(Debug)]
pub struct Files {
    /// Where the configuration is; it is read again on a reload.
    pub config: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Where is kept what survives a restart; used in strict mode only.
    pub state: PathBuf,
    /// Where is kept what outlives the agent's process, on a bpffs.
    pub pins: PathBuf,
    /// Where is recorded what the machines are told and decide; `None` for nowhere. It must not exist.
    pub record: Option<PathBuf>,
}

impl Files {
    /// Those that the next agent has as well.
    fn places(&self) -> Places {
        Places {
            config: self.config.clone(),
            control: self.socket.clone(),
            pins: self.pins.clone(),
            state: self.state.clone(),
        }
    }
}

/// Why the agent ended in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// This program is to go on in its place, with the same arguments.
    Succeeded(PathBuf),
    /// It has left nothing: the next agent goes on with all that was served. If a program is named, in its place.
    Stays(Option<PathBuf>),
}

/// What was asked, and where the answer goes: what was done, or why nothing was.
type Reload = oneshot::Sender<Result<String, String>>;

/// Runs until SIGTERM or SIGINT, then leaves in order. SIGHUP reloads the configuration. The hurry is over once it serves.
///
/// # Errors
///
/// See [`AgentError`]. Whatever was attached or taken until then is given back.
#[expect(clippy::too_many_lines, reason = "the order of the start, from its beginning to its end")]
pub async fn run(config: Config, files: Files, hurry: &Hurry) -> Result<Ended, AgentError> {
    is_possible(&config)?;
    // Before anything is attached: from here on a signal ends the agent in order.
    let mut signals = Signals::new().map_err(|cause| AgentError::Os { what: "signals", cause })?;
    let monitor = Monitor::open().map_err(|cause| AgentError::Os { what: "a netlink socket", cause })?;
    let server = Server::bind(&files.socket)?;
    // Only whoever has the socket is the agent here, and may say that another one's trial is over.
    let (ends, mut told) = mpsc::channel(1);
    let (updates, restarts) = (Updates::new(&files, ends.clone())?, Restarts::new(&files, ends)?);
    let stories = Events::start(&files.state);
    let recording = files.record.as_deref().map(Recording::create).transpose()?;
    let Loaded {
        mut dataplane,
        tables,
        events,
        counters,
        memory,
        given,
        patiences,
        lease,
        mut standings,
        ..
    } = Dataplane::load_pinned(pins(&files.pins))?;
    follow_log(&mut dataplane);
    let (journal, modes, counters) = (Arc::new(Journal::default()), Modes::default(), Arc::new(counters));
    let (inputs, input_queue) = mpsc::unbounded_channel();
    let (notes, note_queue) = mpsc::unbounded_channel();
    let (secretary, pair_outputs) = Secretary::open(&config, &files.state, inputs.clone(), &stories)?;
    let shown = secretary.as_ref().map(Secretary::shown);
    let witness = secretary.as_ref().and_then(Secretary::witness);
    let charge = secretary.as_ref().and_then(Secretary::charge);
    let rules = Rules::new(tables, Arc::clone(&counters), &config)?;
    let keeper = Keeper::open(&files.state, config.auth.mode, memory, inputs.clone())?;
    let (faults, suspected) = (Faults::default(), Suspected::default());
    let (desk, mut executor) = start_executor(&config, &inputs, Clerk::new(&journal, &faults, &stories))?;
    let reception = Reception::new(desk, keeper.mind());
    let (setups, members) = receive(&config, &mut standings, &reception)?;
    let told_too = Told { modes: Arc::clone(&modes), detector: inputs.clone() };
    let mut follower = Follower::new(dataplane, rules, monitor.netlink(), reception, members, told_too);
    let channels = Channels {
        events,
        given,
        patiences,
        standings,
        vouching: vouching(&config, lease, charge.as_ref()),
        inputs: input_queue,
        notes,
        pair: pair_outputs,
        groups: Groups::new(&config.vhosts),
        is_paired: pair::is_paired(&config),
        recorder: None,
    };
    let begun = begin(&config, &monitor, &mut follower, recording, setups, channels, hurry).await;
    let Begun { granted, mut detector, written } = match begun {
        Ok(begun) => begun,
        Err(error) => {
            end(follower, executor, Stays::Nothing).await;
            return Err(error);
        }
    };

    let mut link = start_link(&config);
    let mut pairing = tokio::spawn(pair::serve(secretary, link.as_mut()));
    let calls = link.as_mut().and_then(Link::take_calls);
    let (pair, known) = watch::channel(Known::default());
    let watchman = Watchman::new(Arc::clone(&counters), suspected.clone(), stories.clone(), inputs.clone());
    let (reloads, mut reload_queue) = mpsc::channel(1);
    let (shown_config, config) = watch::channel(Arc::new(config));
    let (heartbeat, interlink) = watch::channel(Heartbeat::default());
    let sharing = Sharing::start(&files.config, &config, &reloads, link.as_ref().map(Link::speaker), &known);
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
        interlink,
        speaker: link.as_ref().map(Link::speaker),
        pair: known,
        shown,
        sharing,
        witness,
        charge,
        events: stories,
        updates,
        restarts,
        views: Views::default(),
    });
    let (end_keeping, kept) = oneshot::channel();
    let mut keeping = tokio::spawn(keeper.run(reporter.config.clone(), kept));
    let source = upkeep::Source { files: &files, shown: &shown_config, events: &reporter.events };
    let follow = upkeep::follow(monitor, &mut follower, &mut reload_queue, source, &heartbeat);
    let result = tokio::select! {
        ended = until_told_to_end(&mut signals, &reloads, &mut told, &reporter) => Ok(ended),
        () = calls::serve(calls, &reporter) => Err(AgentError::Ended("the peer link")),
        () = observer::run(&reporter) => Err(AgentError::Ended("the events")),
        () = exchange::run(link.as_ref(), &reporter, pair) => Err(AgentError::Ended("the peer link")),
        () = answer(&server, &reporter, &files.socket) => Err(AgentError::Ended("the control socket")),
        () = follow => Err(AgentError::Ended("the netlink connection")),
        () = watchman.run(note_queue) => Err(AgentError::Ended("the detector")),
        why = &mut pairing => Err(why.map_or(AgentError::Ended("the pair"), AgentError::EndedHard)),
        _ = &mut keeping => Err(AgentError::Ended("the memory")),
        _ = &mut detector => Err(AgentError::Ended("the detector")),
        _ = &mut executor => Err(AgentError::Ended("the executor")),
    };
    Parts { inputs, detector, end_keeping, keeping, follower, executor, pairing, link, written }
        .end(&result, &reporter, &files.state, hurry)
        .await;
    result
}

/// Answers those who ask, and those who go on looking.
async fn answer(server: &Server, reporter: &Arc<Reporter>, socket: &Path) {
    manager::ready(reporter, socket);
    // Without the lock, which the next configuration needs.
    let web = reporter.config.borrow().web.clone();
    let page = async {
        match web {
            Some(web) => http::serve(web, Arc::clone(reporter)).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(server.serve(Arc::clone(reporter)), reporter.views.run(&**reporter), page);
}

fn is_possible(config: &Config) -> Result<(), AgentError> {
    if let Some(missing) = capabilities::missing(!config.charge.is_empty()) {
        return Err(AgentError::NoPermission(missing));
    }
    match config.vhosts.len() {
        ..=MAX_HOSTS => Ok(()),
        many => Err(AgentError::TooMany(many)),
    }
}

/// Where the kernel's part outlives the agent. Without such a place it serves all the same.
fn pins(directory: &Path) -> Option<Pins> {
    let pins = Pins::open(directory);
    pins.inspect_err(|error| tracing::warn!("the kernel's part ends with this agent: {error}")).ok()
}

/// Who vouches for this node, if anybody is to.
fn vouching(config: &Config, mut lease: Lease, charge: Option<&ChargeHandle>) -> Option<Vouching> {
    let LeaseConfig { length, drop } = config.lease;
    let all = match drop {
        LeaseDrop::All => true,
        LeaseDrop::Requests => false,
    };
    let Some(length) = length else {
        // An earlier agent may have granted one.
        let ended = lease.grant(abi::Lease::default());
        ended.unwrap_or_else(|error| tracing::error!("an earlier agent's lease can't be ended: {error}"));
        return None;
    };
    // Until the virtual hosts are known.
    let after = length;
    let terms = Terms { length, all, process: process::id_on_machine(), after };
    Some(Vouching::new(lease, terms, charge.map(ChargeHandle::proof)))
}

fn follow_log(dataplane: &mut Dataplane) {
    match dataplane.log() {
        Ok(log) => drop(tokio::spawn(log)),
        Err(error) => tracing::warn!(%error, "the kernel program's own log can't be read"),
    }
}

/// Starts the link to the peer, if there is to be one. It is no reason not to serve.
fn start_link(config: &Config) -> Option<Link> {
    let PeerConfig { listen, connect, heartbeat, dead_after, directory, shared: _ } = config.peer.clone()?;
    let node = config.node.clone();
    let settings = link::Settings { node, listen, connect, heartbeat, dead_after, directory };
    let started = Link::start(settings);
    started.inspect_err(|error| tracing::error!("no link to the peer: {error}; restart ha-agent")).ok()
}

/// What runs once the interfaces are known.
struct Begun {
    granted: Granted,
    detector: oneshot::Receiver<Snapshot>,
    written: Option<oneshot::Receiver<()>>,
}

/// Takes up the interfaces, and starts the detector.
async fn begin(
    config: &Config,
    monitor: &Monitor,
    follower: &mut Follower,
    recording: Option<Recording>,
    setups: Vec<VhostSetup>,
    channels: Channels,
    hurry: &Hurry,
) -> Result<Begun, AgentError> {
    // At start, unlike later, an interface that can't be used is a mistake of the operator's.
    upkeep::begin(monitor, follower).await?;
    follower.forget_others();
    // After everything that was needed for the start only: what is locked stays.
    let granted = Granted::ask(&config.realtime);
    let started = record(recording, config).and_then(|(recorder, written)| {
        let channels = Channels { recorder, ..channels };
        Ok((detector::start(setups, config.auth.mode, config.realtime.priority, channels)?, written))
    });
    let (detector, written) = started.map_err(|cause| AgentError::Os { what: "a thread", cause })?;
    hurry.set(false);
    Ok(Begun { granted, detector, written })
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

/// Starts the executor, and the clerk who ends with it.
fn start_executor(
    config: &Config,
    detector: &mpsc::UnboundedSender<Input>,
    clerk: Clerk,
) -> Result<(Desk, JoinHandle<()>), AgentError> {
    let (reports, queue) = mpsc::unbounded_channel();
    // Below the fast thread: an advertisement is due at its time, an address as soon as possible.
    let priority = config.realtime.priority.map(|priority| (priority - 1).max(1));
    let desk = exec::start(priority, detector, reports)
        .map_err(|cause| AgentError::Os { what: "the executor's thread", cause })?;
    Ok((desk, tokio::spawn(clerk.run(queue))))
}

/// Takes in the virtual hosts that there are from the start.
fn receive(
    config: &Config,
    standings: &mut Standings,
    reception: &Reception,
) -> Result<(Vec<VhostSetup>, BTreeMap<usize, Member>), AgentError> {
    let (mut setups, mut members) = (Vec::new(), BTreeMap::new());
    for (vhost, resumes) in config.vhosts.iter().zip(restarts::resumed(standings, &config.vhosts)) {
        let (setup, member) = reception.receive(vhost, &config.auth, resumes)?;
        setups.push(setup);
        members.insert(vhost.index, member);
    }
    Ok((setups, members))
}

/// Reloads on each SIGHUP. Returns once a signal or an order is to end the agent.
async fn until_told_to_end(
    signals: &mut Signals,
    reloads: &mpsc::Sender<Reload>,
    told: &mut mpsc::Receiver<Ended>,
    reporter: &Reporter,
) -> Ended {
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::End(name) => {
                    let ended = reporter.restarts.told(&reporter.config.borrow());
                    match ended {
                        Ended::Stays(_) => tracing::info!("{name}: the next agent goes on"),
                        Ended::Told | Ended::Succeeded(_) => tracing::info!("{name}: leaving"),
                    }
                    reporter.updates.call_off();
                    return ended;
                }
                Signal::Reload => {
                    let (reply, answer) = oneshot::channel();
                    // The log tells how it went.
                    let _ = reloads.send(reply).await;
                    drop(answer.await);
                }
            },
            Some(ended) = told.recv() => {
                if let Ended::Succeeded(next) | Ended::Stays(Some(next)) = &ended {
                    tracing::info!("ending, so that {} goes on here", next.display());
                }
                return ended;
            }
        }
    }
}

/// How long a part of the agent may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(2);
