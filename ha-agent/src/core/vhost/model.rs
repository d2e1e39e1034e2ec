//! A reference model of the machine, for the properties.

use std::net::IpAddr;

use super::*;
use crate::core::command::Advertisement;
use crate::core::family::FamilyRule;

mod times;

pub(super) use times::interval;
use times::{Clock, dead_time, nanos, number, parts, ring, rings};

/// The same rules once more, as plainly as can be: one variant a state, with what that state knows. Times are
/// in ns.
pub(super) struct Model {
    settings: Settings,
    sources: Sources,
    level: u8,
    pub(super) left: bool,
    /// When an earlier life advertised last.
    before: Option<u64>,
    phase: Phase,
}

#[derive(Clone)]
enum Phase {
    Down,
    /// The newest stamp in IPv4 and in IPv6, and the masters that are followed there.
    Listening {
        began: u64,
        v4: Option<u64>,
        v6: Option<u64>,
        masters: Vec<(IpAddr, u64)>,
        goodbye: Option<(IpAddr, u64)>,
        /// By which clock patience ends: in all that count together, or in IPv4, and in IPv6 apart.
        clocks: [Clock; 2],
        /// The last word that is owed: whether the addresses are gone, and to whom.
        owed: Option<(bool, Option<Advert>)>,
    },
    Serving {
        next: u64,
        told: Told,
    },
    Doubting {
        until: u64,
    },
    Going {
        next: u64,
        give_up: u64,
    },
}

/// What a master has announced.
#[derive(Clone)]
struct Told {
    due: Vec<u64>,
    /// The first repeat, which nobody puts off.
    soon: u64,
    /// Another one is heard: since when, when last, and when we last answered that at once.
    rival: Option<(u64, u64, u64)>,
}

