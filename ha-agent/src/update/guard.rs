//! The guard of a trial: a process of its own, of the old agent's executable, which starts that one again if the new one ends,
//! or does not prove itself in time. Where a service manager does so first, the guard has nothing to do.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::TRIAL;
use super::trial::Trial;
use crate::sys::pidfd::Pidfd;

/// What it guards.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The process that becomes the new agent.
    pub pid: u32,
    /// Where is written down what is on trial.
    pub state: PathBuf,
    /// The executable of the agent before.
    pub installed: PathBuf,
    /// The agent's arguments.
    pub arguments: Vec<OsString>,
}

impl Guard {
    /// Sets it over this process. It goes on when this one ends.
    ///
    /// # Errors
    ///
    /// If it can't be started, or does not find this process.
    pub fn set(&self) -> io::Result<()> {
        // By way of a second one, whose parent ends at once: so nobody has to wait for the end of the guard.
        let status = self.command("--detach").stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("it ended with {status}"))) }
    }

    /// Starts the guard proper, and returns once it watches.
    ///
    /// # Errors
    ///
    /// If it can't be started.
    pub fn detach(&self) -> io::Result<()> {
        let child = self.command("--watch").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut said = String::new();
        let Some(stdout) = child.stdout else { return Err(io::ErrorKind::BrokenPipe.into()) };
        BufReader::new(stdout).read_line(&mut said)?;
        if said.is_empty() { Err(io::Error::other("it does not watch")) } else { Ok(()) }
    }

    /// Watches. `watching` is called once nothing can be missed any more.
    ///
    /// # Errors
    ///
    /// If the process can't be watched, or the agent before can't be started.
    pub fn watch(&self, watching: impl FnOnce()) -> io::Result<()> {
        let Some(process) = Pidfd::open(self.pid)? else { return Ok(()) };
        watching();
        let ended = process.wait(TRIAL)?;
        if !Trial::is_under_way(&self.state) {
            return Ok(());
        }
        if ended {
            tracing::error!("the new agent ended before it was kept: starting the one before");
        } else {
            tracing::error!("the new agent did not prove itself within {TRIAL:?}: starting the one before");
            process.kill()?;
            // In the kernel's hands.
            process.wait(KILLED)?;
        }
        let arguments = &self.arguments;
        Err(Command::new(&self.installed).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).exec())
    }

    fn command(&self, role: &str) -> Command {
        let mut command = Command::new(&self.installed);
        command.args(["guard", role, "--pid"]).arg(self.pid.to_string());
        command.arg("--state").arg(&self.state).arg("--installed").arg(&self.installed);
        command.arg("--").args(&self.arguments);
        command
    }
}

/// Becomes another program, with these arguments. Returns only if that fails.
#[must_use]
pub fn become_program(path: &Path, arguments: &[OsString]) -> io::Error {
    Command::new(path).args(arguments).exec()
}

/// How long the kernel may take to end a process that was killed.
const KILLED: Duration = Duration::from_secs(5);
