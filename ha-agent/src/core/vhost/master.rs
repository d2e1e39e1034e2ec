//! What a virtual host does while it has the role, doubts it, or gives it up.

use std::time::Duration;

use super::Vhost;
use super::backup::Parting;
use crate::core::announcements::Announcements;
use crate::core::command::{Advert, Advertisement, Cause, Command, LinkDown, State};
use crate::core::election::{Priority, Verdict};
use crate::core::family::{Families, Family};
use crate::core::pair::Stance;
use crate::core::patience::{Patience, Word};
use crate::core::time::Instant;
use crate::core::timers::Timer;

impl Vhost {
    /// The advertisement goes first: it is what keeps the other backups quiet (CARP specification §9.3, point
    /// 14).
    pub(super) fn become_master(&mut self, now: Instant, cause: Cause) {
        self.timers.clear();
        self.parting = None;
        self.push_advertisement();
        self.commands.push_back(Command::TakeAddresses);
        self.timers.arm(Timer::Advertise, now + self.advertisement_interval());
        self.begin_to_announce(now);
        self.enter(State::Master, now, cause);
    }

    /// Absolute, so that a late wake-up does not add up; but after a long sleep the missed ones are not made
    /// up for.
    pub(super) fn advertise(&mut self, now: Instant) {
        if let Some(deadline) = self.timers.take_due(Timer::Advertise, now) {
            self.push_advertisement();
            let interval = self.advertisement_interval();
            let next = deadline + interval;
            self.timers.arm(Timer::Advertise, if next > now { next } else { now + interval });
        }
    }

    pub(super) fn announce(&mut self, now: Instant) {
        if self.timers.take_due(Timer::Announce, now).is_some() {
            self.commands.push_back(Command::Announce);
            self.arm_announce(now);
        }
    }

    fn begin_to_announce(&mut self, now: Instant) {
        let dead = self.settings.pace.dead_time(self.settings.priority);
        self.announcements = Announcements::begin(now, self.advertisement_interval(), dead);
        self.commands.push_back(Command::Announce);
        self.arm_announce(now);
    }

    fn arm_announce(&mut self, now: Instant) {
        if let Some(at) = self.announcements.next(now, self.settings.announce_every) {
            self.timers.arm(Timer::Announce, at);
        }
    }

    /// Told at once: the others are to know before the next advertisement is due (CARP specification §5.4).
    pub(super) fn demote_master(&mut self, level: u8) {
        if level != self.demote {
            self.demote = level;
            self.push_advertisement();
        }
    }

    /// Told at once, too.
    pub(super) fn place_master(&mut self, stance: Stance) {
        if stance != self.stance {
            self.stance = stance;
            self.push_advertisement();
        }
    }

    /// A valid frame in MASTER (CARP specification §5.3).
    pub(super) fn contest(&mut self, now: Instant, advert: Advert) {
        match self.reason_to_yield(advert) {
            Some(cause) => self.yield_to(now, advert, cause, advert.stamp),
            None => self.announce_over(now),
        }
    }

    /// Listens from `since`, and to `advert` first.
    fn yield_to(&mut self, now: Instant, advert: Advert, cause: Cause, since: Instant) {
        self.commands.push_back(Command::DropAddresses);
        self.parting = Some(Parting { gone: false, winner: Some(advert) });
        self.timers.clear();
        let mut patience = Patience::new(since);
        patience.hear(self.ear(Family::of(advert.source)), Word::of(advert));
        self.follow(patience);
        self.enter(State::Backup, now, cause);
    }

    /// Another master lost to us: the neighbours may have heard last that it has the addresses.
    fn announce_over(&mut self, now: Instant) {
        if self.announcements.contest(now) {
            self.commands.push_back(Command::Announce);
        }
        self.arm_announce(now);
    }

    fn reason_to_yield(&self, advert: Advert) -> Option<Cause> {
        let Advert { source, priority, .. } = advert;
        if priority.is_bow_out() {
            return None;
        }
        match self.judge(advert) {
            Verdict::LessDemoted => Some(Cause::LessDemoted { source }),
            Verdict::Superior => Some(Cause::Superior { source }),
            Verdict::TieTheyWin if self.decides_ties(Family::of(source)) => Some(Cause::Tie { source }),
            Verdict::TieTheyWin | Verdict::TieWeWin | Verdict::Inferior | Verdict::MoreDemoted => None,
        }
    }

