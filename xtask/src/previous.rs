//! The agent of the release before, built from the project's own history: the tests let it work with this one.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    agent, ebpf, paths,
    process::{output, say, shown, succeeds},
};

/// Builds it once, not optimised. `None`, and a line about it, where the history does not reach back that far.
///
/// # Errors
///
/// It cannot be built.
pub(crate) fn build_agent() -> Result<Option<PathBuf>> {
    let git = || {
        let mut git = Command::new("git");
        git.arg("-C").arg(paths::root());
        git
    };
    if !succeeds(git().args(["cat-file", "-e", &format!("{RELEASE}^{{commit}}")])) {
        say(format_args!("previous: skipped, because this clone does not have the commit {RELEASE}"));
        return Ok(None);
    }
    let dir = paths::target_dir()?.join("previous").join(RELEASE);
    let agent = dir.join("ha-agent");
    if agent.is_file() {
        return Ok(Some(agent));
    }
    say("building the agent of the release before (once, about 2 minutes)");
    let source = dir.join("source");
    fs::create_dir_all(&source).with_context(|| format!("cannot create {}", source.display()))?;
    let archive = dir.join("source.tar");
    output(git().args(["archive", "--output"]).arg(&archive).arg(RELEASE))?;
    output(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&source))?;
    let object = ebpf::build_in(&source, &dir.join("bpf"))?;
    let mut cargo = agent::cargo()?;
    cargo.args(["build", "--quiet", "--locked", "--package", "ha-agent"]).current_dir(&source);
    shown(cargo.env("CARGO_TARGET_DIR", dir.join("build")).env("HA_EBPF_OBJECT", object))?;
    fs::rename(dir.join("build/debug/ha-agent"), &agent).context("cannot keep the agent")?;
    // It is large, and nobody needs it again.
    fs::remove_dir_all(dir.join("build")).context("cannot remove what it was built in")?;
    Ok(Some(agent))
}

/// Version 0.1.0.
const RELEASE: &str = "93f4bc7bc0062b68b6c284b80967e33ce9d209ae";
