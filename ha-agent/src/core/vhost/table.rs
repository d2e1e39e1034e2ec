//! The truth table: every state, every class of event.

use super::tests::{HIGHER, LOWER, OURS, OWN, T0, advert, drain, ms, priority, vhost_in};
use super::*;

/// Everything that can happen, as far as the machine tells it apart. Ours is 1/100 at 10.0.0.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Up,
    Carrier,
    AdminDown,
    Removed,
    DataPlane,
    /// Better than ours.
    Superior,
    /// As good as ours, from a lower address.
    TieLower,
    /// As good as ours, from the same address.
    TieEqual,
    /// As good as ours, from a higher address.
    TieHigher,
    /// Worse than ours, but fast enough to follow.
    Inferior,
    /// Worse than ours, and slower than our patience.
    Hopeless,
    BowOut,
    Advertise,
    MasterDown,
    Announce,
    Release,
    Released,
    Leave,
}

impl Class {
    const ALL: [Self; 18] = [
        Self::Up,
        Self::Carrier,
        Self::AdminDown,
        Self::Removed,
        Self::DataPlane,
        Self::Superior,
        Self::TieLower,
        Self::TieEqual,
        Self::TieHigher,
        Self::Inferior,
        Self::Hopeless,
        Self::BowOut,
        Self::Advertise,
        Self::MasterDown,
        Self::Announce,
        Self::Release,
        Self::Released,
        Self::Leave,
    ];

    fn event(self, now: Instant) -> Event {
        match self {
            Self::Up => Event::Link(Link::Up { source: OURS }),
            Self::Carrier => Event::Link(Link::Down(LinkDown::Carrier)),
            Self::AdminDown => Event::Link(Link::Down(LinkDown::AdminDown)),
            Self::Removed => Event::Link(Link::Down(LinkDown::Removed)),
            Self::DataPlane => Event::Link(Link::Down(LinkDown::DataPlane)),
            Self::Superior => advert(now, HIGHER, priority(1, 0)),
            Self::TieLower => advert(now, LOWER, OWN),
            Self::TieEqual => advert(now, OURS, OWN),
            Self::TieHigher => advert(now, HIGHER, OWN),
            Self::Inferior => advert(now, LOWER, priority(1, 200)),
            Self::Hopeless => advert(now, LOWER, priority(4, 0)),
            Self::BowOut => advert(now, LOWER, Priority::BOW_OUT),
            Self::Advertise => Event::Deadline(Timer::Advertise),
            Self::MasterDown => Event::Deadline(Timer::MasterDown),
            Self::Announce => Event::Deadline(Timer::Announce),
            Self::Release => Event::Deadline(Timer::Release),
            Self::Released => Event::Released,
            Self::Leave => Event::Leave,
        }
    }

    /// For a deadline: the timer.
    fn timer(self) -> Option<Timer> {
        Timer::ALL.into_iter().find(|timer| self.event(T0) == Event::Deadline(*timer))
    }
}

/// A command, without what is checked for all rows alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Advertise,
    SayGoodbye,
    Take,
    Drop,
    Announce,
    /// Notify, with the name of the cause.
    Tell(&'static str),
}

/// For which settings a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preempt {
    Any,
    Off,
    On,
}

impl Preempt {
    fn covers(self, preempt: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Off => !preempt,
            Self::On => preempt,
        }
    }
}

