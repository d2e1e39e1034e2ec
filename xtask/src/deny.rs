//! `cargo xtask deny`: what may come into the build, by cargo-deny and the policy in `.cargo/deny.toml`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    agent, paths,
    process::{logged, output, say, shown},
};

/// Checks licences, sources and what is banned; known faults of crates, too, where their list can be had.
///
/// # Errors
///
/// cargo-deny cannot be built, or the policy does not hold.
pub(crate) fn run() -> Result<()> {
    let deny = tool()?;
    check(&deny, &["licenses", "bans", "sources"])?;
    let fetched = logged(&mut command(&deny, &["fetch"])?, &paths::log_file("cargo-deny")?);
    if fetched.is_err() {
        say("advisories: skipped, because the list of known faults cannot be had from here");
        return Ok(());
    }
    check(&deny, &["advisories"])
}

fn check(deny: &Path, what: &[&str]) -> Result<()> {
    shown(command(deny, &["check"])?.args(what))
}

/// As cargo would call it.
fn command(deny: &Path, arguments: &[&str]) -> Result<Command> {
    let cargo = agent::cargo()?;
    let mut command = Command::new(deny);
    command.args(["--workspace", "--all-features", "--locked", "--config", POLICY]).args(arguments);
    command.current_dir(paths::root()).env("CARGO", cargo.get_program());
    Ok(command)
}

/// The tool, of our version, in the user's cache.
fn tool() -> Result<PathBuf> {
    let place = paths::cache_dir()?.join(format!("cargo-deny-{VERSION}"));
    let _lock = paths::lock("cargo-deny")?;
    if output(Command::new(&place).arg("--version")).is_ok_and(|said| said.contains(VERSION)) {
        return Ok(place);
    }
    say(format_args!("building cargo-deny {VERSION} (once per user, about 5 minutes)"));
    let unfinished = paths::cache_dir()?.join(format!("cargo-deny-{}", std::process::id()));
    let mut cargo = agent::cargo()?;
    cargo.args(["install", "cargo-deny", "--version", VERSION, "--locked", "--root"]).arg(&unfinished);
    cargo.env("CARGO_TARGET_DIR", unfinished.join("target"));
    let built = logged(&mut cargo, &paths::log_file("cargo-deny")?)
        .and_then(|()| fs::rename(unfinished.join("bin/cargo-deny"), &place).context("cargo-deny"));
    let _ = fs::remove_dir_all(&unfinished);
    built.map(|()| place)
}

const VERSION: &str = "0.20.2";
const POLICY: &str = ".cargo/deny.toml";
