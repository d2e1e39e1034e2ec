//! `cargo xtask`: sets up what building needs, builds, loads, demonstrates, tests and measures ha-agent.
//!
//! One file a subcommand, each with a `run`; the rest is what they share.

mod agent;
mod bench;
mod demo;
mod deny;
mod ebpf;
mod fuzz;
mod linker;
mod load;
mod package;
mod packages;
mod paths;
mod previous;
mod process;
mod rustc;
mod services;
mod setup;
mod test;
mod toolchain;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            process::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup => setup::run(),
        Command::BuildEbpf(args) => ebpf::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Deny => deny::run(),
        Command::Package => package::run(),
        Command::Vm(args) => vm::run(&args),
    }
}

/// Builds, loads, demonstrates, tests and measures ha-agent.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make this machine able to build the BPF program
    Setup,
    /// Build the BPF program, which the agent embeds
    BuildEbpf(ebpf::Args),
    /// Load and attach the BPF program on one interface, until Ctrl-C
    Load(load::Args),
    /// Show three failovers of a live pair, measured and drawn (as root)
    Demo(demo::Args),
    /// Check, build and run every test (as root)
    Test(test::Args),
    /// Measure against a floor or a peer, in the same run
    Bench(bench::Args),
    /// Look for inputs that are not treated as they should be
    Fuzz(fuzz::Args),
    /// Check what comes into the build: licences, sources, known faults
    Deny,
    /// Make the Debian package
    Package,
    /// Test in guests with a kernel of their own, which are emulated: VLANs, bonds; two nodes with the same disks (no KVM)
    Vm(vm::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
