//! The rules of time, which a truth table cannot show.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::core::command::{Advertisement, LinkDown};

mod announcements;
mod demotion;
mod families;
mod parting;
mod resume;
mod stall;
mod watch;

#[test]
fn patience_counts_from_the_stamp_and_never_goes_back() {
    let (mut vhost, start) = vhost_in(State::Backup, false);
    assert_eq!(vhost.poll_timeout(), Some((start + DOWN, Timer::MasterDown)));

    // Read late: the stamp counts.
    let heard = start + ms(1000);
    vhost.handle(heard + ms(700), advert(heard, LOWER, priority(1, 0)));
    assert_eq!(vhost.poll_timeout(), Some((heard + DOWN, Timer::MasterDown)));

    // An older one changes nothing.
    vhost.handle(heard + ms(710), advert(start + ms(10), LOWER, priority(1, 0)));
    assert_eq!(vhost.poll_timeout(), Some((heard + DOWN, Timer::MasterDown)));

    let deadline = heard + DOWN;
    vhost.handle(deadline, Event::Deadline(Timer::MasterDown));
    assert_eq!(
        last_cause(&mut vhost),
        Some(Cause::Silence { family: None, last_heard: Some(heard), deadline, fired: None })
    );
}

#[test]
fn a_frame_from_before_the_start_does_not_shorten_the_patience() {
    let (mut vhost, start) = vhost_in(State::Backup, false);
    let heard = Instant::from_nanos(start.as_nanos() - 1_000_000);
    vhost.handle(start + ms(1), advert(heard, LOWER, priority(1, 0)));
    assert_eq!(vhost.poll_timeout(), Some((start + DOWN, Timer::MasterDown)));
}

#[test]
fn silence_from_the_start_has_no_last_heard() {
    let (mut vhost, start) = vhost_in(State::Backup, false);
    vhost.handle(start + DOWN + ms(3), Event::Deadline(Timer::MasterDown));
    assert_eq!(
        last_cause(&mut vhost),
        Some(Cause::Silence { family: None, last_heard: None, deadline: start + DOWN, fired: None })
    );
}

#[test]
fn what_was_heard_before_the_link_was_lost_is_forgotten() {
    let (mut vhost, start) = vhost_in(State::Backup, false);
    vhost.handle(start + ms(1), advert(start + ms(1), LOWER, Priority::BOW_OUT));
    vhost.handle(start + ms(2), Event::Link(Link::Down(LinkDown::Carrier)));
    let again = start + ms(3);
    vhost.handle(again, up(OURS));
    vhost.handle(again + DOWN, Event::Deadline(Timer::MasterDown));
    assert_eq!(
        last_cause(&mut vhost),
        Some(Cause::Silence { family: None, last_heard: None, deadline: again + DOWN, fired: None })
    );
}

#[test]
fn a_yielding_master_counts_from_the_stamp_of_the_better_one() {
    let (mut vhost, start) = vhost_in(State::Master, false);
    let heard = start + ms(20);
    vhost.handle(heard + ms(5), advert(heard, LOWER, priority(1, 0)));
    assert_eq!(last_cause(&mut vhost), Some(Cause::Superior { source: LOWER }));
    let deadline = heard + DOWN;
    assert_eq!(vhost.poll_timeout(), Some((deadline, Timer::MasterDown)));
    vhost.handle(deadline, Event::Deadline(Timer::MasterDown));
    assert_eq!(
        last_cause(&mut vhost),
        Some(Cause::Silence { family: None, last_heard: Some(heard), deadline, fired: None })
    );
}

