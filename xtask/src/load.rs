//! `cargo xtask load`: loads and attaches the BPF program on one interface, until Ctrl-C.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use crate::agent;

/// The interface to load on.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The network interface
    #[arg(value_name = "IFACE")]
    interface: String,
}

/// Builds the agent, and becomes its `bpf load`.
///
/// # Errors
///
/// The agent cannot be built or started.
pub(crate) fn run(args: &Args) -> Result<()> {
    let agent = agent::build_agent()?;
    let error = Command::new(&agent).args(["bpf", "load", &args.interface]).exec();
    Err(error).with_context(|| format!("cannot run {}", agent.display()))
}
