//! Random operations, against a small model that was written apart, and against what must hold at all times.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::sample::select;

use super::model::{Model, interval};
use super::*;
use crate::core::command::{Advertisement, LinkDown};
use crate::core::family::FamilyRule;
use crate::core::patience::{Ear, Guard};

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_sequence_keeps_the_rules(settings in settings(), ops in prop::collection::vec(op(), 1..120)) {
        let mut driver = Driver::new(settings);
        for op in ops {
            driver.apply(op);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A frame that arrived this many ns ago.
    Hear {
        heard: Heard,
        source: IpAddr,
        demote: u8,
        lag: u64,
        watched: bool,
    },
    /// The kernel's timer has fired; armed by the last frame heard, or another that arrived this many ns ago.
    Silence {
        family: Family,
        lag: Option<u64>,
        late: u64,
    },
    Stall(Family),
    Unwatched(Family),
    /// A frame with any stamp at all, in ns.
    HearAt {
        heard: Heard,
        source: IpAddr,
        stamp: u64,
    },
    /// Lets ns pass.
    Advance(u64),
    /// Goes to the next deadline, or to 1 ns before it, or a little past it (ns from 1 before).
    AdvanceToDeadline(u64),
    /// Handles all deadlines that have come.
    HandleDue,
    /// Handles this deadline, come or not.
    Handle(Timer),
    Up(Sources),
    Down(LinkDown),
    Demote(u8),
    /// An earlier life advertised this many ns ago.
    Resume(u64),
    Released {
        held: bool,
    },
    Leave,
}

/// A priority, described so that the edges are met often.
#[derive(Clone, Copy, Debug)]
enum Heard {
    Any(u8, u8),
    /// What we advertise, as a number, plus this.
    NearOurs(i32),
    /// The slowest that rule B3 still follows, plus this.
    NearHopeless(i32),
    BowOut,
}

/// The machine and the model side by side, and what an observer of the commands knows.
struct Driver {
    vhost: Vhost,
    model: Model,
    /// ns.
    now: u64,
    holds_addresses: bool,
    /// When the last frame arrived (ns).
    last_stamp: u64,
    /// When it last began to advertise (ns), and how many regular advertisements followed the first.
    master_since: u64,
    followed: u64,
    /// It has said its last word since it last yielded or started.
    has_spoken_last: bool,
}

impl Driver {
    fn new(settings: Settings) -> Self {
        Self {
            vhost: Vhost::new(settings),
            model: Model::new(settings),
            now: 1_000_000_000_000,
            holds_addresses: false,
            last_stamp: 0,
            master_since: 0,
            followed: 0,
            has_spoken_last: false,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Hear { heard, source, demote, lag, watched } => {
                self.hear(heard, source, demote, self.now - lag, watched);
            }
            Op::HearAt { heard, source, stamp } => self.hear(heard, source, 0, stamp, false),
            Op::Silence { family, lag, late } => self.fall_silent(family, lag, late),
            Op::Stall(family) => {
                let (deadline, fired) = (Instant::from_nanos(self.now - 1), Instant::from_nanos(self.now));
                self.feed(Event::Stall(Stall { family, deadline, fired }));
            }
            Op::Unwatched(family) => self.feed(Event::Unwatched(family)),
            Op::Advance(ns) => self.now += ns,
            Op::AdvanceToDeadline(ns) => {
                if let Some((deadline, _)) = self.vhost.poll_timeout()
                    && deadline.as_nanos() < END_OF_TIME
                {
                    self.now = self.now.max(deadline.as_nanos() - 1 + ns);
                }
            }
            Op::HandleDue => self.handle_due(),
            Op::Handle(timer) => self.feed(Event::Deadline(timer)),
            Op::Up(sources) => self.feed(Event::Link(Link::Up { sources })),
            Op::Down(why) => self.feed(Event::Link(Link::Down(why))),
            Op::Demote(level) => self.feed(Event::Demote(level)),
            Op::Resume(ago) => {
                self.feed(Event::Resume { advertised: Instant::from_nanos(self.now - ago) });
            }
            Op::Released { held } => self.feed(Event::Released { held }),
            Op::Leave => self.feed(Event::Leave),
        }
    }

    fn fall_silent(&mut self, family: Family, lag: Option<u64>, late: u64) {
        let last = lag.map_or(self.last_stamp, |lag| self.now - lag);
        let deadline = last.saturating_add(late);
        let at = Instant::from_nanos;
        self.feed(Event::Silence(Silence {
            family,
            last_heard: at(last),
            deadline: at(deadline),
            fired: at(self.now),
        }));
    }

    fn hear(&mut self, heard: Heard, source: IpAddr, demote: u8, stamp: u64, watched: bool) {
        self.last_stamp = stamp;
        let own = self.model.advertisement().priority;
        let number = match heard {
            Heard::Any(advbase, advskew) => i32::from(u16::from_be_bytes([advbase, advskew])),
            Heard::NearOurs(offset) => i32::from(own.wire()) + offset,
            Heard::NearHopeless(offset) => 768 * i32::from(own.advbase) + i32::from(own.advskew) + offset,
            Heard::BowOut => 0xffff,
        };
        let [.., advbase, advskew] = number.clamp(0, 0xffff).to_be_bytes();
        let priority = Priority { advbase, advskew };
        let stamp = Instant::from_nanos(stamp);
        self.feed(Event::Advert(Advert { stamp, source, priority, demote, watched }));
    }

    /// Progress: at one moment, no timer comes twice.
    fn handle_due(&mut self) {
        let mut handled = Vec::new();
        while let Some((deadline, timer)) = self.vhost.poll_timeout()
            && deadline.as_nanos() <= self.now
        {
            assert!(!handled.contains(&timer), "{timer:?} is due again at {deadline:?}");
            handled.push(timer);
            self.feed(Event::Deadline(timer));
        }
    }

    fn feed(&mut self, event: Event) {
        let now = Instant::from_nanos(self.now);
        let before = self.vhost.state();
        self.vhost.handle(now, event);
        let after = self.vhost.state();
        let commands: Vec<_> = std::iter::from_fn(|| self.vhost.next_command()).collect();

        assert_eq!(commands, self.model.step(self.now, event), "commands, on {event:?} in {before:?}");
        assert_eq!(after, self.model.state(), "state, on {event:?} in {before:?}");
        assert_eq!(self.vhost.has_left(), self.model.left && after == State::Init);
        let deadline = self.vhost.poll_timeout().map(|(deadline, _)| deadline.as_nanos());
        assert_eq!(deadline, self.model.deadline(), "deadline, on {event:?} in {before:?}");

        self.check_notifications(before, after, &commands);
        self.check_addresses(after, &commands);
        self.check_advertisements(before, after, event, &commands);
        self.check_timers(after);
    }

    fn check_notifications(&self, before: State, after: State, commands: &[Command]) {
        let told: Vec<_> = commands
            .iter()
            .filter_map(
                |command| if let Command::Notify(transition) = command { Some(transition) } else { None },
            )
            .map(|transition| {
                assert_eq!(transition.at.as_nanos(), self.now);
                (transition.from.to_string(), transition.to.to_string())
            })
            .collect();
        // As an operator sees it.
        let (before, after) = (before.to_string(), after.to_string());
        if before == after {
            assert_eq!(told, []);
        } else {
            assert_eq!(told, [(before, after)]);
        }
    }

    fn check_addresses(&mut self, after: State, commands: &[Command]) {
        for command in commands {
            match command {
                Command::TakeAddresses => self.holds_addresses = true,
                Command::DropAddresses => self.holds_addresses = false,
                Command::Announce => assert!(self.holds_addresses, "announced what it does not hold"),
                Command::Advertise(_) | Command::Stalled { .. } | Command::Notify(_) => {}
            }
        }
        assert_eq!(self.holds_addresses, matches!(after, State::Master | State::Stalled));
    }

    fn check_advertisements(&mut self, before: State, after: State, event: Event, commands: &[Command]) {
        let mut sent: Vec<_> = commands
            .iter()
            .filter_map(|command| if let Command::Advertise(sent) = command { Some(*sent) } else { None })
            .collect();
        let own = self.model.advertisement();
        let advertises = |state| matches!(state, State::Master | State::Leaving);
        self.has_spoken_last &= (before, after) == (State::Backup, State::Backup);
        let stalled = commands.iter().any(|command| matches!(command, Command::Stalled { .. }));
        if stalled {
            assert_eq!(sent, [], "in doubt");
        } else if (before, after) == (State::Leaving, State::Init) {
            let goodbye = Advertisement { priority: Priority::BOW_OUT, ..own };
            assert!(sent.is_empty() || sent == [goodbye]);
        } else if (before, after) == (State::Backup, State::Backup)
            && matches!(event, Event::Released { .. } | Event::Advert(_))
        {
            // Its last word, which loses to whoever it is for.
            assert!(sent.len() <= 1 && sent.iter().all(|sent| !sent.priority.is_bow_out()));
            assert!(sent.is_empty() || !std::mem::replace(&mut self.has_spoken_last, true), "twice");
        } else if !advertises(after) {
            assert_eq!(sent, [], "{before:?} to {after:?}");
        } else if !advertises(before) && after == State::Master {
            assert_eq!(sent, [own]);
            (self.master_since, self.followed) = (self.now, 0);
        } else if let Some(sent) = sent.pop() {
            assert_eq!(sent, own);
            if matches!(event, Event::Demote(_)) {
                return;
            }
            self.followed += 1;
            // A late one may come close to the next, but on the whole they never outrun the interval.
            let earliest = self.master_since + self.followed * interval(self.vhost.settings());
            assert!(self.now >= earliest, "number {} is early", self.followed);
        }
    }

    fn check_timers(&self, after: State) {
        let armed = |timer| self.vhost.timers.get(timer).is_some();
        let apart = self.vhost.settings().families.are_apart();
        let own = |ear| self.vhost.patience.guard(ear) != Guard::Kernel;
        let expected = match after {
            State::Init => [false; 6],
            State::Backup => {
                [false, own(Ear::First), apart && own(Ear::Second), armed(Timer::Turn), false, false]
            }
            // The announcements may come to an end.
            State::Master => [true, false, false, false, armed(Timer::Announce), false],
            State::Stalled => [true, false, false, false, false, false],
            State::Leaving => [true, false, false, false, false, true],
        };
        assert_eq!(Timer::ALL.map(armed), expected, "{after:?}");
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    let advbase = prop_oneof![Just(0), Just(1), any::<u8>()];
    let advskew = prop_oneof![Just(0), any::<u8>()];
    let interval = (0..2_000_000_000_u64).prop_map(Duration::from_nanos);
    let pace = prop_oneof![
        Just(Pace::Classic),
        (interval, any::<u8>()).prop_map(|(interval, detect)| Pace::Fast { interval, detect }),
    ];
    let families = select(vec![
        Families::only(Family::V4),
        Families::only(Family::V6),
        Families::both(FamilyRule::Either),
        Families::both(FamilyRule::Both),
    ]);
    let every = prop::option::of((0..5_000_000_000_u64).prop_map(Duration::from_nanos));
    (advbase, advskew, pace, any::<bool>(), families, every).prop_map(
        |(advbase, advskew, pace, preempt, families, announce_every)| Settings {
            priority: Priority { advbase, advskew },
            pace,
            preempt,
            families,
            announce_every,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let lag = prop_oneof![Just(0), 0..5_000_000_u64, 0..20_000_000_000_u64];
    let why = select(vec![LinkDown::Carrier, LinkDown::AdminDown, LinkDown::Removed, LinkDown::DataPlane]);
    prop_oneof![
        8 => (heard(), source(), level(), lag.clone(), any::<bool>())
            .prop_map(|(heard, source, demote, lag, watched)| Op::Hear { heard, source, demote, lag, watched }),
        6 => (family(), prop::option::of(lag), 0..5_000_000_000_u64)
            .prop_map(|(family, lag, late)| Op::Silence { family, lag, late }),
        1 => family().prop_map(Op::Stall),
        1 => family().prop_map(Op::Unwatched),
        1 => (heard(), source(), any::<u64>())
            .prop_map(|(heard, source, stamp)| Op::HearAt { heard, source, stamp }),
        4 => prop_oneof![0..2_000_000_u64, 0..20_000_000_000_u64].prop_map(Op::Advance),
        8 => prop_oneof![0..3_u64, 0..2_000_000_000_u64].prop_map(Op::AdvanceToDeadline),
        8 => Just(Op::HandleDue),
        2 => select(Timer::ALL.to_vec()).prop_map(Op::Handle),
        4 => sources().prop_map(Op::Up),
        1 => why.prop_map(Op::Down),
        2 => level().prop_map(Op::Demote),
        1 => (0..4_000_000_000_u64).prop_map(Op::Resume),
        2 => any::<bool>().prop_map(|held| Op::Released { held }),
        1 => Just(Op::Leave),
    ]
}

fn heard() -> impl Strategy<Value = Heard> {
    prop_oneof![
        (any::<u8>(), any::<u8>()).prop_map(|(advbase, advskew)| Heard::Any(advbase, advskew)),
        (-1..=1).prop_map(Heard::NearOurs),
        (-1..=1).prop_map(Heard::NearHopeless),
        Just(Heard::BowOut),
    ]
}

fn family() -> impl Strategy<Value = Family> {
    select(Family::ALL.to_vec())
}

fn level() -> impl Strategy<Value = u8> {
    prop_oneof![6 => Just(0), 2 => Just(1), 1 => any::<u8>()]
}

fn source() -> impl Strategy<Value = IpAddr> {
    sources().prop_flat_map(|sources| select(Family::ALL.map(|family| sources.of(family)).to_vec()))
}

fn sources() -> impl Strategy<Value = Sources> {
    let v4 = select(vec![
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::new(10, 0, 0, 9),
        Ipv4Addr::new(10, 0, 1, 1),
        Ipv4Addr::new(10, 9, 0, 2),
    ]);
    let v6 = select(vec![0, 1, 2, 0x100]).prop_map(|last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last));
    (v4, prop_oneof![3 => v6, 1 => Just(Ipv6Addr::UNSPECIFIED)]).prop_map(|(v4, v6)| Sources { v4, v6 })
}

/// Past any deadline that the clock of a test can reach (ns); only wild stamps lie further.
const END_OF_TIME: u64 = 1_000_000_000_000_000;
