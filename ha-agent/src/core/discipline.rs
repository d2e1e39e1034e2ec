//! Discipline against flapping: when the role of this node may change.
//!
//! One change at a time, and of several intentions the newest wins. The role is sticky: a peer that comes back, or
//! that would be worse, is no reason to move it, unless `preempt` is set. A peer that comes and goes is believed to be lost only when
//! it stays away; and a node that took over too often stops doing so by itself, and says so.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::{Instant, nanos};

#[cfg(test)]
mod model;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod properties;

/// How a node is to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Whether the preferred node takes the role back from a peer that is well.
    pub preempt: bool,
    /// How many failovers there may be in a window, those that failed included; from 1.
    pub most: u32,
    /// How long a window is.
    #[serde(rename = "window_ns", with = "nanos")]
    pub window: Duration,
    /// For how long a peer must be there, or this node's role unchanged, for the next loss to be believed at once. A
    /// loss sooner than that must itself last so long.
    #[serde(rename = "calm_ns", with = "nanos")]
    pub calm: Duration,
}

/// Five in ten minutes.
impl Default for Rules {
    fn default() -> Self {
        Self { preempt: false, most: 5, window: Duration::from_mins(10), calm: Duration::from_secs(5) }
    }
}

/// Decides when the role of this node changes. It begins as a standby that sees its peer.
#[derive(Clone, Debug)]
pub struct Discipline {
    rules: Rules,
    active: bool,
    running: Option<Intention>,
    /// What is to be done after that.
    next: Option<Intention>,
    /// When the peer came back last, or the role changed, or failed to.
    unsettled: Option<Instant>,
    /// The peer is lost; from when on that is believed.
    lost: Option<Instant>,
    /// This node is preferred, and the peer serves; from when on that counts.
    preferred: Option<Instant>,
    /// The newest failovers, as many as there may be in a window.
    failovers: VecDeque<Instant>,
    held: Option<Held>,
    commands: VecDeque<Command>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Nobody serves but perhaps this node: the peer is dead.
    PeerLost,
    /// It is not, or not for certain.
    PeerBack,
    /// Whether this node is the preferred one, and the peer that serves agrees.
    Preferred(bool),
    /// An operator, or the peer with whom it was agreed, wants this.
    Ordered(Change),
    /// Both serve, and this node is the one to yield.
    Yield,
    /// The change that was begun is over.
    Finished(Outcome),
    /// An operator wants this node not to take the role by itself.
    Hold,
    /// The operator wants that no longer; it also ends [`Held::TooMany`].
    Resume,
    /// The deadline has come.
    Deadline,
}

/// A change of the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Standby to active.
    Take,
    /// Active to standby.
    Give,
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The role has changed.
    Done,
    /// All was undone: the role is as before.
    Failed,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Change the role, then report [`Event::Finished`].
    Begin(Intention),
    /// Tell the operator that there were too many failovers, and that this node does no more by itself.
    Alarm,
}

/// A change, and who wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intention {
    /// Which.
    pub change: Change,
    /// Why.
    pub why: Why,
}

/// Why the role changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The peer is lost.
    PeerLost,
    /// This node is preferred.
    Preferred,
    /// It was ordered.
    Ordered,
    /// Both served.
    SameState,
}

/// Why a node does not take the role by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// An operator wants so.
    Operator,
    /// There were too many failovers.
    TooMany,
}

