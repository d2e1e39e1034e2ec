//! What holds of every group. The tables are in `docs/verdict.md`.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::core::liveness::Evidence;
use crate::core::time::Instant;

const SILENT: Carp = Carp::Silent { since: Instant::from_nanos(7) };

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// The rule as an operator would put it.
    #[test]
    fn a_group_is_lost_when_all_critical_members_that_can_hear_are_silent(group in group()) {
        let can_hear: Vec<_> = group
            .critical()
            .filter(|carp| matches!(carp, Carp::Heard | Carp::Silent { .. }))
            .collect();
        let lost = !can_hear.is_empty() && can_hear.iter().all(|carp| *carp == SILENT);
        prop_assert_eq!(group.reception() == Reception::Lost, lost);
    }

    #[test]
    fn other_members_decide_nothing(mut group in group(), carp in carp()) {
        let before = (group.reception(), group.links());
        let interface = "eth9".to_owned();
        group.members.push(Member { interface, importance: Importance::Other, carp });
        prop_assert_eq!((group.reception(), group.links()), before);
    }

    #[test]
    fn one_link_keeps_a_group(mut group in group(), carp in carp()) {
        prop_assume!(carp != Carp::LinkDown);
        let interface = "eth9".to_owned();
        group.members.push(Member { interface, importance: Importance::Critical, carp });
        prop_assert!(group.links() != Links::Gone);
        prop_assert!(group.reception() != Reception::Deaf);
    }

    #[test]
    fn links_and_reception_are_of_one_mind(group in group()) {
        let has_critical = group.critical().next().is_some();
        let deaf = !has_critical || group.links() == Links::Gone;
        prop_assert_eq!(group.reception() == Reception::Deaf, deaf);
    }

    #[test]
    fn nobody_takes_over_from_a_living_peer(groups in groups()) {
        let carp = groups
            .iter()
            .flat_map(|group| &group.members)
            .map(|member| (member.interface.clone(), member.carp))
            .collect();
        let evidence = Evidence { carp, ..Evidence::default() };
        let verdict = evidence.judge().verdict;
        if response(&groups, verdict) == Response::TakeOver {
            prop_assert!(evidence.carp.values().all(|carp| *carp != Carp::Heard));
        }
    }

    #[test]
    fn a_dead_peer_is_replaced_whatever_the_groups_say(groups in groups()) {
        prop_assert_eq!(response(&groups, Verdict::Dead), Response::TakeOver);
    }

    #[test]
    fn two_nodes_never_pass_the_role_to_and_fro((ours, theirs) in both()) {
        let away = consequence(&ours, Some(&theirs)) == Consequence::HandOver;
        let back = consequence(&theirs, Some(&ours)) == Consequence::HandOver;
        prop_assert!(!(away && back));
        prop_assert!(consequence(&ours, None) != Consequence::HandOver);
        prop_assert!(!away || ours.contains(&Links::Gone));
    }
}

fn groups() -> impl Strategy<Value = Vec<Group>> {
    prop::collection::vec(group(), 0..4).prop_map(|mut groups| {
        // An interface is in one group.
        for (number, group) in groups.iter_mut().enumerate() {
            for member in &mut group.members {
                member.interface = format!("{}.{number}", member.interface);
            }
        }
        groups
    })
}

fn group() -> impl Strategy<Value = Group> {
    let importance = select(vec![Importance::Critical, Importance::Other]);
    let members = prop::collection::vec((importance, carp()), 0..4);
    members.prop_map(|members| {
        let member = |(number, (importance, carp))| {
            let interface = format!("eth{number}");
            Member { interface, importance, carp }
        };
        Group { name: "data".to_owned(), members: members.into_iter().enumerate().map(member).collect() }
    })
}

fn carp() -> impl Strategy<Value = Carp> {
    select(vec![Carp::Heard, SILENT, Carp::LinkDown, Carp::NeverHeard])
}

fn both() -> impl Strategy<Value = (Vec<Links>, Vec<Links>)> {
    let links = || prop::collection::vec(select(vec![Links::Whole, Links::Reduced, Links::Gone]), 3);
    (links(), links())
}