type Row = (State, Preempt, Class, State, &'static [Did]);

const fn to_master(cause: &'static str) -> [Did; 4] {
    [Did::Advertise, Did::Take, Did::Announce, Did::Tell(cause)]
}

#[rustfmt::skip]
const TABLE: &[Row] = {
    use Class as C;
    use Did::{Advertise, Announce, Drop, SayGoodbye, Tell};
    use Preempt::{Any, Off, On};
    use State::{Backup, Init, Leaving, Master};
    &[
        (Init, Any, C::Up,         Backup, &[Drop, Tell("started")]),
        (Init, Any, C::Carrier,    Init,   &[]),
        (Init, Any, C::AdminDown,  Init,   &[]),
        (Init, Any, C::Removed,    Init,   &[]),
        (Init, Any, C::DataPlane,  Init,   &[]),
        (Init, Any, C::Superior,   Init,   &[]),
        (Init, Any, C::TieLower,   Init,   &[]),
        (Init, Any, C::TieEqual,   Init,   &[]),
        (Init, Any, C::TieHigher,  Init,   &[]),
        (Init, Any, C::Inferior,   Init,   &[]),
        (Init, Any, C::Hopeless,   Init,   &[]),
        (Init, Any, C::BowOut,     Init,   &[]),
        (Init, Any, C::Advertise,  Init,   &[]),
        (Init, Any, C::MasterDown, Init,   &[]),
        (Init, Any, C::Announce,   Init,   &[]),
        (Init, Any, C::Release,    Init,   &[]),
        (Init, Any, C::Released,   Init,   &[]),
        (Init, Any, C::Leave,      Init,   &[]),

        (Backup, Any, C::Up,         Backup, &[]),
        (Backup, Any, C::Carrier,    Init,   &[Tell("link_down")]),
        (Backup, Any, C::AdminDown,  Init,   &[Tell("link_down")]),
        (Backup, Any, C::Removed,    Init,   &[Tell("link_down")]),
        (Backup, Any, C::DataPlane,  Init,   &[Tell("link_down")]),
        (Backup, Any, C::Superior,   Backup, &[]),
        (Backup, Any, C::TieLower,   Backup, &[]),
        (Backup, Any, C::TieEqual,   Backup, &[]),
        (Backup, Any, C::TieHigher,  Backup, &[]),
        (Backup, Off, C::Inferior,   Backup, &[]),
        (Backup, On,  C::Inferior,   Master, &to_master("preempt")),
        (Backup, Off, C::Hopeless,   Master, &to_master("hopeless")),
        (Backup, On,  C::Hopeless,   Master, &to_master("preempt")),
        (Backup, Any, C::BowOut,     Backup, &[]),
        (Backup, Any, C::Advertise,  Backup, &[]),
        (Backup, Any, C::MasterDown, Master, &to_master("silence")),
        (Backup, Any, C::Announce,   Backup, &[]),
        (Backup, Any, C::Release,    Backup, &[]),
        (Backup, Any, C::Released,   Backup, &[]),
        (Backup, Any, C::Leave,      Init,   &[Tell("leave")]),

        (Master, Any, C::Up,         Master,  &[]),
        (Master, Any, C::Carrier,    Init,    &[Drop, Tell("link_down")]),
        (Master, Any, C::AdminDown,  Init,    &[Drop, Tell("link_down")]),
        (Master, Any, C::Removed,    Init,    &[Drop, Tell("link_down")]),
        (Master, Any, C::DataPlane,  Init,    &[Drop, Tell("link_down")]),
        (Master, Any, C::Superior,   Backup,  &[Advertise, Drop, Tell("superior")]),
        (Master, Any, C::TieLower,   Backup,  &[Drop, Tell("tie")]),
        (Master, Any, C::TieEqual,   Backup,  &[Drop, Tell("tie")]),
        (Master, Any, C::TieHigher,  Master,  &[]),
        (Master, Any, C::Inferior,   Master,  &[]),
        (Master, Any, C::Hopeless,   Master,  &[]),
        (Master, Any, C::BowOut,     Master,  &[]),
        (Master, Any, C::Advertise,  Master,  &[Advertise]),
        (Master, Any, C::MasterDown, Master,  &[]),
        (Master, Any, C::Announce,   Master,  &[Announce]),
        (Master, Any, C::Release,    Master,  &[]),
        (Master, Any, C::Released,   Master,  &[]),
        (Master, Any, C::Leave,      Leaving, &[Drop]),

        (Leaving, Any, C::Up,         Leaving, &[]),
        (Leaving, Any, C::Carrier,    Init,    &[Drop, Tell("link_down")]),
        (Leaving, Any, C::AdminDown,  Init,    &[Drop, Tell("link_down")]),
        (Leaving, Any, C::Removed,    Init,    &[Drop, Tell("link_down")]),
        (Leaving, Any, C::DataPlane,  Init,    &[Drop, Tell("link_down")]),
        (Leaving, Any, C::Superior,   Init,    &[Tell("leave")]),
        (Leaving, Any, C::TieLower,   Init,    &[Tell("leave")]),
        (Leaving, Any, C::TieEqual,   Init,    &[Tell("leave")]),
        (Leaving, Any, C::TieHigher,  Leaving, &[]),
        (Leaving, Any, C::Inferior,   Leaving, &[]),
        (Leaving, Any, C::Hopeless,   Leaving, &[]),
        (Leaving, Any, C::BowOut,     Leaving, &[]),
        (Leaving, Any, C::Advertise,  Leaving, &[Advertise]),
        (Leaving, Any, C::MasterDown, Leaving, &[]),
        (Leaving, Any, C::Announce,   Leaving, &[]),
        (Leaving, Any, C::Release,    Init,    &[SayGoodbye, Tell("leave")]),
        (Leaving, Any, C::Released,   Init,    &[SayGoodbye, Tell("leave")]),
        (Leaving, Any, C::Leave,      Leaving, &[]),
    ]
};

#[test]
fn truth_table() {
    for &(from, preempt, class, to, expected) in TABLE {
        for preempt_set in [false, true].into_iter().filter(|set| preempt.covers(*set)) {
            let (mut vhost, reached) = vhost_in(from, preempt_set);
            // A deadline is judged when it has come; one that is not armed, at any time.
            let armed = class.timer().and_then(|timer| vhost.timers.get(timer));
            let now = armed.unwrap_or(reached + ms(1));
            vhost.handle(now, class.event(now));

            let row = format!("{from:?} {class:?} preempt {preempt_set}");
            let commands = drain(&mut vhost);
            let did: Vec<_> = commands.iter().map(|command| shorten(*command, now, from, to)).collect();
            assert_eq!((vhost.state(), &*did), (to, expected), "{row}");
        }
    }
}

#[test]
fn the_truth_table_is_complete() {
    for state in [State::Init, State::Backup, State::Master, State::Leaving] {
        for class in Class::ALL {
            for preempt in [false, true] {
                let rows = TABLE
                    .iter()
                    .filter(|row| row.0 == state && row.1.covers(preempt) && row.2 == class)
                    .count();
                assert_eq!(rows, 1, "rows for {state:?} {class:?} preempt {preempt}");
            }
        }
    }
}

#[test]
fn the_armed_timers_belong_to_the_state() {
    let table: [(State, &[Timer]); 4] = [
        (State::Init, &[]),
        (State::Backup, &[Timer::MasterDown]),
        (State::Master, &[Timer::Advertise, Timer::Announce]),
        (State::Leaving, &[Timer::Advertise, Timer::Release]),
    ];
    for (state, expected) in table {
        let (vhost, _) = vhost_in(state, false);
        let armed: Vec<_> =
            Timer::ALL.into_iter().filter(|timer| vhost.timers.get(*timer).is_some()).collect();
        assert_eq!(armed, expected, "{state:?}");
    }
}

#[test]
fn after_leaving_nothing_brings_it_back() {
    for state in [State::Init, State::Backup, State::Master] {
        let (mut vhost, now) = vhost_in(state, true);
        assert!(!vhost.has_left(), "{state:?}");
        vhost.handle(now, Event::Leave);
        vhost.handle(now, Event::Released);
        assert!(vhost.has_left(), "{state:?}");
        drain(&mut vhost);

        for class in Class::ALL {
            vhost.handle(now + ms(1), class.event(now + ms(1)));
            assert_eq!(vhost.state(), State::Init, "{state:?} {class:?}");
            assert_eq!(drain(&mut vhost), [], "{state:?} {class:?}");
            assert_eq!(vhost.poll_timeout(), None, "{state:?} {class:?}");
        }
    }
}

fn shorten(command: Command, now: Instant, from: State, to: State) -> Did {
    match command {
        Command::Advertise(Priority::BOW_OUT) => Did::SayGoodbye,
        Command::Advertise(priority) => {
            assert_eq!(priority, OWN);
            Did::Advertise
        }
        Command::TakeAddresses => Did::Take,
        Command::DropAddresses => Did::Drop,
        Command::Announce => Did::Announce,
        Command::Notify(transition) => {
            assert_eq!((transition.at, transition.from, transition.to), (now, from, to));
            Did::Tell(transition.cause.name())
        }
    }
}
