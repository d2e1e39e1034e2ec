//! Two nodes, and what `check` is run with on the first.

use std::any::Any;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use anyhow::{Context, Result, anyhow};
use lab::pair::{A, B};
use lab::{Agent, AgentConfig, Lan, Node};
use serde_json::Value;
use tempfile::TempDir;

/// Where faults are planted.
pub(crate) struct Stage {
    /// Everything else that runs there: ends before the namespaces go.
    pub(crate) kept: Vec<Box<dyn Any + Send>>,
    /// What stands in the configuration.
    pub(crate) config: AgentConfig,
    /// Instead of the text that this makes.
    pub(crate) toml: Option<String>,
    /// Arguments beside the usual ones, which go before those.
    pub(crate) arguments: Vec<String>,
    /// The program is run by these.
    pub(crate) wrapper: Vec<String>,
    /// Prepares the thread that runs it.
    pub(crate) prepare: fn() -> Result<()>,
    /// Whether it listens: that takes a while.
    pub(crate) listens: bool,
    /// Done to the files once they are written.
    pub(crate) spoil: fn(&Path) -> Result<()>,
    pub(crate) directory: TempDir,
    pub(crate) a: Node,
    pub(crate) b: Node,
    pub(crate) lan: Lan,
}

impl Stage {
    pub(crate) fn new(label: &str) -> Result<Self> {
        let lan = Lan::new(label)?;
        let (a, b) = (lan.node("a", A)?, lan.node("b", B)?);
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        Ok(Self {
            kept: Vec::new(),
            config: AgentConfig::default(),
            toml: None,
            arguments: Vec::new(),
            wrapper: Vec::new(),
            prepare: || Ok(()),
            listens: false,
            spoil: |_| Ok(()),
            directory,
            a,
            b,
            lan,
        })
    }

    /// A file beside the configuration.
    pub(crate) fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Runs `check` on the first node.
    pub(crate) fn check(&self) -> Result<Output> {
        let directory = self.directory.path();
        self.config.write_keys(directory)?;
        fs::write(
            directory.join("ha-agent.toml"),
            self.toml.clone().unwrap_or_else(|| self.config.toml("a")),
        )?;
        (self.spoil)(directory)?;
        let given = |option: &str| self.arguments.iter().any(|argument| argument == option);
        let path = |name: &str| directory.join(name).display().to_string();
        let mut arguments =
            vec!["check".to_owned(), "--json".to_owned(), "--config".to_owned(), path("ha-agent.toml")];
        arguments.extend(self.arguments.iter().cloned());
        let pins = format!("/sys/fs/bpf/ha-agent-{}-check", std::process::id());
        for (option, value) in
            [("--control", path("control.sock")), ("--state", path("state")), ("--pins", pins)]
        {
            if !given(option) {
                arguments.extend([option.to_owned(), value]);
            }
        }
        if !self.listens {
            arguments.push("--no-listen".to_owned());
        }
        let (mut wrapper, mut program) = (self.wrapper.clone(), lab::agent_binary()?);
        if wrapper.iter().any(|word| word.starts_with("--reuid")) {
            // The original may lie where only root can go.
            program = directory.join("ha-agent");
            fs::copy(lab::agent_binary()?, &program)?;
        }
        wrapper.push(program.display().to_string());
        let mut command = Command::new(wrapper.remove(0));
        command.args(wrapper).args(arguments);
        run(&self.a, command, self.prepare)
    }
}

/// Runs `check` with the configuration of an agent, beside it if it runs.
pub(crate) fn check_of(node: &Node, config: &AgentConfig, agent: Option<&Agent>) -> Result<Output> {
    let directory = tempfile::tempdir()?;
    config.write_keys(directory.path())?;
    let file = directory.path().join("ha-agent.toml");
    fs::write(&file, config.toml(&node.name))?;
    let mut command = Command::new(lab::agent_binary()?);
    command.args(["check", "--json", "--config"]).arg(file);
    if let Some(agent) = agent {
        command.arg("--control").arg(agent.socket()).arg("--pins").arg(agent.pins());
        command.arg("--state").arg(agent.state_directory());
    } else {
        command.arg("--control").arg(directory.path().join("control.sock"));
        command.arg("--state").arg(directory.path().join("state"));
    }
    run(node, command, || Ok(()))
}

/// On a thread of its own, which the preparation changes for good.
fn run(node: &Node, mut command: Command, prepare: fn() -> Result<()>) -> Result<Output> {
    command.current_dir("/");
    node.netns.run(move || {
        let prepared = move || {
            prepare()?;
            Ok(command.output()?)
        };
        thread::spawn(prepared).join().unwrap_or_else(|_| Err(anyhow!("the preparation panicked")))
    })?
}

/// What it found, line by line.
pub(crate) fn findings(output: &Output) -> Result<Vec<Value>> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("{line}: {output:?}")))
        .collect()
}
