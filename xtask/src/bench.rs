//! `cargo xtask bench`: measurements, each of which compares with a floor or a peer in the same run.
//!
//! One file a bench, with its `Args` and a `run`; those of the lab share [`lab`].

mod detect;
mod echo;
mod filter;
mod flap;
mod flood;
mod lab;
mod scale;
mod stress;
mod takeover;

use anyhow::Result;

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(clap::Subcommand)]
enum Bench {
    /// How soon the loss of the active one is noticed, next to keepalived and FRR (as root)
    Detect(detect::Args),
    /// What an answer of the kernel program costs and how long it takes, next to ICMP and a process (as root)
    Echo(echo::Args),
    /// What the BPF program costs a frame, next to a program that does nothing (as root)
    Filter(filter::Args),
    /// How long a client misses its answers while the role goes to and fro, next to keepalived (as root)
    Flap(flap::Args),
    /// How a standby that is flooded notices the loss of the active one, next to keepalived and ucarp (as root)
    Flood(flood::Args),
    /// What many virtual hosts cost: processor, memory, and deadlines that are missed (as root)
    Scale(scale::Args),
    /// What a busy machine makes of a pair whose active one is alive, next to keepalived and FRR (as root)
    Stress(stress::Args),
    /// From silence to the first gratuitous ARP and the client's first answer, next to keepalived (as root)
    Takeover(takeover::Args),
}

/// Builds what is measured, and measures.
///
/// # Errors
///
/// Something cannot be built, or we are not root.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.bench {
        Bench::Detect(args) => detect::run(args),
        Bench::Echo(args) => echo::run(args),
        Bench::Filter(args) => filter::run(args),
        Bench::Flap(args) => flap::run(args),
        Bench::Flood(args) => flood::run(args),
        Bench::Scale(args) => scale::run(args),
        Bench::Stress(args) => stress::run(args),
        Bench::Takeover(args) => takeover::run(args),
    }
}
