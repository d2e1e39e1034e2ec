//! The CARP state machine of one virtual host (CARP specification §5).
//!
//! [`Vhost::handle`] holds the diagram and the transitions; the small methods below it say what each of them
//! does.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::announcements::Announcements;
use super::command::{Advert, Cause, Command, Event, Link, LinkDown, Silence, Stall, State, Transition};
use super::election::{Contender, Priority, Verdict};
use super::family::{Families, Family, Sources};
use super::pace::Pace;
use super::pair::Stance;
use super::patience::{Ear, Guard, Patience};
use super::time::{Instant, maybe_nanos};
use super::timers::{Timer, TimerTable};
use backup::Parting;

mod backup;
mod master;

#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

/// How a virtual host is to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What we advertise while the host is not demoted.
    pub priority: Priority,
    /// How often we advertise, and how long we wait.
    pub pace: Pace,
    /// Whether a backup takes over from a living master of worse priority.
    pub preempt: bool,
    /// The families that it has addresses of.
    pub families: Families,
    /// How often a master announces its addresses again; `None` only as often as there is a reason. Shorter
    /// than 1 s counts as that.
    #[serde(with = "maybe_nanos")]
    pub announce_every: Option<Duration>,
}

impl Settings {
    /// Between two advertisements of a master.
    #[must_use]
    pub fn advertisement_interval(&self) -> Duration {
        self.pace.advertisement_interval(self.priority)
    }
}

/// One virtual host: an interface, a VLAN and a vhid.
#[derive(Clone, Debug)]
pub struct Vhost {
    settings: Settings,
    state: State,
    timers: TimerTable,
    /// The addresses that our advertisements leave from, as the link last told.
    sources: Sources,
    /// The demotion level of the host, 0 for none.
    demote: u8,
    /// Whom we let win, as one node of a pair.
    stance: Stance,
    /// In BACKUP: whom we have heard.
    patience: Patience,
    /// In BACKUP: what is still to be said to the master.
    parting: Option<Parting>,
    /// In MASTER: what was announced.
    announcements: Announcements,
    leave_asked: bool,
    /// In INIT: when an earlier life of ours advertised last, if it was master and did not leave.
    resumes: Option<Instant>,
    commands: VecDeque<Command>,
}

