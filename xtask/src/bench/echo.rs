//! `cargo xtask bench echo`.

use std::{num::NonZeroU32, path::PathBuf};

use anyhow::Result;

use super::lab::Bench;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also write the figures into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often it is asked, idle and busy in turn
    #[arg(long, value_name = "N", default_value = "10")]
    rounds: NonZeroU32,
    /// For how long each time
    #[arg(long, value_name = "S", default_value = "3")]
    seconds: NonZeroU32,
}

pub(super) fn run(args: &Args) -> Result<()> {
    Bench::build("echo", &[])?
        .option("--rounds", Some(args.rounds))
        .option("--seconds", Some(args.seconds))
        .json(args.json.as_deref())?
        .run()
}
