//! The timer and the rule, over all roles and random claims.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::core::election::Priority;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn both_nodes_name_the_same_loser(a in claim(), b in claim()) {
        let expected = match a.loser(&b) {
            Loser::We => Loser::They,
            Loser::They => Loser::We,
            Loser::Both => Loser::Both,
        };
        prop_assert_eq!(b.loser(&a), expected);
        let alike = a.node == b.node && a.contender == b.contender;
        prop_assert!(a.loser(&b) != Loser::Both || alike);
    }

    #[test]
    fn who_alone_holds_the_reservation_stays(a in claim(), b in claim()) {
        let (a, b) = (Claim { reservation: Reservation::Holds, ..a }, Claim { reservation: Reservation::Lacks, ..b });
        prop_assert_eq!(a.loser(&b), Loser::They);
    }

    #[test]
    fn without_disks_the_worse_contender_yields(a in claim(), b in claim()) {
        let without = |claim| Claim { reservation: Reservation::NoDisks, ..claim };
        let (a, b) = (without(a), without(b));
        let rank = |claim: &Claim| {
            let Contender { demote, priority, source } = claim.contender;
            (demote, priority.wire(), source, claim.node.clone())
        };
        let expected = match rank(&a).cmp(&rank(&b)) {
            Ordering::Less => Loser::They,
            Ordering::Greater => Loser::We,
            Ordering::Equal => Loser::Both,
        };
        prop_assert_eq!(a.loser(&b), expected);
    }

    /// Against a model that remembers everything.
    #[test]
    fn it_is_named_once_it_has_lasted(steps in prop::collection::vec((0..700_u64, role(), role()), 1..30)) {
        let mut watch = SameState::default();
        let mut now = Instant::from_nanos(0);
        let mut history: Vec<(Instant, Option<Same>)> = Vec::new();
        for (wait, ours, theirs) in steps {
            now = now + Duration::from_millis(wait);
            watch.observe(now, ours, theirs);
            history.push((now, Same::of(ours, theirs)));
            let same = Same::of(ours, theirs);
            let since = history.iter().rev().take_while(|(_, it)| *it == same).last().map_or(now, |(at, _)| *at);
            let until = since + LASTING;
            prop_assert_eq!(watch.named(now), same.filter(|_| until <= now));
            prop_assert_eq!(watch.poll_timeout(), same.map(|_| until));
        }
    }
}

#[test]
fn the_same_seen_from_both_sides() {
    for ours in Role::ALL {
        for theirs in Role::ALL {
            assert_eq!(Same::of(ours, theirs), Same::of(theirs, ours), "{ours} {theirs}");
            let both_serve = ours.serves() && theirs.serves();
            assert_eq!(Same::of(ours, theirs) == Some(Same::Master), both_serve, "{ours} {theirs}");
        }
    }
}

fn role() -> impl Strategy<Value = Role> {
    // Few, so that the same comes often.
    select(vec![Role::Master, Role::Importing, Role::Backup, Role::Unknown])
}

fn claim() -> impl Strategy<Value = Claim> {
    let reservation = select(vec![Reservation::Holds, Reservation::Lacks, Reservation::NoDisks]);
    let priority = (0..2_u8, 0..2_u8).prop_map(|(advbase, advskew)| Priority { advbase, advskew });
    let source = (0..3_u8).prop_map(|last| IpAddr::from([10, 77, 0, last]));
    let contender = (0..2_u8, priority, source).prop_map(|(demote, priority, source)| Contender {
        demote,
        priority,
        source,
    });
    (select(vec!["a", "b"]), reservation, contender).prop_map(|(node, reservation, contender)| Claim {
        node: node.to_owned(),
        reservation,
        contender,
    })
}
