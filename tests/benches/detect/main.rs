//! How soon the loss of the active one is noticed, on an idle machine: ours, keepalived and FRR in the same run.
//!
//! `cargo xtask bench detect [--json FILE] [--rounds N] [--soak S] [--peer NAME] [--receive HOW] [--viewers N]`. All pairs run all the time; each
//! in turn suffers a fault, then each the next one.

mod report;
mod run;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use lab::Peer;
use lab::bench::Options;
use lab::peer::{receive_by, show_pages};
use report::Report;

fn main() -> ExitCode {
    lab::bench::run(USAGE, bench)
}

fn bench(mut options: Options) -> Result<Report> {
    let rounds = options.number("--rounds")?.unwrap_or(20);
    let soak = options.number("--soak")?.map(|seconds| Duration::from_secs(seconds.into()));
    let peers = options.only("--peer", Peer::FAST.to_vec())?;
    options.take("--receive").into_iter().for_each(receive_by);
    let viewers = options.number("--viewers")?;
    options.end()?;
    if viewers.is_some() {
        show_pages();
    }
    let report = run::detect(&peers, rounds, soak, viewers.map_or(0, |viewers| viewers as usize))?;
    report.print();
    Ok(report)
}

const USAGE: &str = "usage: [--json FILE] [--rounds N] [--soak SECONDS] \
                     [--peer ha-agent|keepalived|keepalived-rt|bfdd|vrrpd] \
                     [--receive native|generic|tcx|packet] [--viewers N]";
