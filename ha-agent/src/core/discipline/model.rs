//! The same rules told by the whole history, with no state but what the role is: slow, and easy to read.

use super::*;

/// All that ever happened.
#[derive(Default)]
pub(super) struct Model {
    pub(super) active: bool,
    pub(super) running: Option<Intention>,
    next: Option<Intention>,
    events: Vec<(u64, Event)>,
    /// What the node began by itself since it was last resumed from too many.
    pub(super) failovers: Vec<u64>,
    pub(super) held: Option<Held>,
}

impl Model {
    /// What is to be done; `now` in ns.
    pub(super) fn step(&mut self, rules: Rules, now: u64, event: Event) -> Vec<Command> {
        let mut commands = vec![];
        let finished = matches!(event, Event::Finished(_)) && self.running.is_some();
        if finished || !matches!(event, Event::Finished(_)) {
            self.events.push((now, event));
        }
        match event {
            Event::Ordered(change) => self.next = Some(Intention { change, why: Why::Ordered }),
            Event::Yield => self.next = Some(Intention { change: Change::Give, why: Why::SameState }),
            Event::Hold if self.held.is_none() => self.held = Some(Held::Operator),
            Event::Resume => {
                if self.held == Some(Held::TooMany) {
                    self.failovers.clear();
                }
                self.held = None;
            }
            Event::Finished(outcome) => {
                if let Some(was) = self.running.take()
                    && outcome == Outcome::Done
                {
                    self.active = was.change == Change::Take;
                }
            }
            Event::PeerLost | Event::PeerBack | Event::Preferred(_) | Event::Hold | Event::Deadline => {}
        }
        // In the end the role is what the newest intention says; what is under way is waited for.
        let becomes = self.running.map_or(self.active, |it| it.change == Change::Take);
        if let Some(next) = self.next {
            if becomes == (next.change == Change::Take) {
                self.next = None;
            } else if self.running.is_none() {
                self.running = self.next.take();
                commands.extend(self.running.map(Command::Begin));
            }
        }
        if let Some((due, why)) = self.wish(rules)
            && due <= now
        {
            let window = u64::try_from(rules.window.as_nanos()).expect("short");
            let recent = self.failovers.iter().filter(|at| **at + window > now).count();
            if recent >= rules.most as usize {
                self.held = Some(Held::TooMany);
                commands.push(Command::Alarm);
            } else {
                self.failovers.push(now);
                self.running = Some(Intention { change: Change::Take, why });
                commands.extend(self.running.map(Command::Begin));
            }
        }
        commands
    }

    /// What it would do by itself, and when.
    pub(super) fn wish(&self, rules: Rules) -> Option<(u64, Why)> {
        if self.active || self.running.is_some() || self.held.is_some() {
            return None;
        }
        let calm = u64::try_from(rules.calm.as_nanos()).expect("short");
        let finished = self.last(|event| matches!(event, Event::Finished(_)));
        let lost = self.holds_since(Event::PeerLost, Event::PeerBack).map(|number| {
            let (since, _) = self.events[number];
            let unsettled = self.unsettled_before(number).is_some_and(|at| since < at + calm);
            let believed = if unsettled { since + calm } else { since };
            let since = self.last_after(number, |event| matches!(event, Event::Finished(_)));
            (since.map_or(believed, |at| at + calm), Why::PeerLost)
        });
        let preferred = self.holds_since(Event::Preferred(true), Event::Preferred(false)).map(|number| {
            let since = self.events[number].0;
            (since.max(finished.filter(|at| *at >= since).unwrap_or(since)) + calm, Why::Preferred)
        });
        lost.or(preferred.filter(|_| rules.preempt))
    }

    /// When the peer came back or an action ended, before this event.
    fn unsettled_before(&self, number: usize) -> Option<u64> {
        let mut lost = false;
        let mut unsettled = None;
        for (at, event) in &self.events[..number] {
            match event {
                Event::PeerLost => lost = true,
                Event::PeerBack if lost => (lost, unsettled) = (false, Some(*at)),
                Event::Finished(_) => unsettled = Some(*at),
                Event::PeerBack
                | Event::Preferred(_)
                | Event::Ordered(_)
                | Event::Yield
                | Event::Hold
                | Event::Resume
                | Event::Deadline => {}
            }
        }
        unsettled
    }

    /// The first `on` after the last `off`.
    fn holds_since(&self, on: Event, off: Event) -> Option<usize> {
        let begin = self.events.iter().rposition(|(_, event)| *event == off).map_or(0, |at| at + 1);
        self.events.iter().skip(begin).position(|(_, event)| *event == on).map(|at| begin + at)
    }

    fn last(&self, wanted: impl Fn(&Event) -> bool) -> Option<u64> {
        self.last_after(0, wanted)
    }

    fn last_after(&self, number: usize, wanted: impl Fn(&Event) -> bool) -> Option<u64> {
        self.events.iter().skip(number).rev().find(|(_, event)| wanted(event)).map(|(at, _)| *at)
    }
}
