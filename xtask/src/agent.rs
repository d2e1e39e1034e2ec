//! Building the agent, with the BPF program in it.

use std::{env, path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    ebpf, paths,
    process::{say, shown},
};

/// Builds the agent for release, and first the BPF program, which it embeds. Returns its path, which is absolute.
///
/// # Errors
///
/// Either of them cannot be built.
pub(crate) fn build_agent() -> Result<PathBuf> {
    ebpf::build()?;
    say("building the agent (the first time about 4 minutes, then 1 second)");
    let mut cargo = cargo()?;
    cargo.args(["build", "--quiet", "--release", "--locked", "--package", "ha-agent"]);
    shown(&mut cargo)?;
    Ok(paths::target_dir()?.join("release/ha-agent"))
}

/// Builds the program `name` that is a part of the tests. Returns its path, which is absolute.
///
/// # Errors
///
/// It cannot be built.
pub(crate) fn build_test_program(name: &str) -> Result<PathBuf> {
    let mut cargo = cargo()?;
    shown(cargo.args(["build", "--quiet", "--locked", "--package", "tests", "--bin", name]))?;
    Ok(paths::target_dir()?.join("debug").join(name))
}

/// The cargo that runs us, in the workspace.
///
/// # Errors
///
/// The user's `CARGO_TARGET_DIR` cannot be made absolute.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root()).env("CARGO_TARGET_DIR", paths::target_dir()?);
    Ok(command)
}
