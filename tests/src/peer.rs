//! The implementations that benches compare: each as its users would have it at its fastest, with the same way of
//! starting, ending, listening to and judging.

mod contest;
mod voice;

pub use contest::{Awakening, Contest, Fault, Outcome, Round};
pub use voice::{Takeover, Voice};

use std::fmt::{self, Display, Formatter};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::Agent;
use crate::config::AgentConfig;
use crate::frr::{BfddConfig, Frr, VrrpdConfig};
use crate::keepalived::{Keepalived, KeepalivedConfig};
use crate::lan::Node;
use crate::netns;
use crate::pair::{A, B, VIRTUAL};
use crate::process::cpu_time;
use crate::ucarp::{Ucarp, UcarpConfig};

/// An implementation, and how it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Ours.
    HaAgent,
    /// As it is by itself, VRRP version 3.
    Keepalived,
    /// keepalived with a real-time priority and its memory locked.
    KeepalivedRt,
    /// FRR's BFD, which has no virtual address and says only that its peer is down.
    Bfdd,
    /// FRR's VRRP, version 3.
    Vrrpd,
    /// The other CARP.
    Ucarp,
}

/// How fast a pair is. Of all, three advertisements may be missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one advertisement to the next. VRRP has whole hundredths of a second, BFD and ours whole milliseconds;
    /// ucarp can't but one second.
    pub interval: Duration,
    /// How much longer a standby waits, in 1/256 of an interval, 3 to 255. BFD knows no such thing.
    pub skew: u8,
}

impl Pace {
    /// The fastest that all but ucarp can, with the standby next to its active one in priority.
    pub const COMMON: Self = Self { interval: Duration::from_millis(10), skew: 3 };
}

/// Which of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has the better priority, and takes the role back.
    Active,
    /// Watches it.
    Standby,
}

/// One that runs; ended when dropped.
#[derive(Debug)]
pub enum Running {
    /// Ours.
    HaAgent(Agent),
    /// Either of the two.
    Keepalived(Keepalived),
    /// Either of the two.
    Frr(Frr),
    /// The other CARP.
    Ucarp(Ucarp),
}

/// What a standby says of its takeover.
#[derive(Clone, Copy, Debug)]
pub struct Testimony {
    /// From the end of its patience to the change of state.
    pub overshoot_ms: f64,
}

/// Has all of ours receive in this way from now on, as `receive` in their configuration says it; once.
pub fn receive_by(receive: String) {
    // Whoever says it twice is not heard the second time.
    let _ = RECEIVE.set(receive);
}

/// Has all of ours show themselves at port [`PAGE`] of their node's loopback from now on.
pub fn show_pages() {
    PAGES.store(true, Ordering::Relaxed);
}

impl Peer {
    /// Those that can [`Pace::COMMON`].
    pub const FAST: [Self; 5] =
        [Self::HaAgent, Self::Keepalived, Self::KeepalivedRt, Self::Bfdd, Self::Vrrpd];

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn start(self, node: &Node, role: Role, pace: Pace) -> Result<Running> {
        let active = role == Role::Active;
        let milliseconds = u16::try_from(pace.interval.as_millis())?;
        let advskew = if active { 0 } else { pace.skew };
        let priority = if active { ACTIVE_PRIORITY } else { standby_priority(pace) };
        let keepalived = |real_time| {
            let interval = milliseconds / 10;
            let config =
                KeepalivedConfig { vrid: VHID, priority, interval, real_time, ..KeepalivedConfig::default() };
            anyhow::Ok(Running::Keepalived(Keepalived::start(node, &config)?))
        };
        Ok(match self {
            Self::HaAgent => {
                let interval = Some(format!("{milliseconds}ms"));
                let detect = Some(u8::try_from(MISSED)?);
                let config = AgentConfig {
                    vhid: VHID,
                    advskew,
                    interval,
                    detect,
                    preempt: active,
                    receive: RECEIVE.get().cloned(),
                    web: PAGES.load(Ordering::Relaxed).then(String::new),
                    ..AgentConfig::default()
                };
                let agent = Agent::start(node, &config)?;
                agent.wait_for_state(0, "BACKUP")?;
                Running::HaAgent(agent)
            }
            Self::Keepalived => keepalived(None)?,
            Self::KeepalivedRt => keepalived(Some(REAL_TIME))?,
            Self::Bfdd => {
                let peer = if node.address == A { B } else { A };
                let config =
                    BfddConfig { peer, interval: milliseconds.into(), multiplier: u8::try_from(MISSED)? };
                Running::Frr(Frr::bfdd(node, &config)?)
            }
            Self::Vrrpd => {
                let address = VIRTUAL;
                let config = VrrpdConfig { vrid: VHID, address, priority, interval: milliseconds };
                Running::Frr(Frr::vrrpd(node, &config)?)
            }
            Self::Ucarp => {
                let config = UcarpConfig { vhid: VHID, advskew, ..UcarpConfig::default() };
                Running::Ucarp(Ucarp::start(node, &config)?)
            }
        })
    }

