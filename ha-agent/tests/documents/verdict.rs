//! `docs/verdict.md`

use std::slice::from_ref;

use anyhow::Result;
use ha_agent::core::Instant;
use ha_agent::core::group::{Group, Importance, Links, Member, consequence, response};
use ha_agent::core::liveness::{Carp, DiskKeys, Evidence, PeerLink, Verdict, Witness};

use crate::{Table, compare, table, word};

#[test]
fn verdicts_are_as_documented() -> Result<()> {
    let tables = [
        Table { name: "the verdicts", text: verdicts() },
        Table { name: "the groups", text: groups() },
        Table { name: "the responses", text: responses() },
        Table { name: "the links", text: links() },
    ];
    compare("verdict.md", &tables)
}

/// CARP and the peer link down, disks and witness across.
fn verdicts() -> String {
    let across: Vec<_> =
        DISK_KEYS.into_iter().flat_map(|keys| WITNESS.map(|witness| (keys, witness))).collect();
    let head = ["CARP".to_owned(), "peer link".to_owned()];
    let columns = across.iter().map(|((keys, _), (witness, _))| format!("{keys}<br>{witness}"));
    let down = CARP.into_iter().flat_map(|carp| PEER_LINK.map(|link| (carp, link)));
    let rows = down.map(|((carp_name, carp), (link_name, peer_link))| {
        let cells = across.iter().map(|&((_, disk_keys), (_, witness))| {
            let interfaces = carp.iter().enumerate().map(|(number, carp)| (format!("eth{number}"), *carp));
            let evidence = Evidence { carp: interfaces.collect(), peer_link, disk_keys, witness };
            evidence.judge().verdict.to_string()[..1].to_uppercase()
        });
        row([carp_name.to_owned(), link_name.to_owned()], cells)
    });
    table([row(head, columns)].into_iter().chain(rows))
}

fn row(head: [String; 2], cells: impl Iterator<Item = String>) -> [String; COLUMNS] {
    let all: Vec<String> = head.into_iter().chain(cells).collect();
    all.try_into().expect("the head and twenty")
}

/// A group with two critical members, in each state.
fn groups() -> String {
    let head = ["one", "the other", "heard there", "links of this node"].map(str::to_owned);
    let pairs = MEMBER
        .iter()
        .enumerate()
        .flat_map(|(number, one)| MEMBER.iter().skip(number).map(move |other| (one, other)));
    let rows = pairs.map(|((one_name, one), (other_name, other))| {
        let group = group(&[*one, *other]);
        [(*one_name).to_owned(), (*other_name).to_owned(), word(&group.reception()), word(&group.links())]
    });
    table([head].into_iter().chain(rows))
}

/// What a standby does with one group.
fn responses() -> String {
    let head =
        ["verdict", "none lost", "lost", "lost, and no link here for another group"].map(str::to_owned);
    let verdicts = [Verdict::Alive, Verdict::Partitioned, Verdict::Dead, Verdict::Unknown];
    let rows = verdicts.map(|verdict| {
        let (other, lost, gone) = (group(&[Carp::NeverHeard]), group(&[SILENT]), group(&[Carp::LinkDown]));
        let does = |groups: &[Group]| word(&response(groups, verdict));
        [verdict.to_string(), does(&[other]), does(from_ref(&lost)), does(&[lost.clone(), gone])]
    });
    table([head].into_iter().chain(rows))
}

/// What an active node does about its links to one group.
fn links() -> String {
    let all = [Links::Whole, Links::Reduced, Links::Gone];
    let peers = all.map(Some).into_iter().chain([None]);
    let name = |links: &Option<Links>| {
        links.as_ref().map_or("peer not known".to_owned(), |it| format!("peer {}", word(it)))
    };
    let head: Vec<_> = ["here".to_owned()].into_iter().chain(peers.clone().map(|it| name(&it))).collect();
    let rows = all.map(|ours| {
        let cells = peers.clone().map(|theirs| word(&consequence(&[ours], theirs.as_ref().map(from_ref))));
        [word(&ours)].into_iter().chain(cells).collect::<Vec<_>>()
    });
    let whole = |row: Vec<String>| <[String; 5]>::try_from(row).expect("a head and four");
    table([head].into_iter().chain(rows).map(whole))
}

fn group(members: &[Carp]) -> Group {
    let member = |(number, carp): (usize, &Carp)| Member {
        interface: format!("eth{number}"),
        importance: Importance::Critical,
        carp: *carp,
    };
    Group { name: "data".to_owned(), members: members.iter().enumerate().map(member).collect() }
}

const MEMBER: [(&str, Carp); 4] = [
    ("heard", Carp::Heard),
    ("silent", SILENT),
    ("never heard", Carp::NeverHeard),
    ("own link down", Carp::LinkDown),
];

const COLUMNS: usize = 2 + 20;

const SILENT: Carp = Carp::Silent { since: Instant::from_nanos(0) };

const CARP: [(&str, &[Carp]); 5] = [
    ("heard", &[Carp::Heard]),
    ("heard on one, silent on another", &[Carp::Heard, SILENT]),
    ("silent", &[SILENT]),
    ("never heard", &[Carp::NeverHeard]),
    ("own link down", &[Carp::LinkDown]),
];

const PEER_LINK: [(&str, PeerLink); 4] = [
    ("answering", PeerLink::Answering),
    ("not answering", PeerLink::NotAnswering),
    ("down", PeerLink::Down),
    ("unpaired", PeerLink::Unpaired),
];

const DISK_KEYS: [(&str, DiskKeys); 5] = [
    ("no disks", DiskKeys::None),
    ("moving", DiskKeys::Moving),
    ("still", DiskKeys::Still),
    ("absent", DiskKeys::Absent),
    ("unreadable", DiskKeys::Unreadable),
];

const WITNESS: [(&str, Witness); 4] = [
    ("no witness", Witness::None),
    ("holds", Witness::Holds),
    ("lost", Witness::Lost),
    ("unreachable", Witness::Unreachable),
];
