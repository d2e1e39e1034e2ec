//! `cargo xtask demo`: two controllers and a client in network namespaces, three failovers, measured and drawn.

mod failover;
mod report;
mod stage;
mod svg;
mod wire;

use std::{
    fs,
    io::{self, ErrorKind, Write as _},
    num::NonZeroU32,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;

use crate::{
    agent, packages, paths,
    process::{say, timed},
};
use failover::Fault;
use report::Report;
use stage::Stage;

/// How much is shown.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each fault is shown
    #[arg(long, value_name = "N", default_value = "1")]
    rounds: NonZeroU32,
}

/// Builds the agent, shows the failovers, and writes `target/demo/timeline.svg` and `timeline.json`. Whatever it
/// makes on the machine is gone afterwards, also when it fails or is told to end.
///
/// # Errors
///
/// We are not root, something cannot be set up, a failover did not happen, or the files cannot be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !geteuid().is_root() {
        bail!("the demo makes network namespaces and loads a BPF program: run `cargo xtask demo` as root");
    }
    packages::ensure(&PACKAGES)?;
    lab::use_agent_binary(agent::build_agent()?);

    let directory = paths::root().join("target/demo");
    let (drawing, data) = (directory.join("timeline.svg"), directory.join("timeline.json"));
    // Of an earlier run: nobody shall take them for the result of this one.
    for old in [&drawing, &data] {
        remove(old)?;
    }
    lab::interrupt_on_signals()?;
    let report = match show(args.rounds.get()) {
        Err(_) if lab::is_interrupted() => bail!("interrupted; whatever was made is removed"),
        result => result?,
    };
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    write(&drawing, &svg::draw(&report))?;
    write(&data, &serde_json::to_string_pretty(&report)?)
}

/// Shows every fault in every round, printing while it goes on.
fn show(rounds: u32) -> Result<Report> {
    let mut out = io::stdout();
    let mut stage = timed("two controllers and a client", Stage::set)?;
    writeln!(out, "\n{}", report::introduction())?;
    let mut failovers = Vec::new();
    for round in 1..=rounds {
        for fault in Fault::ALL {
            let failover = stage.fail(round, fault).with_context(|| format!("round {round}, {fault}"))?;
            if round == 1 {
                writeln!(out, "\n{}", report::timeline(&failover))?;
            } else {
                writeln!(out, "{}", report::line(&failover))?;
            }
            failovers.push(failover);
        }
    }
    let report = Report::new(failovers);
    write!(out, "\n{}", report.table())?;
    Ok(report)
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    say(format_args!("wrote {}", file.display()));
    Ok(())
}

const PACKAGES: [&str; 2] = ["iproute2", "util-linux"];