    /// How long a standby waits after the last advertisement: three intervals and what its priority adds (RFC 5798
    /// §6.1; CARP specification §5.1).
    #[must_use]
    pub fn dead_time(self, pace: Pace) -> Duration {
        let skew = match self {
            Self::HaAgent | Self::Keepalived | Self::KeepalivedRt | Self::Ucarp => {
                pace.interval * u32::from(pace.skew) / 256
            }
            // It counts in whole hundredths of a second.
            Self::Vrrpd => HUNDREDTH * (hundredths(pace.interval) * u32::from(pace.skew) / 256),
            Self::Bfdd => Duration::ZERO,
        };
        pace.interval * MISSED + skew
    }

    /// So long a takeover is waited for.
    #[must_use]
    pub fn patience(self) -> Duration {
        match self {
            Self::HaAgent | Self::Keepalived | Self::KeepalivedRt | Self::Bfdd | Self::Vrrpd => {
                Duration::from_secs(2)
            }
            // It hears what came up to a second ago, and is late by seconds when it works as it should.
            Self::Ucarp => Duration::from_secs(15),
        }
    }

    /// So many advertisements of the active one in a row, with none of the standby's between, are calm.
    #[must_use]
    pub fn calm(self) -> u32 {
        match self {
            Self::HaAgent | Self::Keepalived | Self::KeepalivedRt | Self::Bfdd | Self::Vrrpd => 10,
            Self::Ucarp => 4,
        }
    }

    /// Whether it looks after a virtual address.
    #[must_use]
    pub fn has_address(self) -> bool {
        match self {
            Self::HaAgent | Self::Keepalived | Self::KeepalivedRt | Self::Vrrpd | Self::Ucarp => true,
            Self::Bfdd => false,
        }
    }

    /// The workspace's version, or the Debian package's.
    #[must_use]
    pub fn version(self) -> String {
        let package = match self {
            Self::HaAgent => {
                let receive = RECEIVE.get().map(|receive| format!(", receives by {receive}"));
                return env!("CARGO_PKG_VERSION").to_owned() + receive.as_deref().unwrap_or_default();
            }
            Self::Keepalived | Self::KeepalivedRt => "keepalived",
            Self::Bfdd | Self::Vrrpd => "frr",
            Self::Ucarp => "ucarp",
        };
        netns::run("dpkg-query", &format!("--show --showformat ${{Version}} {package}"))
            .unwrap_or_else(|_| "unknown".to_owned())
    }
}

impl Display for Peer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HaAgent => "ha-agent",
            Self::Keepalived => "keepalived",
            Self::KeepalivedRt => "keepalived-rt",
            Self::Bfdd => "bfdd",
            Self::Vrrpd => "vrrpd",
            Self::Ucarp => "ucarp",
        })
    }
}

