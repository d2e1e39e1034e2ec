//! The kernel's timer and our own: which of them decides.

use super::*;
use crate::core::family::FamilyRule;

#[test]
fn while_the_kernel_watches_no_timer_of_ours_runs() {
    let (mut vhost, heard) = watched();
    assert_eq!(vhost.poll_timeout(), None);
    // However late we look.
    vhost.handle(heard + DOWN * 10, Event::Deadline(Timer::MasterDown));
    assert_eq!((vhost.state(), drain(&mut vhost)), (State::Backup, vec![]));
}

#[test]
fn its_silence_is_judged_as_a_deadline() {
    let (mut vhost, heard) = watched();
    let (deadline, fired) = (heard + DOWN, heard + DOWN + ms(1));
    vhost.handle(fired, silence(Family::V4, heard, deadline, fired));
    assert_eq!((vhost.state(), vhost.poll_timeout()), (State::Backup, Some((deadline, Timer::MasterDown))));
    vhost.handle(fired, Event::Deadline(Timer::MasterDown));
    let cause = Cause::Silence { family: None, last_heard: Some(heard), deadline, fired: Some(fired) };
    assert_eq!(last_cause(&mut vhost), Some(cause));
}

#[test]
fn whoever_is_heard_after_the_silence_and_before_it_is_judged_is_alive() {
    let (mut vhost, heard) = watched();
    let fired = heard + DOWN;
    vhost.handle(fired + ms(300), silence(Family::V4, heard, fired, fired));
    vhost.handle(fired + ms(300), watched_advert(fired + ms(5), LOWER, priority(1, 0)));
    assert_eq!(vhost.poll_timeout(), None);
    // One that comes too late to be watched leaves it to us.
    vhost.handle(fired + ms(300), advert(fired + ms(6), LOWER, priority(1, 0)));
    assert_eq!(vhost.poll_timeout(), Some((fired + ms(6) + DOWN, Timer::MasterDown)));
}

#[test]
fn a_silence_after_an_older_frame_than_the_newest_is_none() {
    let (mut vhost, heard) = watched();
    let older = Instant::from_nanos(heard.as_nanos() - 1);
    vhost.handle(older + DOWN, silence(Family::V4, older, older + DOWN, older + DOWN));
    assert_eq!(vhost.poll_timeout(), None);
}

#[test]
fn a_frame_whose_record_was_lost_counts_by_the_silence_after_it() {
    let (mut vhost, heard) = watched();
    let lost = heard + ms(700);
    vhost.handle(lost + DOWN, silence(Family::V4, lost, lost + DOWN, lost + DOWN));
    assert_eq!(vhost.poll_timeout(), Some((lost + DOWN, Timer::MasterDown)));
}

#[test]
fn after_a_stall_the_later_deadline_counts() {
    let (mut vhost, heard) = watched();
    let (deadline, later) = (heard + DOWN, heard + DOWN + ms(900));
    vhost.handle(later, Event::Stall(Stall { family: Family::V4, deadline, fired: deadline + ms(800) }));
    assert_eq!(vhost.poll_timeout(), None);
    vhost.handle(later, silence(Family::V4, heard, later, later));
    assert_eq!(vhost.poll_timeout(), Some((later, Timer::MasterDown)));
}

#[test]
fn what_the_kernel_cannot_know_our_own_timer_decides() {
    let third = |stamp| {
        Event::Advert(Advert { stamp, source: HIGHER, priority: priority(1, 200), demote: 1, watched: true })
    };
    // An operator's hold, a move to another interface, one that we do not follow.
    let (mut vhost, heard) = watched();
    for event in [Event::Demote(0), Event::Unwatched(Family::V4), third(heard + ms(10))] {
        vhost.handle(heard + ms(10), event);
        assert_eq!(vhost.poll_timeout(), Some((heard + DOWN, Timer::MasterDown)), "{event:?}");
        // The kernel's timer may be about to fire all the same.
        vhost.handle(heard + ms(20), silence(Family::V4, heard, heard + ms(20), heard + ms(20)));
        assert_eq!(vhost.poll_timeout(), Some((heard + DOWN, Timer::MasterDown)), "{event:?}");
        vhost.handle(heard + ms(20), watched_advert(heard, LOWER, priority(1, 0)));
        assert_eq!(vhost.poll_timeout(), None, "{event:?}");
    }
}

#[test]
fn of_two_families_the_one_heard_last_is_watched() {
    let six = IpAddr::V6("fe80::1".parse().expect("an address"));
    for (rule, apart) in [(FamilyRule::Either, false), (FamilyRule::Both, true)] {
        let mut vhost = Vhost::new(Settings { families: Families::both(rule), ..settings(false) });
        vhost.handle(T0, up(OURS));
        let (first, second) = (T0 + ms(10), T0 + ms(11));
        vhost.handle(second, watched_advert(first, LOWER, priority(1, 0)));
        vhost.handle(second, watched_advert(second, six, priority(1, 0)));
        assert_eq!(vhost.poll_timeout(), None, "{rule:?}");
        vhost.handle(first + DOWN, silence(Family::V4, first, first + DOWN, first + DOWN));
        let four = apart.then_some((first + DOWN, Timer::MasterDown));
        assert_eq!(vhost.poll_timeout(), four, "{rule:?}");
        vhost.handle(first + DOWN, silence(Family::V6, second, second + DOWN, second + DOWN));
        let six = if apart { Timer::MasterDownV6 } else { Timer::MasterDown };
        assert_eq!(vhost.poll_timeout(), four.or(Some((second + DOWN, six))), "{rule:?}");
    }
}

/// A backup that has heard a master, and the kernel's timer runs.
fn watched() -> (Vhost, Instant) {
    let (mut vhost, start) = vhost_in(State::Backup, false);
    let heard = start + ms(10);
    vhost.handle(heard, watched_advert(heard, LOWER, priority(1, 0)));
    (vhost, heard)
}

fn watched_advert(stamp: Instant, source: IpAddr, priority: Priority) -> Event {
    Event::Advert(Advert { stamp, source, priority, demote: 0, watched: true })
}

fn silence(family: Family, last_heard: Instant, deadline: Instant, fired: Instant) -> Event {
    Event::Silence(Silence { family, last_heard, deadline, fired })
}
