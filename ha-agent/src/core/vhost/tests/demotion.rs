//! Who is less demoted.

use super::*;

#[test]
fn the_less_demoted_one_is_master() {
    // (our level, its level, its priority, what a backup becomes, what a master becomes)
    let better = priority(1, 0);
    let worse = priority(1, 250);
    let table = [
        (0, 0, better, None, Some("superior")),
        (0, 0, worse, None, None),
        (0, 1, better, Some("demoted"), None),
        (0, 255, worse, Some("demoted"), None),
        (1, 1, better, None, Some("superior")),
        (1, 1, worse, None, None),
        (1, 2, better, Some("demoted"), None),
        (2, 1, worse, None, Some("less_demoted")),
        // It does not know of demotion.
        (1, 0, better, None, Some("less_demoted")),
        (255, 0, worse, None, Some("less_demoted")),
        // Hopeless, but we would lose to it at once.
        (1, 0, priority(5, 0), None, Some("less_demoted")),
        (1, 1, priority(5, 0), Some("hopeless"), None),
    ];
    for (ours, theirs, priority, backup, master) in table {
        for (state, expected) in [(State::Backup, backup), (State::Master, master)] {
            let (mut vhost, start) = vhost_in(state, false);
            vhost.handle(start, Event::Demote(ours));
            drain(&mut vhost);
            let stamp = start + ms(1);
            vhost.handle(
                stamp,
                Event::Advert(Advert { stamp, source: HIGHER, priority, demote: theirs, watched: false }),
            );
            let cause = last_cause(&mut vhost).map(|cause| cause.name());
            assert_eq!(cause, expected, "{state:?} {ours} {theirs} {priority}");
        }
    }
}

#[test]
fn a_demoted_one_waits_longer_and_keeps_its_pace() {
    let (mut vhost, start) = vhost_in(State::Backup, false);
    let heard = start + ms(10);
    vhost.handle(heard, advert(heard, LOWER, priority(1, 0)));
    let deadlines = [(7, 3_937_500), (9, 3_937_500), (0, 3_390_625)];
    for (level, down) in deadlines {
        vhost.handle(heard + ms(1), Event::Demote(level));
        let deadline = heard + Duration::from_micros(down);
        assert_eq!(vhost.poll_timeout(), Some((deadline, Timer::MasterDown)), "level {level}");
    }
    vhost.handle(heard + ms(2), Event::Demote(7));
    vhost.handle(heard + ms(3), advert(heard + ms(3), LOWER, Priority::BOW_OUT));
    let turn = heard + ms(3) + Duration::from_micros(937_500);
    assert_eq!(vhost.poll_timeout(), Some((turn, Timer::Turn)));
    vhost.handle(turn, Event::Deadline(Timer::Turn));
    assert_eq!(vhost.timers.get(Timer::Advertise), Some(turn + INTERVAL));
}

#[test]
fn a_changed_level_is_advertised_at_once_and_beside_the_others() {
    let (mut vhost, start) = vhost_in(State::Master, false);
    for (level, advskew) in [(1, 240), (2, 240), (0, 100)] {
        vhost.handle(start + ms(1), Event::Demote(level));
        let told = Advertisement { priority: priority(1, advskew), demote: level };
        assert_eq!(drain(&mut vhost), [Command::Advertise(told)]);
        vhost.handle(start + ms(2), Event::Demote(level));
        assert_eq!(drain(&mut vhost), []);
    }
    assert_eq!(vhost.timers.get(Timer::Advertise), Some(start + INTERVAL));
}