impl Model {
    pub(super) fn new(settings: Settings) -> Self {
        let sources = Sources::UNSPECIFIED;
        Self { settings, sources, level: 0, left: false, before: None, phase: Phase::Down }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Down => State::Init,
            Phase::Listening { .. } => State::Backup,
            Phase::Serving { .. } => State::Master,
            Phase::Doubting { .. } => State::Stalled,
            Phase::Going { .. } => State::Leaving,
        }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.phase {
            Phase::Down => None,
            Phase::Listening { began, v4, v6, goodbye, clocks, masters: _, owed: _ } => {
                let turn = goodbye.map(|(_, stamp)| stamp.saturating_add(self.skew()));
                let (first, second) = self.patience(*began, *v4, *v6);
                let first = rings(clocks[0], first);
                let second = second.and_then(|second| rings(clocks[1], second));
                [first, second, turn].into_iter().flatten().min()
            }
            Phase::Serving { next, told } => told.due.iter().chain([next]).min().copied(),
            Phase::Doubting { until } => Some(*until),
            Phase::Going { next, give_up } => Some(*next.min(give_up)),
        }
    }

    /// What we advertise now.
    pub(super) fn advertisement(&self) -> Advertisement {
        let Priority { advbase, advskew } = self.settings.priority;
        let advskew = if self.level > 0 && advskew < 240 { 240 } else { advskew };
        Advertisement { priority: Priority { advbase, advskew }, demote: self.level }
    }

    pub(super) fn step(&mut self, now: u64, event: Event) -> Vec<Command> {
        let mut commands = self.wake(now);
        if event == Event::Leave {
            self.left = true;
        }
        if let Event::Link(Link::Up { sources }) = event {
            self.sources = sources;
        }
        let from = self.state();
        let (more, phase, cause) = match (self.phase.clone(), event) {
            (phase, Event::Demote(level)) => {
                let changed = std::mem::replace(&mut self.level, level) != level;
                let tells = changed && matches!(phase, Phase::Serving { .. } | Phase::Going { .. });
                let phase = match phase {
                    Phase::Listening { began, v4, v6, masters, goodbye, clocks: _, owed } => {
                        let clocks = [Clock::Ours; 2];
                        Phase::Listening { began, v4, v6, masters, goodbye, clocks, owed }
                    }
                    other => other,
                };
                (if tells { vec![self.advertise()] } else { vec![] }, phase, None)
            }
            (Phase::Down, _) => self.when_down(now, event),
            (phase @ Phase::Listening { .. }, _) => self.when_listening(now, event, phase),
            (Phase::Serving { next, told }, _) => self.when_serving(now, event, next, told),
            (Phase::Doubting { until }, _) => self.when_doubting(now, event, until),
            (Phase::Going { next, give_up }, _) => self.when_going(now, event, next, give_up),
        };
        commands.extend(more);
        self.phase = phase;
        commands.extend(cause.map(|cause| self.notify(now, from, cause)));
        commands
    }

    /// First of all: have we slept too long?
    fn wake(&mut self, now: u64) -> Vec<Command> {
        let (Phase::Serving { next, .. } | Phase::Doubting { until: next } | Phase::Going { next, .. }) =
            self.phase
        else {
            return vec![];
        };
        if now < next.saturating_add(dead_time(self.settings)) {
            return vec![];
        }
        let stalled = Command::Stalled { lasted: Duration::from_nanos(now - next) };
        if matches!(self.phase, Phase::Going { .. }) {
            self.phase = Phase::Down;
            return vec![stalled, self.notify(now, State::Leaving, Cause::Leave)];
        }
        self.phase = Phase::Doubting { until: now + interval(self.settings) };
        vec![stalled]
    }

    fn notify(&self, now: u64, from: State, cause: Cause) -> Command {
        Command::Notify(Transition { at: Instant::from_nanos(now), from, to: self.state(), cause })
    }

    fn when_down(&mut self, now: u64, event: Event) -> Step {
        if let Event::Resume { advertised } = event {
            self.before = Some(advertised.as_nanos());
        }
        if matches!(event, Event::Link(Link::Up { .. })) && !self.left {
            let missed = self.before.take().map(|before| before.saturating_add(dead_time(self.settings)));
            if missed.is_some_and(|missed| now < missed) {
                return self.promote(now, Cause::Resumed);
            }
            let clocks = [Clock::Ours; 2];
            let phase = Phase::Listening {
                began: now,
                v4: None,
                v6: None,
                masters: vec![],
                goodbye: None,
                clocks,
                owed: Some((false, None)),
            };
            return (vec![Command::DropAddresses], phase, Some(Cause::Started));
        }
        (vec![], Phase::Down, None)
    }

    fn when_listening(&self, now: u64, event: Event, phase: Phase) -> Step {
        let Phase::Listening { began, v4, v6, mut masters, goodbye, mut clocks, mut owed } = phase else {
            unreachable!("it listens")
        };
        if event == Event::Leave {
            return (vec![], Phase::Down, Some(Cause::Leave));
        }
        if let Event::Link(Link::Down(why)) = event {
            return (vec![], Phase::Down, Some(Cause::LinkDown(why)));
        }
        let (first, second) = self.patience(began, v4, v6);
        let apart = second.is_some();
        let turn = goodbye.map(|(_, stamp)| stamp.saturating_add(self.skew()));
        let (family, newest, due) = match event {
            Event::Deadline(Timer::MasterDown) => {
                (Family::V4, if apart { v4 } else { v4.max(v6) }, rings(clocks[0], first))
            }
            Event::Deadline(Timer::MasterDownV6) => {
                (Family::V6, v6, second.and_then(|second| rings(clocks[1], second)))
            }
            Event::Deadline(Timer::Turn) => (Family::V4, None, turn),
            _ => (Family::V4, None, None),
        };
        if let Some(due) = due.filter(|due| *due <= now) {
            let silence = Cause::Silence {
                family: apart.then_some(family),
                last_heard: newest.map(Instant::from_nanos),
                deadline: Instant::from_nanos(due),
                fired: match clocks[usize::from(family == Family::V6)] {
                    Clock::Rang(_, fired) => Some(Instant::from_nanos(fired)),
                    Clock::Ours | Clock::Kernels => None,
                },
            };
            return self.promote(now, goodbye.map_or(silence, |(source, _)| Cause::BowOut { source }));
        }
        let ear = |family| usize::from(apart && family == Family::V6);
        if let Event::Unwatched(family) = event {
            clocks[ear(family)] = Clock::Ours;
        }
        let mut said = vec![];
        if let Event::Released { held } = event {
            owed = owed.filter(|_| held).map(|(_, winner)| (true, winner));
            said = self.pay(&mut owed);
        }
        if let Event::Silence(silence) = event {
            let (v4, v6) = ring(silence, apart, &mut clocks, (v4, v6));
            return (vec![], Phase::Listening { began, v4, v6, masters, goodbye, clocks, owed }, None);
        }
        let Event::Advert(Advert { stamp, source, priority, demote, watched }) = event else {
            return (said, Phase::Listening { began, v4, v6, masters, goodbye, clocks, owed }, None);
        };
        let (farewell, reason) =
            (number(priority) == 0xffff, self.reason_to_relieve(source, priority, demote));
        let stamp = stamp.as_nanos();
        let has_another = masters.iter().any(|(master, heard)| {
            master.is_ipv4() == source.is_ipv4()
                && *master != source
                && stamp < heard.saturating_add(self.down())
        });
        if has_another && (farewell || reason.is_some()) {
            clocks[ear(Family::of(source))] = Clock::Ours;
            return (vec![], Phase::Listening { began, v4, v6, masters, goodbye, clocks, owed }, None);
        }
        if let Some(cause) = reason {
            return self.promote(now, cause);
        }
        let heard = match (apart, source) {
            (false, _) => v4.max(v6),
            (true, IpAddr::V4(_)) => v4,
            (true, IpAddr::V6(_)) => v6,
        };
        if heard <= Some(stamp) {
            clocks[ear(Family::of(source))] = if watched { Clock::Kernels } else { Clock::Ours };
        }
        let newest = v4.max(v6).is_none_or(|newest| newest <= stamp);
        let goodbye = match (newest, farewell) {
            (true, true) => goodbye.or(Some((source, stamp))),
            (true, false) => None,
            (false, _) => goodbye,
        };
        if newest && farewell {
            masters.clear();
        } else if newest {
            masters.retain(|(master, _)| master.is_ipv4() != source.is_ipv4());
            masters.push((source, stamp));
        }
        let (v4, v6) = match source {
            IpAddr::V4(_) => (v4.max(Some(stamp)), v6),
            IpAddr::V6(_) => (v4, v6.max(Some(stamp))),
        };
        if !farewell && let Some((_, winner @ None)) = &mut owed {
            let Event::Advert(advert) = event else { unreachable!("it is one") };
            *winner = Some(advert);
        }
        let said = self.pay(&mut owed);
        (said, Phase::Listening { began, v4, v6, masters, goodbye, clocks, owed }, None)
    }

    /// Why a backup takes over from somebody who is there.
    fn reason_to_relieve(&self, source: IpAddr, priority: Priority, demote: u8) -> Option<Cause> {
        let own = self.advertisement().priority;
        let (ours, theirs) = (number(own), number(priority));
        let patience = 3 * 256 * u64::from(own.advbase) + u64::from(own.advskew);
        if theirs == 0xffff {
            None
        } else if demote > self.level {
            Some(Cause::Demoted { source })
        } else if demote == self.level && self.settings.preempt && ours < theirs {
            Some(Cause::Preempt { source })
        } else if demote == self.level && ours >= 256 && patience < theirs {
            Some(Cause::Hopeless { source })
        } else {
            None
        }
    }

    /// Says the last word if it is due: what is worse than the winner's, in demotion and else.
    fn pay(&self, owed: &mut Option<(bool, Option<Advert>)>) -> Vec<Command> {
        let Some((true, Some(winner))) = *owed else { return vec![] };
        *owed = None;
        let (own, theirs) = (self.advertisement(), number(winner.priority));
        let worse = match (number(own.priority) > theirs, theirs) {
            (true, _) => number(own.priority),
            (false, 0xfffe..) => return vec![],
            // 255 in the last place belongs to the bow-out.
            (false, _) if theirs % 256 >= 254 => (theirs / 256 + 1) * 256,
            (false, _) => theirs + 1,
        };
        let [.., advbase, advskew] = worse.to_be_bytes();
        let (priority, demote) = (Priority { advbase, advskew }, own.demote.max(winner.demote));
        vec![Command::Advertise(Advertisement { priority, demote })]
    }

    fn when_serving(&self, now: u64, event: Event, next: u64, mut told: Told) -> Step {
        if let Some(step) = link_lost(event) {
            return step;
        }
        if event == Event::Leave {
            let phase = Phase::Going { next, give_up: now + 500_000_000 };
            return (vec![Command::DropAddresses], phase, None);
        }
        if let Some((advert, cause)) = self.beaten_by(event) {
            return (
                vec![Command::DropAddresses],
                self.listening_to(advert, advert.stamp.as_nanos()),
                Some(cause),
            );
        }
        if event == Event::Deadline(Timer::Advertise) && next <= now {
            let next = self.after(next, now);
            return (vec![self.advertise()], Phase::Serving { next, told }, None);
        }
        if event == Event::Deadline(Timer::Announce) && told.due.iter().any(|at| *at <= now) {
            told.due.retain(|at| *at > now);
            if told.due.is_empty() {
                told.due.extend(self.period().map(|period| now + period));
            }
            return (vec![Command::Announce], Phase::Serving { next, told }, None);
        }
        let mut commands = vec![];
        if matches!(event, Event::Advert(_)) {
            let rival =
                told.rival.filter(|(_, heard, _)| now < heard.saturating_add(dead_time(self.settings)));
            let (since, answered) = rival.map_or((now, None), |(since, _, answered)| (since, Some(answered)));
            let often = dead_time(self.settings).saturating_sub(interval(self.settings));
            let often = if now < since + 4_000_000_000 { often } else { 1_000_000_000 };
            let wait = often.clamp(5_000_000, 1_000_000_000);
            let early = answered.filter(|answered| now < answered + wait);
            commands.extend(early.is_none().then_some(Command::Announce));
            told.due = self.repeats(now);
            told.due.extend(Some(told.soon).filter(|soon| *soon > now));
            told.rival = Some((since, now, early.unwrap_or(now)));
        }
        (commands, Phase::Serving { next, told }, None)
    }

    fn when_doubting(&self, now: u64, event: Event, until: u64) -> Step {
        if let Some(step) = link_lost(event) {
            return step;
        }
        if event == Event::Leave {
            let phase = Phase::Going { next: until, give_up: now + 500_000_000 };
            return (vec![Command::DropAddresses], phase, None);
        }
        if let Event::Advert(advert) = event
            && number(advert.priority) != 0xffff
        {
            let cause = Cause::Stalled { source: advert.source };
            return (vec![Command::DropAddresses], self.listening_to(advert, now), Some(cause));
        }
        if event == Event::Deadline(Timer::Advertise) && until <= now {
            let next = now + interval(self.settings);
            let phase = Phase::Serving { next, told: self.told(now) };
            return (vec![self.advertise(), Command::Announce], phase, None);
        }
        (vec![], Phase::Doubting { until }, None)
    }

    fn when_going(&self, now: u64, event: Event, next: u64, give_up: u64) -> Step {
        if let Some(step) = link_lost(event) {
            return step;
        }
        if self.beaten_by(event).is_some() {
            return (vec![], Phase::Down, Some(Cause::Leave));
        }
        if matches!(event, Event::Released { .. })
            || (event == Event::Deadline(Timer::Release) && give_up <= now)
        {
            let farewell = Advertisement { priority: Priority::BOW_OUT, demote: self.level };
            return (vec![Command::Advertise(farewell)], Phase::Down, Some(Cause::Leave));
        }
        if event == Event::Deadline(Timer::Advertise) && next <= now {
            let next = self.after(next, now);
            return (vec![self.advertise()], Phase::Going { next, give_up }, None);
        }
        (vec![], Phase::Going { next, give_up }, None)
    }

    fn promote(&self, now: u64, cause: Cause) -> Step {
        let commands = vec![self.advertise(), Command::TakeAddresses, Command::Announce];
        let phase = Phase::Serving { next: now + interval(self.settings), told: self.told(now) };
        (commands, phase, Some(cause))
    }

    fn advertise(&self) -> Command {
        Command::Advertise(self.advertisement())
    }

    /// The frame before which a master yields, and the cause.
    fn beaten_by(&self, event: Event) -> Option<(Advert, Cause)> {
        let Event::Advert(advert) = event else { return None };
        let Advert { source, priority, demote, .. } = advert;
        let (ours, theirs) = (number(self.advertisement().priority), number(priority));
        let Families { v4, v6, .. } = self.settings.families;
        let wins_tie = match source {
            IpAddr::V4(source) => {
                v4 && (!v6 || !self.sources.v4.is_unspecified()) && source <= self.sources.v4
            }
            IpAddr::V6(source) => {
                v6 && (!v4 || self.sources.v4.is_unspecified()) && source <= self.sources.v6
            }
        };
        if theirs == 0xffff || demote > self.level {
            None
        } else if demote < self.level {
            Some((advert, Cause::LessDemoted { source }))
        } else if theirs < ours {
            Some((advert, Cause::Superior { source }))
        } else if theirs == ours && wins_tie {
            Some((advert, Cause::Tie { source }))
        } else {
            None
        }
    }

    /// Listening from `began`, with one frame heard.
    fn listening_to(&self, advert: Advert, began: u64) -> Phase {
        let stamp = Some(advert.stamp.as_nanos());
        let (v4, v6) = if advert.source.is_ipv4() { (stamp, None) } else { (None, stamp) };
        let masters = vec![(advert.source, advert.stamp.as_nanos())];
        let apart = self.patience(0, None, None).1.is_some();
        let mut clocks = [Clock::Ours; 2];
        if advert.watched {
            clocks[usize::from(apart && advert.source.is_ipv6())] = Clock::Kernels;
        }
        Phase::Listening { began, v4, v6, masters, goodbye: None, clocks, owed: Some((false, Some(advert))) }
    }

    /// When patience ends: in all that count together, and in IPv6 where that counts apart.
    fn patience(&self, began: u64, v4: Option<u64>, v6: Option<u64>) -> (u64, Option<u64>) {
        let until =
            |newest: Option<u64>| newest.map_or(began, |at| at.max(began)).saturating_add(self.down());
        let Families { v4: has_v4, v6: has_v6, rule } = self.settings.families;
        if rule == FamilyRule::Both && has_v4 && has_v6 {
            (until(v4), Some(until(v6)))
        } else {
            (until(v4.max(v6)), None)
        }
    }

    fn after(&self, deadline: u64, now: u64) -> u64 {
        let interval = interval(self.settings);
        if deadline + interval > now { deadline + interval } else { now + interval }
    }

    /// The master-down time in ns.
    fn down(&self) -> u64 {
        let Priority { advbase, advskew } = self.advertisement().priority;
        match self.settings.pace {
            Pace::Classic if advbase == 0 => parts(3 * u64::from(advskew).max(1)),
            Pace::Classic => parts(768 * u64::from(advbase) + u64::from(advskew)),
            Pace::Fast { .. } => dead_time(self.settings) + self.skew(),
        }
    }

    /// The wait after a bow-out in ns.
    fn skew(&self) -> u64 {
        let advskew = u64::from(self.advertisement().priority.advskew);
        match self.settings.pace {
            Pace::Classic => parts(advskew),
            Pace::Fast { .. } => interval(self.settings) * advskew / 256,
        }
    }

    /// Announced for the first time.
    fn told(&self, now: u64) -> Told {
        let soon = now + 3_000_000;
        let mut due = self.repeats(now);
        due.push(soon);
        Told { due, soon, rival: None }
    }

    fn repeats(&self, now: u64) -> Vec<u64> {
        let soon = (interval(self.settings) * 3 / 2).max(5_000_000);
        [soon, 100_000_000, 1_000_000_000, 3_000_000_000].map(|wait| now + wait).to_vec()
    }

    /// Between two announcements without a reason.
    fn period(&self) -> Option<u64> {
        self.settings.announce_every.map(|every| nanos(every).max(1_000_000_000))
    }
}

/// What a node with addresses does when its link goes.
fn link_lost(event: Event) -> Option<Step> {
    let Event::Link(Link::Down(why)) = event else { return None };
    Some((vec![Command::DropAddresses], Phase::Down, Some(Cause::LinkDown(why))))
}

/// What to do, where to go, and the cause if that is to be told.
type Step = (Vec<Command>, Phase, Option<Cause>);
