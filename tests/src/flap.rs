//! A pair whose role goes to and fro, and a client that must not miss its answers for long.
//!
//! A round is one [`Fault`] and its end, until one node alone advertises again. All is judged by the client: the
//! longest time that it was without an answer while somebody could have given one.

mod fault;

pub use fault::Fault;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::agent::Agent;
use crate::capture::{Captured, now_ns};
use crate::client::{Client, Echo};
use crate::config::AgentConfig;
use crate::lan::Node;
use crate::pair::{Pair, VIRTUAL, VIRTUAL6};
use crate::peer::{Pace, Peer, Role, Running, Takeover, VHID, Voice};
use crate::random::Random;
use crate::watched::unless_interrupted;

/// Two nodes, a client, and whoever looks on. What needs something stands before it: fields are dropped in their
/// order.
#[derive(Debug)]
pub struct Stage {
    /// How it was made.
    pub style: Style,
    client: Client,
    _echoes: [Echo; 2],
    actors: [Running; 2],
    guest: Node,
    pair: Pair,
    random: Random,
}

/// Who runs on both nodes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Who.
    pub peer: Peer,
    /// Whether A takes the role back whenever it can. Only ours can do without.
    pub returns: bool,
    /// Which virtual address the client asks: [`VIRTUAL`], or of ours [`VIRTUAL6`], too.
    pub address: IpAddr,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// [`Pair::a`], which has the better priority.
    A,
    /// [`Pair::b`].
    B,
}

/// One fault, and what the client noticed of it.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// When the fault began, in ns of `CLOCK_MONOTONIC`.
    pub from_ns: u64,
    /// When everything was in order again.
    pub to_ns: u64,
    /// How long the fault lasted, as far as that was chosen.
    pub held: Duration,
    /// The longest time without an answer, while there was a node that the client could reach and that advertised,
    /// or should have.
    pub gap: Gap,
    /// The first takeover, where the active one fell silent.
    pub takeover: Option<Takeover>,
    /// Whether a standby that had no reason to advertised.
    pub false_failover: bool,
}

/// A time without an answer: from the last one, or from when one could have come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// In ns of `CLOCK_MONOTONIC`.
    pub from_ns: u64,
    /// In ns of `CLOCK_MONOTONIC`.
    pub to_ns: u64,
}

impl Stage {
    /// Starts both, A first, and waits until the client has its answers. `label` tells the labs of one program
    /// apart; `seed` chooses how long faults last.
    ///
    /// # Errors
    ///
    /// If they do not come to order.
    pub fn start(label: &str, style: Style, seed: u64) -> Result<Self> {
        let Style { peer, address, .. } = style;
        let pair = Pair::new(label)?;
        let guest = pair.lan.node("guest", Ipv4Addr::new(10, 77, 0, 9))?;
        let echoes = [Echo::start(&pair.a.netns, address)?, Echo::start(&pair.b.netns, address)?];
        let a = start(style, &pair.a, Side::A)?;
        pair.capture.wait_for(0, PATIENCE, |frame| peer.voice(frame).filter(|it| *it == Voice::Active))?;
        let b = start(style, &pair.b, Side::B)?;
        let client = Client::start(&guest.netns, address)?;
        let (actors, random) = ([a, b], Random::new(seed));
        let stage = Self { style, client, _echoes: echoes, actors, guest, pair, random };
        stage.settle()?;
        Ok(stage)
    }

    /// Lets one fault happen, and waits until everything is in order.
    ///
    /// With `forgets`, the client forgets in the middle of the fault where the address is, and asks everybody.
    ///
    /// # Errors
    ///
    /// If the fault can't be made, or things do not come to order at all.
    pub fn round(&mut self, fault: Fault, forgets: bool) -> Result<Round> {
        let active = self.settle()?;
        let (mark, from_ns) = (self.pair.capture.mark(), now_ns());
        let held = fault.lasts(&mut self.random);
        let unreachable = fault.inflict(self, active, held, forgets)?;
        let settled = self.settle();
        // What is wrong without being noticed at once has some more time to show.
        crate::pass(AFTERMATH)?;
        let to_ns = now_ns();
        let gap = self.longest_gap(from_ns, to_ns, unreachable);
        if unless_interrupted(settled)?.is_none() {
            // It has waited long enough for somebody to help it.
            self.forget()?;
            self.settle().with_context(|| format!("{fault} of {active:?} for {held:?}"))?;
        }
        let frames = self.pair.capture.frames(mark.saturating_sub(BEFORE));
        let takeover = self.takeover(&frames, active, from_ns).filter(|_| fault.silences());
        let of_standby =
            |frame: &Captured| frame.at_ns >= from_ns && self.speaker(frame) == Some(active.other());
        let false_failover = fault.spares_active(held) && frames.iter().any(of_standby);
        Ok(Round { from_ns, to_ns, held, gap, takeover, false_failover })
    }

