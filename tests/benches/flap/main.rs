//! Ours and keepalived while their role goes to and fro, and how long a client misses its answers.
//!
//! `cargo xtask bench flap [--json FILE] [--rounds N] [--fault NAME] [--peer NAME]`. Every fault happens to all pairs
//! in turn, each on a LAN of its own, in the same run.

mod report;
mod row;
mod run;

use std::process::ExitCode;

use anyhow::Result;
use lab::Peer;
use lab::bench::Options;
use lab::flap::Fault;
use report::Report;

fn main() -> ExitCode {
    lab::bench::run(USAGE, bench)
}

fn bench(mut options: Options) -> Result<Report> {
    let rounds = options.number("--rounds")?.unwrap_or(100);
    let faults = options.only("--fault", Fault::ALL.to_vec())?;
    let peers = options.only("--peer", vec![Peer::HaAgent, Peer::Keepalived])?;
    options.end()?;
    let report = run::flap(&peers, &faults, rounds)?;
    report.print();
    Ok(report)
}

const USAGE: &str = "usage: [--json FILE] [--rounds N] [--fault NAME] [--peer ha-agent|keepalived]";
