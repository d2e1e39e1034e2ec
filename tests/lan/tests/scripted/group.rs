//! Three nodes of mixed priorities.

use super::*;

/// Of each pace, with and without preemption; the first is master.
fn groups() -> impl Iterator<Item = (Stage, Pace, bool)> {
    PACES.into_iter().flat_map(|pace| [false, true].map(|preempt| (pace, preempt))).map(|(pace, preempt)| {
        let stage = Stage::settled([STRONG, MIDDLE, WEAK].map(|priority| settings(priority, pace, preempt)));
        assert_eq!(stage.masters(), [0]);
        (stage, pace, preempt)
    })
}

#[test]
fn of_several_backups_the_best_takes_over() {
    for (mut stage, pace, preempt) in groups() {
        stage.lan.power_off(0);
        stage.run_for(pace.master_down_time(MIDDLE) + DELAY);
        assert_eq!(stage.last_told(), Some((1, "silence")), "{pace:?} preempt {preempt}");
        stage.assert_settled("one master dead");
        assert_eq!(stage.masters(), [1], "{pace:?} preempt {preempt}");
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
                    let mut stage = Stage::settled(mix.map(|priority| settings(priority, pace, preempt)));
                    let case = format!("{pace:?} {mix:?} preempt {preempt}, {alone} alone");
                    let best = stage.masters();
                    for other in (0..3).filter(|other| *other != alone) {
                        stage.lan.network.part(alone, other);
                    }
                    stage.run_for(stage.longest_patience() * 2);
                    assert_eq!(stage.masters().len(), 2, "{case}");

                    stage.lan.network.heal();
                    stage.run_for(pace.dead_time(STRONG));
                    assert_eq!(stage.masters(), best, "{case}");
                    stage.assert_settled(&case);
                }
            }
        }
    }
}

#[test]
fn a_demoted_master_hands_over_without_a_gap() {
    for (mut stage, pace, preempt) in groups() {
        let case = format!("{pace:?} preempt {preempt}");
        stage.lan.tell(0, Event::Demote(1));
        stage.run_for(DELAY * 4);
        assert_eq!(stage.masters(), [1], "{case}");
        let relieved = stage.told_since(0);
        assert!(relieved.contains(&(1, "demoted")) && relieved.contains(&(0, "less_demoted")), "{case}");
        stage.assert_settled(&case);
        assert_eq!(stage.masters(), [1], "{case}");
        assert!(!stage.seen.masterless, "{case}");

        stage.lan.tell(0, Event::Demote(0));
        stage.run_for(stage.longest_patience() * 2);
        assert_eq!(stage.masters(), [usize::from(!preempt)], "{case}");
        assert!(!stage.seen.masterless, "{case}");
    }
}

#[test]
fn a_group_demoted_alike_keeps_one_master() {
    for (mut stage, pace, preempt) in groups() {
        let case = format!("{pace:?} preempt {preempt}");
        for node in [2, 1, 0] {
            stage.lan.tell(node, Event::Demote(3));
        }
        stage.run_for(stage.longest_patience() * 2);
        assert_eq!(stage.masters(), [0], "{case}");
        stage.assert_settled(&case);
        assert!(!stage.seen.masterless, "{case}");

        // Equal now: who takes over is decided by the address.
        stage.lan.power_off(0);
        stage.run_for(stage.longest_patience() * 2);
        assert_eq!(stage.masters(), [1], "{case}");
        stage.assert_settled(&case);
    }
}

#[test]
fn a_demoted_backup_lets_a_healthy_one_move_first() {
    for (mut stage, pace, preempt) in groups() {
        stage.lan.tell(1, Event::Demote(1));
        stage.run_for(pace.advertisement_interval(STRONG));
        let settled = stage.seen.transitions.len();
        stage.lan.power_off(0);
        stage.run_for(stage.longest_patience() * 2);
        let names = stage.told_since(settled);
        assert_eq!(names, [(2, "silence")], "{pace:?} preempt {preempt}");
    }
}

