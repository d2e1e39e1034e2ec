//! The table as a whole, and two nodes that change, agree, part, crash and meet in any order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const KNOWN: u32 = 2;

fn standing(layout: u32, version: u64, agreed: u64, digest: &str) -> Standing {
    Standing { layout, version, agreed, digest: digest.to_owned(), replaces: None }
}

#[test]
fn each_row_of_the_table() {
    let replacing = |digest: &str| Standing { replaces: Some(digest.to_owned()), ..standing(1, 7, 7, "x") };
    let table = [
        ("the same", standing(1, 4, 4, "x"), standing(1, 4, 4, "x"), Decision::Same),
        ("the same by different ways", standing(1, 1, 0, "x"), standing(1, 5, 2, "x"), Decision::Same),
        ("the peer was changed alone", standing(1, 4, 4, "x"), standing(1, 6, 4, "y"), Decision::Take),
        (
            "the peer had stored what was agreed",
            standing(1, 4, 4, "x"),
            standing(1, 5, 5, "y"),
            Decision::Take,
        ),
        ("an old copy was put back here", standing(1, 2, 2, "x"), standing(1, 5, 5, "y"), Decision::Take),
        ("this node was changed alone", standing(1, 5, 4, "x"), standing(1, 4, 4, "y"), Decision::Give),
        ("both were changed alone", standing(1, 5, 4, "x"), standing(1, 6, 4, "y"), Decision::Conflict),
        ("the peer never knew this one", standing(1, 5, 5, "x"), standing(1, 6, 4, "y"), Decision::Conflict),
        ("both began anew", standing(1, 1, 0, "x"), standing(1, 1, 0, "y"), Decision::Conflict),
        (
            "the same version, but not the same",
            standing(1, 5, 5, "x"),
            standing(1, 5, 5, "y"),
            Decision::Conflict,
        ),
        ("an operator replaced the peer's", replacing("y"), standing(1, 6, 4, "y"), Decision::Give),
        ("he replaced something else", replacing("z"), standing(1, 6, 4, "y"), Decision::Conflict),
        ("a layout that nobody here knows", standing(1, 4, 4, "x"), standing(3, 5, 4, "y"), Decision::TooNew),
        ("a newer layout", standing(1, 4, 4, "x"), standing(2, 5, 4, "y"), Decision::Take),
        (
            "a newer version in an older layout",
            standing(2, 4, 4, "x"),
            standing(1, 5, 4, "y"),
            Decision::Conflict,
        ),
    ];
    for (what, own, peer, expected) in table {
        assert_eq!(own.decide(&peer, KNOWN), expected, "{what}");
    }
}

/// All standings with small numbers, against all.
#[test]
fn at_most_one_of_two_takes_and_a_newer_layout_stays() {
    let mut all = Vec::new();
    for (layout, version) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 2)] {
        for agreed in 0..=version {
            for digest in ["x", "y"] {
                for replaces in [None, Some("x".to_owned()), Some("y".to_owned())] {
                    all.push(Standing { replaces, ..standing(layout, version, agreed, digest) });
                }
            }
        }
    }
    for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
        let (here, there) = (a.decide(b, KNOWN), b.decide(a, KNOWN));
        let expected = match here {
            Decision::Same => Decision::Same,
            Decision::Take => Decision::Give,
            Decision::Give => Decision::Take,
            Decision::Conflict => Decision::Conflict,
            // Whoever has it knows it, or could not have it.
            Decision::TooNew => continue,
        };
        if there != Decision::TooNew {
            assert_eq!(there, expected, "{a:?} {b:?}");
        }
        assert!(here != Decision::Take || b.layout >= a.layout, "{a:?} {b:?}");
        assert!(here != Decision::Take || b.version > a.version, "{a:?} {b:?}");
    }
}

/// A node as the agent has it: its document, and for the test alone, which changes are in its text.
#[derive(Clone, Debug)]
struct Node {
    standing: Standing,
    changes: BTreeSet<u32>,
}

