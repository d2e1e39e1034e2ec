//! A pair of one implementation on a network of its own, with a witness: faults of the active one, and what the
//! witness sees of the standby's answer.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{Pace, Peer, Role, Running, Takeover, Voice, milliseconds, nanos};
use crate::capture::{Captured, now_ns};
use crate::client::{Client, Echo};
use crate::pair::{Pair, VIRTUAL};
use crate::watched::unless_interrupted;

/// A pair that runs. What needs something stands before it: fields are dropped in their order.
#[derive(Debug)]
pub struct Contest {
    /// Who runs on both nodes.
    pub peer: Peer,
    /// How fast it is.
    pub pace: Pace,
    /// On [`Pair::b`].
    pub standby: Running,
    /// On [`Pair::a`].
    active: Running,
    _echoes: [Echo; 2],
    /// The network.
    pub pair: Pair,
}

/// What happens to the active one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its cable is pulled.
    Link,
    /// Its processes are killed (`SIGKILL`).
    Kill,
    /// It is told to leave (`SIGTERM`).
    Planned,
}

/// What the standby made of a fault.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<T> {
    /// It took over.
    Detected(T),
    /// It did not in time.
    Undetected,
    /// It did not leave the active one the role before, so that nothing was tried.
    Unsettled,
}

/// A takeover, and what a client had of it.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// On the wire.
    pub takeover: Takeover,
    /// The longest time without an answer; `None` without a virtual address.
    pub client_gap_ms: Option<f64>,
}

/// A takeover by a standby that was stopped meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Awakening {
    /// On the wire.
    pub takeover: Takeover,
    /// When it was continued, in ns of `CLOCK_MONOTONIC`.
    pub continued_ns: u64,
}

impl Contest {
    /// Makes a network, and starts both. `label` tells the labs of one program apart.
    ///
    /// # Errors
    ///
    /// If one of them does not run.
    pub fn start(label: &str, peer: Peer, pace: Pace) -> Result<Self> {
        let pair = Pair::new(label)?;
        if peer == Peer::Bfdd {
            // It has no group: the witness would not hear it.
            pair.lan.hub()?;
        }
        let active = peer.start(&pair.a, Role::Active, pace)?;
        let standby = peer.start(&pair.b, Role::Standby, pace)?;
        let echoes = [Echo::start(&pair.a.netns, VIRTUAL)?, Echo::start(&pair.b.netns, VIRTUAL)?];
        Ok(Self { peer, pace, standby, active, _echoes: echoes, pair })
    }

    /// How long its standby waits after the last advertisement.
    #[must_use]
    pub fn dead_time(&self) -> Duration {
        self.peer.dead_time(self.pace)
    }

    /// Waits until the active one alone has advertised for a while, and returns the mark of what comes then; `None`
    /// if it does not come to that.
    ///
    /// # Errors
    ///
    /// If the lab is interrupted.
    pub fn settle(&self) -> Result<Option<usize>> {
        let from = self.pair.capture.mark();
        let (mut index, mut count) = (from, 0);
        let settled = self.pair.capture.wait_for(from, START, |frame| {
            index += 1;
            match self.peer.voice(frame)? {
                Voice::Active => count += 1,
                Voice::Farewell | Voice::Standby => count = 0,
            }
            (count == self.peer.calm()).then_some(index)
        });
        unless_interrupted(settled)
    }

    /// Waits as [`Contest::settle`] does, and starts both anew if it does not come to that. Returns the mark, and
    /// whether they were started anew.
    ///
    /// # Errors
    ///
    /// If they do not come to order even so, or the lab is interrupted.
    pub fn bring_to_order(&mut self) -> Result<(usize, bool)> {
        if let Some(mark) = self.settle()? {
            return Ok((mark, false));
        }
        for running in [&mut self.standby, &mut self.active] {
            running.kill()?;
            running.forget();
        }
        self.active = self.start_on(Role::Active)?;
        self.standby = self.start_on(Role::Standby)?;
        let mark = self.settle()?;
        Ok((mark.with_context(|| format!("a pair of {} does not come to order", self.peer))?, true))
    }

    /// Lets a fault happen to the active one, waits for the standby's answer, and heals the fault.
    ///
    /// # Errors
    ///
    /// If the active one does not end or start again, or the lab is interrupted.
    pub fn suffer(&mut self, fault: Fault) -> Result<Outcome<Round>> {
        let client = if self.peer.has_address() {
            Some(Client::start(&self.pair.witness.netns, VIRTUAL)?)
        } else {
            None
        };
        for _ in 0..ATTEMPTS {
            let Some(mark) = self.settle()? else { return Ok(Outcome::Unsettled) };
            if client.is_some() {
                // If there is no answer now, the gap will show it.
                let answer = self.pair.capture.wait_for(mark, START, Captured::answer);
                unless_interrupted(answer)?;
            }
            let fault_ns = now_ns();
            self.inflict(fault)?;
            let takeover = self.takeover(mark)?;
            let client_gap_ms = match takeover {
                Some(takeover) if client.is_some() => self.client_gap(mark, fault_ns, takeover)?,
                Some(_) | None => None,
            };
            self.heal(fault)?;
            match takeover {
                None => return Ok(Outcome::Undetected),
                // That is no answer to the fault: the standby had other reasons.
                Some(takeover) if !self.is_answer(fault, fault_ns, takeover) => {}
                Some(takeover) => return Ok(Outcome::Detected(Round { takeover, client_gap_ms })),
            }
        }
        Ok(Outcome::Unsettled)
    }

