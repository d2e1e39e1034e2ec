//! The attacks of CARP specification §8.1, on each kind of sender.

use super::*;

/// How the victim counts: as ours, as a lone ucarp, as OpenBSD.
const VICTIMS: [(&str, Counter); 3] = [("counting", |n| 5000 + n), ("random", random), ("constant", |_| 42)];

/// The counter of the `n`th frame.
type Counter = fn(u64) -> u64;

/// An observer that has heard `frames` of the victim, one a second.
fn with_victim(counter: Counter, frames: u64) -> Observer {
    let mut observer = Observer::default();
    for n in 0..frames {
        assert_eq!(observer.hear(a(), (1, 10), counter(n)), NONE);
        observer.wait(1000);
    }
    observer
}

/// One recorded frame, repeated while the victim lives on: what is suspicious about it each time, and about the
/// victim's own frames.
fn attack(
    counter: Counter,
    source: IpAddr,
    priority: (u8, u8),
) -> (Vec<Vec<&'static str>>, Vec<Vec<&'static str>>) {
    let mut observer = with_victim(counter, 20);
    (20..24)
        .map(|n| {
            let forged = observer.hear(source, priority, counter(12));
            observer.wait(500);
            let own = observer.hear(a(), (1, 10), counter(n));
            observer.wait(500);
            (forged, own)
        })
        .unzip()
}

#[test]
fn a_third_source_is_told_whatever_it_does() {
    for (name, counter) in VICTIMS {
        for (priority, expected) in [
            ((0, 0), vec!["two_sources", "sudden_priority"]),
            ((1, 0), vec!["two_sources", "sudden_priority"]),
            ((255, 255), vec!["two_sources", "sudden_priority"]),
            ((1, 10), vec!["two_sources"]),
        ] {
            let (forged, own) = attack(counter, x(), priority);
            assert_eq!(forged, vec![expected.clone(); 4], "{name} {priority:?}");
            assert_eq!(own, [NONE; 4], "{name} {priority:?}: the victim is not suspected");
        }
    }
}

/// The victim, the priority, and what is said of each forged frame and of each of its own.
type Row = (usize, (u8, u8), &'static [&'static str], &'static [&'static str]);

#[test]
fn a_forged_own_source_is_told_where_anything_can_be_told() {
    let (depose, verbatim, bow_out) = ((0, 0), (1, 10), (255, 255));
    let table: [Row; 9] = [
        (0, depose, &["regressed", "sudden_priority"], &[]),
        (0, bow_out, &["regressed", "sudden_priority"], &[]),
        (0, verbatim, &["regressed"], &[]),
        (1, depose, &["repeated", "sudden_priority"], &[]),
        (1, bow_out, &["repeated", "sudden_priority"], &[]),
        (1, verbatim, &["repeated"], &[]),
        (2, depose, &["sudden_priority"], &[]),
        // The goodbye alone may be meant; but the victim does not leave.
        (2, bow_out, &[], &["sudden_priority"]),
        // Nobody could tell it from the victim's own.
        (2, verbatim, &[], &[]),
    ];
    for (victim, priority, forged, own) in table {
        let (name, counter) = VICTIMS[victim];
        let found = attack(counter, a(), priority);
        assert_eq!(found, (vec![forged.to_vec(); 4], vec![own.to_vec(); 4]), "{name} {priority:?}");
    }
}

#[test]
fn the_last_frame_of_a_dead_one_is_told_from_a_new_one() {
    for (name, counter) in &VICTIMS[..2] {
        let mut observer = with_victim(*counter, 20);
        for _ in 0..5 {
            assert_eq!(observer.hear(a(), (1, 10), counter(19)), ["repeated"], "{name}");
            observer.wait(100);
        }
    }
}

#[test]
fn a_whole_recording_is_told_frame_by_frame() {
    for source in [a(), x()] {
        for (name, counter) in &VICTIMS[..2] {
            let mut observer = with_victim(*counter, 20);
            for n in 5..15 {
                assert_eq!(observer.hear(source, (1, 10), counter(n)).len(), 1, "{name} {source} {n}");
                observer.wait(1000);
            }
        }
    }
}

#[test]
fn what_counted_before_we_listened_is_old_too() {
    let mut observer = with_victim(|n| 5000 + n, 20);
    for (source, name) in [(a(), "regressed"), (x(), "two_sources")] {
        assert_eq!(observer.hear(source, (1, 10), 4000), [name]);
    }
}

#[test]
fn our_own_frames_come_back_only_by_replay() {
    let mut observer = Observer::default();
    for n in 0..100 {
        observer.sent((1, 10), 900 + n);
        observer.wait(10);
    }
    let table: [((u8, u8), &[&str]); 3] = [
        ((0, 0), &["two_sources", "sudden_priority"]),
        ((255, 255), &["two_sources", "sudden_priority"]),
        ((1, 10), &["two_sources"]),
    ];
    for (priority, expected) in table {
        assert_eq!(observer.hear(x(), priority, 950), expected, "{priority:?}");
    }
    let other = observer.suspicions.list().map(|suspicion| suspicion.kind).next();
    assert_eq!(other, Some(Kind::TwoSources { other: None }));
    // A successor that counts on from ours is normal.
    assert_eq!(observer.hear(b(), (1, 50), 1000), NONE);
    assert_eq!(observer.hear(b(), (1, 50), 1001), NONE);
}

