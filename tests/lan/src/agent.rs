//! The agent of a node: its fast thread, which reads the ring and lets the core decide, and its executor, which carries
//! out what takes longer.

use std::collections::VecDeque;
use std::time::Duration;

use crate::core::{
    Advertisement, Command, Event, Family, Instant, SenderClock, Settings, State, Transition, Vhost,
};
use crate::kernel::{Kernel, Patience, Record};

/// The agent.
#[derive(Clone, Debug)]
pub struct Agent {
    vhost: Vhost,
    /// What others have to say, and since when.
    inputs: VecDeque<(Instant, Input)>,
    doing: Doing,
    orders: VecDeque<Order>,
    /// When the executor is done with the first of them.
    order_ends: Option<Instant>,
    /// Orders to drop the addresses that are not carried out yet.
    drops: usize,
    /// Whether one of them, since the core was last told, found addresses.
    held: bool,
    /// Whether the last order given was to take the addresses, not to drop them.
    wanted: bool,
    /// Strict mode: the clock in our frames.
    clock: SenderClock,
}

/// What the fast thread is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// For the core.
    Event(Event),
    /// The addresses are off.
    Dropped {
        /// They had been there.
        held: bool,
    },
}

/// What the executor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Put the addresses on.
    Take,
    /// Take them off.
    Drop,
    /// Tell the neighbours.
    Announce,
}

/// What comes out of a round of the fast thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Send this, now.
    Advertise(Advertisement),
    /// It slept.
    Stalled,
    /// It has another state.
    Turned(Transition),
}

/// How late the fast thread is at its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lateness {
    /// At any time.
    pub usual: Duration,
    /// Beside it, where the step is due before `until`.
    pub extra: Duration,
    /// See `extra`.
    pub until: Instant,
}

impl Lateness {
    fn after(self, due: Instant) -> Instant {
        due + self.usual + if due < self.until { self.extra } else { Duration::ZERO }
    }
}

/// What the fast thread does.
#[derive(Clone, Copy, Debug)]
enum Doing {
    /// Waits for the ring, a deadline or an input, and comes back late.
    Waiting { since: Instant, late: Lateness },
    /// Has looked at the clock, and reads and judges until.
    Reading { now: Instant, until: Instant },
}

impl Agent {
    /// Starts at `now` and waits, to wake `late`; `stored_ms` is the last time that an earlier one put into a frame.
    #[must_use]
    pub fn new(settings: Settings, now: Instant, late: Lateness, stored_ms: Option<u64>) -> Self {
        Self {
            vhost: Vhost::new(settings),
            inputs: VecDeque::new(),
            doing: Doing::Waiting { since: now, late },
            orders: VecDeque::new(),
            order_ends: None,
            drops: 0,
            held: false,
            wanted: false,
            clock: SenderClock::new(stored_ms),
        }
    }

    /// The state of the core.
    #[must_use]
    pub fn state(&self) -> State {
        self.vhost.state()
    }