#[test]
fn a_demoted_master_yields_to_one_that_knows_no_demotion() {
    for pace in PACES {
        let mut stage = Stage::new([settings(STRONG, pace, false), settings(WEAK, pace, true)]);
        stage.lan.estrange(1);
        stage.lan.start_all();
        stage.run_for(stage.longest_patience() * 2);
        assert_eq!(stage.masters(), [0], "{pace:?}");
        stage.seen.masterless = false;
        stage.lan.tell(0, Event::Demote(1));
        stage.run_for(DELAY * 4);
        assert_eq!(stage.masters(), [1], "{pace:?}");
        assert_eq!(stage.last_told(), Some((0, "less_demoted")), "{pace:?}");
        stage.assert_settled("relieved");
        assert!(!stage.seen.masterless, "{pace:?}");
    }
}

#[test]
fn a_master_that_slept_finds_its_successor_and_steps_back() {
    for (mut stage, pace, preempt) in groups() {
        let case = format!("{pace:?} preempt {preempt}");
        let (asleep, last) = (stage.longest_patience() * 2, stage.last_sent_by(0));
        let woken = stage.lan.now() + asleep;
        stage.lan.freeze(0, asleep);
        stage.run_for(asleep + DELAY);
        assert_eq!(stage.seen.stalls[0], 1, "{case}");
        let (from, to) = (State::Stalled, State::Backup);
        let back = Transition { at: woken, from, to, cause: Cause::Stalled { source: v4(1) } };
        assert!(stage.seen.transitions.contains(&(0, back)), "{case}: {:?}", stage.seen.transitions);
        if !preempt {
            assert_eq!(stage.last_sent_by(0), last, "{case}: it did not disturb");
            assert_eq!(stage.masters(), [1], "{case}");
        }
        stage.run_for(stage.longest_patience() * 2);
        assert_eq!(stage.masters(), [usize::from(!preempt)], "{case}");
        stage.assert_settled(&case);
    }
}

#[test]
fn a_master_that_slept_deaf_hears_its_successor_in_time() {
    // At equal intervals; at the classic pace a worse one may speak too late.
    for (mut stage, pace, preempt) in groups().filter(|(_, pace, _)| *pace != Pace::Classic) {
        let case = format!("{pace:?} preempt {preempt}");
        let asleep = stage.longest_patience() * 2;
        stage.lan.freeze(0, asleep);
        // Nothing waits for it when it wakes.
        stage.lan.network.part(0, 1);
        stage.run_for(asleep);
        assert_eq!(stage.masters(), [1], "{case}");
        assert_eq!(stage.lan.nodes()[0].state(), Some(State::Stalled), "{case}");
        stage.lan.network.heal();
        stage.run_for(pace.advertisement_interval(MIDDLE));
        let told = stage.told_since(0);
        assert!(told.contains(&(0, "stalled")), "{case}: {told:?}");
        stage.run_for(stage.longest_patience() * 2);
        assert_eq!(stage.masters(), [usize::from(!preempt)], "{case}");
        stage.assert_settled(&case);
    }
}

#[test]
fn a_master_that_slept_alone_goes_on() {
    for (mut stage, pace, preempt) in groups() {
        stage.lan.power_off(1);
        stage.lan.power_off(2);
        let asleep = stage.longest_patience() * 2;
        let woken = stage.lan.now() + asleep;
        stage.lan.freeze(0, asleep);
        stage.run_for(asleep + pace.advertisement_interval(STRONG));
        assert_eq!(stage.masters(), [0], "{pace:?} preempt {preempt}");
        assert_eq!(stage.last_sent_by(0), woken + pace.advertisement_interval(STRONG));
        assert_eq!(stage.seen.stalls[0], 1);
    }
}

#[test]
fn a_short_sleep_of_the_master_changes_nothing() {
    for (mut stage, pace, preempt) in groups() {
        let settled = stage.seen.transitions.len();
        let silent = pace.advertisement_interval(STRONG) + DELAY;
        stage.lan.freeze(0, pace.dead_time(STRONG).saturating_sub(silent));
        stage.assert_settled("slept");
        assert_eq!(stage.seen.transitions.len(), settled, "{pace:?} preempt {preempt}");
        assert_eq!(stage.seen.stalls[0], 0);
    }
}

const MIDDLE: Priority = Priority { advbase: 1, advskew: 50 };