#[test]
fn a_frame_of_one_family_replayed_in_the_other_is_told() {
    let v6 = [0xfe80, 0, 0, 0, 0, 0, 0, 3].into();
    for (name, counter) in &VICTIMS[..2] {
        let mut observer = with_victim(*counter, 20);
        assert_eq!(observer.hear(v6, (1, 10), counter(12)), ["two_sources"], "{name}");
        observer.wait(1000);
        assert_eq!(observer.hear(v6, (1, 10), counter(19)), ["two_sources"], "{name}: the last, but late");
    }
}

#[test]
fn an_attack_among_genuine_frames_is_never_believed() {
    // The one case where only the priority shows it.
    let mut observer = with_victim(|_| 42, 5);
    for _ in 0..200 {
        assert_eq!(observer.hear(a(), (0, 0), 42), ["sudden_priority"]);
        observer.wait(500);
        assert_eq!(observer.hear(a(), (1, 10), 42), NONE);
        observer.wait(500);
    }
}

#[test]
fn a_forged_demotion_is_told_by_its_counter() {
    let mut observer = with_victim(|n| 5000 + n, 20);
    // To look worse starts a takeover in all backups; to look less demoted deposes a demoted master.
    assert_eq!(observer.hear_demoted(a(), (1, 10), 255, 5012), ["regressed"]);
    let mut observer = Observer::default();
    for n in 0..20 {
        assert_eq!(observer.hear_demoted(a(), (1, 240), 3, 5000 + n), NONE);
    }
    assert_eq!(observer.hear_demoted(a(), (1, 240), 0, 5012), ["regressed", "sudden_priority"]);
}

#[test]
fn a_live_echo_is_told_within_a_second() {
    let (better, worse) = ((1, 0), (1, 200));
    let told: [&[&str]; 2] = [&["two_sources", "sudden_priority"], &["two_sources"]];
    for (priority, expected) in [better, worse].into_iter().zip(told) {
        for ours in [true, false] {
            let mut observer = Observer::default();
            let mut found = Vec::new();
            for n in 0..400 {
                if ours {
                    observer.sent((1, 100), 5000 + n);
                } else {
                    assert_eq!(observer.hear(a(), (1, 100), 5000 + n), NONE, "the victim is not suspected");
                }
                observer.wait(1);
                if n >= 200 {
                    found.push(observer.hear(x(), priority, 5000 + n));
                }
                observer.wait(9);
            }
            assert!(found[100..].iter().all(|names| names == expected), "{priority:?} {ours} {found:?}");
        }
    }
}

#[test]
fn an_echo_from_ever_new_sources_is_told_within_a_second() {
    let mut observer = Observer::default();
    let mut found = Vec::new();
    for n in 0..400_u64 {
        observer.sent((1, 100), 5000 + n);
        let [.., low] = (n / 8).to_be_bytes();
        found.push(observer.hear([10, 8, 0, low].into(), (1, 0), 5000 + n));
        observer.wait(10);
    }
    assert!(found[100..].iter().all(|names| names.contains(&"two_sources")), "{found:?}");
}

#[test]
fn a_burst_is_told_within_a_second() {
    for source in [a(), b(), x()] {
        for ours in [true, false] {
            for priority in [(0, 0), (1, 0), (1, 100), (1, 200), (255, 255)] {
                let mut observer = Observer::default();
                for n in 0..1000 {
                    // One that was master before, and is dead.
                    match (n < 500, ours) {
                        (true, _) => assert_eq!(observer.hear(b(), (1, 50), 5000 + n), NONE),
                        (false, true) => observer.sent((1, 100), 5000 + n),
                        (false, false) => assert_eq!(observer.hear(a(), (1, 100), 5000 + n), NONE),
                    }
                    observer.wait(10);
                }
                let found: Vec<_> = (0..100)
                    .map(|n| {
                        observer.wait(10);
                        observer.hear(source, priority, 5850 + n)
                    })
                    .collect();
                assert!(
                    found[50..].iter().all(|names| !names.is_empty()),
                    "{source} {ours} {priority:?} {found:?}"
                );
            }
        }
    }
}

/// An observer that has heard a life of one that counts; an earlier one was recorded.
fn in_its_second_life() -> Observer {
    let mut observer = Observer::default();
    for n in 0..200 {
        assert_eq!(observer.hear(a(), (1, 10), random(2).wrapping_add(n)), NONE);
        observer.wait(10);
    }
    observer
}

#[test]
fn what_an_earlier_life_says_is_not_believed() {
    for alive in [true, false] {
        for (priority, frames) in [((255, 255), 1), ((255, 255), 2), ((255, 255), 100), ((0, 0), 100)] {
            let mut observer = in_its_second_life();
            for n in 0..frames - 1 {
                assert_eq!(observer.hear(a(), (1, 10), random(1).wrapping_add(n)), NONE);
                observer.wait(10);
                if alive && n % 3 == 2 {
                    assert_eq!(observer.hear(a(), (1, 10), random(2).wrapping_add(200 + n)), NONE);
                }
            }
            let last = random(1).wrapping_add(frames - 1);
            assert_eq!(observer.hear(a(), priority, last), ["sudden_priority"], "{priority:?} {frames}");
        }
    }
}
