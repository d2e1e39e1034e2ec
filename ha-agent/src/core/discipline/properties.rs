//! Random events against the model, and what must hold at all times.

use proptest::prelude::*;
use proptest::sample::select;

use super::model::Model;
use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_sequence_keeps_the_rules(rules in rules(), ops in prop::collection::vec(op(), 1..150)) {
        let mut driver = Driver::new(rules);
        for op in ops {
            driver.apply(op);
        }
        driver.ends_where_it_was_ordered(Change::Take);
        driver.ends_where_it_was_ordered(Change::Give);
        driver.saves_the_service();
    }
}

proptest! {
    // Few: the model goes through all of a long history at each step.
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    /// A link that flaps at 10 Hz for a minute, in whatever phase and for whatever part of the time it is up.
    #[test]
    fn a_flapping_link_moves_the_role_once(
        preempt in any::<bool>(),
        up in 1..100_u64,
        phase in 0..100_000_000_u64,
        takes in 0..300_000_000_u64,
    ) {
        let mut driver = Driver::new(Rules { preempt, ..Rules::default() });
        driver.now += phase;
        for _ in 0..600 {
            driver.feed(Event::PeerLost);
            driver.pass(ms(100 - up), takes);
            driver.feed(Event::PeerBack);
            driver.pass(ms(up), takes);
        }
        prop_assert!(driver.begun.len() <= 1, "{:?}", driver.begun);
    }

    /// The same, for one that had the role and lost it.
    #[test]
    fn who_lost_the_role_to_flaps_does_not_take_it_back(up in 1..100_u64, takes in 0..300_000_000_u64) {
        let mut driver = Driver::new(Rules::default());
        driver.feed(Event::Ordered(Change::Take));
        driver.feed(Event::Finished(Outcome::Done));
        driver.pass(ms(60_000), takes);
        driver.feed(Event::Yield);
        for _ in 0..600 {
            driver.pass(ms(up), takes);
            driver.feed(Event::PeerLost);
            driver.pass(ms(100 - up), takes);
            driver.feed(Event::PeerBack);
        }
        let begun: Vec<_> = driver.begun.iter().map(|(_, it)| it.why).collect();
        prop_assert_eq!(begun, [Why::Ordered, Why::SameState]);
    }
}

/// The default rules, with a peer that is lost again and again for good.
#[test]
fn after_five_failovers_in_ten_minutes_it_holds_until_resumed() {
    let mut driver = Driver::new(Rules::default());
    for number in 0..6 {
        driver.feed(Event::PeerLost);
        driver.pass(ms(10), 0);
        let held = (number == 5).then_some(Held::TooMany);
        assert_eq!(driver.discipline.held(), held, "{number}");
        driver.feed(Event::PeerBack);
        driver.feed(Event::Ordered(Change::Give));
        driver.pass(ms(30_000), 0);
    }
    let failovers = driver.begun.iter().filter(|(_, it)| it.why == Why::PeerLost).count();
    assert_eq!((failovers, driver.alarms), (5, 1));
    driver.feed(Event::PeerLost);
    driver.pass(ms(3_600_000), 0);
    assert!(!driver.discipline.is_active(), "the window is over, but nobody resumed it");
    driver.feed(Event::Resume);
    driver.pass(ms(5_000), 0);
    assert!(driver.discipline.is_active());
}

/// The machine and the model side by side, and what was begun.
struct Driver {
    rules: Rules,
    discipline: Discipline,
    model: Model,
    /// ns.
    now: u64,
    begun: Vec<(u64, Intention)>,
    alarms: u32,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Event(Event),
    /// Lets ns pass.
    Advance(u64),
    /// Goes to the deadline, or to 1 ns before it, and handles it.
    Deadline {
        early: bool,
    },
}

impl Driver {
    fn new(rules: Rules) -> Self {
        Self {
            rules,
            discipline: Discipline::new(rules),
            model: Model::default(),
            now: 1_000_000_000_000,
            begun: Vec::new(),
            alarms: 0,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Event(event) => self.feed(event),
            Op::Advance(ns) => self.now += ns,
            Op::Deadline { early } => {
                if let Some(due) = self.discipline.poll_timeout() {
                    self.now = self.now.max(due.as_nanos() - u64::from(early));
                }
                self.feed(Event::Deadline);
            }
        }
    }