    /// How long the node that waits longer does so after the last advertisement.
    #[must_use]
    pub fn dead_time(&self) -> Duration {
        self.style.peer.dead_time(PACE)
    }

    /// Waits until one node alone has advertised for a while and the client has its answers. Returns which.
    fn settle(&self) -> Result<Side> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mark = self.pair.capture.mark();
            let (mut last, mut count) = (None, 0);
            let calm = self.pair.capture.wait_for(mark, PATIENCE, |frame| {
                let side = self.speaker(frame)?;
                count = if last == Some(side) { count + 1 } else { 1 };
                last = Some(side);
                (count == self.style.peer.calm()).then_some(side)
            })?;
            if self.client.answers().last().is_some_and(|at| now_ns() - at < RECENT_NS) {
                return Ok(calm);
            }
            ensure!(Instant::now() < deadline, "the client has no answer, while {calm:?} advertises");
        }
    }

    /// Who advertises in a frame.
    fn speaker(&self, frame: &Captured) -> Option<Side> {
        match self.style.peer.voice(frame)? {
            Voice::Active => Some(Side::A),
            Voice::Standby => Some(Side::B),
            Voice::Farewell => None,
        }
    }

    /// From the last advertisement of one node to the first of the other, of the first such change.
    fn takeover(&self, frames: &[Captured], from: Side, after_ns: u64) -> Option<Takeover> {
        let mut last = None;
        for frame in frames {
            match self.speaker(frame) {
                Some(side) if side == from => last = Some(frame.at_ns),
                Some(_) if frame.at_ns > after_ns => {
                    return Some(Takeover { last_ns: last?, first_ns: frame.at_ns });
                }
                Some(_) | None => {}
            }
        }
        None
    }

    fn longest_gap(&self, from_ns: u64, to_ns: u64, unreachable: Option<Gap>) -> Gap {
        let mut answers = self.client.answers();
        answers.push(to_ns);
        let gaps = answers.windows(2).map(|pair| Gap { from_ns: pair[0], to_ns: pair[1] });
        let within = gaps.filter(|gap| gap.to_ns > from_ns && gap.from_ns < to_ns);
        let judged = within.map(|gap| match unreachable {
            Some(dark) if gap.from_ns < dark.to_ns && dark.from_ns < gap.to_ns => {
                Gap { from_ns: gap.to_ns.min(dark.to_ns), ..gap }
            }
            Some(_) | None => gap,
        });
        judged.max_by_key(Gap::length).unwrap_or(Gap { from_ns, to_ns })
    }

    fn node(&self, side: Side) -> &Node {
        match side {
            Side::A => &self.pair.a,
            Side::B => &self.pair.b,
        }
    }

    fn actor(&mut self, side: Side) -> &mut Running {
        let [a, b] = &mut self.actors;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    /// Starts one again that has ended.
    fn restart(&mut self, side: Side) -> Result<()> {
        let ([a, b], pair) = (&mut self.actors, &self.pair);
        let (actor, node) = match side {
            Side::A => (a, &pair.a),
            Side::B => (b, &pair.b),
        };
        match actor {
            Running::HaAgent(agent) => return agent.restart(node),
            Running::Keepalived(_) | Running::Frr(_) | Running::Ucarp(_) => {}
        }
        *actor = self.style.peer.start(node, side.role(), PACE)?;
        Ok(())
    }

    /// The client asks everybody again where the address is.
    fn forget(&self) -> Result<()> {
        self.guest.netns.ip(&format!("neigh flush to {} dev eth0", self.style.address))
    }
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    fn role(self) -> Role {
        match self {
            Self::A => Role::Active,
            Self::B => Role::Standby,
        }
    }
}

impl Gap {
    /// How long it was.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.to_ns - self.from_ns)
    }
}

/// Starts one and waits until it listens.
fn start(style: Style, node: &Node, side: Side) -> Result<Running> {
    if style.peer != Peer::HaAgent {
        return style.peer.start(node, side.role(), PACE);
    }
    let advskew = if side == Side::A { 0 } else { PACE.skew };
    let addresses = vec![format!("{VIRTUAL}/24"), format!("{VIRTUAL6}/64")];
    let config =
        AgentConfig { vhid: VHID, advskew, addresses, preempt: style.returns, ..AgentConfig::default() };
    let agent = Agent::start(node, &config)?;
    agent.wait_for_state(0, "BACKUP")?;
    Ok(Running::HaAgent(agent))
}

/// Of every peer.
const PACE: Pace = Pace::COMMON;
/// How old the client's last answer may be.
const RECENT_NS: u64 = 10_000_000;
/// How long things may take to come to order by themselves.
const PATIENCE: Duration = Duration::from_secs(10);
const AFTERMATH: Duration = Duration::from_millis(150);
/// Frames that are looked at before a mark: the last advertisement may be among them.
const BEFORE: usize = 16;
