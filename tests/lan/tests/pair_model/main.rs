//! The pair machine in every order of events, up to a depth: two nodes, their link, the CARP network, agents that are killed
//! and machines that lose their power, a witness, and a reservation.
//!
//! Time is left out: each deadline that is set may come at any time, before or after anything else. What that leaves in,
//! and what is bounded, stands in [`model`].

mod model;
mod peace;

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::model::{Faults, Pairs, Third};

/// Checks a model to a depth, and says how much that was.
fn check(name: &str, model: Pairs, depth: usize) {
    let began = Instant::now();
    let checker = model.checker().threads(2).target_max_depth(depth).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.timeout(Duration::from_mins(5)).spawn_bfs().join();
    eprintln!(
        "{name}: {} states, {} of them different, to depth {} in {:.1?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed()
    );
    checker.assert_properties();
    assert!(checker.max_depth() >= depth, "{name}: stopped at depth {}", checker.max_depth());
}

#[test]
fn agents_and_machines_that_die() {
    let faults = Faults { kills: 1, power_cuts: 1, wishes: 1, losses: 1, deadlines: 1, ..Faults::NONE };
    check("dying", Pairs { third: Third::None, faults }, 13);
}

#[test]
fn a_carp_network_that_is_cut() {
    let faults = Faults { carp_cuts: 1, kills: 1, wishes: 1, deadlines: 1, ..Faults::NONE };
    check("CARP cut", Pairs { third: Third::None, faults }, 13);
}

#[test]
fn a_link_that_is_cut() {
    let faults = Faults { link_cuts: 1, kills: 1, wishes: 1, failures: 1, ..Faults::NONE };
    check("link cut", Pairs { third: Third::None, faults }, 14);
}

#[test]
fn both_cut_with_a_witness() {
    let faults = Faults { link_cuts: 1, carp_cuts: 1, kills: 1, wishes: 1, expiries: 1, ..Faults::NONE };
    check("witness", Pairs { third: Third::Witness, faults }, 12);
}

#[test]
fn both_cut_with_a_reservation() {
    let faults = Faults { link_cuts: 1, carp_cuts: 1, kills: 1, wishes: 1, ..Faults::NONE };
    check("reservation", Pairs { third: Third::Reservation, faults }, 12);
}
