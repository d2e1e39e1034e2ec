//! `ha-agent guard`: for the agent itself.

use std::ffi::OsString;
use std::path::PathBuf;

use super::exit::Exit;
use super::{fail, say};
use crate::update::guard::Guard;

/// Arguments of `guard`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Start the guard as a process that goes on alone.
    #[arg(long, conflicts_with = "watch")]
    detach: bool,
    /// Be the guard.
    #[arg(long, required_unless_present = "detach")]
    watch: bool,
    /// The process that becomes the new agent.
    #[arg(long)]
    pid: u32,
    /// The agent's state directory.
    #[arg(long)]
    state: PathBuf,
    /// The agent before.
    #[arg(long)]
    installed: PathBuf,
    /// The agent's arguments.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(super) fn run(args: &Args) -> Exit {
    let Args { detach, watch: _, pid, state, installed, arguments } = args.clone();
    let guard = Guard { pid, state, installed, arguments };
    let done = if detach { guard.detach() } else { guard.watch(|| say("watching")) };
    match done {
        Ok(()) => Exit::Ok,
        Err(error) => fail(&format!("the guard of an update: {error}"), Exit::Os),
    }
}
