//! What honest senders do.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

#[test]
fn our_own_count_say_goodbye_and_come_back() {
    let mut observer = Observer::default();
    for life in 0..5 {
        let start = random(life);
        for n in 0..50 {
            assert_eq!(observer.hear(a(), (1, 0), start.wrapping_add(n)), NONE);
            observer.wait(10);
        }
        assert_eq!(observer.hear(a(), (255, 255), start.wrapping_add(50)), NONE);
        // Its successor, and then it comes back.
        for n in 0..50 {
            assert_eq!(observer.hear(b(), (1, 100), random(7).wrapping_add(life * 51 + n)), NONE);
            observer.wait(10);
        }
        assert_eq!(observer.hear(b(), (255, 255), random(7).wrapping_add(life * 51 + 50)), NONE);
    }
}

#[test]
fn one_that_starts_anew_is_believed_after_a_minute() {
    for (stays, expected) in [(3_600_000, &[][..]), (30_000, &["sudden_priority"])] {
        let mut observer = Observer::default();
        for life in 0..5 {
            for n in 0..50 {
                assert_eq!(observer.hear(a(), (1, 0), random(life).wrapping_add(n)), NONE);
                observer.wait(1000);
            }
        }
        // It died each time; the last life is longer, and ends in order.
        for n in 0..stays / 1000 {
            assert_eq!(observer.hear(a(), (1, 0), random(9).wrapping_add(n)), NONE);
            observer.wait(1000);
        }
        assert_eq!(observer.hear(a(), (255, 255), random(9).wrapping_add(stays / 1000)), expected);
        observer.wait(5000);
        assert_eq!(observer.hear(a(), (1, 0), random(10)), NONE);
    }
}

#[test]
fn the_counter_wraps_and_frames_get_lost() {
    let mut observer = Observer::default();
    let mut counter = u64::MAX - 100;
    for n in 0..200 {
        assert_eq!(observer.hear(a(), (1, 0), counter), NONE, "{counter}");
        counter = counter.wrapping_add(1 + if n % 10 == 0 { 1000 } else { 0 });
        observer.wait(10);
    }
}

#[test]
fn a_constant_counter_is_normal_and_so_is_a_new_one_after_a_restart() {
    let mut observer = Observer::default();
    for life in 0..5 {
        for _ in 0..45 {
            assert_eq!(observer.hear(a(), (1, 0), random(life)), NONE, "life {life}");
            observer.wait(1000);
        }
        // OpenBSD says goodbye with it, and may be back soon.
        assert_eq!(observer.hear(a(), (255, 255), random(life)), NONE);
        observer.wait(3000);
    }
}

#[test]
fn one_that_was_heard_once_too_often_is_still_seen_to_count() {
    let mut observer = Observer::default();
    // A frame came twice before anything was known.
    for counter in [10, 10, 11, 12] {
        assert_eq!(observer.hear(a(), (1, 0), counter), NONE, "{counter}");
    }
    assert_eq!(observer.hear(a(), (1, 0), 12), ["repeated"]);
}

#[test]
fn both_families_of_one_node_are_normal() {
    let v6 = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into();
    // The counters of the two frames of tick `n`: OpenBSD, FreeBSD, ours.
    let senders: [fn(u64) -> [u64; 2]; 3] = [
        |_| [random(1), random(1)],
        |n| [random(1).wrapping_add(n * 2), random(1).wrapping_add(n * 2 + 1)],
        |n| [random(1).wrapping_add(n), random(1).wrapping_add(n)],
    ];
    for (number, counters) in senders.into_iter().enumerate() {
        let mut observer = Observer::default();
        for n in 0..50 {
            let [first, second] = counters(n);
            let mut frames = [(a(), first), (v6, second)];
            if n % 7 == 3 {
                frames.reverse();
            }
            for (source, counter) in frames {
                assert_eq!(
                    observer.hear(source, (1, 0), counter),
                    NONE,
                    "sender {number}, tick {n}, {source}"
                );
            }
            observer.wait(1000);
        }
    }
}

#[test]
fn the_two_families_may_overtake_each_other_for_ever() {
    let v6 = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into();
    let mut observer = Observer::default();
    for n in 0..500 {
        for (source, counter) in [(v6, 2 * n + 1), (a(), 2 * n)] {
            assert_eq!(observer.hear(source, (1, 0), random(1).wrapping_add(counter)), NONE, "{n} {source}");
        }
        observer.wait(10);
    }
}

#[test]
fn demotion_and_its_end_are_normal() {
    for step in [0, 1] {
        let mut observer = Observer::default();
        let mut counter = 5;
        for (advskew, demote) in [(10, 0), (240, 1), (240, 129), (10, 0), (200, 0), (10, 0)] {
            for _ in 0..5 {
                assert_eq!(observer.hear_demoted(a(), (1, advskew), demote, counter), NONE);
                counter += step;
                observer.wait(1000);
            }
        }
    }
}

#[test]
fn a_better_priority_with_a_counter_that_counts_on_is_meant() {
    let mut observer = Observer::default();
    for n in 0..10 {
        assert_eq!(observer.hear(a(), (1, 100), 100 + n), NONE);
    }
    assert_eq!(observer.hear(a(), (0, 0), 110), NONE);
    // One that counts on from another is as good.
    assert_eq!(observer.hear(b(), (0, 0), 111), NONE);
    assert_eq!(observer.hear(a(), (0, 0), 112), NONE);
}

