//! The rounds.

use std::net::IpAddr;

use anyhow::{Context, Result};
use lab::bench::{Machine, Paused};
use lab::capture::now_ns;
use lab::flap::{Fault, Stage, Style};
use lab::pair::{VIRTUAL, VIRTUAL6};
use lab::pauses::Pauses;
use lab::{Peer, Random};

use super::report::{Report, Run};
use super::row::{Case, Row, TOLERATED};

/// Has each pair suffer one fault after the other, until there were so many.
///
/// # Errors
///
/// If something does not run, or the lab is interrupted.
pub(crate) fn flap(peers: &[Peer], faults: &[Fault], rounds: u32) -> Result<Report> {
    let (pauses, waits) = (Pauses::of_machine(TOLERATED)?, Pauses::longer_than(TOLERATED)?);
    let run = Run::new(Machine::here()?, peers, rounds);
    println!("{}; {rounds} rounds", run.machine);
    let mut stages = Vec::new();
    for style in STYLES.into_iter().filter(|style| peers.contains(&style.peer)) {
        let stage = Stage::start(&format!("flap{}", stages.len()), style, SEED)?;
        stages.push((stage, Random::new(SEED)));
    }
    let began_ns = now_ns();
    let mut cases = Vec::new();
    for (round, fault) in (0..rounds).zip(faults.iter().cycle()) {
        for (stage, random) in &mut stages {
            let forgets = random.below(2) == 0;
            if fault.is_known_to(stage.style.peer) {
                let course = stage.round(*fault, forgets);
                let course = course.with_context(|| format!("{}, round {round}", stage.style.peer))?;
                let case = Case::new(stage, *fault, forgets, course, &waits);
                case.print();
                cases.push(case);
            }
        }
    }
    let found = Paused::between(&pauses, began_ns, now_ns());
    let mut rows = Vec::new();
    for &peer in peers {
        let of_peer: Vec<_> = cases.iter().filter(|case| case.peer == peer).collect();
        rows.extend(Row::of("all", &of_peer));
        for fault in faults {
            let of_fault: Vec<_> = of_peer.iter().copied().filter(|case| case.fault == *fault).collect();
            rows.extend(Row::of(fault.name(), &of_fault));
        }
    }
    Ok(Report::new(rows, run, found))
}

/// The pairs.
const STYLES: [Style; 3] = [
    Style { peer: Peer::HaAgent, returns: true, address: IpAddr::V4(VIRTUAL) },
    Style { peer: Peer::HaAgent, returns: false, address: IpAddr::V6(VIRTUAL6) },
    Style { peer: Peer::Keepalived, returns: true, address: IpAddr::V4(VIRTUAL) },
];

const SEED: u64 = 20_261_124;
