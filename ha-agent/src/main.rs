//! The `ha-agent` command.

use std::process::ExitCode;

use clap::Parser;
use ha_agent::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().into()
}
