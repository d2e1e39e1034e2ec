//! The bench of many virtual hosts in short: it says all that it has to, and nothing is missed.

#[path = "../benches/scale/floor.rs"]
mod floor;
#[path = "../benches/scale/report.rs"]
mod report;
#[path = "../benches/scale/run.rs"]
mod run;
#[path = "../benches/scale/witness.rs"]
mod witness;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::pauses::undisturbed;
use lab::process::wakes;
use lab::{Lan, pair};
use report::Report;

#[test]
fn many_virtual_hosts_are_measured() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    undisturbed(|| {
        let mut report = Report::begin(TIME)?;
        report.add(run::measure(HOSTS, TIME)?);
        report.end();
        let report = serde_json::to_value(report)?;
        let row = &report["rows"][0];
        ensure!(row["hosts"] == HOSTS && row["seconds"].as_f64() >= Some(TIME.as_secs_f64()), "{row:#}");
        // In two families, 100 times a second.
        let share = row["frames_per_s"].as_f64().unwrap_or_default() / f64::from(HOSTS) / 200.0;
        ensure!((0.9..1.1).contains(&share), "{row:#}");
        for field in
            ["cpu_fraction", "floor_cpu_fraction", "rss_mib", "peak_rss_mib", "longest_ms", "wakes_per_s"]
        {
            ensure!(row[field].as_f64() > Some(0.0), "no {field}: {row:#}");
        }
        ensure!(row["agents"].as_array().is_some_and(|agents| agents.len() == 2), "{row:#}");
        for field in ["missed_deadlines", "false_failovers"] {
            ensure!(row[field] == 0, "{field}: {row:#}");
        }
        Ok(())
    })
}

/// An advertisement that tells a standby nothing new waits for others, or for ten milliseconds.
#[test]
fn a_standby_is_not_woken_for_each_advertisement() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    undisturbed(|| {
        let lan = Lan::new("standby")?;
        let (a, b) = (lan.node("a", pair::A)?, lan.node("b", pair::B)?);
        let master = run::start(&a, HOSTS, |_| 0)?;
        master.until(PATIENCE, |vhost| (vhost["state"] == "MASTER").then_some(()))?;
        let standby = run::start(&b, HOSTS, |_| 10)?;
        let accepted = || standby.vhost()?["accepted"].as_u64().context("no accepted");
        let wakes = || wakes(standby.process.pid(), "ha-detector");
        standby.until(PATIENCE, |vhost| (vhost["accepted"].as_u64() > Some(0)).then_some(()))?;

        let (before, frames) = (wakes()?, accepted()?);
        lab::pass(TIME)?;
        let (woken, heard) = (wakes()? - before, u64::from(HOSTS) * (accepted()? - frames));
        ensure!(heard > 1000 && woken < heard / 5, "woken {woken} times for {heard} advertisements");
        Ok(())
    })
}

const HOSTS: u8 = 16;
const PATIENCE: Duration = Duration::from_secs(10);
const TIME: Duration = Duration::from_secs(2);