    /// Whether it has nothing more to do, and ends.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.vhost.has_left() && self.orders.is_empty()
    }

    /// How long the core waits for a silent master, with all that it was told.
    #[must_use]
    pub fn master_down_time(&self) -> Duration {
        self.vhost.master_down_time()
    }

    /// What the kernel is to be told.
    #[must_use]
    pub fn patience(&self) -> Patience {
        let Settings { pace, priority, .. } = self.vhost.settings();
        Patience { dead: self.master_down_time(), interval: pace.advertisement_interval(priority) }
    }

    /// Tells the fast thread something.
    pub fn tell(&mut self, now: Instant, input: Input) {
        self.inputs.push_back((now, input));
    }

    /// When the fast thread goes on, if it may run, with `unread_since` of the ring.
    #[must_use]
    pub fn next_round(&self, unread_since: Option<Instant>) -> Option<Instant> {
        match self.doing {
            Doing::Reading { until, .. } => Some(until),
            Doing::Waiting { since, late } => {
                let input = self.inputs.front().map(|(at, _)| *at);
                let deadline = self.vhost.poll_timeout().map(|(at, _)| at);
                [unread_since, input, deadline]
                    .into_iter()
                    .flatten()
                    .min()
                    .map(|due| late.after(due.max(since)))
            }
        }
    }

    /// Whether the next thing is to look at the clock, rather than to read.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.doing, Doing::Waiting { .. })
    }

    /// Looks at the clock, and then reads and judges for a while.
    pub fn look(&mut self, now: Instant, late: Lateness) {
        self.doing = Doing::Reading { now, until: late.after(now) };
    }

    /// Ends a round as the detector does it: the ring first, until it is empty or a record is newer than the clock was;
    /// then one input; then whatever deadline had come by then. At `now` it waits again, and will wake `late`.
    pub fn round(&mut self, node: usize, kernel: &mut Kernel, now: Instant, late: Lateness) -> Vec<Outcome> {
        let Doing::Reading { now: looked, .. } = self.doing else { return Vec::new() };
        let mut outcomes = Vec::new();
        self.drain(node, kernel, looked, &mut outcomes);
        match self.inputs.pop_front() {
            Some((_, Input::Dropped { held })) => {
                self.drops = self.drops.saturating_sub(1);
                self.held |= held;
                if self.drops == 0 {
                    let held = std::mem::take(&mut self.held);
                    self.handle(looked, Event::Released { held }, &mut outcomes);
                }
            }
            Some((_, Input::Event(event))) => {
                self.handle(looked, event, &mut outcomes);
                if let Event::Demote(_) = event {
                    kernel.set_patience(kernel.patience().map(|_| self.patience()));
                }
            }
            None => {}
        }
        while let Some((deadline, timer)) = self.vhost.poll_timeout()
            && deadline <= looked
        {
            self.handle(looked, Event::Deadline(timer), &mut outcomes);
        }
        self.doing = Doing::Waiting { since: now, late };
        outcomes
    }

    fn drain(&mut self, node: usize, kernel: &mut Kernel, looked: Instant, outcomes: &mut Vec<Outcome>) {
        while let Some(record) = kernel.read() {
            let event = match record {
                // Our own, come back to us: nobody is heard, but the kernel's timer runs from here.
                Record::Advert { from, advert } if from == node => {
                    Event::Unwatched(Family::of(advert.source))
                }
                Record::Advert { advert, .. } => Event::Advert(advert),
                Record::Silence(silence) => Event::Silence(silence),
                Record::Stall(stall) => Event::Stall(stall),
            };
            self.handle(looked, event, outcomes);
            if record.at() > looked {
                return;
            }
        }
    }

    fn handle(&mut self, now: Instant, event: Event, outcomes: &mut Vec<Outcome>) {
        self.vhost.handle(now, event);
        while let Some(command) = self.vhost.next_command() {
            match command {
                Command::Advertise(advertisement) => outcomes.push(Outcome::Advertise(advertisement)),
                Command::Stalled { .. } => outcomes.push(Outcome::Stalled),
                Command::Notify(transition) => outcomes.push(Outcome::Turned(transition)),
                Command::Announce => self.orders.push_back(Order::Announce),
                Command::TakeAddresses => {
                    self.wanted = true;
                    self.orders.push_back(Order::Take);
                }
                Command::DropAddresses => {
                    self.wanted = false;
                    self.drops += 1;
                    self.orders.push_back(Order::Drop);
                }
            }
        }
    }

    /// Strict mode: the time of a frame that leaves now, in ms since 2025.
    pub fn next_ms(&mut self, now: Instant, wall: Duration) -> u64 {
        self.clock.next(now, wall)
    }

    /// Strict mode: the last such time.
    #[must_use]
    pub fn last_ms(&self) -> Option<u64> {
        self.clock.last()
    }

    /// Lets the executor begin its next order, which takes this long, if it is idle.
    pub fn begin_order(&mut self, now: Instant, takes: impl FnOnce() -> Duration) {
        if self.order_ends.is_none() && !self.orders.is_empty() {
            self.order_ends = Some(now + takes());
        }
    }

    /// When the executor is done with an order, if it may run.
    #[must_use]
    pub fn order_ends(&self) -> Option<Instant> {
        self.order_ends
    }

    /// Ends an order. What is about to go is not announced any more.
    pub fn end_order(&mut self) -> Option<Order> {
        self.order_ends = None;
        self.orders.pop_front().filter(|order| *order != Order::Announce || self.wanted)
    }
}