    /// Only one family decides ties, IPv4 where it can: in IPv6 the addresses may stand the other way round,
    /// and then two equal masters would each yield to the other, and again after every takeover.
    fn decides_ties(&self, family: Family) -> bool {
        let Families { v4, v6, .. } = self.settings.families;
        let by_v4 = v4 && !(v6 && self.sources.v4.is_unspecified());
        match family {
            Family::V4 => by_v4,
            Family::V6 => !by_v4,
        }
    }

    /// Whether our advertisement is overdue by the time after which our peers count us as down. Then one of
    /// them may be master, and what we know is old: we say nothing and listen first. Frames that arrived while
    /// we slept may still be on their way through the machine, hence a whole interval from now.
    ///
    /// Who was leaving has nothing to listen for: somebody else serves, or is about to.
    pub(super) fn notice_stall(&mut self, now: Instant) {
        let Some(deadline) = self.timers.get(Timer::Advertise) else { return };
        let lasted = now.saturating_since(deadline);
        if lasted < self.settings.pace.dead_time(self.settings.priority) {
            return;
        }
        self.commands.push_back(Command::Stalled { lasted });
        match self.state {
            State::Master | State::Stalled => {
                self.state = State::Stalled;
                self.timers.disarm(Timer::Announce);
                self.timers.arm(Timer::Advertise, now + self.advertisement_interval());
            }
            State::Leaving => self.stop(now, Cause::Leave),
            // They do not advertise.
            State::Init | State::Backup => {}
        }
    }

    /// Another one is master, be it better or worse: it has heard nothing of us for longer than it had to wait.
    /// Its frame may have waited as long as we slept, so our patience begins now.
    pub(super) fn step_back(&mut self, now: Instant, advert: Advert) {
        if !advert.priority.is_bow_out() {
            self.yield_to(now, advert, Cause::Stalled { source: advert.source }, now);
        }
    }

    /// Nobody took our place: master as before.
    pub(super) fn resume(&mut self, now: Instant) {
        if self.timers.take_due(Timer::Advertise, now).is_some() {
            self.state = State::Master;
            self.push_advertisement();
            self.timers.arm(Timer::Advertise, now + self.advertisement_interval());
            self.begin_to_announce(now);
        }
    }

    /// Goes on advertising, so that nobody takes the addresses before they are gone here.
    pub(super) fn release(&mut self, now: Instant) {
        self.leave_asked = true;
        self.commands.push_back(Command::DropAddresses);
        self.timers.disarm(Timer::Announce);
        self.timers.arm(Timer::Release, now + RELEASE_TIME);
        self.state = State::Leaving;
    }

    /// Somebody else serves already: a bow-out would only disturb.
    pub(super) fn contest_leaving(&mut self, now: Instant, advert: Advert) {
        if self.reason_to_yield(advert).is_some() {
            self.stop(now, Cause::Leave);
        }
    }

    /// The addresses should be gone by now; to wait for ever would be worse than a moment of two owners.
    pub(super) fn end_waiting(&mut self, now: Instant) {
        if self.timers.take_due(Timer::Release, now).is_some() {
            self.bow_out(now);
        }
    }

    pub(super) fn bow_out(&mut self, now: Instant) {
        let farewell = Advertisement { priority: Priority::BOW_OUT, demote: self.level() };
        self.commands.push_back(Command::Advertise(farewell));
        self.stop(now, Cause::Leave);
    }

    pub(super) fn lose_link(&mut self, now: Instant, why: LinkDown) {
        self.commands.push_back(Command::DropAddresses);
        self.stop(now, Cause::LinkDown(why));
    }

    fn push_advertisement(&mut self) {
        let advertisement = Advertisement { priority: self.advertised(), demote: self.level() };
        self.commands.push_back(Command::Advertise(advertisement));
    }

    fn advertisement_interval(&self) -> Duration {
        self.settings.advertisement_interval()
    }
}

/// How long the release of the addresses may take when leaving.
pub(super) const RELEASE_TIME: Duration = Duration::from_millis(500);
