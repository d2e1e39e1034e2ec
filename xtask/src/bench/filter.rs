//! `cargo xtask bench filter`.

use std::path::PathBuf;

use anyhow::Result;

use crate::{agent, ebpf, process::shown};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also write the figures into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    ebpf::build()?;
    let mut cargo = agent::cargo()?;
    cargo.args(["bench", "--quiet", "--locked", "--package", "tests", "--bench", "filter", "--"]);
    if let Some(json) = &args.json {
        // Benches run in their package's directory.
        cargo.arg("--json").arg(std::path::absolute(json)?);
    }
    shown(&mut cargo)
}