#[test]
fn a_deadline_before_its_time_does_nothing() {
    for (state, timer) in [
        (State::Backup, Timer::MasterDown),
        (State::Master, Timer::Advertise),
        (State::Master, Timer::Announce),
        (State::Stalled, Timer::Advertise),
        (State::Leaving, Timer::Advertise),
        (State::Leaving, Timer::Release),
    ] {
        let (mut vhost, _) = vhost_in(state, false);
        let deadline = vhost.timers.get(timer).expect("armed in this state");
        let early = Instant::from_nanos(deadline.as_nanos() - 1);
        let before = vhost.timers.clone();
        vhost.handle(early, Event::Deadline(timer));
        assert_eq!((vhost.state(), &vhost.timers), (state, &before), "{state:?} {timer:?}");
        assert_eq!(drain(&mut vhost), [], "{state:?} {timer:?}");
    }
}

#[test]
fn a_bow_out_leaves_only_our_own_skew_to_wait() {
    let (mut vhost, start) = vhost_in(State::Backup, true);
    let heard = start + ms(10);
    vhost.handle(heard + ms(1), advert(heard, LOWER, Priority::BOW_OUT));
    let turn = heard + Duration::from_micros(390_625);
    assert_eq!(vhost.poll_timeout(), Some((turn, Timer::Turn)));
    vhost.handle(turn, Event::Deadline(Timer::Turn));
    assert_eq!(last_cause(&mut vhost), Some(Cause::BowOut { source: LOWER }));
}

#[test]
fn while_a_master_is_followed_what_a_third_one_says_is_no_reason() {
    let better = priority(1, 0);
    let third = |stamp, priority, demote| {
        Event::Advert(Advert { stamp, source: HIGHER, priority, demote, watched: false })
    };
    let table = [
        (priority(1, 200), 0, Some("preempt")),
        (priority(5, 0), 0, Some("preempt")),
        (better, 1, Some("demoted")),
        (Priority::BOW_OUT, 0, None),
    ];
    for (theirs, demote, expected) in table {
        let (mut vhost, start) = vhost_in(State::Backup, true);
        let heard = start + ms(10);
        vhost.handle(heard, advert(heard, LOWER, better));
        let waits = vhost.timers.clone();
        let nearly = heard + DOWN.saturating_sub(ms(1));
        vhost.handle(nearly, third(nearly, theirs, demote));
        assert_eq!((last_cause(&mut vhost), &vhost.timers), (None, &waits), "{theirs} {demote}");

        // Once the master is silent for too long, it is.
        vhost.handle(heard + DOWN, third(heard + DOWN, theirs, demote));
        let cause = last_cause(&mut vhost).map(|cause| cause.name());
        assert_eq!(cause, expected, "{theirs} {demote}");
        assert!(cause.is_some() || vhost.timers.get(Timer::Turn).is_some(), "{theirs} {demote}");
    }

    // The master's own word always is.
    let (mut vhost, start) = vhost_in(State::Backup, false);
    vhost.handle(start, advert(start, HIGHER, better));
    vhost.handle(start + ms(1), third(start + ms(1), better, 1));
    assert_eq!(last_cause(&mut vhost), Some(Cause::Demoted { source: HIGHER }));
}

#[test]
fn a_newer_master_takes_the_bow_out_back_and_an_older_frame_does_not() {
    let (mut vhost, start) = vhost_in(State::Backup, false);
    let bowed = start + ms(100);
    vhost.handle(bowed, advert(bowed, LOWER, Priority::BOW_OUT));
    let turn = vhost.poll_timeout();

    vhost.handle(bowed, advert(start + ms(99), HIGHER, priority(1, 0)));
    assert_eq!(vhost.poll_timeout(), turn);

    let heard = bowed + ms(1);
    vhost.handle(heard, advert(heard, HIGHER, priority(1, 0)));
    let deadline = heard + DOWN;
    assert_eq!(vhost.poll_timeout(), Some((deadline, Timer::MasterDown)));

    // And a bow-out from before that frame says nothing any more.
    vhost.handle(heard, advert(bowed, LOWER, Priority::BOW_OUT));
    assert_eq!(vhost.poll_timeout(), Some((deadline, Timer::MasterDown)));
    vhost.handle(deadline, Event::Deadline(Timer::MasterDown));
    assert_eq!(
        last_cause(&mut vhost),
        Some(Cause::Silence { family: None, last_heard: Some(heard), deadline, fired: None })
    );
}

