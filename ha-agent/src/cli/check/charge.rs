//! Pools, mounts and services: what would stand in the way of a takeover, as a drill sees it.

use super::Scene;
use super::finding::{Code, Finding};
use crate::agent;
use crate::cli::exit::Exit;
use crate::control::status::FaultStatus;
use crate::resource::Cause;

/// Looks at all of it, and touches nothing.
pub(super) fn check(scene: Scene<'_>) -> Vec<Finding> {
    if scene.config.charge.is_empty() {
        return Vec::new();
    }
    if let Some(process) = scene.agent() {
        let sentence =
            format!("{process} has them in charge: `ha-agent drill` and `status` say how they are");
        return vec![Finding::good("storage and services", sentence)];
    }
    let report = match agent::examine(scene.config) {
        Ok(report) => report,
        Err(failure) => return vec![bad("storage and services", &FaultStatus::new(&failure))],
    };
    let mut findings = Vec::new();
    for part in report.parts {
        findings.extend(part.good.into_iter().map(|sentence| Finding::good(&part.name, sentence)));
        findings.extend(part.bad.iter().map(|fault| bad(&part.name, fault)));
        let weak =
            part.weak.iter().map(|fault| Finding::told(Code::DoubtfulCharge, &part.name, &fault.sentence));
        findings.extend(weak);
    }
    findings
}

fn bad(about: &str, fault: &FaultStatus) -> Finding {
    let is = |cause: Cause| fault.cause == cause.name();
    let code = if is(Cause::NoTool) {
        Code::MissingTool
    } else if is(Cause::DiskMissing) {
        Code::MissingDisk
    } else if is(Cause::NoReservation) {
        Code::NoReservation
    } else {
        Code::Charge
    };
    Finding::told(code, about, &fault.sentence).ending(Exit::Unavailable)
}
