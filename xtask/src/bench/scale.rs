//! `cargo xtask bench scale`.

use std::{num::NonZeroU32, path::PathBuf};

use anyhow::Result;

use super::lab::Bench;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also write the figures into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How long each number of virtual hosts is looked at
    #[arg(long, value_name = "S", default_value = "20")]
    seconds: NonZeroU32,
    /// Only so many virtual hosts: 1, 16, 64 or 255
    #[arg(long, value_name = "N")]
    hosts: Option<u8>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    Bench::build("scale", &[])?
        .option("--seconds", Some(args.seconds))
        .option("--hosts", args.hosts)
        .json(args.json.as_deref())?
        .run()
}
