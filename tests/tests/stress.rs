//! The bench of stress in short: every row of two peers is there with what it has to say, and ours misses no cut.

#[path = "../benches/stress/load.rs"]
mod load;
#[path = "../benches/stress/report.rs"]
mod report;
#[path = "support/rows.rs"]
mod rows;
#[path = "../benches/stress/run.rs"]
mod run;

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::Peer;
use lab::pauses::undisturbed;
use load::Kind;
use report::Report;
use run::Scale;

#[test]
fn stress_is_measured_for_every_peer_and_load() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let rows = Kind::ALL.into_iter().flat_map(|kind| PEERS.map(|peer| (peer, kind.to_string(), 10.0)));
    let expected: Vec<_> = rows.collect();
    undisturbed(|| {
        let scale = Scale { time: Duration::from_secs(1), rounds: 1, memory: 256 << 20 };
        let mut report = Report::begin(&PEERS, scale)?;
        run::stress(&PEERS, &Kind::ALL, scale, &mut |row| report.add(row))?;
        report.end();
        let report = serde_json::to_value(report)?;
        for row in rows::judge(&report, "load", &expected)? {
            ensure!(row["jitter_ms"]["p99_9"].is_f64() == (row["peer"] != "bfdd"), "{row:#}");
            ensure!(row["frames_per_s"].is_f64() == (row["load"] == "softirq"), "{row:#}");
            ensure!(row["overshoot_continued_ms"].is_object() == (row["load"] == "stop"), "{row:#}");
        }
        Ok(())
    })
}

/// Ours, and one of another kind; the short form of the bench of detection has them all.
const PEERS: [Peer; 2] = [Peer::HaAgent, Peer::Bfdd];
