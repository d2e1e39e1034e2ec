//! `docs/roles.md`

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use ha_agent::core::pair::report::Claim as Claimed;
use ha_agent::core::pair::{Phase, Purpose};
use ha_agent::core::role::{Other, Role, Work};
use ha_agent::core::same_state::{Claim, Loser, Reservation, Same};
use ha_agent::core::{Contender, Priority, State};

use crate::{Table, compare, table, word};

#[test]
fn roles_are_as_documented() -> Result<()> {
    let tables = [
        Table { name: "the roles", text: roles() },
        Table { name: "the roles in a pair", text: in_pair() },
        Table { name: "the same states", text: same_states() },
        Table { name: "the losers", text: losers() },
    ];
    compare("roles.md", &tables)
}

fn roles() -> String {
    let head = ["virtual hosts", "nobody else", "another, not known to serve", "another that serves"];
    let rows = HOSTS.map(|(name, hosts)| {
        let role = |other| Role::of(hosts, Work::Idle, other).to_string();
        [name.to_owned(), role(Other::Nobody), role(Other::Quiet), role(Other::Serves)]
    });
    table([head.map(str::to_owned)].into_iter().chain(rows))
}

fn in_pair() -> String {
    let head = [
        "in the pair",
        "MASTER, the peer does not serve",
        "MASTER, it serves",
        "BACKUP or ELECTING, it does not",
        "BACKUP or ELECTING, it serves",
    ];
    let rows = phases().map(|(name, phase)| {
        let role = |carp: Role, peer_serves| carp.in_pair(phase, peer_serves).to_string();
        let standing_by = |peer_serves| {
            let [backup, electing] = [Role::Backup, Role::Electing].map(|carp| role(carp, peer_serves));
            assert_eq!(backup, electing, "{name}");
            backup
        };
        let cells =
            [role(Role::Master, false), role(Role::Master, true), standing_by(false), standing_by(true)];
        let [first, second, third, fourth] = cells;
        [name.to_owned(), first, second, third, fourth]
    });
    table([head.map(str::to_owned)].into_iter().chain(rows))
}

/// What a node of a pair does; phases that are the same here together.
fn phases() -> [(&'static str, Phase); 6] {
    let claim = Claimed::PeerDead;
    [
        ("active, offering, granting", Phase::Active),
        ("taking", Phase::Taking { claim, taken: false }),
        ("taking: it serves, and that is being stored", Phase::Taking { claim, taken: true }),
        ("standby, promised, granted", Phase::Standby),
        ("claiming, resuming", Phase::Claiming { claim, quiet: false }),
        ("releasing", Phase::Releasing(Purpose::Handover)),
    ]
}

fn same_states() -> String {
    let head = [""].into_iter().map(str::to_owned).chain(Role::ALL.map(|role| role.to_string()));
    let head: [String; 8] = head.collect::<Vec<_>>().try_into().expect("a corner and seven");
    let rows = Role::ALL.map(|ours| {
        let cells = Role::ALL.map(|theirs| match Same::of(ours, theirs) {
            Some(Same::Master) => "both serve".to_owned(),
            Some(Same::Backup) => "both stand by".to_owned(),
            None => String::new(),
        });
        let row: Vec<_> = [ours.to_string()].into_iter().chain(cells).collect();
        row.try_into().expect("a head and seven")
    });
    table([head].into_iter().chain(rows))
}

fn losers() -> String {
    let head = ["`a` and the reservation", "`b` and the reservation"].map(str::to_owned);
    let head = head.into_iter().chain(CONTENDERS.map(|(name, _)| name.to_owned()));
    let all = [Reservation::Holds, Reservation::Lacks, Reservation::NoDisks];
    let rows = all.into_iter().flat_map(|a| all.map(|b| (a, b))).map(|(a, b)| {
        let cells = CONTENDERS.map(|(_, other)| {
            let claim =
                |node: &str, reservation, contender| Claim { node: node.to_owned(), reservation, contender };
            match claim("a", a, CONTENDER).loser(&claim("b", b, other)) {
                Loser::We => "a yields".to_owned(),
                Loser::They => "b yields".to_owned(),
                Loser::Both => "both yield".to_owned(),
            }
        });
        [word(&a), word(&b)].into_iter().chain(cells).collect::<Vec<_>>()
    });
    let whole = |row: Vec<String>| <[String; 7]>::try_from(row).expect("two heads and five");
    table([head.collect()].into_iter().chain(rows).map(whole))
}

const HOSTS: [(&str, &[State]); 6] = [
    ("none", &[]),
    ("all without link", &[State::Init]),
    ("all backup", &[State::Backup]),
    ("all master", &[State::Master]),
    ("some master, some backup", &[State::Master, State::Backup]),
    ("some master, some without link", &[State::Master, State::Init]),
];

const CONTENDER: Contender = contender(1, 1, 2);

/// As `b` has it, against the one above.
const CONTENDERS: [(&str, Contender); 5] = [
    ("`b` more demoted", contender(2, 0, 1)),
    ("`b` less demoted", contender(0, 2, 3)),
    ("`b` of better priority", contender(1, 0, 3)),
    ("equal, `b` has the higher address", contender(1, 1, 3)),
    ("equal, the addresses too", CONTENDER),
];

const fn contender(demote: u8, advskew: u8, last: u8) -> Contender {
    let priority = Priority { advbase: 1, advskew };
    Contender { demote, priority, source: IpAddr::V4(Ipv4Addr::new(10, 77, 0, last)) }
}
