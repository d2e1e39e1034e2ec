//! What holds whatever the facts are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::core::election::{Contender, Priority};
use crate::core::group::Links;
use crate::core::liveness::{Carp, Evidence};
use crate::core::same_state::{Claim, Reservation};
use crate::core::shared;
use crate::core::time::Instant;

const SILENT: Carp = Carp::Silent { since: Instant::from_nanos(7) };

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_dead_peer_is_never_a_reason_not_to_save_the_service(
        facts in facts().prop_filter("alive", |facts| is_dead(&facts.own)),
    ) {
        let alone = Facts { peer: None, same_state: None, own: facts.own.clone() };
        prop_assert_eq!(codes(&facts, Action::AutomaticFailover), codes(&alone, Action::AutomaticFailover));
        prop_assert_eq!(codes(&facts, Action::Forced), codes(&alone, Action::Forced));

        let evidence = Evidence { witness: able(facts.own.evidence.witness), ..facts.own.evidence.clone() };
        let evidence = Evidence { disk_keys: readable(evidence.disk_keys), ..evidence };
        if evidence.judge().verdict == Verdict::Dead {
            let well = Facts { own: NodeFacts { evidence, ..well() }, ..facts };
            prop_assert_eq!(codes(&well, Action::AutomaticFailover), vec![]);
        }
    }

    #[test]
    fn nobody_takes_over_by_himself_from_a_peer_that_may_live(facts in facts()) {
        let verdict = facts.own.evidence.judge().verdict;
        let blocked = codes(&facts, Action::AutomaticFailover);
        if verdict == Verdict::Partitioned {
            prop_assert!(blocked.contains(&Code::Partitioned));
        }
        if verdict == Verdict::Unknown
            && facts.own.evidence.peer_link != PeerLink::Unpaired
            && !facts.own.role.serves()
        {
            prop_assert!(blocked.contains(&Code::NoEvidence));
        }
    }

    #[test]
    fn nothing_that_needs_a_fence_goes_without_one(mut facts in facts(), action in action()) {
        prop_assume!(action != Action::SwitchoverAway);
        facts.own.storage = Some(Storage { fence: false, ..Storage::default() });
        prop_assert!(codes(&facts, action).contains(&Code::NoFenced));
    }

    /// What differs, and what both are, both nodes find.
    #[test]
    fn the_pairs_reasons_are_the_same_on_both(a in linked(), b in linked(), same in same()) {
        let of_pair = |own: &NodeFacts, peer: &NodeFacts| -> Vec<Code> {
            let peer = Some(Told { facts: peer.clone(), age: FRESH });
            let facts = Facts { own: own.clone(), peer, same_state: same };
            let codes = reasons(&facts).into_iter().map(|reason| reason.code);
            codes.filter(|code| code.definition().scope == Scope::Pair).collect()
        };
        prop_assert_eq!(of_pair(&a, &b), of_pair(&b, &a));
    }

    /// A switchover is blocked on one node for what blocks it on the other.
    #[test]
    fn what_the_peer_cant_take_is_not_given_away(a in linked(), b in linked()) {
        let facts = |own: &NodeFacts, peer: &NodeFacts| Facts {
            own: own.clone(),
            peer: Some(Told { facts: peer.clone(), age: FRESH }),
            same_state: None,
        };
        let blocked = |facts: &Facts, side, action| -> Vec<Code> {
            let found = reasons(facts);
            let of_side = blocking(&found, action).filter(|reason| reason.side == side);
            of_side.map(|reason| reason.code).filter(|code| code.definition().scope == Scope::Node).collect()
        };
        let (here, there) = (facts(&a, &b), facts(&b, &a));
        for (action, mirrored) in [
            (Action::SwitchoverAway, Action::SwitchoverHere),
            (Action::SwitchoverHere, Action::SwitchoverAway),
        ] {
            let theirs = blocked(&there, Side::Local, mirrored);
            prop_assert_eq!(blocked(&here, Side::Remote, action), theirs, "{}", action);
        }
        for action in [Action::AutomaticFailover, Action::Forced] {
            prop_assert_eq!(blocked(&here, Side::Remote, action), vec![], "{}", action);
        }
    }

    #[test]
    fn what_was_told_long_ago_is_not_said_of_now(facts in facts(), late in 1..u64::MAX) {
        prop_assume!(facts.peer.is_some());
        let mut old = facts.clone();
        if let Some(told) = &mut old.peer {
            told.age = FRESH + Duration::from_nanos(late);
        }
        let expected: Vec<_> =
            reasons(&facts).into_iter().filter(|reason| reason.side == Side::Local).collect();
        prop_assert_eq!(reasons(&old), expected);
    }

    #[test]
    fn the_worst_comes_first_and_each_comes_once(facts in facts()) {
        let found = reasons(&facts);
        prop_assert!(found.is_sorted_by_key(|reason| std::cmp::Reverse(reason.severity())));
        prop_assert_eq!(worst(&found), found.first().map(Reason::severity));
        for (number, reason) in found.iter().enumerate() {
            let again = |other: &Reason| (other.code, other.side) == (reason.code, reason.side);
            prop_assert!(!found.iter().skip(number + 1).any(again), "{} twice", reason);
        }
    }

    #[test]
    fn facts_and_reasons_go_over_the_link(facts in facts()) {
        let json = serde_json::to_string(&facts).expect("JSON");
        prop_assert_eq!(&serde_json::from_str::<Facts>(&json).expect("facts"), &facts);
        let found = reasons(&facts);
        let json = serde_json::to_string(&found).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Vec<Reason>>(&json).expect("reasons"), found);
    }
}

