//! The truth table: every state, every class of event.

use super::tests::{DEAD, HIGHER, LOWER, OURS, OWN, T0, advert, drain, ms, priority, up, vhost_in};
use super::*;
use crate::core::command::{Advertisement, LinkDown};

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
    /// Better than ours, from a demoted host.
    MoreDemoted,
    Advertise,
    /// `Advertise`, so late that it is a stall.
    Overdue,
    MasterDown,
    MasterDownV6,
    Turn,
    Announce,
    Release,
    Released,
    /// The kernel's timer fired, which we do not rely on.
    Silence,
    Stall,
    Unwatched,
    /// Our own host is demoted.
    Demote,
    /// As it was.
    DemoteNot,
    /// Told too late, or before the link is.
    Resume,
    Leave,
}

impl Class {
    const ALL: [Self; 28] = [
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
        Self::MoreDemoted,
        Self::Advertise,
        Self::Overdue,
        Self::MasterDown,
        Self::MasterDownV6,
        Self::Turn,
        Self::Announce,
        Self::Release,
        Self::Released,
        Self::Silence,
        Self::Stall,
        Self::Unwatched,
        Self::Demote,
        Self::DemoteNot,
        Self::Resume,
        Self::Leave,
    ];

    fn event(self, now: Instant) -> Event {
        match self {
            Self::Up => up(OURS),
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
            Self::MoreDemoted => Event::Advert(Advert {
                stamp: now,
                source: LOWER,
                priority: priority(1, 0),
                demote: 1,
                watched: false,
            }),
            Self::Silence => {
                Event::Silence(Silence { family: Family::V4, last_heard: now, deadline: now, fired: now })
            }
            Self::Stall => Event::Stall(Stall { family: Family::V4, deadline: now, fired: now }),
            Self::Unwatched => Event::Unwatched(Family::V4),
            Self::Advertise | Self::Overdue => Event::Deadline(Timer::Advertise),
            Self::MasterDown => Event::Deadline(Timer::MasterDown),
            Self::MasterDownV6 => Event::Deadline(Timer::MasterDownV6),
            Self::Turn => Event::Deadline(Timer::Turn),
            Self::Announce => Event::Deadline(Timer::Announce),
            Self::Release => Event::Deadline(Timer::Release),
            Self::Released => Event::Released { held: true },
            Self::Demote => Event::Demote(7),
            Self::DemoteNot => Event::Demote(0),
            Self::Resume => Event::Resume { advertised: now },
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
    /// Advertise, demoted.
    AdvertiseDemoted,
    SayGoodbye,
    Take,
    Drop,
    Announce,
    /// Told that it stalled.
    Stalled,
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
    use Did::{Advertise, AdvertiseDemoted, Announce, Drop, SayGoodbye, Stalled as DidStall, Tell};
    use Preempt::{Any, Off, On};
    use State::{Backup, Init, Leaving, Master, Stalled};
    &[
        (Init,    Any, C::Up,           Backup,  &[Drop, Tell("started")]),
        (Init,    Any, C::Carrier,      Init,    &[]),
        (Init,    Any, C::AdminDown,    Init,    &[]),
        (Init,    Any, C::Removed,      Init,    &[]),
        (Init,    Any, C::DataPlane,    Init,    &[]),
        (Init,    Any, C::Superior,     Init,    &[]),
        (Init,    Any, C::TieLower,     Init,    &[]),
        (Init,    Any, C::TieEqual,     Init,    &[]),
        (Init,    Any, C::TieHigher,    Init,    &[]),
        (Init,    Any, C::Inferior,     Init,    &[]),
        (Init,    Any, C::Hopeless,     Init,    &[]),
        (Init,    Any, C::BowOut,       Init,    &[]),
        (Init,    Any, C::MoreDemoted,  Init,    &[]),
        (Init,    Any, C::Advertise,    Init,    &[]),
        (Init,    Any, C::Overdue,      Init,    &[]),
        (Init,    Any, C::MasterDown,   Init,    &[]),
        (Init,    Any, C::MasterDownV6, Init,    &[]),
        (Init,    Any, C::Turn,         Init,    &[]),
        (Init,    Any, C::Announce,     Init,    &[]),
        (Init,    Any, C::Release,      Init,    &[]),
        (Init,    Any, C::Released,     Init,    &[]),
        (Init,    Any, C::Silence,      Init,    &[]),
        (Init,    Any, C::Stall,        Init,    &[]),
        (Init,    Any, C::Unwatched,    Init,    &[]),
        (Init,    Any, C::Demote,       Init,    &[]),
        (Init,    Any, C::DemoteNot,    Init,    &[]),
        (Init,    Any, C::Resume,       Init,    &[]),
        (Init,    Any, C::Leave,        Init,    &[]),

        (Backup,  Any, C::Up,           Backup,  &[]),
        (Backup,  Any, C::Carrier,      Init,    &[Tell("link_down")]),
        (Backup,  Any, C::AdminDown,    Init,    &[Tell("link_down")]),
        (Backup,  Any, C::Removed,      Init,    &[Tell("link_down")]),
        (Backup,  Any, C::DataPlane,    Init,    &[Tell("link_down")]),
        (Backup,  Any, C::Superior,     Backup,  &[]),
        (Backup,  Any, C::TieLower,     Backup,  &[]),
        (Backup,  Any, C::TieEqual,     Backup,  &[]),
        (Backup,  Any, C::TieHigher,    Backup,  &[]),
        (Backup,  Off, C::Inferior,     Backup,  &[]),
        (Backup,  On,  C::Inferior,     Master,  &to_master("preempt")),
        (Backup,  Off, C::Hopeless,     Master,  &to_master("hopeless")),
        (Backup,  On,  C::Hopeless,     Master,  &to_master("preempt")),
        (Backup,  Any, C::BowOut,       Backup,  &[]),
        (Backup,  Any, C::MoreDemoted,  Master,  &to_master("demoted")),
        (Backup,  Any, C::Advertise,    Backup,  &[]),
        (Backup,  Any, C::Overdue,      Backup,  &[]),
        (Backup,  Any, C::MasterDown,   Master,  &to_master("silence")),
        (Backup,  Any, C::MasterDownV6, Backup,  &[]),
        (Backup,  Any, C::Turn,         Backup,  &[]),
        (Backup,  Any, C::Announce,     Backup,  &[]),
        (Backup,  Any, C::Release,      Backup,  &[]),
        (Backup,  Any, C::Released,     Backup,  &[]),
        (Backup,  Any, C::Silence,      Backup,  &[]),
        (Backup,  Any, C::Stall,        Backup,  &[]),
        (Backup,  Any, C::Unwatched,    Backup,  &[]),
        (Backup,  Any, C::Demote,       Backup,  &[]),
        (Backup,  Any, C::DemoteNot,    Backup,  &[]),
        (Backup,  Any, C::Resume,       Backup,  &[]),
        (Backup,  Any, C::Leave,        Init,    &[Tell("leave")]),

        (Master,  Any, C::Up,           Master,  &[]),
        (Master,  Any, C::Carrier,      Init,    &[Drop, Tell("link_down")]),
        (Master,  Any, C::AdminDown,    Init,    &[Drop, Tell("link_down")]),
        (Master,  Any, C::Removed,      Init,    &[Drop, Tell("link_down")]),
        (Master,  Any, C::DataPlane,    Init,    &[Drop, Tell("link_down")]),
        (Master,  Any, C::Superior,     Backup,  &[Drop, Tell("superior")]),
        (Master,  Any, C::TieLower,     Backup,  &[Drop, Tell("tie")]),
        (Master,  Any, C::TieEqual,     Backup,  &[Drop, Tell("tie")]),
        (Master,  Any, C::TieHigher,    Master,  &[Announce]),
        (Master,  Any, C::Inferior,     Master,  &[Announce]),
        (Master,  Any, C::Hopeless,     Master,  &[Announce]),
        (Master,  Any, C::BowOut,       Master,  &[Announce]),
        (Master,  Any, C::MoreDemoted,  Master,  &[Announce]),
        (Master,  Any, C::Advertise,    Master,  &[Advertise]),
        (Master,  Any, C::Overdue,      Stalled, &[DidStall]),
        (Master,  Any, C::MasterDown,   Master,  &[]),
        (Master,  Any, C::MasterDownV6, Master,  &[]),
        (Master,  Any, C::Turn,         Master,  &[]),
        (Master,  Any, C::Announce,     Master,  &[Announce]),
        (Master,  Any, C::Release,      Master,  &[]),
        (Master,  Any, C::Released,     Master,  &[]),
        (Master,  Any, C::Silence,      Master,  &[]),
        (Master,  Any, C::Stall,        Master,  &[]),
        (Master,  Any, C::Unwatched,    Master,  &[]),
        (Master,  Any, C::Demote,       Master,  &[AdvertiseDemoted]),
        (Master,  Any, C::DemoteNot,    Master,  &[]),
        (Master,  Any, C::Resume,       Master,  &[]),
        (Master,  Any, C::Leave,        Leaving, &[Drop]),

        (Stalled, Any, C::Up,           Stalled, &[]),
        (Stalled, Any, C::Carrier,      Init,    &[Drop, Tell("link_down")]),
        (Stalled, Any, C::AdminDown,    Init,    &[Drop, Tell("link_down")]),
        (Stalled, Any, C::Removed,      Init,    &[Drop, Tell("link_down")]),
        (Stalled, Any, C::DataPlane,    Init,    &[Drop, Tell("link_down")]),
        (Stalled, Any, C::Superior,     Backup,  &[Drop, Tell("stalled")]),
        (Stalled, Any, C::TieLower,     Backup,  &[Drop, Tell("stalled")]),
        (Stalled, Any, C::TieEqual,     Backup,  &[Drop, Tell("stalled")]),
        (Stalled, Any, C::TieHigher,    Backup,  &[Drop, Tell("stalled")]),
        (Stalled, Any, C::Inferior,     Backup,  &[Drop, Tell("stalled")]),
        (Stalled, Any, C::Hopeless,     Backup,  &[Drop, Tell("stalled")]),
        (Stalled, Any, C::BowOut,       Stalled, &[]),
        (Stalled, Any, C::MoreDemoted,  Backup,  &[Drop, Tell("stalled")]),
        (Stalled, Any, C::Advertise,    Master,  &[Advertise, Announce]),
        (Stalled, Any, C::Overdue,      Stalled, &[DidStall]),
        (Stalled, Any, C::MasterDown,   Stalled, &[]),
        (Stalled, Any, C::MasterDownV6, Stalled, &[]),
        (Stalled, Any, C::Turn,         Stalled, &[]),
        (Stalled, Any, C::Announce,     Stalled, &[]),
        (Stalled, Any, C::Release,      Stalled, &[]),
        (Stalled, Any, C::Released,     Stalled, &[]),
        (Stalled, Any, C::Silence,      Stalled, &[]),
        (Stalled, Any, C::Stall,        Stalled, &[]),
        (Stalled, Any, C::Unwatched,    Stalled, &[]),
        (Stalled, Any, C::Demote,       Stalled, &[]),
        (Stalled, Any, C::DemoteNot,    Stalled, &[]),
        (Stalled, Any, C::Resume,       Stalled, &[]),
        (Stalled, Any, C::Leave,        Leaving, &[Drop]),

        (Leaving, Any, C::Up,           Leaving, &[]),
        (Leaving, Any, C::Carrier,      Init,    &[Drop, Tell("link_down")]),
        (Leaving, Any, C::AdminDown,    Init,    &[Drop, Tell("link_down")]),
        (Leaving, Any, C::Removed,      Init,    &[Drop, Tell("link_down")]),
        (Leaving, Any, C::DataPlane,    Init,    &[Drop, Tell("link_down")]),
        (Leaving, Any, C::Superior,     Init,    &[Tell("leave")]),
        (Leaving, Any, C::TieLower,     Init,    &[Tell("leave")]),
        (Leaving, Any, C::TieEqual,     Init,    &[Tell("leave")]),
        (Leaving, Any, C::TieHigher,    Leaving, &[]),
        (Leaving, Any, C::Inferior,     Leaving, &[]),
        (Leaving, Any, C::Hopeless,     Leaving, &[]),
        (Leaving, Any, C::BowOut,       Leaving, &[]),
        (Leaving, Any, C::MoreDemoted,  Leaving, &[]),
        (Leaving, Any, C::Advertise,    Leaving, &[Advertise]),
        (Leaving, Any, C::Overdue,      Init,    &[DidStall, Tell("leave")]),
        (Leaving, Any, C::MasterDown,   Leaving, &[]),
        (Leaving, Any, C::MasterDownV6, Leaving, &[]),
        (Leaving, Any, C::Turn,         Leaving, &[]),
        (Leaving, Any, C::Announce,     Leaving, &[]),
        (Leaving, Any, C::Release,      Init,    &[SayGoodbye, Tell("leave")]),
        (Leaving, Any, C::Released,     Init,    &[SayGoodbye, Tell("leave")]),
        (Leaving, Any, C::Silence,      Leaving, &[]),
        (Leaving, Any, C::Stall,        Leaving, &[]),
        (Leaving, Any, C::Unwatched,    Leaving, &[]),
        (Leaving, Any, C::Demote,       Leaving, &[AdvertiseDemoted]),
        (Leaving, Any, C::DemoteNot,    Leaving, &[]),
        (Leaving, Any, C::Resume,       Leaving, &[]),
        (Leaving, Any, C::Leave,        Leaving, &[]),
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
            let now = if class == Class::Overdue { now + DEAD } else { now };
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
    for state in [State::Init, State::Backup, State::Master, State::Stalled, State::Leaving] {
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
    let table: [(State, &[Timer]); 5] = [
        (State::Init, &[]),
        (State::Backup, &[Timer::MasterDown]),
        (State::Master, &[Timer::Advertise, Timer::Announce]),
        (State::Stalled, &[Timer::Advertise]),
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
    for state in [State::Init, State::Backup, State::Master, State::Stalled] {
        let (mut vhost, now) = vhost_in(state, true);
        assert!(!vhost.has_left(), "{state:?}");
        vhost.handle(now, Event::Leave);
        vhost.handle(now, Event::Released { held: true });
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
        Command::Advertise(Advertisement { priority: Priority::BOW_OUT, demote: 0 }) => Did::SayGoodbye,
        Command::Advertise(Advertisement { priority, demote: 0 }) => {
            assert_eq!(priority, OWN);
            Did::Advertise
        }
        Command::Advertise(Advertisement { priority: demoted, demote }) => {
            assert_eq!((demoted, demote), (priority(1, 240), 7));
            Did::AdvertiseDemoted
        }
        Command::TakeAddresses => Did::Take,
        Command::DropAddresses => Did::Drop,
        Command::Announce => Did::Announce,
        Command::Stalled { lasted } => {
            assert_eq!(lasted, DEAD);
            Did::Stalled
        }
        Command::Notify(transition) => {
            assert_eq!((transition.at, transition.from, transition.to), (now, from, to));
            Did::Tell(transition.cause.name())
        }
    }
}
