//! Two disciplines and the same-state rule, with a network between them that comes and goes, in virtual time.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::core::election::{Contender, Priority};
use crate::core::same_state::{Claim, Loser, Reservation};

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

    #[test]
    fn both_booted_at_once_end_with_one_active(mut pair in pair(), starts in (0..300_u64, 0..300_u64)) {
        pair.nodes[0].starts = starts.0;
        pair.nodes[1].starts = starts.1;
        pair.run(10_000, |_| true);
        prop_assert_eq!(pair.active(), 1);
        let takes = pair.takes();
        pair.run(60_000, |_| true);
        prop_assert_eq!((pair.active(), pair.takes()), (1, takes), "it stays");
    }

    /// The network between the two flaps at 10 Hz for a minute.
    #[test]
    fn a_network_that_flaps_moves_the_role_once(mut pair in pair(), up in 1..100_u64) {
        pair.run(20_000, |_| true);
        let (before, takes) = (pair.who(), pair.takes());
        pair.run(60_000, |at| at % 100 < up);
        pair.run(5_000, |_| true);
        prop_assert_eq!(pair.active(), 1);
        prop_assert!(pair.takes() <= takes + 1, "{} times", pair.takes() - takes);
        // Without a reservation, who was there before stays, if it is the better one.
        let first_is_better = pair.claim(0).loser(&pair.claim(1)) == Loser::They;
        if !pair.has_disks && first_is_better && before == [true, false] {
            prop_assert_eq!(pair.who(), before);
        }
    }

    /// The cable of one of them does, so that it knows.
    #[test]
    fn a_cable_that_flaps_moves_the_role_once(mut pair in pair(), up in 1..100_u64, whose in 0..2_usize) {
        pair.run(20_000, |_| true);
        let takes = pair.takes();
        pair.cable = Some(whose);
        pair.run(60_000, |at| at % 100 < up);
        pair.cable = None;
        pair.run(10_000, |_| true);
        prop_assert_eq!(pair.active(), 1);
        prop_assert!(pair.takes() <= takes + 1, "{} times", pair.takes() - takes);
    }

    /// However it flapped before.
    #[test]
    fn who_dies_is_replaced(mut pair in pair(), up in 1..100_u64, flaps in 0..3_000_u64) {
        pair.run(20_000, |_| true);
        pair.run(flaps, |at| at % 100 < up);
        pair.run(2_000, |_| true);
        prop_assert_eq!(pair.active(), 1);
        let dead = usize::from(pair.who()[1]);
        pair.nodes[dead].dead = true;
        pair.run(6_000, |_| true);
        prop_assert!(pair.nodes[1 - dead].discipline.is_active());
    }
}

/// Time is in ms.
#[derive(Debug)]
struct Pair {
    nodes: [Node; 2],
    now: u64,
    has_disks: bool,
    /// Who holds the reservation.
    holder: Option<usize>,
    /// How long a frame takes.
    way: u64,
    /// How long a change of role takes.
    change: u64,
    /// Whose cable it is that is out while the network is cut; if nobody's, both have link.
    cable: Option<usize>,
}

#[derive(Debug)]
struct Node {
    discipline: Discipline,
    patience: u64,
    advskew: u8,
    starts: u64,
    dead: bool,
    /// When the other one was heard, or this one began to listen.
    heard: u64,
    done_at: Option<u64>,
    takes: u32,
    /// When it advertised, newest last; as far back as a frame takes.
    said: VecDeque<bool>,
}

impl Pair {
    /// Lets time pass; frames get through while `connected`.
    fn run(&mut self, time: u64, connected: impl Fn(u64) -> bool) {
        for _ in 0..time {
            self.now += 1;
            let connected = connected(self.now);
            for me in 0..2 {
                self.step(me, connected);
            }
        }
    }