    /// Cuts the active one off while the standby is stopped (`SIGSTOP`) for some time, and heals that.
    ///
    /// # Errors
    ///
    /// If the lab is interrupted.
    pub fn cut_while_stopped(&mut self, stopped: Duration) -> Result<Outcome<Awakening>> {
        for _ in 0..ATTEMPTS {
            if self.settle()?.is_none() {
                return Ok(Outcome::Unsettled);
            }
            self.standby.signal(Signal::SIGSTOP)?;
            let (mark, began_ns) = (self.pair.capture.mark(), now_ns());
            let passed = crate::pass(stopped / 3).and_then(|()| {
                self.inflict(Fault::Link)?;
                let left = nanos(stopped).saturating_sub(now_ns() - began_ns);
                crate::pass(Duration::from_nanos(left))
            });
            let continued_ns = now_ns();
            // Whatever happened: a stopped process could not even be ended in order.
            self.standby.signal(Signal::SIGCONT)?;
            passed?;
            let takeover = self.takeover(mark)?;
            self.heal(Fault::Link)?;
            match takeover {
                None => return Ok(Outcome::Undetected),
                Some(takeover) if takeover.first_ns < continued_ns => {}
                Some(takeover) => return Ok(Outcome::Detected(Awakening { takeover, continued_ns })),
            }
        }
        Ok(Outcome::Unsettled)
    }

    fn inflict(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Link => self.pair.lan.cut(&self.pair.a),
            Fault::Kill => self.active.kill(),
            Fault::Planned => self.active.leave(),
        }
    }

    fn heal(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Link => self.pair.lan.mend(&self.pair.a),
            Fault::Kill | Fault::Planned => {
                // As after a restart of its node.
                self.active.forget();
                self.active = self.start_on(Role::Active)?;
                Ok(())
            }
        }
    }

    /// Starts the one that has ended.
    fn start_on(&self, role: Role) -> Result<Running> {
        let node = match role {
            Role::Active => &self.pair.a,
            Role::Standby => &self.pair.b,
        };
        // What is left of one that was killed would be gone after a restart of its node.
        if self.peer != Peer::Vrrpd && node.has_address(VIRTUAL)? {
            node.netns.ip(&format!("address delete {VIRTUAL}/24 dev eth0"))?;
        }
        self.peer.start(node, role, self.pace)
    }

    /// Waits for the first advertisement of the standby since a mark, and looks for the last one before it, or the
    /// first farewell.
    fn takeover(&self, mark: usize) -> Result<Option<Takeover>> {
        let capture = &self.pair.capture;
        let first = capture.wait_for(mark, self.peer.patience(), |frame| {
            (self.peer.voice(frame)? == Voice::Standby).then_some(frame.at_ns)
        });
        let Some(first_ns) = unless_interrupted(first)? else { return Ok(None) };
        let mut last_ns = None;
        for frame in capture.frames(mark.saturating_sub(BEFORE)) {
            match self.peer.voice(&frame) {
                _ if frame.at_ns >= first_ns => break,
                Some(Voice::Active) => last_ns = Some(frame.at_ns),
                Some(Voice::Farewell) => {
                    last_ns = Some(frame.at_ns);
                    break;
                }
                Some(Voice::Standby) | None => {}
            }
        }
        let last_ns = last_ns.context("the witness has not heard the active one")?;
        Ok(Some(Takeover { last_ns, first_ns }))
    }

    /// The longest time without an answer, of the time from the fault to when the client is answered for good.
    fn client_gap(&self, mark: usize, fault_ns: u64, takeover: Takeover) -> Result<Option<f64>> {
        let capture = &self.pair.capture;
        let settled_ns = takeover.first_ns + nanos(ANSWERED);
        let answered = capture.wait_for(mark, START, |frame| {
            frame.answer().filter(|answer| answer.at_ns >= settled_ns).map(|answer| answer.at_ns)
        });
        let Some(last_ns) = unless_interrupted(answered)? else { return Ok(None) };
        let frames = capture.frames(mark.saturating_sub(BEFORE));
        let answers: Vec<_> = frames.iter().filter_map(|frame| Some(frame.answer()?.at_ns)).collect();
        let gaps = answers.windows(2).filter(|gap| gap[1] >= fault_ns && gap[1] <= last_ns);
        Ok(gaps.map(|gap| milliseconds(gap[1], gap[0])).max_by(f64::total_cmp))
    }

    /// Whether a takeover came of a fault: the active one was there until then, and the standby was not sooner, nor
    /// waited for less than half of its patience where it waits for silence.
    fn is_answer(&self, fault: Fault, fault_ns: u64, takeover: Takeover) -> bool {
        let Takeover { last_ns, first_ns } = takeover;
        let dead_ns = nanos(self.dead_time());
        let patient = first_ns - last_ns >= dead_ns / 2 || fault == Fault::Planned;
        first_ns > fault_ns && last_ns + dead_ns >= fault_ns && patient
    }
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Link, Self::Kill, Self::Planned];
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Link => "link",
            Self::Kill => "kill",
            Self::Planned => "planned",
        })
    }
}

/// How long a pair may take to come to order.
const START: Duration = Duration::from_secs(15);
/// How often a round begins anew because the standby had taken over before.
const ATTEMPTS: u32 = 5;
/// Frames that are looked at before a mark: the last advertisement may be among them.
const BEFORE: usize = 16;
/// So long after the takeover, an answer comes from the one that stays.
const ANSWERED: Duration = Duration::from_millis(100);
