//! `cargo xtask bench`: measurements, each of which compares with a floor or a peer in the same run.
//!
//! One file a bench, with its `Args` and a `run`; those of the lab share [`lab`].

mod filter;
mod flood;
mod lab;

use anyhow::Result;

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(clap::Subcommand)]
enum Bench {
    /// What the BPF program costs a frame, next to a program that does nothing (as root)
    Filter(filter::Args),
    /// How a standby that is flooded notices the loss of the active one, next to keepalived and ucarp (as root)
    Flood(flood::Args),
}

/// Builds what is measured, and measures.
///
/// # Errors
///
/// Something cannot be built, or we are not root.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.bench {
        Bench::Filter(args) => filter::run(args),
        Bench::Flood(args) => flood::run(args),
    }
}