#[test]
fn a_better_priority_that_nothing_proves_is_told_for_a_minute_and_then_believed() {
    // Random counters, and a constant one.
    for counter in [random as fn(u64) -> u64, |_| 7] {
        let mut observer = Observer::default();
        for n in 0..10 {
            assert_eq!(observer.hear(a(), (1, 100), counter(n)), NONE);
            observer.wait(1000);
        }
        for n in 10..70 {
            assert_eq!(observer.hear(a(), (1, 50), counter(n)), ["sudden_priority"], "{n}");
            observer.wait(1000);
        }
        for n in 70..80 {
            assert_eq!(observer.hear(a(), (1, 50), counter(n)), NONE);
            observer.wait(1000);
        }
        assert_eq!(observer.suspicions.list().map(|suspicion| suspicion.count).collect::<Vec<_>>(), [60]);
    }
}

#[test]
fn a_better_one_that_reads_late_is_told_from_one_that_replays() {
    let counting_master = || {
        let mut observer = Observer::default();
        for n in 0..1000 {
            assert_eq!(observer.hear(a(), (1, 100), n), NONE);
            observer.wait(10);
        }
        observer
    };
    // (priority, counter, what is suspicious); the master is at 999, and was at 800 2 s ago.
    let table: [((u8, u8), u64, &[&str]); 6] = [
        ((1, 0), 1000, &[]),
        ((1, 0), 900, &[]),
        ((1, 0), 700, &["two_sources", "sudden_priority"]),
        ((0, 0), 900, &["two_sources", "sudden_priority"]),
        ((1, 100), 900, &["two_sources"]),
        ((255, 255), 900, &["two_sources", "sudden_priority"]),
    ];
    for (priority, counter, expected) in table {
        let mut observer = counting_master();
        assert_eq!(observer.hear(x(), priority, counter), expected, "{priority:?} {counter}");
    }
    // Who reads late counts on; who replays repeats.
    let mut observer = counting_master();
    assert_eq!(observer.hear(x(), (1, 0), 900), NONE);
    assert_eq!(observer.hear(x(), (1, 0), 1000), NONE);
    let mut observer = counting_master();
    assert_eq!(observer.hear(x(), (1, 0), 900), NONE);
    assert_eq!(observer.hear(x(), (1, 0), 900), ["repeated"]);
}

#[test]
fn another_digest_for_the_same_counter_was_made_with_a_key() {
    let mut observer = Observer::default();
    for n in 0..10 {
        observer.hear(a(), (1, 0), n);
    }
    let mut rotated = Heard {
        source: a(),
        counter: 9,
        digest: [7; 20],
        priority: Priority { advbase: 1, advskew: 0 },
        demote: 0,
    };
    assert_eq!(observer.suspicions.hear(observer.moment(), &rotated), []);
    assert_eq!(observer.suspicions.hear(observer.moment(), &rotated).len(), 1);
    rotated.counter = 10;
    assert_eq!(observer.suspicions.hear(observer.moment(), &rotated), []);
}

/// How an honest sender counts.
#[derive(Clone, Copy, Debug)]
enum Sender {
    Ours,
    /// FreeBSD, ucarp: random until it hears another, then on from what it heard last.
    Adopting {
        heard: bool,
    },
    Constant,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    /// One master after the other, whoever they are; the observer misses frames.
    #[test]
    fn no_honest_group_is_suspicious(
        kinds in prop::collection::vec(0..3_u8, 2..5),
        terms in prop::collection::vec((0..4_usize, 1..40_u64, 10..1000_u64), 1..20),
        missed in prop::collection::vec(any::<bool>(), 16),
        seed in any::<u64>(),
    ) {
        let mut senders: Vec<_> = kinds
            .into_iter()
            .enumerate()
            .map(|(number, kind)| {
                let sender = match kind {
                    0 => Sender::Ours,
                    1 => Sender::Adopting { heard: false },
                    _ => Sender::Constant,
                };
                (sender, random(seed.wrapping_add(number as u64)))
            })
            .collect();
        let mut observer = Observer::default();
        let mut frames = 0_u64;
        for (master, length, interval) in terms {
            let master = master % senders.len();
            for frame in 0..length {
                frames += 1;
                let (sender, counter) = &mut senders[master];
                match sender {
                    Sender::Ours | Sender::Adopting { heard: true } => *counter = counter.wrapping_add(1),
                    Sender::Adopting { heard: false } => *counter = random(seed ^ (frames << 20)),
                    Sender::Constant => {}
                }
                let counter = *counter;
                for (other, (sender, adopted)) in senders.iter_mut().enumerate() {
                    match sender {
                        Sender::Adopting { heard } if other != master => (*heard, *adopted) = (true, counter),
                        // It jumps ahead, not back.
                        Sender::Ours if counter.wrapping_sub(*adopted) < u64::MAX / 2 => *adopted = counter,
                        Sender::Ours | Sender::Adopting { .. } | Sender::Constant => {}
                    }
                }
                // The first and the last of a term are heard: what nobody knows of cannot be followed.
                let heard = frame == 0 || frame == length - 1 || !missed[usize::try_from(frames % 16).unwrap_or(0)];
                if heard {
                    let source = [10, 9, 0, u8::try_from(master).unwrap_or(0)].into();
                    let priority = (1, u8::try_from(master * 10).unwrap_or(0));
                    prop_assert_eq!(observer.hear(source, priority, counter), NONE, "frame {}", frames);
                }
                observer.wait(interval);
            }
            observer.wait(3 * interval);
        }
    }
}
