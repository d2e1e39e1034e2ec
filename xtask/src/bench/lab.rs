//! A bench that runs agents, and what they are compared with, in the lab.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;
use serde_json::Value;

use crate::{
    agent, packages, paths,
    process::{output, say},
};

/// A bench of the package `tests` that is built, and its command line.
pub(super) struct Bench {
    command: Command,
}

impl Bench {
    /// Builds the bench `name` and the agent, and installs what every lab needs, and `packages`.
    ///
    /// # Errors
    ///
    /// We are not root, or something cannot be built or installed.
    pub(super) fn build(name: &str, packages: &[&str]) -> Result<Self> {
        if !geteuid().is_root() {
            bail!(
                "it makes network namespaces and loads a BPF program: run `cargo xtask bench {name}` as root"
            );
        }
        packages::ensure(&[&PACKAGES, packages].concat())?;
        let agent = agent::build_agent()?;
        let mut command = Command::new(built(name)?);
        command.current_dir(paths::root()).env("HA_AGENT_BIN", agent);
        Ok(Self { command })
    }

    /// Adds an option with its value, if there is one.
    pub(super) fn option(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.command.arg(name).arg(value.to_string());
        }
        self
    }

    /// Has it write its figures into a file, too, if there is one.
    ///
    /// # Errors
    ///
    /// The path cannot be made absolute.
    pub(super) fn json(mut self, path: Option<&Path>) -> Result<Self> {
        if let Some(path) = path {
            self.command.arg("--json").arg(std::path::absolute(path)?);
        }
        Ok(self)
    }

    /// Becomes the bench, so that a signal reaches it, which has something to clean up.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(super) fn run(mut self) -> Result<()> {
        Err(self.command.exec()).context("cannot run the bench")
    }
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

/// What every lab needs.
const PACKAGES: [&str; 2] = ["iproute2", "util-linux"];
