//! The three that are flooded: each as its users would have it at its fastest, with the same way of starting,
//! cutting off and judging.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::Result;
use lab::process::cpu_time;
use lab::{Agent, AgentConfig, Keepalived, KeepalivedConfig, Node, Ucarp, UcarpConfig};

use super::frames::{HUNDREDTHS, STANDBY_PRIORITY, VHID};

/// An implementation, and how it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Ours: `interval = "10ms"`, `detect = 3`.
    HaAgent,
    /// `advert_int 0.01`, of which three may be missed.
    Keepalived,
    /// `--advbase=1`, which is its fastest.
    Ucarp,
}

/// Which of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Has the better priority, and takes the role back.
    Active,
    /// Is flooded.
    Standby,
}

/// One that runs; ended when dropped.
#[derive(Debug)]
pub(crate) enum Running {
    HaAgent(Agent),
    Keepalived(Keepalived),
    Ucarp(Ucarp),
}

/// What a standby says of its takeover.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Testimony {
    /// From the end of its patience to the change of state.
    pub(crate) overshoot_ms: f64,
}

impl Peer {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::HaAgent, Self::Keepalived, Self::Ucarp];

    /// Starts it and waits until it listens.
    pub(crate) fn start(self, node: &Node, role: Role) -> Result<Running> {
        let active = role == Role::Active;
        Ok(match self {
            Self::HaAgent => {
                let advskew = if active { 0 } else { STANDBY_SKEW };
                let config = AgentConfig { vhid: VHID, advskew, ..AgentConfig::default() };
                let agent = Agent::start(node, &config)?;
                agent.wait_for_state(0, "BACKUP")?;
                Running::HaAgent(agent)
            }
            Self::Keepalived => {
                let priority = if active { ACTIVE_PRIORITY } else { STANDBY_PRIORITY };
                let interval = HUNDREDTHS.into();
                let config =
                    KeepalivedConfig { vrid: VHID, priority, interval, ..KeepalivedConfig::default() };
                Running::Keepalived(Keepalived::start(node, &config)?)
            }
            Self::Ucarp => {
                let advskew = if active { 0 } else { STANDBY_SKEW };
                let config = UcarpConfig { vhid: VHID, advskew, ..UcarpConfig::default() };
                Running::Ucarp(Ucarp::start(node, &config)?)
            }
        })
    }

    /// From one advertisement to the next.
    pub(crate) fn interval(self) -> Duration {
        match self {
            Self::HaAgent => Duration::from_millis(10),
            Self::Keepalived => Duration::from_millis(10) * u32::from(HUNDREDTHS),
            Self::Ucarp => Duration::from_secs(1),
        }
    }

    /// How long a standby waits after the last advertisement: three intervals and what its priority adds (RFC 5798
    /// §6.1; CARP specification §5.1).
    pub(crate) fn dead_time(self) -> Duration {
        let skew = match self {
            Self::HaAgent | Self::Ucarp => u32::from(STANDBY_SKEW),
            Self::Keepalived => 256 - u32::from(STANDBY_PRIORITY),
        };
        self.interval() * 3 + self.interval() * skew / 256
    }

    /// So long a takeover is waited for.
    pub(crate) fn patience(self) -> Duration {
        match self {
            Self::HaAgent | Self::Keepalived => Duration::from_secs(2),
            // It hears what came up to a second ago, and is late by seconds when it works as it should.
            Self::Ucarp => Duration::from_secs(15),
        }
    }

    /// So many advertisements of the active one in a row, with none of the standby's between, are calm.
    pub(crate) fn calm(self) -> u32 {
        match self {
            Self::HaAgent | Self::Keepalived => 10,
            Self::Ucarp => 4,
        }
    }

    /// How often the active one is cut off, of so often as was asked for.
    pub(crate) fn rounds(self, asked: u32) -> u32 {
        match self {
            Self::HaAgent | Self::Keepalived => asked,
            // Each takes it ten seconds and more.
            Self::Ucarp => asked.min(4),
        }
    }
}

impl Display for Peer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HaAgent => "ha-agent",
            Self::Keepalived => "keepalived",
            Self::Ucarp => "ucarp",
        })
    }
}

impl Running {
    /// Processor time that it has used so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        match self {
            Self::HaAgent(agent) => cpu_time(agent.process.pid()),
            Self::Keepalived(keepalived) => keepalived.pids()?.into_iter().map(cpu_time).sum(),
            Self::Ucarp(ucarp) => cpu_time(ucarp.process.pid()),
        }
    }

    /// How much it has printed: where to look from for its testimony.
    pub(crate) fn mark(&self) -> usize {
        match self {
            Self::HaAgent(agent) => agent.mark(),
            Self::Keepalived(_) | Self::Ucarp(_) => 0,
        }
    }

    /// What it says of its last takeover since a mark; `None` if it does not write that down.
    pub(crate) fn testimony(&self, from: usize) -> Result<Option<Testimony>> {
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
            Self::Keepalived(_) | Self::Ucarp(_) => Ok(None),
        }
    }
}

/// From one moment to another, both in ns.
#[expect(clippy::cast_precision_loss, reason = "differences far below 2^52 ns")]
pub(crate) fn milliseconds(to: u64, from: u64) -> f64 {
    if to >= from { (to - from) as f64 / 1e6 } else { -((from - to) as f64 / 1e6) }
}

const STANDBY_SKEW: u8 = 10;
const ACTIVE_PRIORITY: u8 = 200;
