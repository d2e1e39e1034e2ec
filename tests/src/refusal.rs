//! Running the agent where it must refuse to run, and judging how it refuses.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::agent;
use crate::config::AgentConfig;
use crate::lan::Node;
use crate::netns::FILES;
use crate::pair::VIRTUAL;

/// The files of an agent, in a directory that every user may enter; removed when dropped.
///
/// They are those of [`AgentConfig::default`] until a test spoils them.
#[derive(Debug)]
pub struct Files(TempDir);

impl Files {
    /// Writes them.
    ///
    /// # Errors
    ///
    /// If they can't be written.
    pub fn new() -> Result<Self> {
        let files =
            Self(tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?);
        fs::set_permissions(files.0.path(), Permissions::from_mode(0o755))?;
        let config = AgentConfig::default();
        fs::write(files.config(), config.toml("a"))?;
        config.write_keys(files.0.path())?;
        Ok(files)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.path().join("ha-agent.toml")
    }

    /// The passphrase file.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.0.path().join("carp.key")
    }

    /// Where the control socket will be.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.path().join("control.sock")
    }

    /// `ha-agent run` with these files.
    ///
    /// # Errors
    ///
    /// If there is no agent to run.
    pub fn run(&self) -> Result<Command> {
        let mut command = Command::new(crate::agent_binary()?);
        command.arg("run").arg("--config").arg(self.config()).arg("--control").arg(self.socket());
        command.arg("--state").arg(self.0.path().join("state"));
        command.arg("--pins").arg(agent::pins(self.0.path()));
        Ok(command)
    }

    /// `ha-agent check` with these files, which does not listen.
    ///
    /// # Errors
    ///
    /// If there is no agent to run.
    pub fn check(&self) -> Result<Command> {
        let mut command = Command::new(crate::agent_binary()?);
        command.arg("check").arg("--config").arg(self.config()).arg("--control").arg(self.socket());
        command.arg("--state").arg(self.0.path().join("state"));
        command.arg("--pins").arg(agent::pins(self.0.path())).arg("--no-listen");
        Ok(command)
    }
}

/// Runs a command in a node's namespace, and judges that it refuses as it should: in time, with this exit
/// code, in one line that has all these words, a cause and a remedy, leaving nothing behind.
///
/// # Errors
///
/// If it does otherwise.
pub fn expect(node: &Node, command: &Command, code: i32, words: &[&str]) -> Result<()> {
    expect_prepared(node, command, code, words, || Ok(()))
}

/// As [`expect`], for a command that is started by a thread that was prepared.
///
/// # Errors
///
/// If it could not be prepared, or as [`expect`].
pub fn expect_prepared(
    node: &Node,
    command: &Command,
    code: i32,
    words: &[&str],
    prepare: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<()> {
    let error = refusal(node, command, code, prepare)?;
    for word in words {
        ensure!(error.contains(word), "no '{word}' in: {error}");
    }
    nothing_attached(node)
}

/// Checks that no program, no virtual address and no process is left in a node.
///
/// # Errors
///
/// If there is one.
pub fn nothing_attached(node: &Node) -> Result<()> {
    ensure!(program(node)?.is_none(), "a program is still attached");
    ensure!(!node.has_address(VIRTUAL)?, "a virtual address was left");
    let pids = crate::netns::run("ip", &format!("netns pids {}", node.netns.name()))?;
    ensure!(pids.trim().is_empty(), "processes are still running: {pids}");
    Ok(())
}

/// The number of the XDP program on a node's `eth0`.
///
/// # Errors
///
/// If there is no `eth0`.
pub fn program(node: &Node) -> Result<Option<u64>> {
    let links = node.netns.ip_json("-details link show dev eth0")?;
    Ok(links.pointer("/0/xdp/prog/id").and_then(Value::as_u64))
}

/// Runs a command that must refuse, and returns its error without the program's name; of `check`, which has it among its
/// findings, without the subject.
///
/// # Errors
///
/// If it does not end, or with another code, or with other than one line.
pub fn refusal(
    node: &Node,
    command: &Command,
    code: i32,
    prepare: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<String> {
    let Output { status, stdout, stderr } = output(node, command, prepare)?;
    let text = String::from_utf8_lossy(&stderr);
    ensure!(status.code() == Some(code), "{status} instead of {code}:\n{text}");
    ensure!(!text.contains("panicked"), "it panicked:\n{text}");
    let (logged, errors): (Vec<_>, Vec<_>) = text.lines().partition(|line| is_log(line));
    ensure!(!logged.iter().any(|line| line.contains(" ERROR ")), "an error in the log, too:\n{text}");
    if command.get_args().any(|argument| argument == "check") {
        ensure!(errors.is_empty(), "beside the findings:\n{text}");
        let found = String::from_utf8_lossy(&stdout).into_owned();
        let bad: Vec<_> = found.lines().filter_map(|line| line.strip_prefix("error    ")).collect();
        let [error] = bad.as_slice() else {
            return Err(anyhow!("{} errors instead of one:\n{found}", bad.len()));
        };
        ensure!(error.contains("; "), "a cause without a remedy: {error}");
        return Ok((*error).to_owned());
    }
    let [error] = errors.as_slice() else {
        return Err(anyhow!("{} lines beside the log instead of one:\n{text}", errors.len()));
    };
    let error = error.strip_prefix("ha-agent: ").with_context(|| format!("whose error is it? {error}"))?;
    ensure!(error.contains("; "), "a cause without a remedy: {error}");
    Ok(error.to_owned())
}

/// Runs a command to its end, in a node's namespace, on a thread of its own. It has ten seconds.
fn output(
    node: &Node,
    command: &Command,
    prepare: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<Output> {
    let mut limited = Command::new("timeout");
    limited.args(["--signal=KILL", "10", "setpriv", "--pdeathsig=KILL", "--"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.current_dir(Path::new("/"));
    node.netns.run(move || {
        let prepared = move || {
            prepare()?;
            Ok(limited.output()?)
        };
        thread::spawn(prepared).join().unwrap_or_else(|_| Err(anyhow!("the preparation panicked")))
    })?
}

/// Whether a line is one of the log: time, level, message.
fn is_log(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let time = words.next().is_some_and(|word| word.ends_with('Z') && word.contains('T'));
    time && words.next().is_some_and(|word| ["INFO", "WARN", "ERROR", "DEBUG"].contains(&word))
}
