//! `cargo xtask bench stress`.

use std::{num::NonZeroU32, path::PathBuf};

use anyhow::Result;

use super::lab::Bench;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also write the figures into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How long each load lasts without a cut
    #[arg(long, value_name = "S", default_value = "60")]
    seconds: NonZeroU32,
    /// How often the active one of each pair is then cut off
    #[arg(long, value_name = "N", default_value = "10")]
    rounds: NonZeroU32,
    /// Only this one: ha-agent, keepalived, keepalived-rt, bfdd or vrrpd
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Have ours receive by this: native, generic, tcx or packet
    #[arg(long, value_name = "HOW")]
    receive: Option<String>,
    /// Only this one: cpu, stop, memory, fork or softirq
    #[arg(long, value_name = "NAME")]
    load: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    Bench::build("stress", &["keepalived", "frr", "perl-base"])?
        .option("--seconds", Some(args.seconds))
        .option("--rounds", Some(args.rounds))
        .option("--peer", args.peer.as_ref())
        .option("--receive", args.receive.as_ref())
        .option("--load", args.load.as_ref())
        .json(args.json.as_deref())?
        .run()
}
