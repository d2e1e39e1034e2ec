//! `cargo xtask bench`: measurements, each of which compares with a floor or a peer in the same run.

use std::path::PathBuf;

use anyhow::Result;

use crate::{agent, ebpf, process::shown};

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(clap::Subcommand)]
enum Bench {
    /// What the BPF program costs a frame, next to a program that does nothing (as root)
    Filter {
        /// Also write the figures into this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

/// Builds what is measured, and measures.
///
/// # Errors
///
/// Something cannot be built, or we are not root.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Bench::Filter { json } = &args.bench;
    ebpf::build()?;
    let mut cargo = agent::cargo()?;
    cargo.args(["bench", "--quiet", "--locked", "--package", "tests", "--bench", "filter", "--"]);
    if let Some(json) = json {
        // Benches run in their package's directory.
        cargo.arg("--json").arg(std::path::absolute(json)?);
    }
    shown(&mut cargo)
}