#[test]
fn a_pair_that_is_well_has_no_reason() {
    let told = Some(Told { facts: other(), age: Duration::ZERO });
    assert_eq!(reasons(&Facts { own: well(), peer: told, same_state: None }), vec![]);
    assert_eq!(worst(&[]), None);
}

/// Each fact alone, and the reason that it gives here and at the other one.
#[test]
fn every_fact_has_its_reason() {
    type Change = fn(&mut NodeFacts);
    let table: [(Change, Code); 20] = [
        (|node| node.vhosts.iter_mut().for_each(|vhost| vhost.addresses.clear()), Code::NoVip),
        (|node| node.interfaces.values_mut().for_each(|it| it.critical = false), Code::NoCriticalInterfaces),
        (|node| node.interfaces.values_mut().for_each(|it| it.link = false), Code::NoLink),
        (|node| node.groups.values_mut().for_each(|links| *links = Links::Gone), Code::GroupLost),
        (|node| node.groups.values_mut().for_each(|links| *links = Links::Reduced), Code::GroupReduced),
        (|node| node.storage.as_mut().expect("disks").volumes = 0, Code::NoVolume),
        (|node| node.storage.as_mut().expect("disks").fence = false, Code::NoFenced),
        (|node| node.evidence.disk_keys = DiskKeys::Unreadable, Code::NoDiskKeys),
        (|node| node.evidence.witness = Witness::Unreachable, Code::NoWitness),
        (|node| node.heartbeat = Heartbeat::Missing, Code::NoHeartbeatIface),
        (|node| node.heartbeat = Heartbeat::NoCarrier, Code::NoCarrierOnHeartbeat),
        (|node| node.unstored = Some("the disk is full".to_owned()), Code::NoStore),
        (|node| node.ready = false, Code::NotReady),
        (|node| node.role = Role::Error, Code::LocError),
        (|node| node.ongoing = true, Code::LocFailoverOngoing),
        (|node| node.maintenance = true, Code::LocMaintenance),
        (|node| node.enabled = false, Code::NoFailover),
        (|node| node.held = true, Code::TooManyFailovers),
        (|node| node.evidence.peer_link = PeerLink::Unpaired, Code::NoPeer),
        (
            |node| {
                node.evidence =
                    Evidence { carp: BTreeMap::new(), peer_link: PeerLink::Down, ..Evidence::default() };
            },
            Code::NoEvidence,
        ),
    ];
    for (change, code) in table {
        let mut node = well();
        change(&mut node);
        let found = reasons(&Facts { own: node.clone(), peer: None, same_state: None });
        let detail = found.iter().find(|reason| reason.code == code).and_then(|reason| reason.detail.clone());
        assert!(found.contains(&Reason { code, side: Side::Local, detail }), "{code:?}: {found:?}");
        let told = Some(Told { facts: node, age: Duration::ZERO });
        let found = reasons(&Facts { own: well(), peer: told, same_state: None });
        let theirs = found.iter().any(|reason| reason.code == code && reason.side == Side::Remote);
        assert!(theirs, "{code:?} of the peer: {found:?}");
    }
}

