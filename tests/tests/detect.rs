//! The bench of detection in short: every row is there with what it has to say, and ours misses no fault.

#[path = "../benches/detect/report.rs"]
mod report;
#[path = "support/rows.rs"]
mod rows;
#[path = "../benches/detect/run.rs"]
mod run;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Peer;
use lab::pauses::undisturbed;
use lab::peer::{Fault, show_pages};
use serde_json::Value;

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
        // Without viewers only at its fastest, with them at both paces.
        expected.extend([1.0, 10.0, 1.0].map(|interval| (Peer::HaAgent, fault.to_string(), interval)));
    }
    show_pages();
    undisturbed(|| {
        let report = run::detect(&Peer::FAST, 1, Some(Duration::from_secs(1)), VIEWERS)?;
        report.print();
        let report = serde_json::to_value(report)?;
        rows::judge(&report, "fault", &expected)?;
        let soak = &report["soak"];
        let looked_at = |row: &&Value| row["viewers"] == VIEWERS;
        ensure!(report["rows"].as_array().into_iter().flatten().filter(looked_at).count() == 6, "{report:#}");
        let usage = report["usage"].as_array().context("no usage")?;
        ensure!(usage.iter().filter(looked_at).count() == 2 && usage.len() == 4, "{usage:#?}");
        let saw = |row: &Value| row["snapshots"].as_u64() > Some(0);
        ensure!(usage.iter().filter(looked_at).all(saw), "{usage:#?}");
        ensure!(soak["seconds"].as_f64() >= Some(1.0) && soak["false_failovers"].is_u64(), "{soak:#}");
        Ok(())
    })
}

const VIEWERS: usize = 20;