impl Discipline {
    /// A standby that sees its peer.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            active: false,
            running: None,
            next: None,
            unsettled: None,
            lost: None,
            preferred: None,
            failovers: VecDeque::new(),
            held: None,
            commands: VecDeque::new(),
        }
    }

    /// Takes in what happened; `now` is the moment of the call, and never goes back.
    ///
    /// A deadline that has not come, or no longer exists, does nothing.
    pub fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::PeerLost => self.lose_peer(now),
            Event::PeerBack => self.see_peer(now),
            Event::Preferred(true) => self.preferred = self.preferred.or(Some(now + self.rules.calm)),
            Event::Preferred(false) => self.preferred = None,
            Event::Ordered(change) => self.intend(Intention { change, why: Why::Ordered }),
            Event::Yield => self.intend(Intention { change: Change::Give, why: Why::SameState }),
            Event::Finished(outcome) => self.finish(now, outcome),
            Event::Hold => self.held = self.held.or(Some(Held::Operator)),
            Event::Resume => self.resume(),
            Event::Deadline => {}
        }
        self.act_by_itself(now);
    }

    /// When to call [`handle`](Self::handle) with [`Event::Deadline`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.own_intention().map(|(due, _)| due)
    }

    /// The next thing to do; drain this after each [`handle`](Self::handle).
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Whether this node has the role; while it changes, whether it had it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// What it does just now.
    #[must_use]
    pub fn running(&self) -> Option<Intention> {
        self.running
    }

    /// Why it does not take the role by itself, if so.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        self.held
    }

    fn lose_peer(&mut self, now: Instant) {
        let settled = self.unsettled.is_none_or(|at| now.saturating_since(at) >= self.rules.calm);
        let believed = if settled { now } else { now + self.rules.calm };
        self.lost = self.lost.or(Some(believed));
    }

    fn see_peer(&mut self, now: Instant) {
        if self.lost.take().is_some() {
            self.unsettled = Some(now);
        }
    }

    /// An intention from outside: the newest one replaces what waits.
    fn intend(&mut self, intention: Intention) {
        self.next = Some(intention);
        self.begin_next();
    }

    fn finish(&mut self, now: Instant, outcome: Outcome) {
        let Some(Intention { change, .. }) = self.running.take() else { return };
        match outcome {
            Outcome::Done => self.active = change == Change::Take,
            Outcome::Failed => {}
        }
        self.unsettled = Some(now);
        // What the node itself wanted was so before this: it must still be so afterwards.
        let later = now + self.rules.calm;
        self.lost = self.lost.map(|_| later);
        self.preferred = self.preferred.map(|_| later);
        self.begin_next();
    }

    /// Begins what waits, if that would change anything.
    fn begin_next(&mut self) {
        match (self.running, self.next) {
            (None, Some(next)) => {
                self.next = None;
                if (next.change == Change::Take) != self.active {
                    self.begin(next);
                }
            }
            (Some(running), Some(next)) if running.change == next.change => self.next = None,
            (Some(_), Some(_)) | (_, None) => {}
        }
    }

    fn resume(&mut self) {
        if self.held.take() == Some(Held::TooMany) {
            self.failovers.clear();
        }
    }

    /// Does what nobody ordered, if it is time.
    fn act_by_itself(&mut self, now: Instant) {
        let Some((_, why)) = self.own_intention().filter(|(due, _)| *due <= now) else { return };
        let begin = now - self.rules.window;
        while self.failovers.front().is_some_and(|at| *at <= begin) {
            self.failovers.pop_front();
        }
        if self.failovers.len() >= usize::try_from(self.rules.most).unwrap_or(usize::MAX) {
            self.held = Some(Held::TooMany);
            self.commands.push_back(Command::Alarm);
            return;
        }
        self.failovers.push_back(now);
        self.begin(Intention { change: Change::Take, why });
    }

    /// What this standby would do by itself, and when.
    fn own_intention(&self) -> Option<(Instant, Why)> {
        if self.active || self.running.is_some() || self.held.is_some() {
            return None;
        }
        let preferred = self.preferred.filter(|_| self.rules.preempt).map(|due| (due, Why::Preferred));
        self.lost.map(|due| (due, Why::PeerLost)).or(preferred)
    }

    fn begin(&mut self, intention: Intention) {
        self.running = Some(intention);
        self.commands.push_back(Command::Begin(intention));
    }
}
