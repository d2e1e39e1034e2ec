//! When the addresses are announced.

use super::*;

#[test]
fn addresses_are_announced_again_a_few_times() {
    let (mut vhost, start) = fast_master();
    for after in [3, 15, 100, 1000, 3000] {
        assert_eq!(vhost.timers.get(Timer::Announce), Some(start + ms(after)));
        assert_eq!(announcements(&mut vhost, start + ms(after)), 1);
    }
    assert_eq!(vhost.timers.get(Timer::Announce), None);
}

#[test]
fn missed_announcements_are_not_made_up_for() {
    let (mut vhost, start) = fast_master();
    for at in (10..=1500).step_by(10) {
        vhost.handle(start + ms(at), Event::Deadline(Timer::Advertise));
    }
    drain(&mut vhost);
    vhost.handle(start + ms(1500), Event::Deadline(Timer::Announce));
    assert_eq!(drain(&mut vhost), [Command::Announce]);
    assert_eq!(vhost.timers.get(Timer::Announce), Some(start + ms(3000)));
}

#[test]
fn addresses_are_announced_on_a_period_if_asked() {
    for (every, step) in [(ms(60_000), ms(60_000)), (ms(10), ms(1000)), (Duration::ZERO, ms(1000))] {
        let (mut vhost, start) = master_of(Settings { announce_every: Some(every), ..fast() });
        let mut due = start;
        for deadline in [start + ms(3000), start + ms(3000) + step, start + ms(3000) + step * 2] {
            while due < deadline {
                due = vhost.timers.get(Timer::Announce).expect("on a period");
                assert_eq!(announcements(&mut vhost, due), 1, "every {every:?}");
            }
            assert_eq!(due, deadline, "every {every:?}");
        }
    }
}

#[test]
fn once_a_loser_is_silent_the_addresses_are_announced_anew() {
    // (when the loser is heard, in ms from the start, and when we announce)
    let table: [(&[u64], &[u64]); 5] = [
        // At once, and when no second one has followed.
        (&[1], &[1, 3, 16, 101, 1001, 3001]),
        (&[1, 11], &[1, 3, 26, 111, 1011, 3011]),
        (&[5000], &[3, 15, 100, 1000, 3000, 5000, 5015, 5100, 6000, 8000]),
        // Soon again: when it is silent, or after a while.
        (&[5000, 5010], &[3, 15, 100, 1000, 3000, 5000, 5025, 5110, 6010, 8010]),
        (&[5000, 5020], &[3, 15, 100, 1000, 3000, 5000, 5015, 5020, 5035, 5120, 6020, 8020]),
    ];
    for (heard, expected) in table {
        let (mut vhost, start) = fast_master();
        let mut announced = Vec::new();
        for at in 0..10_000 {
            let now = start + ms(at);
            if heard.contains(&at) {
                vhost.handle(now, loser(now));
            }
            if announcements(&mut vhost, now) > 0 {
                announced.push(at);
            }
        }
        assert_eq!(announced, expected, "{heard:?}");
    }
}

#[test]
fn a_loser_that_does_not_give_in_is_never_left_the_clients_for_a_dead_time() {
    // (interval, detect, the longest time between two announcements)
    for (interval, detect, longest) in [(10, 3, 30), (10, 2, 20), (1, 3, 6), (50, 3, 150), (400, 4, 1200)] {
        let (mut vhost, start) =
            master_of(Settings { pace: Pace::Fast { interval: ms(interval), detect }, ..fast() });
        let (mut last, mut count) = (start, 0_u32);
        for now in (0..3500).map(|at| start + ms(at)) {
            if now.saturating_since(start).as_millis().is_multiple_of(u128::from(interval)) {
                vhost.handle(now, loser(now));
            }
            let made = announcements(&mut vhost, now);
            assert!(made <= 1);
            if made > 0 {
                (last, count) = (now, count + 1);
            }
            assert!(now.saturating_since(last) <= ms(longest), "{interval} ms x {detect}, at {now:?}");
        }
        assert!(count > 1, "{interval} ms x {detect}");
    }
}

#[test]
fn a_loser_that_never_gives_in_does_not_make_us_announce_for_ever() {
    let (mut vhost, start) = fast_master();
    let mut by_second = [0; 10];
    for at in 0..10_000 {
        let now = start + ms(at);
        if at % 10 == 0 {
            vhost.handle(now, loser(now));
        }
        by_second[usize::try_from(at / 1000).expect("10")] += announcements(&mut vhost, now);
    }
    assert_eq!(by_second, [51, 50, 50, 50, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn whoever_is_heard_again_after_a_dead_time_begins_a_contest_of_its_own() {
    let (mut vhost, start) = fast_master();
    for began in [start, start + ms(4500 + 30)] {
        announcements(&mut vhost, began);
        let in_contest: usize = (0..4500)
            .map(|at| {
                let now = began + ms(at);
                if at % 10 == 0 {
                    vhost.handle(now, loser(now));
                }
                announcements(&mut vhost, now)
            })
            .sum();
        assert!((199..=202).contains(&in_contest), "{in_contest}");
    }
}

#[test]
fn a_farewell_heard_by_a_master_is_answered_too() {
    let (mut vhost, start) = fast_master();
    let now = start + ms(5000);
    announcements(&mut vhost, now);
    vhost.handle(now, advert(now, HIGHER, Priority::BOW_OUT));
    assert_eq!(drain(&mut vhost), [Command::Announce]);
}

/// How often it announces up to this moment, on time.
fn announcements(vhost: &mut Vhost, now: Instant) -> usize {
    let mut commands = drain(vhost);
    while let Some((deadline, timer)) = vhost.poll_timeout()
        && deadline <= now
    {
        vhost.handle(deadline, Event::Deadline(timer));
        commands.extend(drain(vhost));
    }
    commands.into_iter().filter(|command| *command == Command::Announce).count()
}

fn loser(stamp: Instant) -> Event {
    advert(stamp, HIGHER, priority(1, 200))
}

fn fast() -> Settings {
    Settings { pace: Pace::Fast { interval: ms(10), detect: 3 }, ..settings(false) }
}

fn fast_master() -> (Vhost, Instant) {
    master_of(fast())
}

/// It has just become master, and announced for the first time.
fn master_of(settings: Settings) -> (Vhost, Instant) {
    let mut vhost = Vhost::new(settings);
    vhost.handle(T0, up(OURS));
    let (start, timer) = vhost.poll_timeout().expect("a backup listens");
    vhost.handle(start, Event::Deadline(timer));
    assert_eq!(drain(&mut vhost).iter().filter(|command| **command == Command::Announce).count(), 1);
    (vhost, start)
}
