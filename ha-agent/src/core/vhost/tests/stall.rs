//! After a stall.

use super::*;

#[test]
fn late_by_less_than_the_dead_time_is_no_stall() {
    let (mut vhost, start) = vhost_in(State::Master, false);
    let nearly = start + INTERVAL + DEAD.saturating_sub(Duration::from_nanos(1));
    vhost.handle(nearly, Event::Deadline(Timer::Advertise));
    assert_eq!((vhost.state(), drain(&mut vhost)), (State::Master, vec![advertisement(OWN)]));
}

#[test]
fn a_stalled_master_judges_the_frame_that_woke_it_as_one_in_doubt() {
    let (mut vhost, start) = vhost_in(State::Master, false);
    let woken = start + INTERVAL + DEAD;
    let heard = start + ms(4000);
    let worst = priority(254, 254);
    vhost.handle(woken, advert(heard, HIGHER, worst));
    let stepped_back = Transition {
        at: woken,
        from: State::Stalled,
        to: State::Backup,
        cause: Cause::Stalled { source: HIGHER },
    };
    let expected = [Command::Stalled { lasted: DEAD }, Command::DropAddresses, Command::Notify(stepped_back)];
    assert_eq!(drain(&mut vhost), expected);
    // The frame is old, but our patience is fresh.
    assert_eq!(vhost.poll_timeout(), Some((woken + DOWN, Timer::MasterDown)));
}

#[test]
fn a_stalled_master_that_hears_nobody_goes_on_after_an_interval() {
    let (mut vhost, now) = vhost_in(State::Stalled, false);
    assert_eq!(vhost.poll_timeout(), Some((now + INTERVAL, Timer::Advertise)));
    let next = now + INTERVAL;
    vhost.handle(next, Event::Deadline(Timer::Advertise));
    assert_eq!(drain(&mut vhost), [advertisement(OWN), Command::Announce]);
    assert_eq!(vhost.state(), State::Master);
    assert_eq!(vhost.timers.get(Timer::Advertise), Some(next + INTERVAL));
    assert_eq!(vhost.timers.get(Timer::Announce), Some(next + ms(3)));
}

#[test]
fn a_second_stall_while_listening_begins_anew() {
    let (mut vhost, now) = vhost_in(State::Stalled, false);
    let again = now + INTERVAL + DEAD + ms(7);
    vhost.handle(again, Event::Deadline(Timer::Advertise));
    assert_eq!(drain(&mut vhost), [Command::Stalled { lasted: DEAD + ms(7) }]);
    assert_eq!(vhost.poll_timeout(), Some((again + INTERVAL, Timer::Advertise)));
}

#[test]
fn any_event_shows_a_stall() {
    let table = [
        (Event::Demote(3), State::Stalled),
        (up(OURS), State::Stalled),
        (Event::Leave, State::Leaving),
        (Event::Link(Link::Down(LinkDown::Carrier)), State::Init),
        (advert(T0, LOWER, Priority::BOW_OUT), State::Stalled),
    ];
    for (event, expected) in table {
        let (mut vhost, start) = vhost_in(State::Master, false);
        vhost.handle(start + INTERVAL + DEAD, event);
        let shown = (vhost.next_command(), vhost.state());
        assert_eq!(shown, (Some(Command::Stalled { lasted: DEAD }), expected), "{event:?}");
    }
}
