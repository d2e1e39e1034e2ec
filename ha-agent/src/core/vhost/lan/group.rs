//! Three nodes of mixed priorities.

use super::*;

/// Of each pace, with and without preemption; the first is master.
fn groups() -> impl Iterator<Item = (Lan, Pace, bool)> {
    PACES.into_iter().flat_map(|pace| [false, true].map(|preempt| (pace, preempt))).map(|(pace, preempt)| {
        let lan = Lan::settled([STRONG, MIDDLE, WEAK].map(|priority| settings(priority, pace, preempt)));
        assert_eq!(lan.masters(), [0]);
        (lan, pace, preempt)
    })
}

#[test]
fn of_several_backups_the_best_takes_over() {
    for (mut lan, pace, preempt) in groups() {
        lan.kill(0);
        lan.run_for(pace.master_down_time(MIDDLE) + DELAY);
        assert_eq!(lan.last_told(), Some((1, "silence")), "{pace:?} preempt {preempt}");
        lan.assert_settled("one master dead");
        assert_eq!(lan.masters(), [1], "{pace:?} preempt {preempt}");
    }
}

#[test]
fn a_healed_partition_ends_with_one_master_within_a_dead_time() {
    // Which priorities, and who is alone.
    let mixes = [
        [STRONG, MIDDLE, WEAK],
        [WEAK, MIDDLE, STRONG],
        [MIDDLE, STRONG, WEAK],
        [STRONG, STRONG, WEAK],
        [WEAK, WEAK, WEAK],
    ];
    for pace in PACES {
        for preempt in [false, true] {
            for mix in mixes {
                for alone in 0..3 {
                    let mut lan = Lan::settled(mix.map(|priority| settings(priority, pace, preempt)));
                    let case = format!("{pace:?} {mix:?} preempt {preempt}, {alone} alone");
                    let best = lan.masters();
                    for other in (0..3).filter(|other| *other != alone) {
                        lan.part(alone, other);
                    }
                    lan.run_for(lan.longest_patience() * 2);
                    assert_eq!(lan.masters().len(), 2, "{case}");

                    lan.lost.clear();
                    lan.run_for(pace.dead_time(STRONG));
                    assert_eq!(lan.masters(), best, "{case}");
                    lan.assert_settled(&case);
                }
            }
        }
    }
}

#[test]
fn a_demoted_master_hands_over_without_a_gap() {
    for (mut lan, pace, preempt) in groups() {
        let case = format!("{pace:?} preempt {preempt}");
        lan.feed(0, Event::Demote(1));
        lan.run_for(DELAY * 4);
        assert_eq!(lan.masters(), [1], "{case}");
        let relieved: Vec<_> =
            lan.transitions.iter().rev().map(|(node, change)| (*node, change.cause.name())).collect();
        assert!(relieved.contains(&(1, "demoted")) && relieved.contains(&(0, "less_demoted")), "{case}");
        lan.assert_settled(&case);
        assert_eq!(lan.masters(), [1], "{case}");
        assert!(!lan.masterless, "{case}");

        lan.feed(0, Event::Demote(0));
        lan.run_for(lan.longest_patience() * 2);
        assert_eq!(lan.masters(), [usize::from(!preempt)], "{case}");
        assert!(!lan.masterless, "{case}");
    }
}

#[test]
fn a_group_demoted_alike_keeps_one_master() {
    for (mut lan, pace, preempt) in groups() {
        let case = format!("{pace:?} preempt {preempt}");
        for node in [2, 1, 0] {
            lan.feed(node, Event::Demote(3));
        }
        lan.run_for(lan.longest_patience() * 2);
        assert_eq!(lan.masters(), [0], "{case}");
        lan.assert_settled(&case);
        assert!(!lan.masterless, "{case}");

        // Equal now: who takes over is decided by the address.
        lan.kill(0);
        lan.run_for(lan.longest_patience() * 2);
        assert_eq!(lan.masters(), [1], "{case}");
        lan.assert_settled(&case);
    }
}

#[test]
fn a_demoted_backup_lets_a_healthy_one_move_first() {
    for (mut lan, pace, preempt) in groups() {
        lan.feed(1, Event::Demote(1));
        lan.run_for(pace.advertisement_interval(STRONG));
        let settled = lan.transitions.len();
        lan.kill(0);
        lan.run_for(lan.longest_patience() * 2);
        let names: Vec<_> =
            lan.transitions[settled..].iter().map(|(node, change)| (*node, change.cause.name())).collect();
        assert_eq!(names, [(2, "silence")], "{pace:?} preempt {preempt}");
    }
}

