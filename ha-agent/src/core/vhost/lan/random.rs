//! Any mess, and then peace.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::core::command::LinkDown;

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..Default::default() })]

    /// Whatever happened, once it is over one master is left, and it stays.
    #[test]
    fn after_any_mess_one_master_is_left(
        settings in prop::collection::vec(settings(), 2..5),
        rule in select(vec![FamilyRule::Either, FamilyRule::Both]),
        mess in prop::collection::vec(trouble(), 0..30),
    ) {
        let families = Families::both(rule);
        let mut lan = Lan::new(settings.into_iter().map(|settings| Settings { families, ..settings }));
        lan.all_up();
        for trouble in mess {
            lan.suffer(trouble);
        }
        lan.lost.clear();
        for node in 0..lan.nodes.len() {
            lan.feed_awake(node, up(node));
        }
        lan.run_for(LONGEST_SLEEP + lan.longest_patience() * 3);
        prop_assert_eq!(lan.masters().len(), 1, "{:?}", lan.transitions);
        lan.assert_settled("after the mess");
        prop_assert_eq!(lan.owners(), 1);
    }
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Time passes, in µs.
    Wait(u64),
    /// The frames from one to another are lost in one family.
    Lose(usize, usize, Family),
    Part(usize, usize),
    Join,
    /// In µs.
    Sleep(usize, u64),
    Demote(usize, u8),
    LinkDown(usize),
    LinkUp(usize),
}

impl Lan {
    fn suffer(&mut self, trouble: Trouble) {
        let at = |node: usize| node % self.nodes.len();
        match trouble {
            Trouble::Wait(us) => self.run_for(Duration::from_micros(us)),
            Trouble::Lose(from, to, family) => self.lost.push((at(from), at(to), family)),
            Trouble::Part(one, other) => self.part(at(one), at(other)),
            Trouble::Join => self.lost.clear(),
            Trouble::Sleep(node, us) => self.sleep(at(node), Duration::from_micros(us)),
            Trouble::Demote(node, level) => self.feed_awake(at(node), Event::Demote(level)),
            Trouble::LinkDown(node) => self.feed_awake(at(node), Event::Link(Link::Down(LinkDown::Carrier))),
            Trouble::LinkUp(node) => self.feed_awake(at(node), up(at(node))),
        }
    }

    /// Also what a node is told waits until it runs.
    fn feed_awake(&mut self, node: usize, event: Event) {
        self.under_way.push_back((self.now, node, event));
    }
}

fn up(node: usize) -> Event {
    Event::Link(Link::Up { sources: sources(node) })
}

fn settings() -> impl Strategy<Value = Settings> {
    let advskew = select(vec![0, 50, 100, 250]);
    (select(vec![1, 2]), advskew, any::<bool>()).prop_map(|(advbase, advskew, preempt)| {
        let pace = Pace::Fast { interval: Duration::from_millis(10), detect: 3 };
        super::settings(Priority { advbase, advskew }, pace, preempt)
    })
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let node = || 0..4_usize;
    let longest = u64::try_from(LONGEST_SLEEP.as_micros()).expect("short");
    prop_oneof![
        8 => (0..60_000_u64).prop_map(Trouble::Wait),
        2 => (node(), node(), select(Family::ALL.to_vec()))
            .prop_map(|(from, to, family)| Trouble::Lose(from, to, family)),
        2 => (node(), node()).prop_map(|(one, other)| Trouble::Part(one, other)),
        2 => Just(Trouble::Join),
        2 => (node(), 0..longest).prop_map(|(node, us)| Trouble::Sleep(node, us)),
        2 => (node(), 0..3_u8).prop_map(|(node, level)| Trouble::Demote(node, level)),
        1 => node().prop_map(Trouble::LinkDown),
        1 => node().prop_map(Trouble::LinkUp),
    ]
}

const LONGEST_SLEEP: Duration = Duration::from_millis(200);