impl Node {
    fn write(&mut self, standing: Standing, changes: &BTreeSet<u32>) {
        self.changes.clone_from(changes);
        self.standing = Standing { digest: format!("{changes:?}"), ..standing };
    }

    /// The document that a change of this node makes.
    fn changed(&self, change: u32, at_least: u64) -> (Standing, BTreeSet<u32>) {
        let mut changes = self.changes.clone();
        changes.insert(change);
        let version = self.standing.version.max(at_least) + 1;
        let digest = format!("{changes:?}");
        (Standing { version, digest, ..self.standing.clone() }, changes)
    }
}

/// What can happen, to the first node or the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It is changed while the peer is away.
    Alone,
    /// The two agree on a change; a crash may come before the peer has it.
    Together { crash: bool },
    /// It meets the peer.
    Meet,
    /// The operator says that its document stays.
    Over { crash: bool },
}

fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
    let step = prop_oneof![
        3 => Just(Step::Alone),
        3 => any::<bool>().prop_map(|crash| Step::Together { crash }),
        4 => Just(Step::Meet),
        1 => any::<bool>().prop_map(|crash| Step::Over { crash }),
    ];
    prop::collection::vec((any::<bool>(), step), 1..40)
}

/// What a node does when it meets the other one. Whoever gives up a text of its own must not lose a change by it.
fn meet(own: &mut Node, peer: &Node) {
    match own.standing.decide(&peer.standing, KNOWN) {
        Decision::Same => own.standing = own.standing.settled(&peer.standing),
        Decision::Take => {
            let told = peer.standing.replaces.as_ref() == Some(&own.standing.digest);
            assert!(told || own.changes.is_subset(&peer.changes), "{own:?} takes {peer:?}");
            let standing =
                Standing { agreed: peer.standing.version, replaces: None, ..peer.standing.clone() };
            own.write(standing, &peer.changes);
        }
        Decision::Give | Decision::Conflict | Decision::TooNew => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_change_is_lost_unless_an_operator_says_so_and_the_nodes_come_to_the_same(steps in steps()) {
        let mut nodes = [0, 1].map(|_| Node { standing: standing(1, 1, 0, "{}"), changes: BTreeSet::new() });
        for (change, (which, step)) in (0..).zip(steps) {
            let [first, second] = &mut nodes;
            let (own, peer) = if which { (first, second) } else { (second, first) };
            match step {
                Step::Alone => {
                    let (standing, changes) = own.changed(change, 0);
                    own.write(standing, &changes);
                }
                Step::Together { crash } => {
                    let (proposed, changes) = own.changed(change, 0);
                    if peer.standing.decide(&proposed, KNOWN) == Decision::Take {
                        let version = proposed.version;
                        own.write(Standing { agreed: version, ..proposed }, &changes);
                        if !crash {
                            meet(peer, own);
                            prop_assert_eq!(&own.changes, &peer.changes);
                        }
                    }
                }
                Step::Meet => meet(own, peer),
                Step::Over { crash } => {
                    let (standing, changes) = own.changed(change, peer.standing.version);
                    let replaces = Some(peer.standing.digest.clone());
                    own.write(Standing { agreed: standing.version, replaces, ..standing }, &changes);
                    if !crash {
                        meet(peer, own);
                        prop_assert_eq!(&own.changes, &peer.changes);
                    }
                }
            }
            for node in &nodes {
                prop_assert!(node.standing.agreed <= node.standing.version);
            }
        }
        let [a, b] = &mut nodes;
        let conflict = a.standing.decide(&b.standing, KNOWN) == Decision::Conflict;
        for _ in 0..2 {
            meet(a, b);
            meet(b, a);
        }
        if conflict {
            prop_assert_ne!(&a.changes, &b.changes);
        } else {
            prop_assert_eq!(&a.standing, &b.standing);
            prop_assert_eq!(a.standing.agreed, a.standing.version);
        }
    }
}