    fn step(&mut self, me: usize, connected: bool) {
        let other_said = self.nodes[1 - me].said.front() == Some(&true);
        let node = &mut self.nodes[me];
        if node.dead || self.now < node.starts {
            node.said = VecDeque::from([false]);
            return;
        }
        let hears = connected && other_said;
        // Who has no link listens anew afterwards.
        let is_deaf = !connected && self.cable == Some(me);
        let node = &mut self.nodes[me];
        if hears || is_deaf || self.now == node.starts {
            node.heard = self.now;
        }
        let event = if hears || is_deaf {
            Some(Event::PeerBack)
        } else {
            (self.now - node.heard >= node.patience).then_some(Event::PeerLost)
        };
        self.feed(me, event);
        if is_deaf && self.nodes[me].discipline.is_active() {
            // What INIT does.
            self.feed(me, Some(Event::Ordered(Change::Give)));
        }
        if hears && self.nodes[me].serves() && self.claim(me).loser(&self.claim(1 - me)) == Loser::We {
            self.feed(me, Some(Event::Yield));
        }
        let is_done = self.nodes[me].done_at.is_some_and(|at| at <= self.now);
        if is_done {
            self.nodes[me].done_at = None;
            self.feed(me, Some(Event::Finished(Outcome::Done)));
        }
        self.feed(me, Some(Event::Deadline));
        let way = usize::try_from(self.way).expect("short");
        let node = &mut self.nodes[me];
        node.said.push_back(node.serves());
        while node.said.len() > way.max(1) {
            node.said.pop_front();
        }
    }

    fn feed(&mut self, me: usize, event: Option<Event>) {
        let Some(event) = event else { return };
        let node = &mut self.nodes[me];
        node.discipline.handle(Instant::from_nanos(self.now * 1_000_000), event);
        while let Some(command) = node.discipline.next_command() {
            let Command::Begin(Intention { change, .. }) = command else { continue };
            node.done_at = Some(self.now + self.change);
            if change == Change::Take {
                node.takes += 1;
                self.holder = self.has_disks.then_some(me);
            }
        }
    }

    fn claim(&self, me: usize) -> Claim {
        let reservation = match (self.has_disks, self.holder == Some(me)) {
            (false, _) => Reservation::NoDisks,
            (true, true) => Reservation::Holds,
            (true, false) => Reservation::Lacks,
        };
        let priority = Priority { advbase: 1, advskew: self.nodes[me].advskew };
        let source = IpAddr::from([10, 77, 0, u8::from(me == 1)]);
        Claim { node: me.to_string(), reservation, contender: Contender { demote: 0, priority, source } }
    }

    fn who(&self) -> [bool; 2] {
        [0, 1].map(|me: usize| self.nodes[me].discipline.is_active() && !self.nodes[me].dead)
    }

    fn active(&self) -> usize {
        self.who().into_iter().filter(|active| *active).count()
    }

    fn takes(&self) -> u32 {
        self.nodes.iter().map(|node| node.takes).sum()
    }
}

impl Node {
    /// It advertises from the moment that it begins to take the role until it begins to give it away.
    fn serves(&self) -> bool {
        self.discipline.running().map_or(self.discipline.is_active(), |it| it.change == Change::Take)
    }
}

fn pair() -> impl Strategy<Value = Pair> {
    let skews = (0..3_u8, 0..3_u8);
    (skews, any::<bool>(), 0..10_u64, 0..40_u64, 20..60_u64).prop_map(
        |(skews, has_disks, way, change, patience)| {
            let node = |advskew: u8| Node {
                discipline: Discipline::new(Rules::default()),
                patience: patience + 20 * u64::from(advskew),
                advskew,
                starts: 1,
                dead: false,
                heard: 0,
                done_at: None,
                takes: 0,
                said: VecDeque::from([false]),
            };
            let nodes = [node(skews.0), node(skews.1)];
            Pair { nodes, now: 0, has_disks, holder: None, way, change, cable: None }
        },
    )
}
