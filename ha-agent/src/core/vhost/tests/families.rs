//! Two families of addresses.

use std::net::Ipv6Addr;

use super::*;
use crate::core::family::FamilyRule;

#[test]
fn families_apart_each_have_their_own_patience() {
    let mut vhost = Vhost::new(Settings { families: Families::both(FamilyRule::Both), ..settings(false) });
    vhost.handle(T0, up(OURS));
    let heard = T0 + ms(2000);
    vhost.handle(heard, advert(T0 + ms(1000), LOWER_V6, priority(1, 0)));
    vhost.handle(heard, advert(heard, LOWER, priority(1, 0)));
    let deadline = T0 + ms(1000) + DOWN;
    assert_eq!(vhost.timers.get(Timer::MasterDown), Some(heard + DOWN));
    assert_eq!(vhost.poll_timeout(), Some((deadline, Timer::MasterDownV6)));
    drain(&mut vhost);
    vhost.handle(deadline, Event::Deadline(Timer::MasterDownV6));
    let silence =
        Cause::Silence { family: Some(Family::V6), last_heard: Some(T0 + ms(1000)), deadline, fired: None };
    assert_eq!(last_cause(&mut vhost), Some(silence));
}

#[test]
fn families_together_share_their_patience() {
    let mut vhost = Vhost::new(Settings { families: Families::both(FamilyRule::Either), ..settings(false) });
    vhost.handle(T0, up(OURS));
    for (after, source) in [(1000, LOWER), (2000, LOWER_V6), (4000, LOWER_V6), (6000, LOWER)] {
        let heard = T0 + ms(after);
        vhost.handle(heard, advert(heard, source, priority(1, 0)));
        assert_eq!(vhost.poll_timeout(), Some((heard + DOWN, Timer::MasterDown)), "{after}");
    }
}

#[test]
fn a_bow_out_in_one_family_counts_in_both() {
    for (rule, source) in [FamilyRule::Either, FamilyRule::Both]
        .into_iter()
        .flat_map(|rule| [LOWER, LOWER_V6].map(|source| (rule, source)))
    {
        let mut vhost = Vhost::new(Settings { families: Families::both(rule), ..settings(false) });
        vhost.handle(T0, up(OURS));
        let heard = T0 + ms(10);
        vhost.handle(heard, advert(heard, source, Priority::BOW_OUT));
        let turn = heard + Duration::from_micros(390_625);
        vhost.handle(turn, Event::Deadline(Timer::Turn));
        assert_eq!(last_cause(&mut vhost), Some(Cause::BowOut { source }), "{rule:?}");

        // And a master heard in one is heard.
        vhost.handle(turn, advert(turn, LOWER_V6, priority(1, 0)));
        let again = turn + ms(10);
        vhost.handle(again, advert(again, LOWER, Priority::BOW_OUT));
        vhost.handle(again + ms(1), advert(again + ms(1), LOWER_V6, priority(1, 0)));
        assert_eq!(vhost.timers.get(Timer::Turn), None, "{rule:?}");
    }
}

#[test]
fn one_family_decides_ties() {
    let v6 = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5);
    let both = Families::both(FamilyRule::Either);
    let v4 = Ipv4Addr::new(10, 0, 0, 5);
    // (families, our sources, the equal master, whether we yield)
    let table = [
        (both, Sources { v4, v6 }, LOWER, true),
        (both, Sources { v4, v6 }, HIGHER, false),
        (both, Sources { v4, v6 }, LOWER_V6, false),
        (both, Sources { v4, v6 }, HIGHER_V6, false),
        (both, v6.into(), LOWER, false),
        (both, v6.into(), LOWER_V6, true),
        (both, v6.into(), HIGHER_V6, false),
        (Families::only(Family::V6), v6.into(), LOWER_V6, true),
        (Families::only(Family::V6), v6.into(), HIGHER_V6, false),
        (Families::only(Family::V4), Sources::UNSPECIFIED, LOWER, false),
        (Families::only(Family::V4), Sources::UNSPECIFIED, Ipv4Addr::UNSPECIFIED.into(), true),
    ];
    for (families, sources, source, yields) in table {
        let mut vhost = Vhost::new(Settings { families, ..settings(false) });
        vhost.handle(T0, Event::Link(Link::Up { sources }));
        let (start, timer) = vhost.poll_timeout().expect("a backup listens");
        vhost.handle(start, Event::Deadline(timer));
        drain(&mut vhost);
        vhost.handle(start + ms(1), advert(start + ms(1), source, OWN));
        let expected = yields.then_some(Cause::Tie { source });
        assert_eq!(last_cause(&mut vhost), expected, "{families:?} {sources:?} {source}");
    }
}

const LOWER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
const HIGHER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9));
