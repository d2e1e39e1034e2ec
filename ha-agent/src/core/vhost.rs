//! The CARP state machine of one virtual host (CARP specification §5).
//!
//! [`Vhost::handle`] holds the diagram and the transitions; the small methods below it say what each of them
//! does.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::command::{Advert, Cause, Command, Event, Link, LinkDown, State, Transition};
use super::election::{Contender, Priority, Verdict};
use super::pace::Pace;
use super::time::Instant;
use super::timers::{Timer, TimerTable};

#[cfg(test)]
mod model;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

/// How a virtual host is to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What we advertise.
    pub priority: Priority,
    /// How often we advertise, and how long we wait.
    pub pace: Pace,
    /// Whether a backup takes over from a living master of worse priority.
    pub preempt: bool,
}

/// One virtual host: an interface, a VLAN and a vhid.
#[derive(Clone, Debug)]
pub struct Vhost {
    settings: Settings,
    state: State,
    timers: TimerTable,
    /// The address that our advertisements leave from, as the link last told.
    source: Ipv4Addr,
    /// In BACKUP: the stamp of the newest advertisement.
    last_heard: Option<Instant>,
    /// In BACKUP: the master that said goodbye, if nobody has advertised since.
    bowed_out: Option<Ipv4Addr>,
    /// In MASTER: when the announcements began; those that follow count from here.
    announced_since: Instant,
    leave_asked: bool,
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
            source: Ipv4Addr::UNSPECIFIED,
            last_heard: None,
            bowed_out: None,
            announced_since: Instant::from_nanos(0),
            leave_asked: false,
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
    /// ```text
    ///                  Link::Up: drop addresses (a stale one must not answer)
    ///         ┌────────────────────────────────────────────────────────┐
    ///         │                                                        ▼
    ///   ┌───────────┐          Link::Down, Leave                ┌────────────┐ ◀─┐ advert
    ///   │   INIT    │ ◀──────────────────────────────────────── │   BACKUP   │   │ (listen on)
    ///   └───────────┘                                           └────────────┘ ──┘
    ///     ▲       ▲                                               │        ▲
    ///     │       │                           MasterDown expires, │        │ superior advert
    ///     │       │     preempt or hopeless (inferior advert):    │        │ or tie lost:
    ///     │       │          advertise, take addresses, announce  ▼        │ drop addresses
    ///     │       │       Link::Down: drop addresses            ┌────────────┐ ◀─┐ Advertise, Announce;
    ///     │       └──────────────────────────────────────────── │   MASTER   │   │ any other advert:
    ///     │                                                     └────────────┘ ──┘ announce anew
    ///     │  Released, Release expires: bow out                        │ Leave: drop addresses
    ///     │  superior advert, tie lost: quietly                        ▼
    ///     │  Link::Down: drop addresses                         ┌────────────┐ ◀─┐ Advertise;
    ///     └──────────────────────────────────────────────────── │  LEAVING   │   │ any other advert
    ///                                                           └────────────┘ ──┘
    /// ```
    ///
    /// After `Leave` the machine ends in INIT and stays there: see [`has_left`](Self::has_left).
    #[expect(clippy::match_same_arms, reason = "every state keeps its own list, as in the diagram")]
    pub fn handle(&mut self, now: Instant, event: Event) {
        match (self.state, event) {
            (State::Init, Event::Link(Link::Up { source })) => self.start(now, source),
            (State::Init, Event::Leave) => self.never_start(),
            (
                State::Init,
                Event::Link(Link::Down(
                    LinkDown::Carrier | LinkDown::AdminDown | LinkDown::Removed | LinkDown::DataPlane,
                ))
                | Event::Advert(Advert { .. })
                | Event::Deadline(Timer::Advertise | Timer::MasterDown | Timer::Announce | Timer::Release)
                | Event::Released,
            ) => {}

            (State::Backup, Event::Link(Link::Up { source })) => self.use_source(source),
            (State::Backup, Event::Link(Link::Down(why))) => self.stop(now, Cause::LinkDown(why)),
            (State::Backup, Event::Advert(advert)) => self.listen(now, advert),
            (State::Backup, Event::Deadline(Timer::MasterDown)) => self.succeed(now),
            (State::Backup, Event::Leave) => self.leave_backup(now),
            (
                State::Backup,
                Event::Deadline(Timer::Advertise | Timer::Announce | Timer::Release) | Event::Released,
            ) => {}

            (State::Master, Event::Link(Link::Up { source })) => self.use_source(source),
            (State::Master, Event::Link(Link::Down(why))) => self.lose_link(now, why),
            (State::Master, Event::Advert(advert)) => self.contest(now, advert),
            (State::Master, Event::Deadline(Timer::Advertise)) => self.advertise(now),
            (State::Master, Event::Deadline(Timer::Announce)) => self.announce(now),
            (State::Master, Event::Leave) => self.release(now),
            (State::Master, Event::Deadline(Timer::MasterDown | Timer::Release) | Event::Released) => {}

            (State::Leaving, Event::Link(Link::Up { source })) => self.use_source(source),
            (State::Leaving, Event::Link(Link::Down(why))) => self.lose_link(now, why),
            (State::Leaving, Event::Advert(advert)) => self.contest_leaving(now, advert),
            (State::Leaving, Event::Deadline(Timer::Advertise)) => self.advertise(now),
            (State::Leaving, Event::Deadline(Timer::Release)) => self.end_waiting(now),
            (State::Leaving, Event::Released) => self.bow_out(now),
            (State::Leaving, Event::Deadline(Timer::MasterDown | Timer::Announce) | Event::Leave) => {}
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

    /// Whether [`Event::Leave`] has been obeyed to its end. Nothing brings this machine back, not even
    /// [`Link::Up`]; once its commands are drained, it can be thrown away.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.leave_asked && self.state == State::Init
    }

    fn start(&mut self, now: Instant, source: Ipv4Addr) {
        if self.leave_asked {
            return;
        }
        self.use_source(source);
        self.commands.push_back(Command::DropAddresses);
        self.timers.arm(Timer::MasterDown, now + self.master_down_time());
        self.enter(State::Backup, now, Cause::Started);
    }

    fn never_start(&mut self) {
        self.leave_asked = true;
    }

    fn use_source(&mut self, source: Ipv4Addr) {
        self.source = source;
    }

    /// A valid frame in BACKUP: the first rule that matches (CARP specification §5.3).
    ///
    /// The bow-out has a rule of its own and comes first. Elsewhere it works through preemption and B3, so
    /// all backups take over at once, and with `advbase` 0 none does; ours wait for their turn, so that the
    /// best one moves first.
    fn listen(&mut self, now: Instant, advert: Advert) {
        let own = self.settings.priority;
        let Advert { source, priority, .. } = advert;
        if priority.is_bow_out() {
            self.hear_bow_out(advert);
        } else if self.settings.preempt && own.beats(priority) {
            self.become_master(now, Cause::Preempt { source });
        } else if own.finds_hopeless(priority) {
            self.become_master(now, Cause::Hopeless { source });
        } else {
            self.hear_master(advert);
        }
    }

    fn hear_bow_out(&mut self, advert: Advert) {
        if self.is_newest(advert.stamp) {
            self.bowed_out = Some(advert.source);
            let wait = self.settings.pace.bow_out_wait(self.settings.priority);
            self.timers.arm(Timer::MasterDown, advert.stamp + wait);
        }
    }

    fn hear_master(&mut self, advert: Advert) {
        if self.is_newest(advert.stamp) {
            let deadline = advert.stamp + self.master_down_time();
            // The short deadline of a bow-out gives way; any other only grows, also when the frame is older
            // than our start.
            if self.bowed_out.take().is_some() {
                self.timers.arm(Timer::MasterDown, deadline);
            } else {
                self.timers.extend(Timer::MasterDown, deadline);
            }
        }
    }

    /// Remembers `stamp`, unless a newer advertisement was heard before: that one knows better.
    fn is_newest(&mut self, stamp: Instant) -> bool {
        let newest = self.last_heard.is_none_or(|heard| heard <= stamp);
        if newest {
            self.last_heard = Some(stamp);
        }
        newest
    }

    fn succeed(&mut self, now: Instant) {
        if let Some(deadline) = self.timers.take_due(Timer::MasterDown, now) {
            let cause = match self.bowed_out {
                Some(source) => Cause::BowOut { source },
                None => Cause::Silence { last_heard: self.last_heard, deadline },
            };
            self.become_master(now, cause);
        }
    }

    /// The advertisement goes first: it is what keeps the other backups quiet (CARP specification §9.3, point
    /// 14).
    fn become_master(&mut self, now: Instant, cause: Cause) {
        self.forget();
        self.announced_since = now;
        self.commands.extend([
            Command::Advertise(self.settings.priority),
            Command::TakeAddresses,
            Command::Announce,
        ]);
        self.timers.arm(Timer::Advertise, now + self.advertisement_interval());
        self.arm_announce(now);
        self.enter(State::Master, now, cause);
    }

    /// Absolute, so that a late wake-up does not add up; but after a long sleep the missed ones are not made
    /// up for.
    fn advertise(&mut self, now: Instant) {
        if let Some(deadline) = self.timers.take_due(Timer::Advertise, now) {
            self.commands.push_back(Command::Advertise(self.settings.priority));
            let interval = self.advertisement_interval();
            let next = deadline + interval;
            self.timers.arm(Timer::Advertise, if next > now { next } else { now + interval });
        }
    }

    fn announce(&mut self, now: Instant) {
        if self.timers.take_due(Timer::Announce, now).is_some() {
            self.commands.push_back(Command::Announce);
            self.arm_announce(now);
        }
    }

    /// The next of [`ANNOUNCE_AGAIN`] that still lies ahead, if there is one.
    fn arm_announce(&mut self, now: Instant) {
        let next = ANNOUNCE_AGAIN.into_iter().map(|wait| self.announced_since + wait).find(|at| *at > now);
        if let Some(at) = next {
            self.timers.arm(Timer::Announce, at);
        }
    }

    /// A valid frame in MASTER (CARP specification §5.3).
    ///
    /// To a better one we show ourselves once more before we yield: it may not have heard us yet, and announces
    /// its addresses anew when it does. Not to an equal one: it would yield as well, and leave nobody (CARP
    /// specification §3.5).
    fn contest(&mut self, now: Instant, advert: Advert) {
        let Some(cause) = self.reason_to_yield(advert) else { return self.announce_over(now) };
        let own_is_worse = advert.priority.beats(self.settings.priority);
        self.forget();
        if own_is_worse {
            self.commands.push_back(Command::Advertise(self.settings.priority));
        }
        self.commands.push_back(Command::DropAddresses);
        self.last_heard = Some(advert.stamp);
        self.timers.arm(Timer::MasterDown, advert.stamp + self.master_down_time());
        self.enter(State::Backup, now, cause);
    }

    /// Another master lost to us: the neighbours may have heard last that it has the addresses, so they are
    /// told anew, and again (CARP specification §9.3, point 15). Not for each of its frames.
    fn announce_over(&mut self, now: Instant) {
        if now >= self.announced_since + ANNOUNCE_PAUSE {
            self.announced_since = now;
            self.commands.push_back(Command::Announce);
            self.arm_announce(now);
        }
    }

    /// Somebody else serves already: a bow-out would only disturb.
    fn contest_leaving(&mut self, now: Instant, advert: Advert) {
        if self.reason_to_yield(advert).is_some() {
            self.stop(now, Cause::Leave);
        }
    }

    fn reason_to_yield(&self, Advert { source, priority, .. }: Advert) -> Option<Cause> {
        if priority.is_bow_out() {
            return None;
        }
        let us = Contender { priority: self.settings.priority, source: self.source };
        match us.judge(Contender { priority, source }) {
            Verdict::Superior => Some(Cause::Superior { source }),
            Verdict::TieTheyWin => Some(Cause::Tie { source }),
            Verdict::TieWeWin | Verdict::Inferior => None,
        }
    }

    fn lose_link(&mut self, now: Instant, why: LinkDown) {
        self.commands.push_back(Command::DropAddresses);
        self.stop(now, Cause::LinkDown(why));
    }

    fn leave_backup(&mut self, now: Instant) {
        self.leave_asked = true;
        self.stop(now, Cause::Leave);
    }

    /// Goes on advertising, so that nobody takes the addresses before they are gone here.
    fn release(&mut self, now: Instant) {
        self.leave_asked = true;
        self.commands.push_back(Command::DropAddresses);
        self.timers.disarm(Timer::Announce);
        self.timers.arm(Timer::Release, now + RELEASE_TIME);
        self.state = State::Leaving;
    }

    /// The addresses should be gone by now; to wait for ever would be worse than a moment of two owners.
    fn end_waiting(&mut self, now: Instant) {
        if self.timers.take_due(Timer::Release, now).is_some() {
            self.bow_out(now);
        }
    }

    fn bow_out(&mut self, now: Instant) {
        self.commands.push_back(Command::Advertise(Priority::BOW_OUT));
        self.stop(now, Cause::Leave);
    }

    fn stop(&mut self, now: Instant, cause: Cause) {
        self.forget();
        self.enter(State::Init, now, cause);
    }

    /// Clears what belongs to the state that ends.
    fn forget(&mut self) {
        self.timers.clear();
        self.last_heard = None;
        self.bowed_out = None;
    }

    fn enter(&mut self, to: State, at: Instant, cause: Cause) {
        let from = std::mem::replace(&mut self.state, to);
        self.commands.push_back(Command::Notify(Transition { at, from, to, cause }));
    }

    fn advertisement_interval(&self) -> Duration {
        self.settings.pace.advertisement_interval(self.settings.priority)
    }

    fn master_down_time(&self) -> Duration {
        self.settings.pace.master_down_time(self.settings.priority)
    }
}

/// After becoming master, when the addresses are announced again: neighbours may have missed the first one,
/// and a switch may have been learning (CARP specification §9.3, point 15).
const ANNOUNCE_AGAIN: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(3)];

/// The shortest time between two beginnings of the announcements.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);

/// How long the release of the addresses may take when leaving.
const RELEASE_TIME: Duration = Duration::from_millis(500);