#[test]
fn a_demoted_master_yields_to_one_that_knows_no_demotion() {
    for pace in PACES {
        let mut lan = Lan::new([settings(STRONG, pace, false), settings(WEAK, pace, true)]);
        lan.nodes[1].foreign = true;
        lan.all_up();
        lan.run_for(lan.longest_patience() * 2);
        assert_eq!(lan.masters(), [0], "{pace:?}");
        lan.masterless = false;
        lan.feed(0, Event::Demote(1));
        lan.run_for(DELAY * 4);
        assert_eq!(lan.masters(), [1], "{pace:?}");
        assert_eq!(lan.last_told(), Some((0, "less_demoted")), "{pace:?}");
        lan.assert_settled("relieved");
        assert!(!lan.masterless, "{pace:?}");
    }
}

#[test]
fn a_master_that_slept_finds_its_successor_and_steps_back() {
    for (mut lan, pace, preempt) in groups() {
        let case = format!("{pace:?} preempt {preempt}");
        let (asleep, last) = (lan.longest_patience() * 2, lan.last_sent_by(0));
        let woken = lan.now + asleep;
        lan.sleep(0, asleep);
        lan.run_for(asleep + DELAY);
        assert_eq!(lan.nodes[0].stalls, 1, "{case}");
        let (from, to) = (State::Stalled, State::Backup);
        let back = Transition { at: woken, from, to, cause: Cause::Stalled { source: v4(1) } };
        assert!(lan.transitions.contains(&(0, back)), "{case}: {:?}", lan.transitions);
        if !preempt {
            assert_eq!(lan.last_sent_by(0), last, "{case}: it did not disturb");
            assert_eq!(lan.masters(), [1], "{case}");
        }
        lan.run_for(lan.longest_patience() * 2);
        assert_eq!(lan.masters(), [usize::from(!preempt)], "{case}");
        lan.assert_settled(&case);
    }
}

#[test]
fn a_master_that_slept_deaf_hears_its_successor_in_time() {
    // At equal intervals; at the classic pace a worse one may speak too late.
    for (mut lan, pace, preempt) in groups().filter(|(_, pace, _)| *pace != Pace::Classic) {
        let case = format!("{pace:?} preempt {preempt}");
        let asleep = lan.longest_patience() * 2;
        lan.sleep(0, asleep);
        // Nothing waits for it when it wakes.
        lan.part(0, 1);
        lan.run_for(asleep);
        assert_eq!(lan.masters(), [1], "{case}");
        assert_eq!(lan.nodes[0].vhost.state(), State::Stalled, "{case}");
        lan.lost.clear();
        lan.run_for(pace.advertisement_interval(MIDDLE));
        let told: Vec<_> =
            lan.transitions.iter().map(|(node, change)| (*node, change.cause.name())).collect();
        assert!(told.contains(&(0, "stalled")), "{case}: {told:?}");
        lan.run_for(lan.longest_patience() * 2);
        assert_eq!(lan.masters(), [usize::from(!preempt)], "{case}");
        lan.assert_settled(&case);
    }
}

#[test]
fn a_master_that_slept_alone_goes_on() {
    for (mut lan, pace, preempt) in groups() {
        lan.kill(1);
        lan.kill(2);
        let asleep = lan.longest_patience() * 2;
        let woken = lan.now + asleep;
        lan.sleep(0, asleep);
        lan.run_for(asleep + pace.advertisement_interval(STRONG));
        assert_eq!(lan.masters(), [0], "{pace:?} preempt {preempt}");
        assert_eq!(lan.last_sent_by(0), woken + pace.advertisement_interval(STRONG));
        assert_eq!(lan.nodes[0].stalls, 1);
    }
}

#[test]
fn a_short_sleep_of_the_master_changes_nothing() {
    for (mut lan, pace, preempt) in groups() {
        let settled = lan.transitions.len();
        let silent = pace.advertisement_interval(STRONG) + DELAY;
        lan.sleep(0, pace.dead_time(STRONG).saturating_sub(silent));
        lan.assert_settled("slept");
        assert_eq!(lan.transitions.len(), settled, "{pace:?} preempt {preempt}");
        assert_eq!(lan.nodes[0].stalls, 0);
    }
}

const MIDDLE: Priority = Priority { advbase: 1, advskew: 50 };
