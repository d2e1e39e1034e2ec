//! The last word of one that had the addresses.

use super::*;

#[test]
fn whoever_yields_says_so_once_its_addresses_are_gone() {
    // (our level, the winner's priority and level, what we say)
    let table = [
        (0, priority(1, 0), 0, OWN, 0),
        (0, priority(1, 99), 0, OWN, 0),
        // A tie that we lose: the least that is worse.
        (0, OWN, 0, priority(1, 101), 0),
        // For those that know only priorities.
        (1, priority(2, 7), 0, priority(2, 8), 1),
        (1, priority(1, 254), 0, priority(2, 0), 1),
        (1, priority(1, 239), 0, priority(1, 240), 1),
    ];
    for (ours, theirs, demote, expected, level) in table {
        let (mut vhost, start) = vhost_in(State::Master, false);
        vhost.handle(start, Event::Demote(ours));
        drain(&mut vhost);
        let now = start + ms(1);
        vhost.handle(now, from(LOWER, now, theirs, demote));
        assert_eq!(drain(&mut vhost)[0], Command::DropAddresses);

        vhost.handle(now + ms(1), Event::Released { held: true });
        let word = Advertisement { priority: expected, demote: level };
        assert_eq!(drain(&mut vhost), [Command::Advertise(word)], "{theirs} {demote}");
        let judge = Contender { demote, priority: theirs, source: LOWER };
        let said = Contender { demote: word.demote, priority: word.priority, source: OURS };
        assert!(matches!(judge.judge(said), Verdict::Inferior | Verdict::MoreDemoted), "{theirs} {demote}");
        assert!(theirs.beats(word.priority), "{theirs}");
        vhost.handle(now + ms(2), Event::Released { held: true });
        assert_eq!(drain(&mut vhost), [], "once");
    }
}

#[test]
fn one_that_stalled_loses_to_whoever_is_master_now() {
    for (theirs, demote, expected) in [
        (priority(1, 200), 0, Some((priority(1, 201), 0))),
        (priority(1, 240), 7, Some((priority(1, 241), 7))),
        (priority(1, 0), 0, Some((OWN, 0))),
        // There is nothing worse but the farewell.
        (priority(255, 254), 0, None),
    ] {
        let (mut vhost, start) = vhost_in(State::Stalled, false);
        vhost.handle(start, from(LOWER, start, theirs, demote));
        drain(&mut vhost);
        vhost.handle(start + ms(1), Event::Released { held: true });
        let word = expected.map(|(priority, demote)| Command::Advertise(Advertisement { priority, demote }));
        assert_eq!(drain(&mut vhost), word.into_iter().collect::<Vec<_>>(), "{theirs}");
    }
}

#[test]
fn whoever_left_addresses_behind_tells_the_master_that_it_finds() {
    let master = |now| advert(now, LOWER, priority(1, 0));
    for heard_first in [false, true] {
        for held in [false, true] {
            let mut vhost = Vhost::new(settings(false));
            vhost.handle(T0, up(OURS));
            drain(&mut vhost);
            let mut events = [Event::Released { held }, master(T0 + ms(1))];
            if heard_first {
                events.reverse();
            }
            for event in events {
                assert_eq!(drain(&mut vhost), []);
                vhost.handle(T0 + ms(1), event);
            }
            let word = if held { vec![advertisement(OWN)] } else { vec![] };
            assert_eq!(drain(&mut vhost), word, "heard first: {heard_first}, held: {held}");
            vhost.handle(T0 + ms(2), master(T0 + ms(2)));
            assert_eq!(drain(&mut vhost), []);
        }
    }
}

#[test]
fn the_farewell_of_a_master_is_not_answered() {
    let mut vhost = Vhost::new(settings(false));
    vhost.handle(T0, up(OURS));
    vhost.handle(T0, Event::Released { held: true });
    drain(&mut vhost);
    vhost.handle(T0 + ms(1), advert(T0 + ms(1), LOWER, Priority::BOW_OUT));
    assert_eq!(drain(&mut vhost), []);
}

#[test]
fn whoever_is_master_again_has_no_last_word() {
    let (mut vhost, start) = vhost_in(State::Master, false);
    vhost.handle(start + ms(1), advert(start + ms(1), LOWER, priority(1, 0)));
    let (deadline, timer) = vhost.poll_timeout().expect("a backup listens");
    vhost.handle(deadline, Event::Deadline(timer));
    drain(&mut vhost);
    vhost.handle(deadline, Event::Released { held: true });
    assert_eq!((vhost.state(), drain(&mut vhost)), (State::Master, vec![]));
}

fn from(source: IpAddr, stamp: Instant, priority: Priority, demote: u8) -> Event {
    Event::Advert(Advert { stamp, source, priority, demote, watched: false })
}
