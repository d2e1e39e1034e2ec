//! A running ha-agent.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::config::{AgentConfig, replace};
use crate::lan::Node;
use crate::netns::{BPFFS, FILES};
use crate::process::Process;

/// An agent in a node's namespace; killed when dropped, its files removed.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    environment: Vec<(String, String)>,
    record: Option<PathBuf>,
    program: Option<PathBuf>,
    directory: TempDir,
    left: Left,
}

/// What it leaves in the kernel if it is killed; removed with it.
#[derive(Debug)]
struct Left(PathBuf);

impl Left {
    fn remove(&self) {
        // It leaves nothing if it ends in order.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Agent {
    /// Starts an agent and waits until it runs.
    ///
    /// # Errors
    ///
    /// If it does not, with what it printed.
    pub fn start(node: &Node, config: &AgentConfig) -> Result<Self> {
        Self::start_with(node, config, &[])
    }

    /// Starts an agent with a few variables in its environment, and waits until it runs.
    ///
    /// # Errors
    ///
    /// If it does not, with what it printed.
    pub fn start_with(node: &Node, config: &AgentConfig, environment: &[(String, String)]) -> Result<Self> {
        let agent = Self::launch_with(node, &config.toml(&node.name), config, environment)?;
        agent.process.wait_for_line(0, "running", PATIENCE)?;
        Ok(agent)
    }

    /// Starts an agent, and does not wait.
    ///
    /// # Errors
    ///
    /// If its files can't be written or it can't be started.
    pub fn begin(node: &Node, config: &AgentConfig) -> Result<Self> {
        Self::launch_with(node, &config.toml(&node.name), config, &[])
    }

    /// Starts an agent with any configuration, and does not wait.
    ///
    /// # Errors
    ///
    /// If its files can't be written or it can't be started.
    pub fn launch(node: &Node, toml: &str, passphrase: &str) -> Result<Self> {
        let config = AgentConfig { passphrases: vec![passphrase.to_owned()], ..AgentConfig::default() };
        Self::launch_with(node, toml, &config, &[])
    }

    fn launch_with(
        node: &Node,
        toml: &str,
        config: &AgentConfig,
        environment: &[(String, String)],
    ) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?;
        config.write_keys(directory.path())?;
        fs::write(directory.path().join(CONFIG), toml)?;
        fs::create_dir(directory.path().join(STATE))?;
        if let Some(text) = &config.shared {
            let (config, first) = (directory.path().join(CONFIG), directory.path().join("first.toml"));
            fs::write(&first, text)?;
            let mut command = Command::new(crate::agent_binary()?);
            let init = command.args(["config", "init"]).arg(&first).arg("--config").arg(config).output()?;
            ensure!(init.status.success(), "config init: {}", String::from_utf8_lossy(&init.stderr));
        }
        let (record, program) = (config.record.clone(), config.program.clone());
        let command = run_in(directory.path(), environment, record.as_deref(), program.as_deref())?;
        let process = node.netns.spawn(&command)?;
        let left = Left(pins(directory.path()));
        Ok(Self { process, environment: environment.to_vec(), record, program, directory, left })
    }

    /// Gives it another configuration and other passphrases, of which it knows nothing before it is told.
    ///
    /// # Errors
    ///
    /// If the files can't be written.
    pub fn rewrite(&self, node: &Node, config: &AgentConfig) -> Result<()> {
        config.write_keys(self.directory.path())?;
        replace(&self.directory.path().join(CONFIG), &config.toml(&node.name))
    }

    /// Runs `ha-agent` with a subcommand that speaks to this one: `reload`, `hold`, `resume`.
    ///
    /// # Errors
    ///
    /// If it can't be started.
    pub fn command(&self, subcommand: &str) -> Result<Output> {
        self.command_with(&[subcommand])
    }

    /// The same with arguments, of which the first is the subcommand.
    ///
    /// # Errors
    ///
    /// If it can't be started.
    pub fn command_with(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(crate::agent_binary()?);
        command.args(arguments).arg("--control").arg(self.socket()).stdin(Stdio::null());
        Ok(command.output()?)
    }

    /// Runs `ha-agent` with a subcommand that speaks to this one, which must do it.
    ///
    /// # Errors
    ///
    /// With what it printed, if it fails.
    pub fn tell(&self, subcommand: &str) -> Result<()> {
        let output = self.command(subcommand)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ha-agent {subcommand}: {}: {errors}", output.status);
        Ok(())
    }

    /// Kills it (`SIGKILL`), and waits until it has ended.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Removes what it has left in the kernel, once it was killed.
    pub fn forget(&mut self) {
        self.left.remove();
    }

    /// From its next start on it records into another file, or not at all.
    pub fn record_into(&mut self, file: Option<PathBuf>) {
        self.record = file;
    }