    fn feed(&mut self, event: Event) {
        let was_running = self.discipline.running();
        let was_held = self.discipline.held();
        self.discipline.handle(Instant::from_nanos(self.now), event);
        let commands: Vec<_> = std::iter::from_fn(|| self.discipline.next_command()).collect();

        assert_eq!(commands, self.model.step(self.rules, self.now, event), "on {event:?}");
        assert_eq!(self.discipline.is_active(), self.model.active, "on {event:?}");
        assert_eq!(self.discipline.running(), self.model.running, "on {event:?}");
        assert_eq!(self.discipline.held(), self.model.held, "on {event:?}");
        let due = self.discipline.poll_timeout().map(Instant::as_nanos);
        assert_eq!(due, self.model.wish(self.rules).map(|(due, _)| due), "on {event:?}");

        for command in commands {
            match command {
                Command::Begin(intention) => self.check(event, was_running, was_held, intention),
                Command::Alarm => self.alarms += 1,
            }
        }
        // Handled once, a deadline is over.
        assert!(due.is_none_or(|due| due > self.now), "due since {due:?} at {}", self.now);
    }

    fn check(&mut self, event: Event, running: Option<Intention>, held: Option<Held>, begun: Intention) {
        let Intention { change, why } = begun;
        assert!(running.is_none() || matches!(event, Event::Finished(_)), "{begun:?} beside {running:?}");
        assert_eq!(change == Change::Take, !self.discipline.is_active(), "{begun:?} changes nothing");
        if matches!(why, Why::PeerLost | Why::Preferred) {
            assert!(held.is_none() || event == Event::Resume, "{begun:?} while {held:?}");
            assert_eq!(change, Change::Take);
            assert!(why != Why::Preferred || self.rules.preempt, "the role is sticky");
        }
        self.begun.push((self.now, begun));
    }

    /// Lets time pass: deadlines are met, and what is begun takes this long and succeeds.
    fn pass(&mut self, time: u64, takes: u64) {
        let end = self.now + time;
        loop {
            let due = self.discipline.poll_timeout().map(|due| (due.as_nanos(), Event::Deadline));
            let done = self.discipline.running().and(self.begun.last());
            let done = done.map(|(at, _)| ((at + takes).max(self.now), Event::Finished(Outcome::Done)));
            let Some((at, event)) = [due, done].into_iter().flatten().min_by_key(|(at, _)| *at) else {
                break;
            };
            if at > end {
                break;
            }
            self.now = at;
            self.feed(event);
        }
        self.now = end;
    }

    /// The newest intention wins.
    fn ends_where_it_was_ordered(&mut self, change: Change) {
        self.feed(Event::Hold);
        self.feed(Event::Ordered(change));
        self.pass(ms(1), 0);
        assert_eq!(self.discipline.is_active(), change == Change::Take);
    }

    /// A peer that stays lost is replaced, whatever was before, unless an operator must look first.
    fn saves_the_service(&mut self) {
        self.feed(Event::Resume);
        self.feed(Event::PeerLost);
        let calm = u64::try_from(self.rules.calm.as_nanos()).expect("short");
        self.pass(calm, 0);
        let saved = self.discipline.is_active() || self.discipline.held() == Some(Held::TooMany);
        assert!(saved, "{:?}", self.discipline);
    }
}

fn op() -> impl Strategy<Value = Op> {
    let event = select(vec![
        Event::PeerLost,
        Event::PeerLost,
        Event::PeerBack,
        Event::PeerBack,
        Event::Preferred(true),
        Event::Preferred(false),
        Event::Ordered(Change::Take),
        Event::Ordered(Change::Give),
        Event::Ordered(Change::Give),
        Event::Yield,
        Event::Finished(Outcome::Done),
        Event::Finished(Outcome::Done),
        Event::Finished(Outcome::Done),
        Event::Finished(Outcome::Failed),
        Event::Hold,
        Event::Resume,
        Event::Deadline,
    ]);
    prop_oneof![
        4 => event.prop_map(Op::Event),
        1 => (0..12_000_000_000_u64).prop_map(Op::Advance),
        1 => any::<bool>().prop_map(|early| Op::Deadline { early }),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    (any::<bool>(), 1..4_u32, 1..60_u64, 1..10_u64).prop_map(|(preempt, most, window, calm)| Rules {
        preempt,
        most,
        window: Duration::from_secs(window),
        calm: Duration::from_secs(calm),
    })
}

fn ms(number: u64) -> u64 {
    number * 1_000_000
}
