//! What holds of every verdict, whatever the paths say. Each combination is in `docs/verdict.md`.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const SILENT: Carp = Carp::Silent { since: Instant::from_nanos(7) };

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn nobody_is_dead_who_shows_a_sign_of_life(evidence in evidence()) {
        let Judgement { verdict, life, silence, blind } = evidence.judge();
        let lives = matches!(verdict, Verdict::Alive | Verdict::Partitioned);
        prop_assert_eq!(lives, !life.is_empty());
        prop_assert_eq!(verdict == Verdict::Alive, lives && silence.is_empty());
        prop_assert!(verdict != Verdict::Dead || !silence.is_empty());
        let paths = evidence.carp.len()
            + usize::from(evidence.peer_link != PeerLink::Unpaired)
            + usize::from(evidence.disk_keys != DiskKeys::None)
            + usize::from(evidence.witness != Witness::None);
        prop_assert_eq!(life.len() + silence.len() + blind.len(), paths);
    }

    #[test]
    fn one_sign_of_life_saves_the_peer(mut evidence in evidence(), path in 0..4) {
        match path {
            0 => drop(evidence.carp.insert("eth9".to_owned(), Carp::Heard)),
            1 => evidence.peer_link = PeerLink::Answering,
            2 => evidence.disk_keys = DiskKeys::Moving,
            _ => evidence.witness = Witness::Holds,
        }
        prop_assert!(matches!(evidence.judge().verdict, Verdict::Alive | Verdict::Partitioned));
    }

    #[test]
    fn an_interface_that_cant_tell_changes_nothing(evidence in evidence(), blind in blind()) {
        let mut more = evidence.clone();
        more.carp.insert("eth9".to_owned(), blind);
        prop_assert_eq!(more.judge().verdict, evidence.judge().verdict);
    }

    /// So the table needs no more than "heard on one, silent on another".
    #[test]
    fn more_of_the_same_changes_nothing(evidence in evidence()) {
        let mut more = evidence.clone();
        more.carp.extend(evidence.carp.iter().map(|(interface, carp)| (format!("{interface}.7"), *carp)));
        prop_assert_eq!(more.judge().verdict, evidence.judge().verdict);
    }

    #[test]
    fn who_is_cut_off_condemns_nobody(mut evidence in evidence(), blind in blind(), arbiters in mute()) {
        evidence.carp.values_mut().for_each(|carp| *carp = blind);
        (evidence.disk_keys, evidence.witness) = arbiters;
        prop_assert!(evidence.judge().verdict != Verdict::Dead);
    }

    #[test]
    fn an_arbiter_that_cant_be_asked_forbids_to_guess(
        mut evidence in evidence(),
        (disk_keys, witness) in select(vec![
            (DiskKeys::Unreadable, Witness::None),
            (DiskKeys::None, Witness::Unreachable),
            (DiskKeys::Unreadable, Witness::Unreachable),
        ]),
    ) {
        (evidence.disk_keys, evidence.witness) = (disk_keys, witness);
        let verdict = evidence.judge().verdict;
        prop_assert!(verdict != Verdict::Dead);
        let has_lost_both = verdict == Verdict::Unknown && witness == Witness::Unreachable;
        prop_assert_eq!(evidence.forbids_serving(), has_lost_both);
    }

    #[test]
    fn who_reaches_its_witness_or_has_none_may_serve(evidence in evidence()) {
        prop_assume!(evidence.witness != Witness::Unreachable);
        prop_assert!(!evidence.forbids_serving());
    }
}

#[test]
fn verdicts_as_an_operator_reads_them() {
    let table = [
        (
            [Carp::Heard, Carp::Heard],
            PeerLink::Answering,
            DiskKeys::None,
            "the peer is alive, by CARP on eth0, CARP on eth1 and the peer link",
        ),
        (
            [SILENT, Carp::LinkDown],
            PeerLink::Down,
            DiskKeys::None,
            "the peer is dead, by CARP on eth0 and the peer link",
        ),
        (
            [SILENT, SILENT],
            PeerLink::Unpaired,
            DiskKeys::Moving,
            "the peer is alive, by the disk keys, and does not get through by CARP on eth0 and CARP on eth1",
        ),
        (
            [Carp::NeverHeard, Carp::LinkDown],
            PeerLink::NotAnswering,
            DiskKeys::Unreadable,
            "nothing shows whether the peer is alive; silent: the peer link; can't tell: CARP on eth0, CARP on eth1 \
             and the disk keys",
        ),
    ];
    let table = [
        (
            [Carp::NeverHeard, Carp::LinkDown],
            PeerLink::Answering,
            DiskKeys::Absent,
            "the peer is alive, by the peer link",
        ),
        (
            [SILENT, Carp::LinkDown],
            PeerLink::Down,
            DiskKeys::Absent,
            "the peer is dead, by CARP on eth0, the peer link and the disk keys",
        ),
    ]
    .into_iter()
    .chain(table);
    for ([eth0, eth1], peer_link, disk_keys, sentence) in table {
        let carp = [("eth0".to_owned(), eth0), ("eth1".to_owned(), eth1)].into();
        let evidence = Evidence { carp, peer_link, disk_keys, witness: Witness::None };
        assert_eq!(evidence.judge().to_string(), sentence);
    }
    assert_eq!(Evidence::default().judge().to_string(), "nothing shows whether the peer is alive");
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let carp = prop::collection::btree_map(
        select(vec!["eth0", "eth1", "eth2"]).prop_map(str::to_owned),
        select(vec![Carp::Heard, SILENT, Carp::LinkDown, Carp::NeverHeard]),
        0..4,
    );
    (carp, peer_link(), disk_keys(), witness()).prop_map(|(carp, peer_link, disk_keys, witness)| Evidence {
        carp,
        peer_link,
        disk_keys,
        witness,
    })
}

fn peer_link() -> impl Strategy<Value = PeerLink> {
    select(vec![PeerLink::Answering, PeerLink::NotAnswering, PeerLink::Down, PeerLink::Unpaired])
}

fn disk_keys() -> impl Strategy<Value = DiskKeys> {
    select(vec![DiskKeys::Moving, DiskKeys::Still, DiskKeys::Absent, DiskKeys::Unreadable, DiskKeys::None])
}

fn witness() -> impl Strategy<Value = Witness> {
    select(vec![Witness::Holds, Witness::Lost, Witness::Unreachable, Witness::None])
}

fn blind() -> impl Strategy<Value = Carp> {
    select(vec![Carp::LinkDown, Carp::NeverHeard])
}

/// Arbiters that say nothing.
fn mute() -> impl Strategy<Value = (DiskKeys, Witness)> {
    (select(vec![DiskKeys::Unreadable, DiskKeys::None]), select(vec![Witness::Unreachable, Witness::None]))
}
