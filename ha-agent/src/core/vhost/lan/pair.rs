//! Two nodes.

use super::*;
use crate::core::vhost::master::RELEASE_TIME;

#[test]
fn one_master_after_a_common_start() {
    for preempt in [false, true] {
        for pace in PACES {
            for (first, second, winner) in [(STRONG, WEAK, 0), (WEAK, STRONG, 1), (STRONG, STRONG, 0)] {
                let mut pair = Lan::new([settings(first, pace, preempt), settings(second, pace, preempt)]);
                pair.all_up();
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
            let mut pair = Lan::new([settings(STRONG, pace, preempt), settings(WEAK, pace, preempt)]);
            pair.link_up(1);
            pair.run_for(pace.master_down_time(WEAK) * 3);
            assert_eq!(pair.masters(), [1]);
            pair.link_up(0);
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
            pair.kill(0);
            let heard = pair.last_sent_by(0) + DELAY;
            pair.run_for(pace.master_down_time(WEAK) * 2);

            let deadline = heard + pace.master_down_time(WEAK);
            let cause = Cause::Silence { family: None, last_heard: Some(heard), deadline, fired: None };
            let takeover = Transition { at: deadline, from: State::Backup, to: State::Master, cause };
            assert_eq!(pair.transitions.last(), Some(&(1, takeover)), "{pace:?} preempt {preempt}");
            assert_eq!(pair.masters(), [1]);
        }
    }
}

#[test]
fn a_bow_out_hands_over_faster_than_silence() {
    for preempt in [false, true] {
        for pace in PACES {
            let mut pair = settled(pace, preempt);
            let asked = pair.now;
            pair.feed(0, Event::Leave);
            pair.run_for(pace.master_down_time(WEAK) * 2);

            let at = asked + RELEASING + DELAY + pace.bow_out_wait(WEAK);
            let cause = Cause::BowOut { source: v4(0) };
            let takeover = Transition { at, from: State::Backup, to: State::Master, cause };
            assert_eq!(pair.transitions.last(), Some(&(1, takeover)), "{pace:?} preempt {preempt}");
            assert!(pace.bow_out_wait(WEAK) < pace.master_down_time(WEAK));
            assert!(!pair.owned_twice, "both owned the addresses");
            assert!(pair.nodes[0].vhost.has_left());
        }
    }
}

#[test]
fn a_leave_while_the_release_hangs_keeps_the_backup_quiet() {
    for pace in PACES {
        let mut pair = settled(pace, true);
        pair.releasing = Duration::from_hours(1);
        let asked = pair.now;
        pair.feed(0, Event::Leave);
        pair.run_for(pace.master_down_time(WEAK) + RELEASE_TIME * 2);
        let takeover = pair.transitions.last().map(|(node, transition)| (*node, transition.at));
        assert_eq!(takeover, Some((1, asked + RELEASE_TIME + DELAY + pace.bow_out_wait(WEAK))), "{pace:?}");
    }
}

#[test]
fn a_healed_partition_ends_with_one_master() {
    for preempt in [false, true] {
        for pace in PACES {
            for (second, name) in [(STRONG, "tie"), (WEAK, "superior")] {
                let mut pair = Lan::new([settings(STRONG, pace, preempt), settings(second, pace, preempt)]);
                pair.part(0, 1);
                pair.all_up();
                pair.run_for(pace.master_down_time(WEAK) * 2);
                assert_eq!(pair.masters(), [0, 1], "{pace:?} {second}");

                pair.lost.clear();
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
    let settled = pair.transitions.len();
    for _ in 0..20 {
        pair.part(0, 1);
        pair.run_for(interval * 2);
        pair.lost.clear();
        pair.run_for(interval);
    }
    assert_eq!(pair.transitions.len(), settled);
}

#[test]
fn losing_one_family_is_a_takeover_only_where_both_are_asked_for() {
    for pace in PACES {
        for family in Family::ALL {
            for rule in [FamilyRule::Either, FamilyRule::Both] {
                let families = Families::both(rule);
                let strong = Settings { families, ..settings(STRONG, pace, false) };
                let weak = Settings { families, ..settings(WEAK, pace, false) };
                let mut pair = Lan::settled([strong, weak]);
                let settled = pair.transitions.len();
                let heard = pair.last_sent_by(0) + DELAY;
                pair.lost.push((0, 1, family));
                pair.run_for(pace.master_down_time(WEAK) + DELAY);

                let deadline = heard + pace.master_down_time(WEAK);
                let cause =
                    Cause::Silence { family: Some(family), last_heard: Some(heard), deadline, fired: None };
                let takeover = Transition { at: deadline, from: State::Backup, to: State::Master, cause };
                match rule {
                    FamilyRule::Either => assert_eq!(pair.transitions[settled..], [], "{pace:?} {family}"),
                    FamilyRule::Both => {
                        assert_eq!(pair.transitions[settled], (1, takeover), "{pace:?} {family}");
                    }
                }
                pair.lost.clear();
                pair.run_for(pace.master_down_time(WEAK));
                assert_eq!(pair.masters(), [0], "{pace:?} {family} {rule:?}");
                pair.assert_settled("healed");
            }
        }
    }
}

/// The first is master.
fn settled(pace: Pace, preempt: bool) -> Lan {
    let pair = Lan::settled([settings(STRONG, pace, preempt), settings(WEAK, pace, preempt)]);
    assert_eq!(pair.masters(), [0]);
    pair
}
