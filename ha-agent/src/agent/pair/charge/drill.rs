//! A drill: looks at everything as a takeover would find it, and says how long one would take.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::history::Takeover;
use crate::control::drill::{DrillPart, DrillReport, PhaseEstimate};
use crate::control::status::FaultStatus;
use crate::core::plan::Phase;
use crate::exec::conductor::{Duties, Part};
use crate::resource::{Cause, Failure, Finding, Stop, Within};

/// Looks at all parts side by side. `silence` is how long it takes to know that the peer is dead. It blocks.
///
/// # Errors
///
/// If the system has no descriptors left.
pub(super) fn drill(
    duties: &Duties,
    takeovers: &[Takeover],
    silence: Duration,
) -> std::io::Result<DrillReport> {
    let stop = Stop::new()?;
    let looked: Vec<(Duration, Vec<Finding>)> = thread::scope(|scope| {
        let look = |part: &Part| {
            let (resource, within) = (part.resource.clone(), Within::new(TIME, stop.clone()));
            let look = move || {
                let began = Instant::now();
                let findings = resource.examine(&within);
                (began.elapsed(), findings)
            };
            thread::Builder::new().name("ha-drill".to_owned()).spawn_scoped(scope, look)
        };
        let threads: Vec<_> = duties.parts().iter().map(look).collect();
        let broken = || {
            let what = "looking at it broke down";
            let remedy = "this is a mistake of ha-agent's: please report it";
            (Duration::ZERO, vec![Finding::Bad(Failure::new(Cause::Other, what, remedy))])
        };
        threads
            .into_iter()
            .map(|thread| thread.ok().and_then(|thread| thread.join().ok()).unwrap_or_else(broken))
            .collect()
    });
    let parts: Vec<DrillPart> =
        duties.parts().iter().zip(looked).map(|(part, looked)| judge(part, looked, takeovers)).collect();
    let estimates: Vec<Duration> =
        parts.iter().map(|part| Duration::from_secs_f64(part.estimate_ms / 1e3)).collect();
    let addresses = last(takeovers, Phase::Addresses.name()).unwrap_or_default();
    let longest = duties.take_time(|part| estimates.get(part).copied().unwrap_or(addresses));
    let mut phases: BTreeMap<Phase, f64> = BTreeMap::new();
    for part in &parts {
        let phase = phases.entry(part.phase).or_default();
        *phase = phase.max(part.estimate_ms);
    }
    phases.insert(Phase::Addresses, ms(addresses));
    let silent = PhaseEstimate { name: "silence".to_owned(), ms: ms(silence) };
    let phases = phases.into_iter().map(|(phase, ms)| PhaseEstimate { name: phase.name().to_owned(), ms });
    Ok(DrillReport {
        at_least: parts.iter().any(|part| part.basis != TAKEN),
        phases: [silent].into_iter().chain(phases).collect(),
        total_ms: ms(silence + longest),
        parts,
    })
}

fn judge(part: &Part, (took, findings): (Duration, Vec<Finding>), takeovers: &[Takeover]) -> DrillPart {
    let name = part.resource.name();
    let known = last(takeovers, name);
    let (mut good, mut weak, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for finding in findings {
        match finding {
            Finding::Good(what) => good.push(what),
            Finding::Weak(failure) => weak.push(FaultStatus::new(&failure)),
            Finding::Bad(failure) => bad.push(FaultStatus::new(&failure)),
        }
    }
    DrillPart {
        name: name.to_owned(),
        phase: part.phase,
        good,
        weak,
        bad,
        estimate_ms: ms(known.unwrap_or(took)),
        basis: if known.is_some() { TAKEN } else { "looked" }.to_owned(),
    }
}

/// How long a step took the last time that it went well.
fn last(takeovers: &[Takeover], name: &str) -> Option<Duration> {
    let steps = takeovers.iter().rev().flat_map(|takeover| &takeover.steps);
    steps.filter(|step| step.well && step.name == name).map(|step| step.took).next()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

const TAKEN: &str = "taken";
/// How long looking at a part may take.
const TIME: Duration = Duration::from_secs(20);
