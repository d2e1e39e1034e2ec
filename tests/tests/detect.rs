//! The bench of detection in short: every row is there with what it has to say, and ours misses no fault.

#[path = "../benches/detect/report.rs"]
mod report;
#[path = "support/rows.rs"]
mod rows;
#[path = "../benches/detect/run.rs"]
mod run;

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::Peer;
use lab::pauses::undisturbed;
use lab::peer::Fault;

#[test]
fn detection_is_measured_for_every_peer_and_fault() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let mut expected = Vec::new();
    for fault in Fault::ALL {
        // BFD has no way to hand over.
        let peers = Peer::FAST.into_iter().filter(|&peer| (peer, fault) != (Peer::Bfdd, Fault::Planned));
        expected.extend(peers.map(|peer| (peer, fault.to_string(), 10.0)));
        expected.push((Peer::HaAgent, fault.to_string(), 1.0));
    }
    undisturbed(|| {
        let report = run::detect(&Peer::FAST, 1, Some(Duration::from_secs(1)))?;
        report.print();
        let report = serde_json::to_value(report)?;
        rows::judge(&report, "fault", &expected)?;
        let soak = &report["soak"];
        ensure!(soak["seconds"].as_f64() >= Some(1.0) && soak["false_failovers"].is_u64(), "{soak:#}");
        Ok(())
    })
}
