//! Ours, keepalived and ucarp while their standby is flooded, in the same run.
//!
//! `cargo xtask bench flood [--json FILE] [--rounds N] [--seconds S] [--peer NAME]`. Every peer lives through the
//! same floods: a time in which nothing happens, and again one in which its active node is cut off now and then.

mod frames;
mod peers;
mod report;
mod row;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use frames::Flood;
use lab::bench::Options;
use peers::PEERS;
use report::Report;
use row::Scale;

fn main() -> ExitCode {
    lab::bench::run(USAGE, bench)
}

fn bench(mut options: Options) -> Result<Report> {
    let rounds = options.number("--rounds")?.unwrap_or(20);
    let time = Duration::from_secs(options.number("--seconds")?.unwrap_or(30).into());
    let peers = options.only("--peer", PEERS.to_vec())?;
    options.end()?;
    let scale = Scale { rounds, time };
    let mut report = Report::begin(scale, &peers)?;
    for flood in Flood::ALL {
        for &peer in &peers {
            let row = row::measure(peer, flood, scale);
            report.add(row.with_context(|| format!("{peer}, flood: {flood}"))?);
        }
    }
    report.end();
    Ok(report)
}

const USAGE: &str = "usage: [--json FILE] [--rounds N] [--seconds S] [--peer ha-agent|keepalived|ucarp]";
