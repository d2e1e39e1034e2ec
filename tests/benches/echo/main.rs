//! What an answer of the kernel costs, and how long it takes: idle and beside busy processes, next to what else answers.
//!
//! `cargo xtask bench echo [--json FILE] [--rounds N] [--seconds S]`.

mod cost;
mod report;
mod trip;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use lab::bench::Options;
use report::Report;

fn main() -> ExitCode {
    lab::bench::run(USAGE, bench)
}

fn bench(mut options: Options) -> Result<Report> {
    let rounds = options.number("--rounds")?.unwrap_or(10);
    let time = Duration::from_secs(options.number("--seconds")?.unwrap_or(3).into());
    options.end()?;
    let report = Report::new(cost::measure()?, trip::measure(rounds, time)?)?;
    report.print();
    Ok(report)
}

const USAGE: &str = "usage: [--json FILE] [--rounds N] [--seconds S]";
