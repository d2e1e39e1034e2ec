//! What a busy machine makes of a pair whose active one is alive: ours, keepalived and FRR side by side.
//!
//! `cargo xtask bench stress [--json FILE] [--seconds S] [--rounds N] [--peer NAME] [--receive HOW] [--load NAME]`. All pairs live
//! through each load at the same time; then, with the load still there, each one's active node is cut off.

mod load;
mod report;
mod run;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use lab::Peer;
use lab::bench::Options;
use lab::load::spare_memory;
use lab::peer::receive_by;
use load::Kind;
use report::Report;
use run::Scale;

fn main() -> ExitCode {
    lab::bench::run(USAGE, bench)
}

fn bench(mut options: Options) -> Result<Report> {
    let time = Duration::from_secs(options.number("--seconds")?.unwrap_or(60).into());
    let rounds = options.number("--rounds")?.unwrap_or(10);
    let peers = options.only("--peer", Peer::FAST.to_vec())?;
    let kinds = options.only("--load", Kind::ALL.to_vec())?;
    options.take("--receive").into_iter().for_each(receive_by);
    options.end()?;
    let mut report = Report::begin(&peers, Scale { time, rounds, memory: spare_memory()? })?;
    run::stress(&peers, &kinds, report.scale, &mut |row| report.add(row))?;
    report.end();
    Ok(report)
}

const USAGE: &str = "usage: [--json FILE] [--seconds S] [--rounds N] \
                     [--peer ha-agent|keepalived|keepalived-rt|bfdd|vrrpd] \
                     [--receive native|generic|tcx|packet] \
                     [--load cpu|stop|memory|fork|softirq]";