#[test]
fn every_difference_has_its_reason() {
    type Change = fn(&mut NodeFacts);
    let table: [(Change, &str); 5] = [
        (
            |node| {
                node.vhosts.first_mut().expect("one").addresses.insert("10.77.0.101/24".to_owned());
            },
            "DISAGREE_VIP: the nodes' virtual addresses differ (only here: vhid 10: 10.77.0.100/24; only there: vhid \
             10: 10.77.0.100/24 and 10.77.0.101/24); make them the same in both configurations",
        ),
        (
            |node| node.storage.as_mut().expect("disks").disks.clear(),
            "MISMATCH_DISKS: the nodes do not see the same disks (only here: A1 and A2); check the cabling of these \
             disks",
        ),
        (
            |node| {
                node.interfaces.insert("eth2".to_owned(), Interface { critical: false, link: true });
            },
            "MISMATCH_NICS: the nodes do not have the same interfaces (only there: eth2); make both configurations \
             the same, or name the interfaces alike",
        ),
        (
            |node| node.claim.node = well().claim.node,
            "SAME_NAME: both nodes have the same name, so no order can say which of them is meant (a); give one of them \
             another `node` in its configuration, and restart its agent",
        ),
        (
            |node| node.version = "1.4.0".to_owned(),
            "MISMATCH_VERSIONS: the agents' versions are too far apart to work together (1.2.3 here, 1.4.0 there); \
             update the older one",
        ),
    ];
    for (change, sentence) in table {
        let mut facts = other();
        change(&mut facts);
        let told = Some(Told { facts, age: Duration::from_hours(1) });
        let found = reasons(&Facts { own: well(), peer: told, same_state: None });
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [sentence]);
    }
}

#[test]
fn the_peer_sees_more_if_it_sees_all_and_another_one_and_told_so_just_now() {
    let disks = |node: NodeFacts, disks: &[&str]| {
        let disks = disks.iter().map(|&disk| disk.to_owned()).collect();
        NodeFacts { storage: node.storage.map(|storage| Storage { disks, ..storage }), ..node }
    };
    let old = FRESH + Duration::from_nanos(1);
    let table: [(&[&str], &[&str], Duration, bool); 5] = [
        (&["1"], &["1", "2"], FRESH, true),
        (&["1"], &["1", "2"], old, false),
        (&["1", "2"], &["1", "2"], FRESH, false),
        (&["1", "2"], &["1"], FRESH, false),
        (&["1"], &["2", "3"], FRESH, false),
    ];
    for (ours, theirs, age, more) in table {
        let peer = Some(Told { facts: disks(other(), theirs), age });
        let facts = Facts { own: disks(well(), ours), peer, same_state: None };
        assert_eq!(facts.peer_sees_more(), more, "{ours:?} {theirs:?} {age:?}");
    }
    let alone = Facts { own: NodeFacts { storage: None, ..well() }, peer: None, same_state: None };
    assert!(!alone.peer_sees_more());
}

#[test]
fn neighbouring_versions_work_together() {
    let table = [
        ("1.2.3", "1.2.9", true),
        ("1.2.3", "1.3.0", true),
        ("1.3", "1.2.3-rc1", true),
        ("1.2.3", "1.4.0", false),
        ("1.2.3", "2.2.3", false),
        ("nightly", "nightly", true),
        ("nightly", "1.2.3", false),
        ("1.2.3", "", false),
    ];
    for (one, other, expected) in table {
        assert_eq!(are_neighbours(one, other), expected, "{one} {other}");
        assert_eq!(are_neighbours(other, one), expected, "{other} {one}");
    }
}

