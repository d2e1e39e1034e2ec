//! That each failover is one entry, with its phases.

use super::*;
use crate::cli::sample::{event, takeover};
use crate::core::pair::message::Request;
use crate::core::pair::report::{Trigger, Why};
use crate::core::pair::{Generation, Node};

fn names(failover: &Failover) -> Vec<(&str, f64)> {
    failover.phases.iter().map(|phase| (phase.name.as_str(), phase.took_ms)).collect()
}

fn change(from: &str, to: &str, cause: &str, ms: [Option<u64>; 5]) -> What {
    let ns = |ms: Option<u64>| ms.map(|ms| ms * 1_000_000);
    let [heard, deadline, advertised, up, announced] = ms;
    let at = deadline.or(advertised).unwrap_or(500) + 1;
    What::StateChanged {
        change: Box::new(Change {
            from: from.to_owned(),
            to: to.to_owned(),
            cause: cause.to_owned(),
            sentence: format!("because of {cause}"),
            at: Timestamp::UNIX_EPOCH,
            at_ns: at * 1_000_000,
            last_heard_ns: ns(heard),
            deadline_ns: ns(deadline),
            advertised_ns: ns(advertised),
            address_up_ns: ns(up),
            announced_ns: ns(announced),
        }),
    }
}

/// What is told, at these ms.
fn story(told: Vec<(u64, Option<&str>, What)>) -> Vec<Failover> {
    let events = told.into_iter().zip(1..);
    History::of(events.map(|((ms, about, what), number)| event(number, ms * 1_000_000, about, what)))
}

#[test]
fn a_takeover_of_a_pair_is_one_entry_from_the_last_word_to_the_announcement() {
    let found = History::of(takeover());
    let [failover] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((failover.kind, failover.part), (Kind::Takeover, Part::Took));
    assert_eq!((failover.node.as_deref(), failover.peer.as_deref()), (Some("b"), Some("a")));
    assert!(failover.why.contains("silent") && failover.failed.is_none(), "{failover:#?}");
    let expected = [
        ("last_heard", 0.0),
        ("deadline", 33.0),
        ("advertised", 2.0),
        ("decided", 5.0),
        ("address_up", 2.0),
        ("announced", 1.0),
        ("serving", 1.0),
    ];
    assert_eq!(names(failover), expected);
    assert_eq!((failover.nobody_ms, failover.total_ms()), (Some(43.0), 44.0));
}

#[test]
fn whoever_hands_over_knows_how_long_each_step_took() {
    let request = Request { node: Node::A, start: 1, number: 1 };
    let step = |step, standing| What::SwitchoverStep { request, step, standing, since_ns: 0 };
    let begun = What::SwitchoverBegan { to: Node::B, name: None, trigger: Trigger::Operator };
    for (end, failed) in [(End::Moved, false), (End::Returned(Why::TakeStuck), true)] {
        let found = story(vec![
            (0, Some("a"), What::AgentStarted { version: String::new(), pid: 1 }),
            (10, None, begun.clone()),
            (12, None, step(Step::Prepare, Standing::Done)),
            (13, None, step(Step::Grant, Standing::Done)),
            (13, None, step(Step::Release, Standing::Running)),
            (14, Some("data"), change("MASTER", "BACKUP", "leave", [None; 5])),
            (15, None, step(Step::Release, Standing::Done)),
            (15, None, What::Released),
            (18, None, step(Step::Confirm, Standing::Done)),
            (18, None, What::SwitchoverEnded { end }),
            (19, Some("data"), change("MASTER", "BACKUP", "leave", [None; 5])),
        ]);
        let [failover] = &found[..] else { panic!("{found:#?}") };
        assert_eq!((failover.kind, failover.part), (Kind::Switchover, Part::Gave));
        assert_eq!(failover.failed.is_some(), failed);
        let expected =
            [("asked", 0.0), ("promised", 2.0), ("granted", 1.0), ("released", 2.0), ("confirmed", 3.0)];
        assert_eq!(names(failover), expected);
        assert_eq!(failover.nobody_ms, Some(5.0));
    }
}

#[test]
fn whoever_is_handed_the_role_tells_of_one_switchover_and_its_steps() {
    let generation = Generation::new(5).expect("a small one");
    let steps = vec![StepTimeStatus {
        name: "pool tank".to_owned(),
        phase: crate::core::plan::Phase::Import,
        began_ms: 0.0,
        took_ms: 1500.0,
        well: true,
    }];
    let found = story(vec![
        (0, None, What::SwitchoverPromised { generation }),
        (5, None, What::TakeoverBegan { generation, claim: Claim::Committed }),
        (6, Some("data"), change("BACKUP", "MASTER", "active", [None, None, Some(6), None, None])),
        (1507, Some("data"), What::AddressesUp { address_up_ns: 1_506_000_000, announced_ns: 1_507_000_000 }),
        (1508, None, What::Serving { generation, stored: true }),
        (1509, None, What::TakeoverSteps { generation, steps: steps.clone() }),
    ]);
    let [failover] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((failover.kind, failover.part), (Kind::Switchover, Part::Took));
    assert_eq!((&failover.steps, failover.vhosts.as_slice()), (&steps, &["data".to_owned()][..]));
    assert_eq!(failover.phases.last().map(|phase| phase.name.as_str()), Some("serving"));
}

