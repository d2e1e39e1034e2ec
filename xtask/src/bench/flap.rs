//! `cargo xtask bench flap`.

use std::{num::NonZeroU32, path::PathBuf};

use anyhow::Result;

use super::lab::Bench;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also write the figures into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many faults each pair suffers, one kind after the other
    #[arg(long, value_name = "N", default_value = "100")]
    rounds: NonZeroU32,
    /// Only this kind, as the table names it
    #[arg(long, value_name = "NAME")]
    fault: Option<String>,
    /// Only this one: ha-agent or keepalived
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    Bench::build("flap", &["keepalived", "nftables"])?
        .option("--rounds", Some(args.rounds))
        .option("--fault", args.fault.as_ref())
        .option("--peer", args.peer.as_ref())
        .json(args.json.as_deref())?
        .run()
}
