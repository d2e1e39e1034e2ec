//! After an agent that was master and did not leave.

use super::*;

#[test]
fn who_was_master_a_moment_ago_is_so_still() {
    let mut vhost = Vhost::new(settings(false));
    vhost.handle(T0, Event::Resume { advertised: T0 });
    let nearly = T0 + DEAD.saturating_sub(Duration::from_nanos(1));
    assert!(vhost.resumes(nearly) && drain(&mut vhost).is_empty());
    vhost.handle(nearly, up(OURS));
    let resumed = Transition { at: nearly, from: State::Init, to: State::Master, cause: Cause::Resumed };
    let expected = [advertisement(OWN), Command::TakeAddresses, Command::Announce, Command::Notify(resumed)];
    assert_eq!(drain(&mut vhost), expected);
    assert_eq!(vhost.timers.get(Timer::Advertise), Some(nearly + INTERVAL));
}

#[test]
fn who_comes_when_the_peers_may_have_missed_it_begins_as_anybody() {
    let mut vhost = Vhost::new(settings(false));
    vhost.handle(T0, Event::Resume { advertised: T0 });
    let late = T0 + DEAD;
    assert!(!vhost.resumes(late));
    vhost.handle(late, up(OURS));
    assert_eq!(vhost.next_command(), Some(Command::DropAddresses));
    assert_eq!(last_cause(&mut vhost), Some(Cause::Started));
}

#[test]
fn it_is_good_for_one_start() {
    let mut vhost = Vhost::new(settings(false));
    vhost.handle(T0, Event::Resume { advertised: T0 });
    vhost.handle(T0, up(OURS));
    vhost.handle(T0, Event::Link(Link::Down(LinkDown::Carrier)));
    vhost.handle(T0, up(OURS));
    assert_eq!((vhost.state(), last_cause(&mut vhost)), (State::Backup, Some(Cause::Started)));
}

#[test]
fn who_lets_the_other_one_of_a_pair_win_does_not_resume() {
    let mut vhost = Vhost::new(settings(false));
    vhost.handle(T0, Event::Resume { advertised: T0 });
    vhost.handle(T0, Event::Stance(Stance::Follow));
    vhost.handle(T0, up(OURS));
    assert_eq!(vhost.state(), State::Backup);
}
