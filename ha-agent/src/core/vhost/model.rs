//! A reference model of the machine, for the properties.

use std::net::IpAddr;

use super::*;
use crate::core::command::Advertisement;
use crate::core::family::FamilyRule;

/// The same rules once more, as plainly as can be: one variant a state, with what that state knows. Times are
/// in ns.
pub(super) struct Model {
    settings: Settings,
    sources: Sources,
    level: u8,
    pub(super) left: bool,
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
    },
    Serving {
        next: u64,
        announcements: Vec<u64>,
        since: u64,
    },
    Doubting {
        until: u64,
    },
    Going {
        next: u64,
        give_up: u64,
    },
}

#[derive(Clone, Copy)]
enum Clock {
    Ours,
    Kernels,
    /// The kernel's has rung: for when it was set, and when it did.
    Rang(u64, u64),
}

impl Model {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, sources: Sources::UNSPECIFIED, level: 0, left: false, phase: Phase::Down }
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
            Phase::Listening { began, v4, v6, goodbye, clocks, masters: _ } => {
                let turn = goodbye.map(|(_, stamp)| stamp.saturating_add(self.skew()));
                let (first, second) = self.patience(*began, *v4, *v6);
                let first = rings(clocks[0], first);
                let second = second.and_then(|second| rings(clocks[1], second));
                [first, second, turn].into_iter().flatten().min()
            }
            Phase::Serving { next, announcements, .. } => announcements.iter().chain([next]).min().copied(),
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
                    Phase::Listening { began, v4, v6, masters, goodbye, clocks: _ } => {
                        let clocks = [Clock::Ours; 2];
                        Phase::Listening { began, v4, v6, masters, goodbye, clocks }
                    }
                    other => other,
                };
                (if tells { vec![self.advertise()] } else { vec![] }, phase, None)
            }
            (Phase::Down, _) => self.when_down(now, event),
            (phase @ Phase::Listening { .. }, _) => self.when_listening(now, event, phase),
            (Phase::Serving { next, announcements, since }, _) => {
                self.when_serving(now, event, next, announcements, since)
            }
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

    fn when_down(&self, now: u64, event: Event) -> Step {
        if matches!(event, Event::Link(Link::Up { .. })) && !self.left {
            let clocks = [Clock::Ours; 2];
            let phase =
                Phase::Listening { began: now, v4: None, v6: None, masters: vec![], goodbye: None, clocks };
            return (vec![Command::DropAddresses], phase, Some(Cause::Started));
        }
        (vec![], Phase::Down, None)
    }

    fn when_listening(&self, now: u64, event: Event, phase: Phase) -> Step {
        let Phase::Listening { began, v4, v6, mut masters, goodbye, mut clocks } = phase else {
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
        if let Event::Silence(silence) = event {
            let (v4, v6) = ring(silence, apart, &mut clocks, (v4, v6));
            return (vec![], Phase::Listening { began, v4, v6, masters, goodbye, clocks }, None);
        }
        let Event::Advert(Advert { stamp, source, priority, demote, watched }) = event else {
            return (vec![], Phase::Listening { began, v4, v6, masters, goodbye, clocks }, None);
        };
        let own = self.advertisement().priority;
        let (ours, theirs) = (number(own), number(priority));
        let patience = 3 * 256 * u64::from(own.advbase) + u64::from(own.advskew);
        let farewell = theirs == 0xffff;
        let stamp = stamp.as_nanos();
        let reason = if farewell {
            None
        } else if demote > self.level {
            Some(Cause::Demoted { source })
        } else if demote == self.level && self.settings.preempt && ours < theirs {
            Some(Cause::Preempt { source })
        } else if demote == self.level && ours >= 256 && patience < theirs {
            Some(Cause::Hopeless { source })
        } else {
            None
        };
        let has_another = masters.iter().any(|(master, heard)| {
            master.is_ipv4() == source.is_ipv4()
                && *master != source
                && stamp < heard.saturating_add(self.down())
        });
        if has_another && (farewell || reason.is_some()) {
            clocks[ear(Family::of(source))] = Clock::Ours;
            return (vec![], Phase::Listening { began, v4, v6, masters, goodbye, clocks }, None);
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
        (vec![], Phase::Listening { began, v4, v6, masters, goodbye, clocks }, None)
    }

    fn when_serving(
        &self,
        now: u64,
        event: Event,
        next: u64,
        mut announcements: Vec<u64>,
        since: u64,
    ) -> Step {
        if let Some(step) = link_lost(event) {
            return step;
        }
        if event == Event::Leave {
            let phase = Phase::Going { next, give_up: now + 500_000_000 };
            return (vec![Command::DropAddresses], phase, None);
        }
        if let Some((advert, cause)) = self.beaten_by(event) {
            let mut commands = vec![Command::DropAddresses];
            if number(advert.priority) < number(self.advertisement().priority) {
                commands.insert(0, self.advertise());
            }
            return (commands, self.listening_to(advert, advert.stamp.as_nanos()), Some(cause));
        }
        if event == Event::Deadline(Timer::Advertise) && next <= now {
            let next = self.after(next, now);
            return (vec![self.advertise()], Phase::Serving { next, announcements, since }, None);
        }
        if event == Event::Deadline(Timer::Announce) && announcements.iter().any(|at| *at <= now) {
            announcements.retain(|at| *at > now);
            if announcements.is_empty() {
                announcements.extend(self.period().map(|period| now + period));
            }
            return (vec![Command::Announce], Phase::Serving { next, announcements, since }, None);
        }
        if matches!(event, Event::Advert(_)) && since + 1_000_000_000 <= now {
            let phase = Phase::Serving { next, announcements: repeats(now), since: now };
            return (vec![Command::Announce], phase, None);
        }
        (vec![], Phase::Serving { next, announcements, since }, None)
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
            let phase = Phase::Serving { next, announcements: repeats(now), since: now };
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
        if event == Event::Released || (event == Event::Deadline(Timer::Release) && give_up <= now) {
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
        let phase =
            Phase::Serving { next: now + interval(self.settings), announcements: repeats(now), since: now };
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
        Phase::Listening { began, v4, v6, masters, goodbye: None, clocks }
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

    /// Between two announcements without a reason.
    fn period(&self) -> Option<u64> {
        self.settings.announce_every.map(|every| nanos(every).max(1_000_000_000))
    }
}

/// The kernel's clock rings. Returns the newest stamps.
fn ring(
    Silence { family, last_heard, deadline, fired }: Silence,
    apart: bool,
    clocks: &mut [Clock; 2],
    (v4, v6): (Option<u64>, Option<u64>),
) -> (Option<u64>, Option<u64>) {
    let alone = apart && family == Family::V6;
    let newest = match (apart, family) {
        (false, _) => v4.max(v6),
        (true, Family::V4) => v4,
        (true, Family::V6) => v6,
    };
    let (clock, last) = (&mut clocks[usize::from(alone)], Some(last_heard.as_nanos()));
    if !matches!(clock, Clock::Kernels) || newest > last {
        return (v4, v6);
    }
    *clock = Clock::Rang(deadline.as_nanos(), fired.as_nanos());
    if alone { (v4, last) } else { (last, v6) }
}

/// When we are to act on the end of our patience ourselves.
fn rings(clock: Clock, end: u64) -> Option<u64> {
    match clock {
        Clock::Ours => Some(end),
        Clock::Rang(set, _) => Some(end.max(set)),
        Clock::Kernels => None,
    }
}

/// What a node with addresses does when its link goes.
fn link_lost(event: Event) -> Option<Step> {
    let Event::Link(Link::Down(why)) = event else { return None };
    Some((vec![Command::DropAddresses], Phase::Down, Some(Cause::LinkDown(why))))
}

/// What to do, where to go, and the cause if that is to be told.
type Step = (Vec<Command>, Phase, Option<Cause>);

/// The advertisement interval in ns.
pub(super) fn interval(settings: Settings) -> u64 {
    match settings.pace {
        Pace::Classic => parts(number(settings.priority).max(1)),
        Pace::Fast { interval, .. } => nanos(interval).max(1_000_000),
    }
}

/// What peers of the best priority wait, in ns.
fn dead_time(settings: Settings) -> u64 {
    match settings.pace {
        Pace::Classic if settings.priority.advbase == 0 => {
            parts(3 * u64::from(settings.priority.advskew).max(1))
        }
        Pace::Classic => parts(768 * u64::from(settings.priority.advbase)),
        Pace::Fast { detect, .. } => u64::from(detect.max(1)) * interval(settings),
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_secs() * 1_000_000_000 + u64::from(time.subsec_nanos())
}

/// `count/256` s, in ns, cut to whole µs.
fn parts(count: u64) -> u64 {
    count * 1_000_000 / 256 * 1000
}

fn number(priority: Priority) -> u64 {
    u64::from(priority.advbase) * 256 + u64::from(priority.advskew)
}

/// When an announcement at `now` is repeated.
fn repeats(now: u64) -> Vec<u64> {
    [100, 1000, 3000].map(|ms| now + ms * 1_000_000).to_vec()
}