    /// From its next start on it runs another executable, or the one that is tested.
    pub fn use_program(&mut self, program: Option<PathBuf>) {
        self.program = program;
    }

    /// Starts it again with the same files, once it has ended, and waits until it runs.
    ///
    /// # Errors
    ///
    /// If it does not, with what it printed.
    pub fn restart(&mut self, node: &Node) -> Result<()> {
        let (record, program) = (self.record.as_deref(), self.program.as_deref());
        let command = run_in(self.directory.path(), &self.environment, record, program)?;
        self.process = node.netns.spawn(&command)?;
        self.process.wait_for_line(0, "running", PATIENCE).map(drop)
    }

    /// Ends it in this way, and starts it again at once with the same files, as whoever watches over it does; waits until it
    /// runs.
    ///
    /// # Errors
    ///
    /// If it does not end, or does not run, with what it printed.
    pub fn replace(&mut self, node: &Node, end: Signal) -> Result<()> {
        let (record, program) = (self.record.as_deref(), self.program.as_deref());
        let command = run_in(self.directory.path(), &self.environment, record, program)?;
        self.process.signal(end)?;
        self.process.wait(PATIENCE)?;
        self.process = node.netns.spawn(&command)?;
        self.process.wait_for_line(0, "running", PATIENCE).map(drop)
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.path().join(CONFIG)
    }

    /// Where it keeps what it knows beyond its end.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.directory.path().join(STATE)
    }

    /// Where it keeps what of the kernel program outlives its process.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        pins(self.directory.path())
    }

    /// Where it keeps what it shares with the peer.
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.directory.path().join("shared.json")
    }

    /// The files of its link to the peer.
    #[must_use]
    pub fn peer_directory(&self) -> PathBuf {
        self.directory.path().join(PEER)
    }

    /// Asks for how its link to the peer is until `look` finds something in it.
    ///
    /// # Errors
    ///
    /// If it does not within `patience`, with how the link is.
    pub fn until_link<T>(&self, patience: Duration, mut look: impl FnMut(&Value) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.status()?;
            let link = status.get("peer_link").context("no link in the status")?;
            if let Some(found) = look(link) {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "not within {patience:?}: {link:#}");
            thread::sleep(LOOK);
        }
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

    /// How many frames it has refused for its first virtual host, for any of some reasons.
    ///
    /// # Errors
    ///
    /// If it does not answer, or knows no such reason.
    pub fn refused(&self, reasons: &[&str]) -> Result<u64> {
        let vhost = self.vhost()?;
        let count = |reason: &&str| {
            let count = vhost.get("refused").and_then(|refused| refused.get(reason)).and_then(Value::as_u64);
            count.with_context(|| format!("no counter {reason}: {vhost:#}"))
        };
        reasons.iter().map(count).sum()
    }

    /// Asks for the status of its first virtual host until `look` finds something in it.
    ///
    /// # Errors
    ///
    /// If it does not within `patience`, with the status.
    pub fn until<T>(&self, patience: Duration, mut look: impl FnMut(&Value) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            let vhost = self.vhost()?;
            if let Some(found) = look(&vhost) {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "not within {patience:?}: {vhost:#}");
            thread::sleep(LOOK);
        }
    }

    /// The changes of state that it has printed from the `from`th line on.
    #[must_use]
    pub fn changes(&self, from: usize) -> Vec<String> {
        let lines = self.process.lines();
        lines.into_iter().skip(from).filter(|line| line.contains(" -> ")).collect()
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
        ensure!(status.success(), "it ended with {status}: {}", self.process.lines().join("\n"));
        Ok(())
    }
}

/// The command that runs an agent with the files of a directory.
fn run_in(
    directory: &Path,
    environment: &[(String, String)],
    record: Option<&Path>,
    program: Option<&Path>,
) -> Result<Command> {
    let mut command = match program {
        Some(program) => Command::new(program),
        None => Command::new(crate::agent_binary()?),
    };
    command.arg("run").arg("--config").arg(directory.join(CONFIG));
    command.arg("--control").arg(directory.join("control.sock"));
    command.arg("--state").arg(directory.join(STATE));
    // Those of earlier versions know no such place.
    let help = Command::new(command.get_program()).args(["run", "--help"]).output()?;
    if String::from_utf8_lossy(&help.stdout).contains("--pins") {
        command.arg("--pins").arg(pins(directory));
    }
    if let Some(file) = record {
        command.arg("--record").arg(file);
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Ok(command)
}

/// Where the kernel's part of the agent is whose files are in this directory.
pub(crate) fn pins(directory: &Path) -> PathBuf {
    Path::new(BPFFS).join(directory.file_name().unwrap_or_default())
}

const CONFIG: &str = "ha-agent.toml";
const STATE: &str = "state";
/// As the configuration names it.
const PEER: &str = "peer";
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(10);
