//! `cargo xtask bench`: measurements, each of which compares with a floor or a peer in the same run.

use std::{
    num::NonZeroU32,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;
use serde_json::Value;

use crate::{
    agent, ebpf, packages, paths,
    process::{output, say, shown},
};

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(clap::Subcommand)]
enum Bench {
    /// What the BPF program costs a frame, next to a program that does nothing (as root)
    Filter {
        /// Also write the figures into this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// How a standby that is flooded notices the loss of the active one, next to keepalived and ucarp (as root)
    Flood(Flood),
}

#[derive(clap::Args)]
struct Flood {
    /// Also write the figures into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often the active one is cut off under each flood
    #[arg(long, value_name = "N", default_value = "20")]
    rounds: NonZeroU32,
    /// How long each flood lasts without a cut, and again with them
    #[arg(long, value_name = "S", default_value = "30")]
    seconds: NonZeroU32,
    /// Only this one: ha-agent, keepalived or ucarp
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
}

/// Builds what is measured, and measures.
///
/// # Errors
///
/// Something cannot be built, or we are not root.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.bench {
        Bench::Filter { json } => filter(json.as_deref()),
        Bench::Flood(args) => flood(args),
    }
}

fn filter(json: Option<&Path>) -> Result<()> {
    ebpf::build()?;
    let mut cargo = agent::cargo()?;
    cargo.args(["bench", "--quiet", "--locked", "--package", "tests", "--bench", "filter", "--"]);
    if let Some(json) = json {
        // Benches run in their package's directory.
        cargo.arg("--json").arg(std::path::absolute(json)?);
    }
    shown(&mut cargo)
}

/// Becomes the bench, so that a signal reaches it, which has something to clean up.
fn flood(args: &Flood) -> Result<()> {
    if !geteuid().is_root() {
        bail!("it makes network namespaces and loads a BPF program: run `cargo xtask bench flood` as root");
    }
    packages::ensure(&PACKAGES)?;
    let agent = agent::build_agent()?;
    let mut bench = Command::new(built("flood")?);
    bench.current_dir(paths::root()).env("HA_AGENT_BIN", agent);
    bench.arg("--rounds").arg(args.rounds.to_string()).arg("--seconds").arg(args.seconds.to_string());
    if let Some(peer) = &args.peer {
        bench.arg("--peer").arg(peer);
    }
    if let Some(json) = &args.json {
        bench.arg("--json").arg(std::path::absolute(json)?);
    }
    Err(bench.exec()).context("cannot run the bench")
}

/// Builds a bench and returns its path.
fn built(name: &str) -> Result<PathBuf> {
    say(format_args!("building the bench {name}"));
    let mut cargo = agent::cargo()?;
    cargo.args([
        "bench",
        "--no-run",
        "--locked",
        "--message-format=json",
        "--package",
        "tests",
        "--bench",
        name,
    ]);
    let text = output(&mut cargo)?;
    let mut messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let path = messages.find_map(|message| {
        let ours = message["target"]["name"] == name;
        Some(PathBuf::from(message["executable"].as_str().filter(|_| ours)?))
    });
    path.with_context(|| format!("cargo does not say where the bench {name} is"))
}

const PACKAGES: [&str; 4] = ["iproute2", "keepalived", "ucarp", "util-linux"];