impl Running {
    /// The numbers of its processes.
    ///
    /// # Errors
    ///
    /// If one of them is not there.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        Ok(match self {
            Self::HaAgent(agent) => vec![agent.process.pid()],
            Self::Keepalived(keepalived) => keepalived.pids()?.to_vec(),
            Self::Frr(frr) => frr.pids().to_vec(),
            Self::Ucarp(ucarp) => vec![ucarp.process.pid()],
        })
    }

    /// Processor time that it has used so far.
    ///
    /// # Errors
    ///
    /// If one of its processes is not there.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.pids()?.into_iter().map(cpu_time).sum()
    }

    /// Sends a signal to all of its processes.
    ///
    /// # Errors
    ///
    /// If one of them is not there.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.pids()?.into_iter().try_for_each(|pid| Ok(kill(pid, signal)?))
    }

    /// Kills all of its processes (`SIGKILL`), and waits until they have ended.
    ///
    /// # Errors
    ///
    /// If they do not end.
    pub fn kill(&mut self) -> Result<()> {
        match self {
            Self::HaAgent(agent) => agent.kill(),
            Self::Keepalived(keepalived) => keepalived.kill(),
            Self::Frr(frr) => frr.kill(),
            Self::Ucarp(ucarp) => ucarp.process.kill(),
        }
    }

    /// Removes what it has left in the kernel, if it was killed.
    pub fn forget(&mut self) {
        match self {
            Self::HaAgent(agent) => agent.forget(),
            Self::Keepalived(_) | Self::Frr(_) | Self::Ucarp(_) => {}
        }
    }

    /// Lets it leave in order (`SIGTERM`), and waits until it has ended.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub fn leave(&mut self) -> Result<()> {
        let process = match self {
            Self::HaAgent(agent) => &mut agent.process,
            Self::Keepalived(keepalived) => &mut keepalived.process,
            Self::Frr(frr) => return frr.leave(),
            Self::Ucarp(ucarp) => &mut ucarp.process,
        };
        process.signal(Signal::SIGTERM)?;
        process.wait(PATIENCE).map(drop)
    }

    /// How much it has printed: where to look from for its testimony.
    #[must_use]
    pub fn mark(&self) -> usize {
        match self {
            Self::HaAgent(agent) => agent.mark(),
            Self::Keepalived(_) | Self::Frr(_) | Self::Ucarp(_) => 0,
        }
    }

    /// What it says of its last takeover since a mark; `None` if it does not write that down.
    ///
    /// # Errors
    ///
    /// If there was none.
    pub fn testimony(&self, from: usize) -> Result<Option<Testimony>> {
        match self {
            Self::HaAgent(agent) => {
                agent.wait_for_state(from, "MASTER")?;
                let vhost = agent.vhost()?;
                let history = vhost["history"].as_array().into_iter().flatten();
                let mut takeovers = history.rev().filter(|change| change["cause"] == "silence");
                let times = takeovers
                    .find_map(|change| Some((change["at_ns"].as_u64()?, change["deadline_ns"].as_u64()?)));
                let testimony = |(at, deadline)| Testimony { overshoot_ms: milliseconds(at, deadline) };
                Ok(times.map(testimony))
            }
            Self::Keepalived(_) | Self::Frr(_) | Self::Ucarp(_) => Ok(None),
        }
    }
}

/// From one moment to another, both in ns.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "differences far below 2^52 ns")]
pub fn milliseconds(to: u64, from: u64) -> f64 {
    if to >= from { (to - from) as f64 / 1e6 } else { -((from - to) as f64 / 1e6) }
}

/// A time in ns.
#[must_use]
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The priority of a standby in VRRP: the greater, the sooner.
#[must_use]
pub fn standby_priority(pace: Pace) -> u8 {
    u8::MAX - pace.skew + 1
}

fn hundredths(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / 10).unwrap_or(u32::MAX)
}

/// The virtual host, and the virtual router, of every peer.
pub const VHID: u8 = 10;
/// How many advertisements may be missed.
pub const MISSED: u32 = 3;
/// The best that does not own the address.
const ACTIVE_PRIORITY: u8 = 254;
/// Of keepalived.
const REAL_TIME: u8 = 50;
const HUNDREDTH: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the pages of ours are, on their own nodes.
pub const PAGE: &str = "127.0.0.1:7781";

/// Whether ours have pages.
static PAGES: AtomicBool = AtomicBool::new(false);

/// How ours receive, where that is not left to them.
static RECEIVE: OnceLock<String> = OnceLock::new();
