//! Building the agent, with the BPF program in it.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    ebpf, paths,
    process::{output, say, shown},
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

/// Builds the tests in `tests/tests/NAME.rs`. Returns the path of the program that runs them, which is absolute.
///
/// # Errors
///
/// It cannot be built.
pub(crate) fn build_tests(name: &str) -> Result<PathBuf> {
    let mut cargo = cargo()?;
    cargo.args(["test", "--quiet", "--locked", "--package", "tests", "--test", name, "--no-run"]);
    let text = output(cargo.args(["--message-format", "json-render-diagnostics"]))?;
    executable(&text, name).with_context(|| format!("cargo named no program for the tests {name}"))
}

/// Where the program for the tests `name` is, by what cargo says of all that it built.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.find_map(|message| {
        let is_wanted = message["target"]["name"] == name && message["target"]["kind"][0] == "test";
        Some(message["executable"].as_str().filter(|_| is_wanted)?.into())
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_are_found_among_what_cargo_built() {
        let message = |kind: &str, name: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"],"name":"{name}"}},"executable":{executable}}}"#
            )
        };
        let messages = [
            message("lib", "packets", "null"),
            message("bin", "packets", r#""/t/bin""#),
            message("test", "pair", r#""/t/pair""#),
            message("test", "packets", r#""/t/packets""#),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ]
        .join("\n");
        assert_eq!(executable(&messages, "packets"), Some("/t/packets".into()));
        assert_eq!(executable(&messages, "vlan"), None);
        assert_eq!(executable("", "packets"), None);
    }
}
