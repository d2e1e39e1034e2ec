//! From silence to the first gratuitous ARP, and to the client's first answer: ours and keepalived in the same run.
//!
//! `cargo xtask bench takeover [--json FILE] [--rounds N] [--peer NAME]`. All pairs run all the time; the cable of each
//! active one is pulled in turn, first on an idle machine, then with two processes that only compute on every processor.

mod report;
mod run;

use std::process::ExitCode;

use anyhow::Result;
use lab::Peer;
use lab::bench::Options;
use report::Report;

fn main() -> ExitCode {
    lab::bench::run(USAGE, bench)
}

fn bench(mut options: Options) -> Result<Report> {
    let rounds = options.number("--rounds")?.unwrap_or(50);
    let peers = options.only("--peer", vec![Peer::HaAgent, Peer::Keepalived, Peer::KeepalivedRt])?;
    options.end()?;
    let report = run::takeover(&peers, rounds)?;
    report.print();
    Ok(report)
}

const USAGE: &str = "usage: [--json FILE] [--rounds N] [--peer ha-agent|keepalived|keepalived-rt]";
