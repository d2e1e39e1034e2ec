//! The bench of takeovers in short: every row is there with what it has to say, and ours is announced soon.

#[path = "../benches/takeover/report.rs"]
mod report;
#[path = "support/rows.rs"]
mod rows;
#[path = "../benches/takeover/run.rs"]
mod run;

use anyhow::{Context, Result, ensure};
use lab::Peer;
use lab::pauses::undisturbed;

#[test]
fn takeovers_are_measured_for_every_peer_and_load() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let peers = [Peer::HaAgent, Peer::Keepalived];
    let loads = ["idle", "cpu"].into_iter();
    let expected: Vec<_> = loads.flat_map(|load| peers.map(|peer| (peer, load.to_owned(), 10.0))).collect();
    undisturbed(|| {
        let report = run::takeover(&peers, 2)?;
        report.print();
        let report = serde_json::to_value(report)?;
        for row in rows::judge(&report, "load", &expected)? {
            let ours = row["peer"] == "ha-agent";
            ensure!(row["journal_ms"].is_object() == ours, "{row:#}");
            if !ours {
                continue;
            }
            let worst = |name: &str| row[name]["max"].as_f64().with_context(|| format!("no {name}: {row:#}"));
            let announced = worst("announced_ms")?;
            ensure!((0.0..TOLERANCE_MS).contains(&announced), "announced after {announced} ms: {row:#}");
            ensure!(worst("answered_ms")? > 0.0, "{row:#}");
            // Of one takeover they are in this order, so their medians are.
            let median = |phase: &str| row["journal_ms"][phase]["p50"].as_f64();
            let phases = ["noticed", "advertised", "address_up", "announced"].map(median);
            ensure!(phases.is_sorted() && phases[0] >= Some(0.0), "{row:#}");
        }
        Ok(())
    })
}

/// On a machine that the others keep busy.
const TOLERANCE_MS: f64 = 50.0;
