//! A reference model of the machine, for the properties.

use super::*;

/// The same rules once more, as plainly as can be: one variant a state, with what that state knows. Times are
/// in ns.
pub(super) struct Model {
    settings: Settings,
    source: Ipv4Addr,
    pub(super) left: bool,
    phase: Phase,
}

#[derive(Clone)]
enum Phase {
    Down,
    Listening { until: u64, newest: Option<u64>, goodbye: Option<Ipv4Addr> },
    Serving { next: u64, announcements: Vec<u64>, since: u64 },
    Going { next: u64, give_up: u64 },
}

impl Model {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, source: Ipv4Addr::UNSPECIFIED, left: false, phase: Phase::Down }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Down => State::Init,
            Phase::Listening { .. } => State::Backup,
            Phase::Serving { .. } => State::Master,
            Phase::Going { .. } => State::Leaving,
        }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.phase {
            Phase::Down => None,
            Phase::Listening { until, .. } => Some(*until),
            Phase::Serving { next, announcements, .. } => announcements.iter().chain([next]).min().copied(),
            Phase::Going { next, give_up } => Some(*next.min(give_up)),
        }
    }

    pub(super) fn step(&mut self, now: u64, event: Event) -> Vec<Command> {
        if event == Event::Leave {
            self.left = true;
        }
        if let Event::Link(Link::Up { source }) = event {
            self.source = source;
        }
        let from = self.state();
        let (mut commands, phase, cause) = match self.phase.clone() {
            Phase::Down => self.when_down(now, event),
            Phase::Listening { until, newest, goodbye } => {
                self.when_listening(now, event, until, newest, goodbye)
            }
            Phase::Serving { next, announcements, since } => {
                self.when_serving(now, event, next, announcements, since)
            }
            Phase::Going { next, give_up } => self.when_going(now, event, next, give_up),
        };
        self.phase = phase;
        if let Some(cause) = cause {
            let at = Instant::from_nanos(now);
            commands.push(Command::Notify(Transition { at, from, to: self.state(), cause }));
        }
        commands
    }

    fn when_down(&self, now: u64, event: Event) -> Step {
        if matches!(event, Event::Link(Link::Up { .. })) && !self.left {
            let phase = Phase::Listening { until: now + self.down(), newest: None, goodbye: None };
            return (vec![Command::DropAddresses], phase, Some(Cause::Started));
        }
        (vec![], Phase::Down, None)
    }

    fn when_listening(
        &self,
        now: u64,
        event: Event,
        until: u64,
        newest: Option<u64>,
        goodbye: Option<Ipv4Addr>,
    ) -> Step {
        if event == Event::Leave {
            return (vec![], Phase::Down, Some(Cause::Leave));
        }
        if let Event::Link(Link::Down(why)) = event {
            return (vec![], Phase::Down, Some(Cause::LinkDown(why)));
        }
        if event == Event::Deadline(Timer::MasterDown) && until <= now {
            let last_heard = newest.map(Instant::from_nanos);
            let silence = Cause::Silence { last_heard, deadline: Instant::from_nanos(until) };
            return self.promote(now, goodbye.map_or(silence, |source| Cause::BowOut { source }));
        }
        if let Event::Advert(Advert { stamp, source, priority, .. }) = event {
            let (ours, theirs) = (number(self.settings.priority), number(priority));
            let patience = 3 * 256 * u64::from(self.settings.priority.advbase)
                + u64::from(self.settings.priority.advskew);
            let farewell = theirs == 0xffff;
            if !farewell && self.settings.preempt && ours < theirs {
                return self.promote(now, Cause::Preempt { source });
            }
            if !farewell && ours >= 256 && patience < theirs {
                return self.promote(now, Cause::Hopeless { source });
            }
            let stamp = stamp.as_nanos();
            if newest.is_none_or(|newest| newest <= stamp) {
                let (until, goodbye) = match (farewell, goodbye) {
                    (true, _) => (stamp.saturating_add(self.skew()), Some(source)),
                    (false, Some(_)) => (stamp.saturating_add(self.down()), None),
                    (false, None) => (until.max(stamp.saturating_add(self.down())), None),
                };
                return (vec![], Phase::Listening { until, newest: Some(stamp), goodbye }, None);
            }
        }
        (vec![], Phase::Listening { until, newest, goodbye }, None)
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
        if let Some((stamp, cause)) = self.beaten_by(event) {
            let until = stamp.saturating_add(self.down());
            let phase = Phase::Listening { until, newest: Some(stamp), goodbye: None };
            let mut commands = vec![Command::DropAddresses];
            if matches!(cause, Cause::Superior { .. }) {
                commands.insert(0, Command::Advertise(self.settings.priority));
            }
            return (commands, phase, Some(cause));
        }
        if event == Event::Deadline(Timer::Advertise) && next <= now {
            let next = self.after(next, now);
            let sent = vec![Command::Advertise(self.settings.priority)];
            return (sent, Phase::Serving { next, announcements, since }, None);
        }
        if event == Event::Deadline(Timer::Announce) && announcements.iter().any(|at| *at <= now) {
            announcements.retain(|at| *at > now);
            return (vec![Command::Announce], Phase::Serving { next, announcements, since }, None);
        }
        if matches!(event, Event::Advert(_)) && since + 1_000_000_000 <= now {
            let phase = Phase::Serving { next, announcements: repeats(now), since: now };
            return (vec![Command::Announce], phase, None);
        }
        (vec![], Phase::Serving { next, announcements, since }, None)
    }

    fn when_going(&self, now: u64, event: Event, next: u64, give_up: u64) -> Step {
        if let Some(step) = link_lost(event) {
            return step;
        }
        if self.beaten_by(event).is_some() {
            return (vec![], Phase::Down, Some(Cause::Leave));
        }
        if event == Event::Released || (event == Event::Deadline(Timer::Release) && give_up <= now) {
            return (vec![Command::Advertise(Priority::BOW_OUT)], Phase::Down, Some(Cause::Leave));
        }
        if event == Event::Deadline(Timer::Advertise) && next <= now {
            let next = self.after(next, now);
            let sent = vec![Command::Advertise(self.settings.priority)];
            return (sent, Phase::Going { next, give_up }, None);
        }
        (vec![], Phase::Going { next, give_up }, None)
    }

    fn promote(&self, now: u64, cause: Cause) -> Step {
        let commands =
            vec![Command::Advertise(self.settings.priority), Command::TakeAddresses, Command::Announce];
        let phase =
            Phase::Serving { next: now + interval(self.settings), announcements: repeats(now), since: now };
        (commands, phase, Some(cause))
    }

    /// The stamp (ns) of a frame before which a master yields, and the cause.
    fn beaten_by(&self, event: Event) -> Option<(u64, Cause)> {
        let Event::Advert(Advert { stamp, source, priority, .. }) = event else { return None };
        let (ours, theirs) = (number(self.settings.priority), number(priority));
        if theirs == 0xffff {
            None
        } else if theirs < ours {
            Some((stamp.as_nanos(), Cause::Superior { source }))
        } else if theirs == ours && source.octets() <= self.source.octets() {
            Some((stamp.as_nanos(), Cause::Tie { source }))
        } else {
            None
        }
    }

    fn after(&self, deadline: u64, now: u64) -> u64 {
        let interval = interval(self.settings);
        if deadline + interval > now { deadline + interval } else { now + interval }
    }

    /// The master-down time in ns.
    fn down(&self) -> u64 {
        let Settings { priority: Priority { advbase, advskew }, pace, .. } = self.settings;
        match pace {
            Pace::Classic if advbase == 0 => parts(3 * u64::from(advskew).max(1)),
            Pace::Classic => parts(768 * u64::from(advbase) + u64::from(advskew)),
            Pace::Fast { detect, .. } => u64::from(detect.max(1)) * interval(self.settings) + self.skew(),
        }
    }

    /// The wait after a bow-out in ns.
    fn skew(&self) -> u64 {
        let advskew = u64::from(self.settings.priority.advskew);
        match self.settings.pace {
            Pace::Classic => parts(advskew),
            Pace::Fast { .. } => interval(self.settings) * advskew / 256,
        }
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
        Pace::Fast { interval, .. } => {
            (interval.as_secs() * 1_000_000_000 + u64::from(interval.subsec_nanos())).max(1_000_000)
        }
    }
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