impl Vhost {
    /// A virtual host in INIT, which waits for [`Link::Up`].
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Init,
            timers: TimerTable::default(),
            sources: Sources::UNSPECIFIED,
            demote: 0,
            stance: Stance::Lead,
            patience: Patience::new(Instant::from_nanos(0)),
            parting: None,
            announcements: Announcements::begin(Instant::from_nanos(0), Duration::ZERO, Duration::ZERO),
            leave_asked: false,
            resumes: None,
            commands: VecDeque::new(),
        }
    }

    /// Takes in what happened; `now` is the moment of the call.
    ///
    /// Received advertisements count from their stamp; `now` is the base of our own actions only. The caller
    /// keeps two promises:
    ///
    /// - *A deadline comes last.* Before it passes [`Event::Deadline`], it reads `now`, and then hands over
    ///   everything that the ring holds. So no advertisement that arrived in time can still be hiding when
    ///   the silence is judged.
    /// - *`now` never goes back.*
    ///
    /// A deadline that has not come, or no longer exists, does nothing: the caller need not cancel a wake-up.
    ///
    /// The master's silence is told by the kernel, which re-arms a timer at each authentic frame: see
    /// [`Event::Silence`]. Our own timer decides only where the kernel's can't: from the moment we begin to listen to the
    /// first advertisement heard, after an advertisement without a timer ([`Advert::watched`]), after one that we do
    /// not follow, after a change of our patience, and for what the patience is longer than the kernel knew. Never both.
    ///
    /// ```text
    ///                Link::Up: drop addresses (a stale one must not answer);
    ///                          in time after Resume, at once on to MASTER
    ///         ┌──────────────────────────────────────────────────────┐
    ///         │                                                      ▼
    ///   ┌───────────┐          Link::Down, Leave              ┌────────────┐ ◀─┐ advert
    ///   │   INIT    │ ◀────────────────────────────────────── │   BACKUP   │   │ (listen on), Released (last word)
    ///   └───────────┘                                         └────────────┘ ──┘
    ///     ▲       ▲           MasterDown or Turn expires,       │    ▲     ▲
    ///     │       │                       demoted master,       │    │     │ any advert but a bow-out:
    ///     │       │    preempt, hopeless (inferior advert):     │    │     │ drop addresses
    ///     │       │             advertise, take addresses,      │    │     └───────────────────┐
    ///     │       │                              announce       │    │ less demoted, superior  │
    ///     │       │                                             │    │ advert, tie lost:       │
    ///     │       │                                             ▼    │ drop addresses          │
    ///     │       │   Link::Down: drop addresses          ┌────────────┐  overdue       ┌───────────┐
    ///     │       └────────────────────────────────────── │   MASTER   │ ─────────────▶ │  STALLED  │
    ///     │                                          ┌──▶ └────────────┘ ◀───────────── └───────────┘
    ///     │  Advertise, Announce, other demotion;    └────────┘  │     Advertise expires:     │ Leave:
    ///     │  any other advert: announce anew                     │     advertise, announce    │ drop addresses
    ///     │                                                      │ Leave:                     │
    ///     │  Released, Release expires: bow out                  │ drop addresses             │
    ///     │  less demoted, superior advert,                      ▼                            │
    ///     │  tie lost, overdue: quietly                   ┌────────────┐                      │
    ///     └────────────────────────────────────────────── │  LEAVING   │ ◀────────────────────┘
    ///        Link::Down: drop addresses              ┌──▶ └────────────┘
    ///                   Advertise, other demotion;   └────────┘
    ///                             any other advert
    /// ```
    ///
    /// *The last word.* Neighbours may believe whoever has the addresses, until they are gone. So one that has yielded,
    /// or has found them left behind when it started, tells the master once they are: by an advertisement that loses
    /// to it, upon which the master announces anew. It is the only one that a BACKUP sends.
    ///
    /// *Overdue* is an advertisement that is late by the time after which the peers count us as down. It is
    /// noticed at any event, before that event is judged. STALLED keeps the addresses, for nobody else may have
    /// them; it neither advertises nor answers another master, but steps back; a lost link ends it as it ends
    /// MASTER.
    ///
    /// *Resume.* Who was master a moment ago, by an agent that did not leave, is so still: for less than the time after which the
    /// peers count us as down, nobody else can be. Later, it is as if nothing had been.
    ///
    /// After `Leave` the machine ends in INIT and stays there: see [`has_left`](Self::has_left).
    #[expect(clippy::match_same_arms, reason = "every state keeps its own list, as in the diagram")]
    pub fn handle(&mut self, now: Instant, event: Event) {
        self.notice_stall(now);
        match (self.state, event) {
            (State::Init, Event::Link(Link::Up { sources })) => self.start(now, sources),
            (State::Init, Event::Demote(level)) => self.demote = level,
            (State::Init, Event::Stance(stance)) => self.stance = stance,
            (State::Init, Event::Resume { advertised }) => self.resumes = Some(advertised),
            (State::Init, Event::Leave) => self.never_start(),
            (
                State::Init,
                Event::Link(Link::Down(
                    LinkDown::Carrier | LinkDown::AdminDown | LinkDown::Removed | LinkDown::DataPlane,
                ))
                | Event::Advert(Advert { .. })
                | Event::Silence(Silence { .. })
                | Event::Stall(Stall { .. })
                | Event::Unwatched(Family::V4 | Family::V6)
                | Event::Deadline(
                    Timer::Advertise
                    | Timer::MasterDown
                    | Timer::MasterDownV6
                    | Timer::Turn
                    | Timer::Announce
                    | Timer::Release,
                )
                | Event::Released { .. },
            ) => {}

            (State::Backup, Event::Link(Link::Up { sources })) => self.sources = sources,
            (State::Backup, Event::Link(Link::Down(why))) => self.stop(now, Cause::LinkDown(why)),
            (State::Backup, Event::Advert(advert)) => self.listen(now, advert),
            (
                State::Backup,
                Event::Deadline(timer @ (Timer::MasterDown | Timer::MasterDownV6 | Timer::Turn)),
            ) => {
                self.succeed(now, timer);
            }
            (State::Backup, Event::Silence(silence)) => self.listen_in_vain(silence),
            (State::Backup, Event::Unwatched(family)) => self.distrust(family),
            (State::Backup, Event::Demote(level)) => self.demote_backup(level),
            (State::Backup, Event::Stance(stance)) => self.place_backup(now, stance),
            (State::Backup, Event::Leave) => self.leave_backup(now),
            (State::Backup, Event::Released { held }) => self.let_go(held),
            (
                State::Backup,
                Event::Deadline(Timer::Advertise | Timer::Announce | Timer::Release)
                | Event::Stall(_)
                | Event::Resume { .. },
            ) => {}

            (State::Master, Event::Link(Link::Up { sources })) => self.sources = sources,
            (State::Master, Event::Link(Link::Down(why))) => self.lose_link(now, why),
            (State::Master, Event::Advert(advert)) => self.contest(now, advert),
            (State::Master, Event::Deadline(Timer::Advertise)) => self.advertise(now),
            (State::Master, Event::Deadline(Timer::Announce)) => self.announce(now),
            (State::Master, Event::Demote(level)) => self.demote_master(level),
            (State::Master, Event::Stance(stance)) => self.place_master(stance),
            (State::Master, Event::Leave) => self.release(now),
            (
                State::Master,
                Event::Deadline(Timer::MasterDown | Timer::MasterDownV6 | Timer::Turn | Timer::Release)
                | Event::Silence(_)
                | Event::Stall(_)
                | Event::Unwatched(_)
                | Event::Resume { .. }
                | Event::Released { .. },
            ) => {}

            (State::Stalled, Event::Link(Link::Up { sources })) => self.sources = sources,
            (State::Stalled, Event::Link(Link::Down(why))) => self.lose_link(now, why),
            (State::Stalled, Event::Advert(advert)) => self.step_back(now, advert),
            (State::Stalled, Event::Deadline(Timer::Advertise)) => self.resume(now),
            (State::Stalled, Event::Demote(level)) => self.demote = level,
            (State::Stalled, Event::Stance(stance)) => self.stance = stance,
            (State::Stalled, Event::Leave) => self.release(now),
            (
                State::Stalled,
                Event::Deadline(
                    Timer::MasterDown | Timer::MasterDownV6 | Timer::Turn | Timer::Announce | Timer::Release,
                )
                | Event::Silence(_)
                | Event::Stall(_)
                | Event::Unwatched(_)
                | Event::Resume { .. }
                | Event::Released { .. },
            ) => {}

            (State::Leaving, Event::Link(Link::Up { sources })) => self.sources = sources,
            (State::Leaving, Event::Link(Link::Down(why))) => self.lose_link(now, why),
            (State::Leaving, Event::Advert(advert)) => self.contest_leaving(now, advert),
            (State::Leaving, Event::Deadline(Timer::Advertise)) => self.advertise(now),
            (State::Leaving, Event::Deadline(Timer::Release)) => self.end_waiting(now),
            (State::Leaving, Event::Demote(level)) => self.demote_master(level),
            (State::Leaving, Event::Stance(stance)) => self.place_master(stance),
            (State::Leaving, Event::Released { .. }) => self.bow_out(now),
            (
                State::Leaving,
                Event::Deadline(Timer::MasterDown | Timer::MasterDownV6 | Timer::Turn | Timer::Announce)
                | Event::Silence(_)
                | Event::Stall(_)
                | Event::Unwatched(_)
                | Event::Resume { .. }
                | Event::Leave,
            ) => {}
        }
    }

    /// When to call [`handle`](Self::handle) with [`Event::Deadline`], and for which timer.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// The next thing to do; drain this after each [`handle`](Self::handle).
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The settings that it was made with.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// How long a master may be silent before we take over. It depends on our demotion.
    #[must_use]
    pub fn master_down_time(&self) -> Duration {
        self.settings.pace.master_down_time(self.advertised())
    }

    /// When the kernel's timer will tell that the master is silent, unless it is heard before; in BACKUP, where the
    /// kernel watches.
    #[must_use]
    pub fn expected_silence(&self) -> Option<Instant> {
        let watched = |ear: &Ear| self.patience.guard(*ear) == Guard::Kernel;
        let ears = [Ear::First, Ear::Second].into_iter().filter(watched);
        let silence = ears.map(|ear| self.patience.since(ear) + self.master_down_time()).min();
        silence.filter(|_| self.state == State::Backup)
    }

    /// When the next advertisement is due, in MASTER.
    #[must_use]
    pub fn next_advertisement(&self) -> Option<Instant> {
        self.timers.get(Timer::Advertise).filter(|_| self.state == State::Master)
    }

    /// Whether the kernel's timers decide that the master is silent, in BACKUP; with both families apart, in both.
    #[must_use]
    pub fn is_watched(&self) -> Option<bool> {
        let ears =
            if self.settings.families.are_apart() { &[Ear::First, Ear::Second][..] } else { &[Ear::First] };
        let watched = || ears.iter().all(|ear| self.patience.guard(*ear) == Guard::Kernel);
        (self.state == State::Backup).then(watched)
    }

    /// Whether it would be master at once if the link were up now: see [`Event::Resume`].
    #[must_use]
    pub fn resumes(&self, now: Instant) -> bool {
        let dead = self.settings.pace.dead_time(self.settings.priority);
        let is_recent = |advertised: Instant| now.saturating_since(advertised) < dead;
        self.state == State::Init && self.stance == Stance::Lead && self.resumes.is_some_and(is_recent)
    }

    /// Whether [`Event::Leave`] has been obeyed to its end. Nothing brings this machine back, not even
    /// [`Link::Up`]; once its commands are drained, it can be thrown away.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.leave_asked && self.state == State::Init
    }

    fn never_start(&mut self) {
        self.leave_asked = true;
    }

    fn judge(&self, Advert { source, priority, demote, .. }: Advert) -> Verdict {
        let own = self.sources.of(Family::of(source));
        let us = Contender { demote: self.level(), priority: self.advertised(), source: own };
        us.judge(Contender { demote, priority, source })
    }

    fn stop(&mut self, now: Instant, cause: Cause) {
        self.timers.clear();
        self.enter(State::Init, now, cause);
    }

    fn enter(&mut self, to: State, at: Instant, cause: Cause) {
        let from = std::mem::replace(&mut self.state, to);
        self.commands.push_back(Command::Notify(Transition { at, from, to, cause }));
    }

    /// The demotion level that others are to see. Who follows is more demoted than anybody who leads, and waits no longer
    /// for that: the level decides between the two of a pair, the priority stays as it is.
    fn level(&self) -> u8 {
        match self.stance {
            Stance::Lead => self.demote,
            Stance::Follow => self.demote.saturating_add(FOLLOWING),
        }
    }

    /// The priority that others are to see.
    fn advertised(&self) -> Priority {
        self.settings.priority.demoted(self.demote)
    }
}

/// What is added to the demotion level of a node that lets its peer win; a leading one has less in all.
pub const FOLLOWING: u8 = 128;