#[test]
fn the_peers_reasons_are_called_so() {
    let named = |code, side| Reason { code, side, detail: None }.name();
    assert_eq!(named(Code::LocFailoverOngoing, Side::Local), "LOC_FAILOVER_ONGOING");
    assert_eq!(named(Code::LocFailoverOngoing, Side::Remote), "REM_FAILOVER_ONGOING");
    assert_eq!(named(Code::LocMaintenance, Side::Remote), "REM_MAINTENANCE");
    assert_eq!(named(Code::NoFenced, Side::Remote), "REM_NO_FENCED");
    let reason =
        Reason { code: Code::Partitioned, side: Side::Remote, detail: Some("CARP on eth0".to_owned()) };
    assert_eq!(
        reason.to_string(),
        "REM_PARTITIONED: on the peer: the other node lives, and does not get through everywhere (CARP on eth0); \
         check these paths; until then, hand the role over only by agreement"
    );
}

#[test]
fn each_reason_is_defined_once_and_what_is_critical_blocks_something() {
    let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.definition().name).collect();
    assert_eq!(names.len(), Code::ALL.len());
    for code in Code::ALL {
        let Definition { name, severity, blocks, sentence, remedy, .. } = code.definition();
        assert_eq!(serde_json::to_string(&code).expect("JSON"), format!("{name:?}"));
        assert!(!blocks.is_empty() || *severity < Severity::Critical, "{name}");
        for text in [sentence, remedy] {
            assert!(!text.is_empty() && !text.ends_with('.'), "{name}: {text}");
        }
    }
}

fn codes(facts: &Facts, action: Action) -> Vec<Code> {
    blocking(&reasons(facts), action).map(|reason| reason.code).collect()
}

fn is_dead(node: &NodeFacts) -> bool {
    node.evidence.judge().verdict == Verdict::Dead
}

/// A node with a peer that is not dead.
fn linked() -> impl Strategy<Value = NodeFacts> {
    let is_linked = |node: &NodeFacts| node.evidence.peer_link != PeerLink::Unpaired && !is_dead(node);
    node().prop_filter("without a peer", is_linked)
}

fn able(witness: Witness) -> Witness {
    if witness == Witness::Unreachable { Witness::None } else { witness }
}

fn readable(keys: DiskKeys) -> DiskKeys {
    if keys == DiskKeys::Unreadable { DiskKeys::None } else { keys }
}

/// A standby with nothing to complain of.
fn well() -> NodeFacts {
    let priority = Priority { advbase: 1, advskew: 0 };
    let contender = Contender { demote: 0, priority, source: IpAddr::from([10, 77, 0, 1]) };
    let claim = Claim { node: "a".to_owned(), reservation: Reservation::Lacks, contender };
    let set = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
    NodeFacts {
        version: "1.2.3".to_owned(),
        uptime_ms: None,
        role: Role::Backup,
        carp_role: None,
        claim,
        maintenance: false,
        enabled: true,
        ready: true,
        ongoing: false,
        held: false,
        unstored: None,
        vhosts: vec![VirtualHost { vhid: 10, addresses: set(&["10.77.0.100/24"]) }],
        interfaces: [("eth0".to_owned(), Interface { critical: true, link: true })].into(),
        groups: [("clients".to_owned(), Links::Whole)].into(),
        heartbeat: Heartbeat::Up,
        storage: Some(Storage { disks: set(&["A1", "A2"]), volumes: 1, fence: true }),
        faults: Vec::new(),
        evidence: Evidence {
            carp: [("eth0".to_owned(), Carp::Heard)].into(),
            peer_link: PeerLink::Answering,
            disk_keys: DiskKeys::Moving,
            witness: Witness::None,
        },
        shared: None,
    }
}

/// The same of its peer.
fn other() -> NodeFacts {
    let NodeFacts { claim, .. } = well();
    NodeFacts { claim: Claim { node: "b".to_owned(), ..claim }, ..well() }
}

fn facts() -> impl Strategy<Value = Facts> {
    let told = (node(), 0..3 * FRESH.as_secs())
        .prop_map(|(facts, age)| Told { facts, age: Duration::from_secs(age) });
    (node(), prop::option::of(told), same()).prop_map(|(own, peer, same_state)| Facts {
        own,
        peer,
        same_state,
    })
}

