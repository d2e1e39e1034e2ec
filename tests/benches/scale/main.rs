//! What many virtual hosts cost: processor, memory, and deadlines that are missed.
//!
//! `cargo xtask bench scale [--json FILE] [--seconds S] [--hosts N]`. Two agents, each the master of half of the
//! virtual hosts, in both families every 10 ms; a witness looks at every frame.

mod floor;
mod report;
mod run;
mod witness;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::bench::Options;
use report::Report;

fn main() -> ExitCode {
    lab::bench::run(USAGE, bench)
}

fn bench(mut options: Options) -> Result<Report> {
    let time = Duration::from_secs(options.number("--seconds")?.unwrap_or(20).into());
    let sizes = options.only("--hosts", SIZES.to_vec())?;
    options.end()?;
    let mut report = Report::begin(time)?;
    for hosts in sizes {
        let row = run::measure(hosts, time);
        report.add(row.with_context(|| format!("{hosts} virtual hosts"))?);
    }
    report.end();
    Ok(report)
}

const SIZES: [u8; 4] = [1, 16, 64, 255];
const USAGE: &str = "usage: [--json FILE] [--seconds S] [--hosts 1|16|64|255]";
