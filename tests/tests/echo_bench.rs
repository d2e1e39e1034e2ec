//! The bench of the echo in short: every row is there with what it has to say, and what a forger costs stays small.

#[path = "../benches/echo/cost.rs"]
mod cost;
#[path = "../benches/echo/report.rs"]
mod report;
#[path = "../benches/echo/trip.rs"]
mod trip;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::pauses::undisturbed;

#[test]
fn an_answer_and_its_way_are_measured() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    undisturbed(|| {
        let report = report::Report::new(cost::measure()?, trip::measure(1, Duration::from_secs(1))?)?;
        report.print();
        let report = serde_json::to_value(report)?;
        let costs = report["costs"].as_array().context("no costs")?;
        ensure!(costs.len() == 5 && costs[0]["ratio"] == 1.0, "{costs:#?}");
        let forged = costs.iter().find(|row| row["frame"] == "a probe, forged").context("no forged one")?;
        let forged_ns = forged["ns"]["p50"].as_f64().context("no figure")?;
        ensure!(forged_ns * FLOOD < 1e9 / 10.0, "{FLOOD} a second would take {forged_ns} ns each");
        let trips = report["trips"]["rows"].as_array().context("no trips")?;
        ensure!(trips.len() == 6, "{trips:#?}");
        for row in trips {
            let [asked, lost] = ["asked", "lost"].map(|name| row[name].as_u64());
            ensure!(asked > Some(100) && row["us"]["p99"].is_f64(), "{row:#}");
            ensure!(row["answers"] != "kernel program" || lost == Some(0), "{row:#}");
        }
        ensure!(report["ratios"].as_array().is_some_and(|ratios| ratios.len() == 3), "{report:#}");
        Ok(())
    })
}

/// So many forged probes a second are to cost less than a tenth of a processor.
const FLOOD: f64 = 100_000.0;
