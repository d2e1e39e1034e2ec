//! `docs/verdict.md`

use anyhow::Result;
use ha_agent::core::Instant;
use ha_agent::core::liveness::{Carp, DiskKeys, Evidence, PeerLink, Witness};

use crate::{Table, compare, table};

#[test]
fn verdicts_are_as_documented() -> Result<()> {
    compare("verdict.md", &[Table { name: "the verdicts", text: verdicts() }])
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
    all.try_into().expect("the head and sixteen")
}

const COLUMNS: usize = 2 + 16;

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

const DISK_KEYS: [(&str, DiskKeys); 4] = [
    ("no disks", DiskKeys::None),
    ("moving", DiskKeys::Moving),
    ("still", DiskKeys::Still),
    ("unreadable", DiskKeys::Unreadable),
];

const WITNESS: [(&str, Witness); 4] = [
    ("no witness", Witness::None),
    ("holds", Witness::Holds),
    ("lost", Witness::Lost),
    ("unreachable", Witness::Unreachable),
];