#[test]
fn a_master_ignores_a_bow_out_even_at_its_own_priority() {
    let settings = Settings { priority: Priority::BOW_OUT, ..settings(false) };
    let mut vhost = Vhost::new(settings);
    vhost.handle(T0, up(OURS));
    let (deadline, timer) = vhost.poll_timeout().expect("a backup listens");
    vhost.handle(deadline, Event::Deadline(timer));
    vhost.handle(deadline, advert(deadline, LOWER, Priority::BOW_OUT));
    assert_eq!(vhost.state(), State::Master);
}

#[test]
fn advertisements_keep_to_the_grid() {
    let (mut vhost, start) = vhost_in(State::Master, false);
    for n in 1..=5 {
        let deadline = start + INTERVAL * n;
        assert_eq!(vhost.timers.get(Timer::Advertise), Some(deadline));
        // Each one late: no drift.
        vhost.handle(deadline + ms(17), Event::Deadline(Timer::Advertise));
        assert_eq!(drain(&mut vhost), [advertisement(OWN)]);
    }
}

#[test]
fn missed_advertisements_are_not_made_up_for() {
    let (mut vhost, start) = vhost_in(State::Master, false);
    let now = start + INTERVAL * 3;
    vhost.handle(now, Event::Deadline(Timer::Advertise));
    assert_eq!(drain(&mut vhost), [advertisement(OWN)]);
    assert_eq!(vhost.timers.get(Timer::Advertise), Some(now + INTERVAL));
}

#[test]
fn a_new_source_changes_the_tie() {
    let (mut vhost, start) = vhost_in(State::Master, false);
    vhost.handle(start + ms(1), up([10, 0, 0, 10].into()));
    vhost.handle(start + ms(2), advert(start + ms(2), HIGHER, OWN));
    assert_eq!(last_cause(&mut vhost), Some(Cause::Tie { source: HIGHER }));
}

#[test]
fn a_leaving_master_advertises_until_the_addresses_are_gone() {
    let settings = Settings { pace: Pace::Fast { interval: ms(10), detect: 3 }, ..settings(false) };
    let mut vhost = Vhost::new(settings);
    vhost.handle(T0, up(OURS));
    let (start, timer) = vhost.poll_timeout().expect("a backup listens");
    vhost.handle(start, Event::Deadline(timer));
    drain(&mut vhost);

    vhost.handle(start + ms(1), Event::Leave);
    assert_eq!(drain(&mut vhost), [Command::DropAddresses]);
    assert!(!vhost.has_left());
    for n in 1..=50 {
        let (deadline, timer) = vhost.poll_timeout().expect("a leaving master advertises");
        assert_eq!((deadline, timer), (start + ms(10) * n, Timer::Advertise));
        vhost.handle(deadline, Event::Deadline(timer));
        assert_eq!(drain(&mut vhost), [advertisement(OWN)]);
    }
    assert_eq!(vhost.poll_timeout(), Some((start + ms(501), Timer::Release)));
    let now = start + ms(501);
    vhost.handle(now, Event::Deadline(Timer::Release));
    let left = Transition { at: now, from: State::Leaving, to: State::Init, cause: Cause::Leave };
    assert_eq!(drain(&mut vhost), [advertisement(Priority::BOW_OUT), Command::Notify(left)]);
    assert!(vhost.has_left());
}

#[test]
fn a_link_lost_while_leaving_ends_the_leave() {
    let (mut vhost, now) = vhost_in(State::Leaving, false);
    vhost.handle(now, Event::Link(Link::Down(LinkDown::Removed)));
    assert_eq!(last_cause(&mut vhost), Some(Cause::LinkDown(LinkDown::Removed)));
    assert!(vhost.has_left());
}