#[test]
fn virtual_hosts_without_a_pair_fail_over_together() {
    let taken = |after: u64| {
        let [heard, deadline, rest] = [100, 130, 131 + after].map(Some);
        change("BACKUP", "MASTER", "silence", [heard, deadline, rest, rest, rest])
    };
    let found = story(vec![
        (0, Some("b"), What::AgentStarted { version: String::new(), pid: 1 }),
        (131, Some("data"), taken(0)),
        (132, Some("more"), taken(1)),
        // Told before the change that it belongs to, of which nothing is told here.
        (8999, Some("data"), What::AddressesUp { address_up_ns: 8_999_000_000, announced_ns: 8_999_000_000 }),
        (9000, Some("data"), change("MASTER", "BACKUP", "superior", [None; 5])),
        (9001, Some("data"), change("BACKUP", "INIT", "link_down", [None; 5])),
    ]);
    let [taken, lost] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((taken.kind, taken.part, taken.vhosts.len()), (Kind::Carp, Part::Took, 2));
    assert_eq!(taken.nobody_ms, Some(32.0));
    assert_eq!((lost.part, lost.why.as_str()), (Part::Gave, "because of superior"));
}

#[test]
fn whoever_takes_a_role_that_nobody_had_took_it_from_nobody() {
    let generation = Generation::new(4).expect("a small one");
    let taken = |heard| change("BACKUP", "MASTER", "silence", [heard, Some(8), Some(9), Some(9), Some(9)]);
    let claimed = |claim| What::TakeoverBegan { generation, claim };
    for (what, is_first) in [
        (claimed(Claim::NobodyActive), true),
        (claimed(Claim::OurTurn), true),
        (claimed(Claim::PeerDead), false),
        (taken(None), true),
        (taken(Some(5)), false),
    ] {
        let found = story(vec![(9, Some("data"), what)]);
        let [failover] = &found[..] else { panic!("{found:#?}") };
        assert_eq!(failover.from_nobody, is_first, "{failover:#?}");
    }
    // It had been heard when the pair decided.
    let masters = change("BACKUP", "MASTER", "silence", [Some(5), Some(8), Some(9), None, None]);
    let found = story(vec![(9, Some("data"), masters), (10, None, claimed(Claim::NobodyActive))]);
    assert!(matches!(&found[..], [failover] if !failover.from_nobody), "{found:#?}");
}

#[test]
fn a_role_that_comes_back_is_one_switchover_that_failed() {
    let generation = Generation::new(6).expect("a small one");
    let begun = What::SwitchoverBegan { to: Node::B, name: None, trigger: Trigger::Operator };
    let request = Request { node: Node::A, start: 1, number: 1 };
    let granted = What::SwitchoverStep { request, step: Step::Grant, standing: Standing::Done, since_ns: 0 };
    let found = story(vec![
        (10, None, begun),
        (11, None, granted),
        (15, None, What::TakeoverBegan { generation, claim: Claim::Returned(Why::TakeFailed) }),
        (19, None, What::Serving { generation, stored: true }),
        (19, None, What::SwitchoverEnded { end: End::Returned(Why::TakeFailed) }),
    ]);
    let [failover] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((failover.kind, failover.part), (Kind::Switchover, Part::Gave));
    assert!(failover.failed.as_deref().is_some_and(|why| why.contains("comes back")), "{failover:#?}");
    assert_eq!(failover.nobody_ms, Some(8.0));
}

#[test]
fn what_is_no_failover_is_none() {
    let generation = Generation::new(4).expect("a small one");
    let found = story(vec![
        (1, Some("data"), change("INIT", "MASTER", "resumed", [None, None, Some(1), Some(1), Some(1)])),
        (2, None, What::TakeoverBegan { generation, claim: Claim::Resumed }),
        (3, None, What::Serving { generation, stored: true }),
        // A standby whose virtual host hears nothing, while the peer lives.
        (9, Some("data"), change("BACKUP", "MASTER", "silence", [Some(5), Some(8), Some(9), None, None])),
    ]);
    assert_eq!(found, []);
}

#[test]
fn of_a_takeover_that_fails_is_told_why() {
    let generation = Generation::new(4).expect("a small one");
    let found = story(vec![
        (2, None, What::TakeoverBegan { generation, claim: Claim::PeerDead }),
        (3, None, What::TakeoverFailed { why: Why::TakeStuck }),
    ]);
    let [failover] = &found[..] else { panic!("{found:#?}") };
    assert!(failover.failed.as_deref().is_some_and(|why| why.contains("too long")), "{failover:#?}");
}

#[test]
fn the_oldest_go() {
    let mut history = History::default();
    let generation = Generation::new(4).expect("a small one");
    for number in 0..CAPACITY as u64 + 10 {
        let what = What::TakeoverBegan { generation, claim: Claim::PeerDead };
        history.take(&event(2 * number, number, None, what));
        history.take(&event(2 * number + 1, number, None, What::Serving { generation, stored: true }));
    }
    assert!((CAPACITY..=CAPACITY + 2).contains(&history.into_failovers().len()));
}
