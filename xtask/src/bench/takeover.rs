//! `cargo xtask bench takeover`.

use std::{num::NonZeroU32, path::PathBuf};

use anyhow::Result;

use super::lab::Bench;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also write the figures into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often the active one of each pair is cut off under each load
    #[arg(long, value_name = "N", default_value = "50")]
    rounds: NonZeroU32,
    /// Only this one: ha-agent, keepalived or keepalived-rt
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    Bench::build("takeover", &["keepalived"])?
        .option("--rounds", Some(args.rounds))
        .option("--peer", args.peer.as_ref())
        .json(args.json.as_deref())?
        .run()
}