#[test]
fn it_comes_back_after_a_link_was_lost() {
    let (mut vhost, now) = vhost_in(State::Master, false);
    vhost.handle(now, Event::Link(Link::Down(LinkDown::Carrier)));
    assert!(!vhost.has_left());
    vhost.handle(now + ms(1), up(OURS));
    assert_eq!(vhost.state(), State::Backup);
    assert_eq!(vhost.poll_timeout(), Some((now + ms(1) + DOWN, Timer::MasterDown)));
}

#[test]
fn a_bow_out_repeated_does_not_put_off_our_turn() {
    let (mut vhost, start) = vhost_in(State::Backup, false);
    for after in [100, 150, 300, 480] {
        let stamp = start + ms(after);
        vhost.handle(stamp, advert(stamp, LOWER, Priority::BOW_OUT));
        let turn = start + ms(100) + Duration::from_micros(390_625);
        assert_eq!(vhost.poll_timeout(), Some((turn, Timer::Turn)), "{after}");
    }
}

/// A virtual host that has reached `state` by legal events, its commands drained, and the moment it did.
pub(super) fn vhost_in(state: State, preempt: bool) -> (Vhost, Instant) {
    let mut vhost = Vhost::new(settings(preempt));
    let mut now = T0;
    if state != State::Init {
        vhost.handle(now, up(OURS));
    }
    if matches!(state, State::Master | State::Stalled | State::Leaving) {
        now = now + DOWN;
        vhost.handle(now, Event::Deadline(Timer::MasterDown));
    }
    if state == State::Stalled {
        now = now + INTERVAL + DEAD;
        vhost.handle(now, Event::Deadline(Timer::Advertise));
    }
    if state == State::Leaving {
        vhost.handle(now, Event::Leave);
    }
    assert_eq!(vhost.state(), state);
    drain(&mut vhost);
    (vhost, now)
}

pub(super) fn drain(vhost: &mut Vhost) -> Vec<Command> {
    std::iter::from_fn(|| vhost.next_command()).collect()
}

/// The cause of the last transition among the commands.
fn last_cause(vhost: &mut Vhost) -> Option<Cause> {
    drain(vhost).into_iter().rev().find_map(|command| match command {
        Command::Notify(transition) => Some(transition.cause),
        Command::Advertise(_)
        | Command::TakeAddresses
        | Command::DropAddresses
        | Command::Announce
        | Command::Stalled { .. } => None,
    })
}

pub(super) fn settings(preempt: bool) -> Settings {
    Settings {
        priority: OWN,
        pace: Pace::Classic,
        preempt,
        families: Families::only(Family::V4),
        announce_every: None,
    }
}

pub(super) fn up(source: IpAddr) -> Event {
    let sources = match source {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => v6.into(),
    };
    Event::Link(Link::Up { sources })
}

/// Of an undemoted host.
pub(super) fn advertisement(priority: Priority) -> Command {
    Command::Advertise(Advertisement { priority, demote: 0 })
}

pub(super) fn advert(stamp: Instant, source: IpAddr, priority: Priority) -> Event {
    Event::Advert(Advert { stamp, source, priority, demote: 0, watched: false })
}

pub(super) const fn priority(advbase: u8, advskew: u8) -> Priority {
    Priority { advbase, advskew }
}

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const T0: Instant = Instant::from_nanos(1_000_000_000_000);
pub(super) const OWN: Priority = priority(1, 100);
/// Of 1/100 at the classic pace (CARP specification §5.1).
pub(super) const INTERVAL: Duration = Duration::from_micros(1_390_625);
pub(super) const DOWN: Duration = Duration::from_micros(3_390_625);
/// What a peer of the best priority waits.
pub(super) const DEAD: Duration = Duration::from_secs(3);
pub(super) const LOWER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(super) const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));
pub(super) const HIGHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
