//! Two nodes.

use super::*;

#[test]
fn one_master_after_a_common_start() {
    for preempt in [false, true] {
        for pace in PACES {
            for (first, second, winner) in [(STRONG, WEAK, 0), (WEAK, STRONG, 1), (STRONG, STRONG, 0)] {
                let mut pair = Stage::new([settings(first, pace, preempt), settings(second, pace, preempt)]);
                pair.lan.start_all();
                pair.run_for(pace.master_down_time(WEAK) * 2);
                let case = format!("{pace:?} {first} {second} preempt {preempt}");
                assert_eq!(pair.masters(), [winner], "{case}");
                pair.assert_settled(&case);
                assert_eq!(pair.masters(), [winner], "{case}");
            }
        }
    }
}

#[test]
fn a_better_latecomer_takes_over_only_by_preemption() {
    for pace in PACES {
        for (preempt, winner) in [(false, 1), (true, 0)] {
            let mut pair = Stage::new([settings(STRONG, pace, preempt), settings(WEAK, pace, preempt)]);
            pair.lan.start(1);
            pair.run_for(pace.master_down_time(WEAK) * 3);
            assert_eq!(pair.masters(), [1]);
            pair.lan.start(0);
            pair.run_for(pace.master_down_time(WEAK) * 10);
            assert_eq!(pair.masters(), [winner], "{pace:?} preempt {preempt}");
        }
    }
}

#[test]
fn a_dead_master_is_replaced_after_exactly_the_down_time() {
    for preempt in [false, true] {
        for pace in PACES {
            let mut pair = settled(pace, preempt);
            pair.run_for(pace.advertisement_interval(STRONG) * 7 / 2);
            pair.lan.power_off(0);
            let heard = pair.last_sent_by(0) + DELAY;
            pair.run_for(pace.master_down_time(WEAK) * 2);

            let deadline = heard + pace.master_down_time(WEAK);
            let cause = silence(None, heard, deadline);
            let takeover = Transition { at: deadline, from: State::Backup, to: State::Master, cause };
            assert_eq!(pair.seen.transitions.last(), Some(&(1, takeover)), "{pace:?} preempt {preempt}");
            assert_eq!(pair.masters(), [1]);
        }
    }
}

#[test]
fn a_bow_out_hands_over_faster_than_silence() {
    for preempt in [false, true] {
        for pace in PACES {
            let mut pair = settled(pace, preempt);
            let asked = pair.lan.now();
            pair.lan.tell(0, Event::Leave);
            pair.run_for(pace.master_down_time(WEAK) * 2);

            let at = asked + RELEASING + DELAY + pace.bow_out_wait(WEAK);
            let cause = Cause::BowOut { source: v4(0) };
            let takeover = Transition { at, from: State::Backup, to: State::Master, cause };
            assert_eq!(pair.seen.transitions.last(), Some(&(1, takeover)), "{pace:?} preempt {preempt}");
            assert!(pace.bow_out_wait(WEAK) < pace.master_down_time(WEAK));
            assert!(!pair.seen.owned_twice, "both owned the addresses");
            assert!(pair.lan.nodes()[0].state().is_none());
        }
    }
}

#[test]
fn a_leave_while_the_release_hangs_keeps_the_backup_quiet() {
    for pace in PACES {
        let mut pair = settled(pace, true);
        pair.lan.slow_orders(0, Duration::from_hours(1));
        let asked = pair.lan.now();
        pair.lan.tell(0, Event::Leave);
        pair.run_for(pace.master_down_time(WEAK) + RELEASE_TIME * 2);
        let takeover = pair.seen.transitions.last().map(|(node, transition)| (*node, transition.at));
        assert_eq!(takeover, Some((1, asked + RELEASE_TIME + DELAY + pace.bow_out_wait(WEAK))), "{pace:?}");
    }
}

#[test]
fn a_healed_partition_ends_with_one_master() {
    for preempt in [false, true] {
        for pace in PACES {
            for (second, name) in [(STRONG, "tie"), (WEAK, "superior")] {
                let mut pair = Stage::new([settings(STRONG, pace, preempt), settings(second, pace, preempt)]);
                pair.lan.network.part(0, 1);
                pair.lan.start_all();
                pair.run_for(pace.master_down_time(WEAK) * 2);
                assert_eq!(pair.masters(), [0, 1], "{pace:?} {second}");

                pair.lan.network.heal();
                pair.run_for(pace.advertisement_interval(STRONG) + DELAY);
                assert_eq!(pair.masters(), [0], "{pace:?} {second} preempt {preempt}");
                assert_eq!(pair.last_told(), Some((1, name)));
                pair.assert_settled(&format!("{pace:?} {second}"));
            }
        }
    }
}

#[test]
fn losing_fewer_frames_than_detect_changes_nothing() {
    let interval = Duration::from_millis(10);
    let mut pair = settled(Pace::Fast { interval, detect: 3 }, false);
    let settled = pair.seen.transitions.len();
    for _ in 0..20 {
        pair.lan.network.part(0, 1);
        pair.run_for(interval * 2);
        pair.lan.network.heal();
        pair.run_for(interval);
    }
    assert_eq!(pair.seen.transitions.len(), settled);
}

#[test]
fn losing_one_family_is_a_takeover_only_where_both_are_asked_for() {
    for pace in PACES {
        for family in Family::ALL {
            for rule in [FamilyRule::Either, FamilyRule::Both] {
                let families = Families::both(rule);
                let strong = Settings { families, ..settings(STRONG, pace, false) };
                let weak = Settings { families, ..settings(WEAK, pace, false) };
                let mut pair = Stage::settled([strong, weak]);
                let settled = pair.seen.transitions.len();
                let heard = pair.last_sent_by(0) + DELAY;
                pair.lan.network.cut(0, 1, family);
                pair.run_for(pace.master_down_time(WEAK) + DELAY);

                let deadline = heard + pace.master_down_time(WEAK);
                let cause = silence(Some(family), heard, deadline);
                let takeover = Transition { at: deadline, from: State::Backup, to: State::Master, cause };
                match rule {
                    FamilyRule::Either => {
                        assert_eq!(pair.seen.transitions[settled..], [], "{pace:?} {family}");
                    }
                    FamilyRule::Both => {
                        assert_eq!(pair.seen.transitions[settled], (1, takeover), "{pace:?} {family}");
                    }
                }
                pair.lan.network.heal();
                pair.run_for(pace.master_down_time(WEAK));
                assert_eq!(pair.masters(), [0], "{pace:?} {family} {rule:?}");
                pair.assert_settled("healed");
            }
        }
    }
}

/// The first is master.
fn settled(pace: Pace, preempt: bool) -> Stage {
    let pair = Stage::settled([settings(STRONG, pace, preempt), settings(WEAK, pace, preempt)]);
    assert_eq!(pair.masters(), [0]);
    pair
}

/// How long the release of the addresses may take when leaving.
const RELEASE_TIME: Duration = Duration::from_millis(500);
