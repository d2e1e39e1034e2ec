//! A running ha-agent.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::lan::Node;
use crate::netns::FILES;
use crate::process::Process;

/// What is configured: one virtual host on `eth0`.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Passphrase.
    pub passphrase: String,
    /// Virtual host.
    pub vhid: u8,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
    /// Priority: seconds.
    pub advbase: u8,
    /// Priority: 1/256 seconds.
    pub advskew: u8,
    /// Faster than the priority says.
    pub interval: Option<String>,
    /// How many may be missed.
    pub detect: Option<u8>,
    /// Whether it takes over from a worse master.
    pub preempt: bool,
}

/// An agent in a node's namespace; killed when dropped, its files removed.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    directory: TempDir,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            passphrase: "secret".to_owned(),
            vhid: 10,
            addresses: vec!["10.77.0.100/24".to_owned()],
            advbase: 1,
            advskew: 0,
            interval: Some("10ms".to_owned()),
            detect: Some(3),
            preempt: false,
        }
    }
}

impl AgentConfig {
    /// The file's text.
    #[must_use]
    pub fn toml(&self, node: &str) -> String {
        let Self { vhid, addresses, advbase, advskew, preempt, .. } = self;
        let interval =
            self.interval.as_ref().map_or(String::new(), |text| format!("interval = \"{text}\"\n"));
        let detect = self.detect.map_or(String::new(), |count| format!("detect = {count}\n"));
        format!(
            "node = \"{node}\"\n[auth]\npassphrase_file = \"carp.key\"\n[[vhost]]\nname = \"data\"\n\
             interface = \"eth0\"\nvhid = {vhid}\naddresses = {addresses:?}\nadvbase = {advbase}\n\
             advskew = {advskew}\npreempt = {preempt}\n{interval}{detect}"
        )
    }
}

impl Agent {
    /// Starts an agent and waits until it runs.
    ///
    /// # Errors
    ///
    /// If it does not, with what it printed.
    pub fn start(node: &Node, config: &AgentConfig) -> Result<Self> {
        let agent = Self::launch(node, &config.toml(&node.name), &config.passphrase)?;
        agent.process.wait_for_line(0, "running", PATIENCE)?;
        Ok(agent)
    }

    /// Starts an agent with any configuration, and does not wait.
    ///
    /// # Errors
    ///
    /// If its files can't be written or it can't be started.
    pub fn launch(node: &Node, toml: &str, passphrase: &str) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?;
        let key = directory.path().join("carp.key");
        fs::write(&key, format!("{passphrase}\n"))?;
        fs::set_permissions(&key, Permissions::from_mode(0o600))?;
        let config = directory.path().join("ha-agent.toml");
        fs::write(&config, toml)?;
        Ok(Self { process: node.netns.spawn(&run_in(directory.path())?)?, directory })
    }

    /// Kills it (`SIGKILL`), and waits until it has ended.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again with the same files, once it has ended, and waits until it runs.
    ///
    /// # Errors
    ///
    /// If it does not, with what it printed.
    pub fn restart(&mut self, node: &Node) -> Result<()> {
        self.process = node.netns.spawn(&run_in(self.directory.path())?)?;
        self.process.wait_for_line(0, "running", PATIENCE).map(drop)
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    /// Its status, as JSON.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub fn status(&self) -> Result<Value> {
        let mut stream = UnixStream::connect(self.socket()).context("the agent's control socket")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"{\"request\":\"status\"}\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("the answer on its control socket")?;
        let answer: Value = serde_json::from_str(&answer)?;
        answer.get("status").cloned().with_context(|| format!("no status: {answer}"))
    }

    /// The status of its first virtual host.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub fn vhost(&self) -> Result<Value> {
        self.status()?.pointer("/vhosts/0").cloned().context("no virtual host in the status")
    }

    /// How many lines it has printed: where to look from for what comes.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.process.lines().len()
    }

    /// Waits for a change to a state, in what it prints from the `from`th line on.
    ///
    /// # Errors
    ///
    /// If it does not come within 10 s.
    pub fn wait_for_state(&self, from: usize, state: &str) -> Result<usize> {
        self.process.wait_for_line(from, &format!("-> {state}:"), PATIENCE)
    }

    /// Lets it leave in order, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub fn leave(mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait(PATIENCE)?;
        anyhow::ensure!(status.success(), "it ended with {status}: {}", self.process.lines().join("\n"));
        Ok(())
    }
}

/// The command that runs an agent with the files of a directory.
fn run_in(directory: &Path) -> Result<Command> {
    let mut command = Command::new(crate::agent_binary()?);
    command.arg("run").arg("--config").arg(directory.join("ha-agent.toml"));
    command.arg("--control").arg(directory.join("control.sock"));
    Ok(command)
}

const PATIENCE: Duration = Duration::from_secs(10);
