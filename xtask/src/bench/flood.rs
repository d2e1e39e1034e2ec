//! `cargo xtask bench flood`.

use std::{num::NonZeroU32, path::PathBuf};

use anyhow::Result;

use super::lab::Bench;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also write the figures into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often the active one is cut off under each flood
    #[arg(long, value_name = "N", default_value = "20")]
    rounds: NonZeroU32,
    /// How long each flood lasts without a cut, and again with them
    #[arg(long, value_name = "S", default_value = "30")]
    seconds: NonZeroU32,
    /// Only this one: ha-agent, keepalived or ucarp
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    Bench::build("flood", &["keepalived", "ucarp"])?
        .option("--rounds", Some(args.rounds))
        .option("--seconds", Some(args.seconds))
        .option("--peer", args.peer.as_ref())
        .json(args.json.as_deref())?
        .run()
}
