//! What is normal, and what is not.

use std::time::Duration;

use super::*;

mod attacks;
mod captures;
mod heal;
mod normal;

/// An observer, and frames at times in ms.
#[derive(Default)]
struct Observer {
    suspicions: Suspicions,
    now: u64,
}

impl Observer {
    /// Hears a frame, and returns the names of what is suspicious about it.
    fn hear(&mut self, source: IpAddr, (advbase, advskew): (u8, u8), counter: u64) -> Vec<&'static str> {
        self.hear_demoted(source, (advbase, advskew), 0, counter)
    }

    fn hear_demoted(
        &mut self,
        source: IpAddr,
        (advbase, advskew): (u8, u8),
        demote: u8,
        counter: u64,
    ) -> Vec<&'static str> {
        let priority = Priority { advbase, advskew };
        let heard = Heard { source, counter, digest: digest(counter), priority, demote };
        let found = self.suspicions.hear(self.moment(), &heard);
        for suspicion in &found {
            assert_eq!(suspicion.source, source);
        }
        found.iter().map(|suspicion| suspicion.kind.name()).collect()
    }

    fn sent(&mut self, (advbase, advskew): (u8, u8), counter: u64) {
        let priority = Priority { advbase, advskew };
        self.suspicions.sent(self.moment(), counter, Advertisement { priority, demote: 0 });
    }

    fn wait(&mut self, ms: u64) {
        self.now += ms;
    }

    fn moment(&self) -> Instant {
        Instant::from_nanos(1_000_000_000_000) + Duration::from_millis(self.now)
    }
}

/// As the real one, it is a function of the counter.
fn digest(counter: u64) -> [u8; 20] {
    let mut digest = [0xd1; 20];
    digest[..8].copy_from_slice(&counter.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    digest
}

/// The `n`th random number.
fn random(n: u64) -> u64 {
    let mut x = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

const NONE: [&str; 0] = [];

fn a() -> IpAddr {
    [10, 9, 0, 1].into()
}

fn b() -> IpAddr {
    [10, 9, 0, 2].into()
}

/// The third one.
fn x() -> IpAddr {
    [10, 9, 0, 3].into()
}

#[test]
fn suspicions_as_an_operator_reads_them() {
    let priority = Priority { advbase: 0, advskew: 0 };
    let table = [
        (
            Kind::TwoSources { other: Some(b()) },
            "two_sources",
            "10.9.0.1 sends what 10.9.0.2 sent: one of them repeats a recorded advertisement",
        ),
        (
            Kind::TwoSources { other: None },
            "two_sources",
            "10.9.0.1 sends what we sent: it repeats a recorded advertisement",
        ),
        (
            Kind::Regressed,
            "regressed",
            "the counter of 10.9.0.1 went back: somebody repeats a recorded advertisement",
        ),
        (
            Kind::Repeated,
            "repeated",
            "10.9.0.1 sends the same again: somebody repeats a recorded advertisement",
        ),
        (
            Kind::SuddenPriority { priority },
            "sudden_priority",
            "10.9.0.1 suddenly advertises 0/0, and nothing shows that it is meant",
        ),
        (
            Kind::SuddenPriority { priority: Priority::BOW_OUT },
            "sudden_priority",
            "10.9.0.1 says goodbye, and nothing shows that it is meant",
        ),
        (Kind::BadDigests, "bad_digests", "key or address list differs on 10.9.0.1"),
        (Kind::Replayed, "replayed", "10.9.0.1 sends what was sent before: somebody repeats it"),
        (Kind::Stale, "stale", "what 10.9.0.1 sends is old, or its clock differs too much from ours"),
        (
            Kind::Rewritten,
            "rewritten",
            "somebody changed an advertisement of 10.9.0.1 (or it is not in strict mode)",
        ),
    ];
    let mut suspicions = Suspicions::default();
    for (kind, name, sentence) in table {
        let suspicion = suspicions.report(Instant::from_nanos(0), kind, a());
        assert_eq!((kind.name(), suspicion.to_string()), (name, sentence.to_owned()));
    }
}

#[test]
fn each_is_counted_and_logged_once_a_minute() {
    let mut observer = Observer::default();
    let mut logged = Vec::new();
    for n in 1..=150 {
        let now = observer.moment();
        for source in [a(), b()] {
            let suspicion = observer.suspicions.report(now, Kind::BadDigests, source);
            assert_eq!((suspicion.count, suspicion.last), (n, now));
            if suspicion.log {
                logged.push((observer.now, source));
            }
        }
        observer.wait(1000);
    }
    let expected = [0, 60_000, 120_000].map(|at| [(at, a()), (at, b())]).concat();
    assert_eq!(logged, expected);
    let listed: Vec<_> = observer.suspicions.list().map(|one| (one.source, one.count)).collect();
    assert_eq!(listed, [(a(), 150), (b(), 150)]);
}

#[test]
fn a_flood_of_sources_fills_neither_memory_nor_log() {
    let mut observer = Observer::default();
    for n in 0..100 {
        assert_eq!(observer.hear(a(), (1, 0), 1000 + n), NONE);
        observer.wait(10);
    }
    let mut logged = 0;
    for n in 0..1000_u64 {
        let [.., high, low] = n.to_be_bytes();
        let heard = Heard {
            source: [10, 8, high, low].into(),
            counter: 1050,
            digest: digest(1050),
            priority: Priority { advbase: 1, advskew: 0 },
            demote: 0,
        };
        let found = observer.suspicions.hear(observer.moment(), &heard);
        assert_eq!(found.len(), 1);
        logged += found.iter().filter(|suspicion| suspicion.log).count();
    }
    assert_eq!(logged, 64);
    assert_eq!(observer.suspicions.list().count(), 64);
    assert_eq!(observer.suspicions.unlisted(), 936);
    assert_eq!(observer.suspicions.speakers.len(), 1);
    assert_eq!(observer.hear(a(), (1, 0), 1100), NONE);

    // When that is over, others find a place.
    observer.wait(60_000);
    assert_eq!(observer.hear(x(), (1, 0), 1050), ["two_sources"]);
    assert!(observer.suspicions.list().any(|suspicion| suspicion.source == x()));
    assert_eq!(observer.suspicions.list().count(), 64);
}

#[test]
fn of_too_many_sources_the_oldest_is_forgotten_but_never_ourselves() {
    let mut observer = Observer::default();
    observer.sent((1, 0), 77);
    for n in 0..1000_u64 {
        observer.wait(10);
        let [.., high, low] = n.to_be_bytes();
        assert_eq!(observer.hear([10, 8, high, low].into(), (1, 0), random(n)), NONE);
        assert!(observer.suspicions.speakers.len() <= MOST_SOURCES + 1);
    }
    assert_eq!(observer.hear(x(), (1, 0), random(999)), ["two_sources"]);
    assert_eq!(observer.hear(x(), (1, 0), 77), ["two_sources"]);
    assert_eq!(observer.hear(x(), (1, 0), random(0)), NONE, "forgotten");
}