fn node() -> impl Strategy<Value = NodeFacts> {
    let version = select(vec!["1.2.3", "1.3.0", "2.0.0"]).prop_map(str::to_owned);
    let role = select(vec![Role::Master, Role::Backup, Role::Electing, Role::Error]);
    let interface = (any::<bool>(), any::<bool>()).prop_map(|(critical, link)| Interface { critical, link });
    let interfaces =
        prop::collection::btree_map(select(vec!["eth0", "eth1"]).prop_map(str::to_owned), interface, 0..3);
    let heartbeat = select(vec![Heartbeat::None, Heartbeat::Missing, Heartbeat::NoCarrier, Heartbeat::Up]);
    let disks = prop::collection::btree_set(select(vec!["A1", "A2"]).prop_map(str::to_owned), 0..3);
    let storage = (disks, 0..2_u32, any::<bool>()).prop_map(|(disks, volumes, fence)| Storage {
        disks,
        volumes,
        fence,
    });
    let addresses =
        prop::collection::btree_set(select(vec!["::1/64", "10.77.0.100/24"]).prop_map(str::to_owned), 0..3);
    let vhost =
        (select(vec![10_u8, 11]), addresses).prop_map(|(vhid, addresses)| VirtualHost { vhid, addresses });
    let flags = prop::array::uniform5(any::<bool>());
    let what = (flags, version, role, prop::collection::vec(vhost, 0..3), prop::option::of(shared()));
    let links = select(vec![Links::Whole, Links::Reduced, Links::Gone]);
    let groups = prop::collection::btree_map(select(vec!["a", "b"]).prop_map(str::to_owned), links, 0..3);
    (what, (interfaces, groups), heartbeat, prop::option::of(storage), evidence()).prop_map(
        |((flags, version, role, vhosts, shared), (interfaces, groups), heartbeat, storage, evidence)| {
            let [maintenance, enabled, ready, ongoing, held] = flags;
            NodeFacts {
                version,
                role,
                maintenance,
                enabled,
                ready,
                ongoing,
                held,
                vhosts,
                interfaces,
                groups,
                heartbeat,
                storage,
                evidence,
                shared,
                ..well()
            }
        },
    )
}

fn shared() -> impl Strategy<Value = shared::Told> {
    let sentence = || prop::option::of(Just("a sentence".to_owned()));
    let standing = (1..3_u32, 0..3_u64, 0..3_u64, select(vec!["x", "y"]));
    (standing, sentence(), sentence()).prop_map(|((layout, agreed, more, digest), waits, trouble)| {
        let (version, digest) = (agreed + more, digest.to_owned());
        let standing = shared::Standing { layout, version, agreed, digest, replaces: None };
        shared::Told { standing, waits, trouble }
    })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let carp = prop::collection::btree_map(
        select(vec!["eth0", "eth1"]).prop_map(str::to_owned),
        // Dead peers often enough.
        select(vec![SILENT, SILENT, SILENT, Carp::Heard, Carp::LinkDown, Carp::NeverHeard]),
        1..3,
    );
    let peer_link = select(vec![
        PeerLink::Answering,
        PeerLink::NotAnswering,
        PeerLink::Down,
        PeerLink::Down,
        PeerLink::Unpaired,
    ]);
    let disk_keys = select(vec![
        DiskKeys::Moving,
        DiskKeys::Still,
        DiskKeys::Absent,
        DiskKeys::Unreadable,
        DiskKeys::None,
    ]);
    let witness = select(vec![Witness::Holds, Witness::Lost, Witness::Unreachable, Witness::None]);
    (carp, peer_link, disk_keys, witness).prop_map(|(carp, peer_link, disk_keys, witness)| Evidence {
        carp,
        peer_link,
        disk_keys,
        witness,
    })
}

fn same() -> impl Strategy<Value = Option<Same>> {
    select(vec![None, Some(Same::Master), Some(Same::Backup)])
}

fn action() -> impl Strategy<Value = Action> {
    select(Action::ALL.to_vec())
}
