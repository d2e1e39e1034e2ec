use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::core::Instant;

const MS: Duration = Duration::from_millis(1);

fn step(name: &str, phase: Phase, needs: &[usize], after: &[usize]) -> Step {
    Step {
        name: name.to_owned(),
        phase,
        needs: needs.to_vec(),
        after: after.to_vec(),
        limit: Duration::from_millis(100),
        policy: Policy::Undo,
    }
}

/// Two pools, a service on each, the addresses after both, and something that may come later.
fn storage() -> Plan {
    Plan::new(vec![
        step("fence tank", Phase::Fence, &[], &[]),
        step("fence dozer", Phase::Fence, &[], &[]),
        step("pool tank", Phase::Import, &[0], &[]),
        Step { policy: Policy::GoOn, ..step("pool dozer", Phase::Import, &[1], &[]) },
        step("nfs", Phase::Services, &[2], &[]),
        step("iscsi", Phase::Services, &[3], &[]),
        step("addresses", Phase::Addresses, &[], &[4, 5]),
        Step { policy: Policy::GoOn, ..step("reports", Phase::Rest, &[6], &[]) },
    ])
    .expect("a plan")
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn begin(run: &mut Run, ms: u64) -> Vec<usize> {
    std::iter::from_fn(|| run.begin_next(at(ms))).collect()
}

#[test]
fn what_does_not_depend_on_each_other_runs_side_by_side() {
    let mut run = Run::new(storage());
    assert_eq!(begin(&mut run, 0), [0, 1]);
    run.finish(at(5), 1, Outcome::Done);
    assert_eq!(begin(&mut run, 5), [3]);
    run.finish(at(6), 0, Outcome::Done);
    assert_eq!(begin(&mut run, 6), [2]);
    run.finish(at(7), 2, Outcome::Done);
    run.finish(at(7), 3, Outcome::Done);
    assert_eq!(begin(&mut run, 7), [4, 5]);
    run.finish(at(8), 4, Outcome::Done);
    assert!(begin(&mut run, 8).is_empty());
    run.finish(at(9), 5, Outcome::Done);
    assert_eq!(begin(&mut run, 9), [6]);
    run.finish(at(10), 6, Outcome::Done);
    assert_eq!((begin(&mut run, 10), run.verdict()), (vec![7], None));
    run.finish(at(11), 7, Outcome::Done);
    assert_eq!(run.verdict(), Some(Verdict::Done));
    assert_eq!(run.standings()[2], Standing::Done { since: at(6), until: at(7) });
}

#[test]
fn without_what_may_be_left_out_the_rest_goes_on() {
    let mut run = Run::new(storage());
    begin(&mut run, 0);
    run.finish(at(1), 0, Outcome::Done);
    run.finish(at(1), 1, Outcome::Done);
    begin(&mut run, 1);
    run.finish(at(2), 3, Outcome::Failed);
    assert_eq!(run.standings()[5], Standing::Skipped);
    run.finish(at(2), 2, Outcome::Done);
    begin(&mut run, 2);
    run.finish(at(3), 4, Outcome::Done);
    assert_eq!(begin(&mut run, 3), [6]);
    run.finish(at(4), 6, Outcome::Done);
    begin(&mut run, 4);
    run.finish(at(5), 7, Outcome::Done);
    assert_eq!(run.verdict(), Some(Verdict::InPart));
}

#[test]
fn a_failure_ends_the_whole_at_once_and_nothing_more_is_begun() {
    let mut run = Run::new(storage());
    begin(&mut run, 0);
    run.finish(at(1), 0, Outcome::Failed);
    assert_eq!(run.verdict(), Some(Verdict::Failed));
    run.finish(at(1), 1, Outcome::Done);
    assert!(begin(&mut run, 2).is_empty());
}

#[test]
fn what_hangs_is_told_once_and_what_may_be_left_out_is_waited_for_no_longer() {
    let mut run = Run::new(storage());
    begin(&mut run, 0);
    run.finish(at(1), 0, Outcome::Done);
    run.finish(at(1), 1, Outcome::Done);
    begin(&mut run, 1);
    run.finish(at(2), 2, Outcome::Done);
    assert_eq!(begin(&mut run, 2), [4]);
    run.finish(at(3), 4, Outcome::Done);
    assert_eq!(run.poll_timeout(), Some(at(101)));
    assert_eq!((run.expire(at(100)), run.expire(at(101)), run.expire(at(200))), (vec![], vec![3], vec![]));
    // Its service may never begin, and the addresses wait for it no longer.
    assert_eq!(begin(&mut run, 101), [6]);
    run.finish(at(102), 6, Outcome::Done);
    begin(&mut run, 102);
    run.finish(at(103), 7, Outcome::Done);
    assert_eq!(run.verdict(), Some(Verdict::InPart));
    // It comes late, and what needs it with it.
    run.finish(at(500), 3, Outcome::Done);
    assert_eq!(begin(&mut run, 500), [5]);
    run.finish(at(501), 5, Outcome::Done);
    assert_eq!(run.verdict(), Some(Verdict::Done));
}

#[test]
fn what_must_not_hang_ends_the_whole() {
    for (policy, verdict) in [(Policy::Undo, Verdict::Failed), (Policy::SelfFence, Verdict::SelfFence)] {
        let mut run = Run::new(
            Plan::new(vec![Step { policy, ..step("pool", Phase::Import, &[], &[]) }]).expect("a plan"),
        );
        begin(&mut run, 0);
        assert_eq!(run.verdict(), None);
        assert_eq!(run.expire(at(100)), [0]);
        assert_eq!(run.verdict(), Some(verdict));
    }
}

#[test]
fn the_way_back_holds_what_is_stood_on() {
    let back = storage().reversed(|_, _| (MS, Policy::Undo));
    let waits = |index: usize| (back.steps[index].needs.clone(), back.steps[index].after.clone());
    // A reservation is kept until its pool is exported; a pool is exported whether or not its service let go.
    assert_eq!(waits(0), (vec![2], vec![]));
    assert_eq!(waits(2), (vec![], vec![4]));
    assert_eq!(waits(4), (vec![], vec![6]));
    let mut run = Run::new(back);
    let mut order = Vec::new();
    while let Some(next) = run.begin_next(at(0)) {
        order.push(next);
        run.finish(at(0), next, Outcome::Done);
    }
    assert_eq!(order, [7, 6, 4, 2, 0, 5, 3, 1]);
    assert_eq!(storage().limit(), Duration::from_millis(500));
}

#[test]
fn the_watchdog_guards_what_can_not_be_released() {
    let plan = Plan::new(vec![
        Step { policy: Policy::GoOn, ..step("watchdog", Phase::Watchdog, &[], &[]) },
        step("fence", Phase::Fence, &[], &[0]),
        step("mount", Phase::Mount, &[1], &[]),
    ]);
    let plan = plan.expect("a plan");
    let mut run = Run::new(plan.clone());
    assert_eq!(begin(&mut run, 0), [0]);
    run.finish(at(1), 0, Outcome::Failed);
    assert_eq!(begin(&mut run, 1), [1], "it is not needed to take what comes after it");
    for hangs in [false, true] {
        let mut back = Run::new(plan.reversed(|_, _| (Duration::from_millis(100), Policy::Undo)));
        assert_eq!(begin(&mut back, 0), [2]);
        if hangs {
            assert_eq!(back.expire(at(100)), [2]);
        } else {
            back.finish(at(100), 2, Outcome::Failed);
        }
        assert!(begin(&mut back, 100).is_empty());
        assert_eq!(back.verdict(), Some(Verdict::Failed));
    }
}

#[test]
fn as_much_is_released_as_can_be_before_it_is_said_that_it_failed() {
    let mut run = Run::new(storage().reversed(|_, _| (Duration::from_millis(100), Policy::Undo)));
    let mut begun = Vec::new();
    while let Some(next) = run.begin_next(at(0)) {
        begun.push(next);
        run.finish(at(0), next, if next == 2 { Outcome::Failed } else { Outcome::Done });
        assert_eq!(run.verdict().is_some(), begun.len() == 7, "{begun:?}");
    }
    assert_eq!((begun, run.verdict()), (vec![7, 6, 4, 2, 5, 3, 1], Some(Verdict::Failed)));
    assert_eq!(run.standings()[0], Standing::Skipped);
}

#[test]
fn a_circle_is_refused_by_name() {
    let steps = vec![step("a", Phase::Mount, &[1], &[]), step("b", Phase::Mount, &[], &[0])];
    let error = Plan::new(steps).expect_err("a circle");
    assert_eq!(error, PlanError::Circle("a".to_owned()));
    assert!(Plan::new(vec![step("a", Phase::Mount, &[7], &[])]).is_err());
}

/// What becomes of a step: how it ends, if it does, and after which part of its time.
type Fate = (Option<Outcome>, u64);

fn plan() -> impl Strategy<Value = Plan> {
    let policy = select(vec![Policy::GoOn, Policy::Undo, Policy::SelfFence]);
    vec((any::<u16>(), any::<u16>(), 1_u64..50, policy, select(Phase::ALL.to_vec())), 0..9).prop_map(
        |drawn| {
            let steps = drawn.into_iter().enumerate().map(|(index, (needs, after, ms, policy, phase))| {
                let those = |bits: u16| (0..index).filter(|before| bits >> before & 1 == 1).collect();
                let limit = Duration::from_millis(ms);
                Step {
                    name: index.to_string(),
                    phase,
                    needs: those(needs & after),
                    after: those(after),
                    limit,
                    policy,
                }
            });
            Plan::new(steps.collect()).expect("each needs earlier ones")
        },
    )
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let outcome = select(vec![Some(Outcome::Done), Some(Outcome::Done), Some(Outcome::Failed), None]);
    vec((outcome, 0_u64..50), 9)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_way_through_a_plan_ends_in_time(plan in plan(), fates in fates()) {
        let limit = plan.limit();
        let mut run = Run::new(plan.clone());
        let mut now = at(0);
        let mut begun = vec![None; plan.steps.len()];
        loop {
            while let Some(step) = run.begin_next(now) {
                prop_assert!(begun[step].is_none(), "{step} began twice");
                for &need in &plan.steps[step].needs {
                    let is_done = matches!(run.standings()[need], Standing::Done { .. });
                    prop_assert!(is_done, "{} lacks {}", step, need);
                }
                begun[step] = Some(now);
            }
            if run.verdict().is_some() {
                break;
            }
            let ends = |(step, began): (usize, &Option<Instant>)| {
                let Standing::Running { .. } = run.standings()[step] else { return None };
                let (outcome, ms) = fates[step];
                let limit = u64::try_from(plan.steps[step].limit.as_millis()).expect("small");
                Some((began.as_ref().copied()? + MS * u32::try_from(ms.min(limit - 1)).expect("small"), step, outcome?))
            };
            let next = begun.iter().enumerate().filter_map(ends).min_by_key(|(at, ..)| *at);
            match (next, run.poll_timeout()) {
                (Some((at, step, outcome)), Some(limit)) if at < limit => {
                    now = now.max(at);
                    run.finish(now, step, outcome);
                }
                (_, Some(limit)) => {
                    now = now.max(limit);
                    prop_assert!(!run.expire(now).is_empty());
                }
                (_, None) => prop_assert!(false, "it waits for nothing: {:?}", run),
            }
        }
        prop_assert!(now.saturating_since(at(0)) <= limit, "{:?} is later than {:?}", now, limit);
        let all_done = run.standings().iter().all(|standing| matches!(standing, Standing::Done { .. }));
        prop_assert_eq!(run.verdict() == Some(Verdict::Done), all_done);
    }

    #[test]
    fn the_way_back_is_a_plan_and_its_way_back_is_the_way(plan in plan()) {
        let of = |_, step: &Step| (step.limit, step.policy);
        let back = plan.reversed(of);
        prop_assert!(Plan::new(back.steps.clone()).is_ok());
        let all = |plan: &Plan| -> Vec<Vec<usize>> {
            let sorted = |step: &Step| { let mut all: Vec<_> = step.before().collect(); all.sort_unstable(); all };
            plan.steps.iter().map(sorted).collect()
        };
        prop_assert_eq!(all(&back.reversed(of)), all(&plan));
        prop_assert_eq!(back.limit(), plan.limit());
    }
}
