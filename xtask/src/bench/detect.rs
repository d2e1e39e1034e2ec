//! `cargo xtask bench detect`.

use std::{num::NonZeroU32, path::PathBuf};

use anyhow::Result;

use super::lab::Bench;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also write the figures into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each pair suffers each fault
    #[arg(long, value_name = "N", default_value = "20")]
    rounds: NonZeroU32,
    /// Then let ours alone at its fastest for so long, and count false failovers
    #[arg(long, value_name = "S")]
    soak: Option<NonZeroU32>,
    /// Only this one: ha-agent, keepalived, keepalived-rt, bfdd or vrrpd
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Have ours receive by this: native, generic, tcx or packet
    #[arg(long, value_name = "HOW")]
    receive: Option<String>,
    /// Also have ours looked at by so many viewers of its page
    #[arg(long, value_name = "N")]
    viewers: Option<NonZeroU32>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    Bench::build("detect", &["keepalived", "frr"])?
        .option("--rounds", Some(args.rounds))
        .option("--soak", args.soak)
        .option("--peer", args.peer.as_ref())
        .option("--receive", args.receive.as_ref())
        .option("--viewers", args.viewers)
        .json(args.json.as_deref())?
        .run()
}
