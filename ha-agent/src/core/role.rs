//! The role of a node, as an operator knows it. `docs/roles.md` has the rules as tables.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::State;
use super::pair::Phase;

/// What a node is to its clients. Whether it is in maintenance stands beside it: a node in maintenance has a role too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// It serves.
    Master,
    /// It stands by, and knows who serves.
    Backup,
    /// Nobody is known to serve, or not all of its virtual hosts have moved yet.
    Electing,
    /// It takes over: the role is won, and what is behind the addresses is on its way.
    Importing,
    /// It can't serve: the last action failed, or no interface works.
    Error,
    /// It serves, and no other node is known.
    Single,
    /// Not known.
    Unknown,
}

/// What a node does about pools and services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Nothing; or they are where they should be.
    #[default]
    Idle,
    /// It takes them.
    Importing,
    /// It failed to take them, or to let them go.
    Failed,
}

/// What a node knows of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Other {
    /// There is none: nobody was introduced, nobody was ever heard.
    Nobody,
    /// There is one, and it is not known to serve.
    Quiet,
    /// It advertises, or says that it serves.
    Serves,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Master,
        Self::Importing,
        Self::Single,
        Self::Backup,
        Self::Electing,
        Self::Error,
        Self::Unknown,
    ];

    /// The role of this node, by the states of its virtual hosts. Those without link (INIT) have no say.
    #[must_use]
    pub fn of(hosts: &[State], work: Work, other: Other) -> Self {
        match (work, Hosts::of(hosts), other) {
            (Work::Failed, _, _) | (Work::Idle, Hosts::Down, _) => Self::Error,
            (Work::Importing, _, _) => Self::Importing,
            (Work::Idle, Hosts::None, _) => Self::Unknown,
            (Work::Idle, Hosts::Serving, Other::Nobody) => Self::Single,
            (Work::Idle, Hosts::Serving, Other::Quiet | Other::Serves) => Self::Master,
            (Work::Idle, Hosts::StandingBy, Other::Serves) => Self::Backup,
            (Work::Idle, Hosts::StandingBy, Other::Quiet | Other::Nobody) | (Work::Idle, Hosts::Mixed, _) => {
                Self::Electing
            }
        }
    }

    /// The role of a node of a pair, in which only one of the two is to serve. `self` is the role by its virtual hosts alone;
    /// `peer_serves` says whether the peer is known to.
    #[must_use]
    pub fn in_pair(self, phase: Phase, peer_serves: bool) -> Self {
        match (phase, self) {
            (_, Self::Error | Self::Unknown | Self::Importing)
            | (
                Phase::Active | Phase::Offering | Phase::Granting | Phase::Taking { taken: true, .. },
                Self::Master | Self::Single,
            ) => self,
            (Phase::Ended, _) => Self::Error,
            (Phase::Taking { taken: false, .. }, _) => Self::Importing,
            (Phase::Standby | Phase::Promised { .. } | Phase::Granted, _) if peer_serves => Self::Backup,
            // It is on the way, or somebody else on the network has its addresses.
            (
                Phase::Standby
                | Phase::Promised { .. }
                | Phase::Claiming { .. }
                | Phase::Taking { .. }
                | Phase::Resuming
                | Phase::Active
                | Phase::Offering
                | Phase::Granting
                | Phase::Releasing(_)
                | Phase::Granted,
                Self::Master | Self::Single | Self::Backup | Self::Electing,
            ) => Self::Electing,
        }
    }

    /// The role of the peer: what it told, and how long ago; where that is too old, what is heard of it.
    #[must_use]
    pub fn of_peer(told: Option<(Self, Duration)>, heard_as_master: bool) -> Self {
        match told {
            Some((role, age)) if age <= FRESH => role,
            Some(_) | None if heard_as_master => Self::Master,
            Some(_) | None => Self::Unknown,
        }
    }

    /// Whether a node of this role has what is served, or is about to.
    #[must_use]
    pub fn serves(self) -> bool {
        match self {
            Self::Master | Self::Importing | Self::Single => true,
            Self::Backup | Self::Electing | Self::Error | Self::Unknown => false,
        }
    }

    /// The role in capitals.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
            Self::Electing => "ELECTING",
            Self::Importing => "IMPORTING",
            Self::Error => "ERROR",
            Self::Single => "SINGLE",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// In capitals.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The virtual hosts of a node, taken together.
enum Hosts {
    None,
    Down,
    Serving,
    StandingBy,
    Mixed,
}

impl Hosts {
    fn of(hosts: &[State]) -> Self {
        let serving = |state: &State| match state {
            State::Master | State::Stalled | State::Leaving => Some(true),
            State::Backup => Some(false),
            State::Init => None,
        };
        let mut serving = hosts.iter().filter_map(serving);
        match serving.next() {
            None if hosts.is_empty() => Self::None,
            None => Self::Down,
            Some(first) if serving.any(|other| other != first) => Self::Mixed,
            Some(true) => Self::Serving,
            Some(false) => Self::StandingBy,
        }
    }
}

/// How old what the peer told may be to count as what it is now.
pub const FRESH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const STATES: [State; 5] = [State::Init, State::Backup, State::Master, State::Stalled, State::Leaving];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn who_serves_has_all_that_works(hosts in hosts(), other in other()) {
            let working: Vec<_> = hosts.iter().filter(|state| **state != State::Init).collect();
            let all = !working.is_empty() && working.iter().all(|state| state.to_string() == "MASTER");
            let role = Role::of(&hosts, Work::Idle, other);
            prop_assert_eq!(role.serves(), all, "{}", role);
            prop_assert_eq!(role == Role::Single, all && other == Other::Nobody);
            prop_assert_eq!(role == Role::Error, working.is_empty() && !hosts.is_empty());
        }

        #[test]
        fn neither_order_nor_number_nor_broken_links_matter(hosts in hosts(), other in other()) {
            let role = Role::of(&hosts, Work::Idle, other);
            let more: Vec<_> = hosts.iter().rev().chain(&hosts).copied().collect();
            prop_assert_eq!(Role::of(&more, Work::Idle, other), role);
            if role != Role::Unknown {
                let more: Vec<_> = hosts.iter().copied().chain([State::Init]).collect();
                prop_assert_eq!(Role::of(&more, Work::Idle, other), role);
            }
        }

        #[test]
        fn work_goes_before_states(hosts in hosts(), other in other()) {
            prop_assert_eq!(Role::of(&hosts, Work::Failed, other), Role::Error);
            prop_assert_eq!(Role::of(&hosts, Work::Importing, other), Role::Importing);
        }
    }

    #[test]
    fn what_is_known_of_the_peer_grows_old() {
        let (fresh, old) = (FRESH, FRESH + Duration::from_nanos(1));
        let table = [
            (Some((Role::Importing, fresh)), true, Role::Importing),
            (Some((Role::Backup, fresh)), false, Role::Backup),
            (Some((Role::Backup, old)), true, Role::Master),
            (Some((Role::Master, old)), false, Role::Unknown),
            (None, true, Role::Master),
            (None, false, Role::Unknown),
        ];
        for (told, heard, expected) in table {
            assert_eq!(Role::of_peer(told, heard), expected, "{told:?} {heard}");
        }
    }

    #[test]
    fn names_are_the_same_everywhere() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_string(&role).expect("JSON"), format!("{:?}", role.name()));
        }
    }

    fn hosts() -> impl Strategy<Value = Vec<State>> {
        prop::collection::vec(select(STATES.to_vec()), 0..5)
    }

    fn other() -> impl Strategy<Value = Other> {
        select(vec![Other::Nobody, Other::Quiet, Other::Serves])
    }
}
