//! The same for a pair: faults planted in what two nodes agree on.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::planted::{Fault, said, verdict};
use crate::{run, run_original};

pub(crate) const FAULTS: [Fault; 10] = [
    Fault {
        name: "ready_before_it_is_stored",
        file: "pair/tell.rs",
        from: "Phase::Promised { .. } if self.stored.promised >= generation => Saying::Ready,",
        to: "Phase::Promised { .. } => Saying::Ready,",
        found_by: &["StoredFirst"],
    },
    Fault {
        name: "released_before_it_is_stored",
        file: "pair/give.rs",
        from: "if self.handover.is_some_and(|handover| self.stored.generation >= handover.generation) {",
        to: "if self.handover.is_some() {",
        found_by: &["StoredFirst"],
    },
    Fault {
        name: "served_before_it_is_stored",
        file: "pair/take.rs",
        from: "if self.stored.generation < self.term {",
        to: "if false {",
        found_by: &["StoredFirst"],
    },
    // The virtual hosts bow out while the services are still there.
    Fault {
        name: "leave_before_it_is_verified",
        file: "pair/tell.rs",
        from: "| Phase::Releasing(_) => Stance::Lead,",
        to: "=> Stance::Lead,
            Phase::Releasing(_) => Stance::Follow,",
        found_by: &["Verified"],
    },
    Fault {
        name: "back_before_it_is_undone",
        file: "pair/take.rs",
        from: "self.release(now, Purpose::Undo(why));",
        to: "self.undone(now, why);",
        found_by: &["Verified"],
    },
    Fault {
        name: "a_newer_generation_unnoticed",
        file: "pair/decide.rs",
        from: "state.role.leads() && state.generation > self.term",
        to: "state.role.leads() && state.generation < self.term && false",
        found_by: &["OneHolder", "Settled"],
    },
    Fault {
        name: "the_peers_generation_forgotten",
        file: "pair/mod.rs",
        from: "self.record.generation = self.record.generation.max(generation);",
        to: "let _ = generation;",
        found_by: &["Settled", "OneHolder", "Grows"],
    },
    Fault {
        name: "a_stuck_release_waited_for",
        file: "pair/mod.rs",
        from: "Phase::Releasing(Purpose::Handover) => self.go_back(now, Why::ReleaseStuck),",
        to: "Phase::Releasing(Purpose::Handover) => {}",
        found_by: &["NamesItsEnd", "Settled"],
    },
    Fault {
        name: "hold_ignored",
        file: "pair/decide.rs",
        from: "if self.record.held {",
        to: "if false {",
        found_by: &["Obedient"],
    },
    Fault {
        name: "end_not_named",
        file: "pair/give.rs",
        from: "        self.finish(end);\n        if self.serving {",
        to: "        let _ = end;\n        if self.serving {",
        found_by: &["NamesItsEnd", "Settled"],
    },
];

#[test]
fn every_property_holds() -> Result<()> {
    let began = Instant::now();
    let output = run_original(&["pair", FEWER, SEED])?;
    eprintln!("the pair as it is {} in {:.1?}", verdict(&output), began.elapsed());
    ensure!(output.status.success(), "the pair as it is: {}", said(&output));
    Ok(())
}

#[test]
fn each_planted_fault_is_found() -> Result<()> {
    for Fault { name, found_by, .. } in &FAULTS {
        let output = run(name, &["pair", SCHEDULES, SEED])?;
        let verdict = verdict(&output);
        eprintln!("{name}: {}", verdict.split(':').next().unwrap_or_default());
        ensure!(
            output.status.code() == Some(1) && found_by.iter().any(|property| verdict.starts_with(property)),
            "{name}, which one of {found_by:?} should find: {}",
            said(&output)
        );
    }
    Ok(())
}

/// Until each fault is found; without one they would take minutes.
const SCHEDULES: &str = "20000";
const FEWER: &str = "5000";
const SEED: &str = "1";
