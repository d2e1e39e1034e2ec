//! Programs of the system: run without a shell, with a deadline, and ended if they miss it.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;

use super::failure::{Cause, Failure};
use super::within::{Within, wait};
use crate::sys::pidfd::Pidfd;

/// A program and what it is given.
#[derive(Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Its name, found by `PATH`, or its path.
    pub program: OsString,
    /// What follows the name.
    pub arguments: Vec<OsString>,
    /// What it reads: may be secret.
    pub input: Vec<u8>,
}

/// How it ended, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How.
    pub status: ExitStatus,
    /// What it wrote, 4 MiB at most. What is not UTF-8 is replaced.
    pub stdout: String,
    /// What it complained of, within the same limit.
    pub stderr: String,
}

/// Whoever runs programs.
pub trait Run: fmt::Debug + Send + Sync {
    /// Runs one to its end.
    ///
    /// # Errors
    ///
    /// It did not run, or not to its end. That it ended with an error is in [`Output::status`].
    fn run(&self, invocation: &Invocation, within: &Within) -> Result<Output, CommandError>;
}

/// The system.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

/// Why a program did not run to its end.
#[derive(Debug, Error)]
pub enum CommandError {
    /// There is none of that name.
    #[error("there is no program {0}")]
    Missing(String),
    /// The system refuses.
    #[error("{program} can't be run: {cause}")]
    Io {
        /// Which.
        program: String,
        /// The system's error.
        cause: io::Error,
    },
    /// It did not end in time, or was to stop, and was ended.
    #[error("`{command}` did not end within {} ms and was killed", .after.as_millis())]
    Over {
        /// The whole line.
        command: String,
        /// How long it ran.
        after: Duration,
        /// Whether it was told to stop.
        stopped: bool,
    },
    /// It was killed, and does not go: it hangs in the kernel.
    #[error("`{command}` hangs in the kernel, even killed")]
    Stuck {
        /// The whole line.
        command: String,
    },
}

impl Invocation {
    /// A program with arguments and nothing to read.
    pub fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, input: Vec::new() }
    }

    /// The same, with this to read.
    #[must_use]
    pub fn reading(self, input: impl Into<Vec<u8>>) -> Self {
        Self { input: input.into(), ..self }
    }

    fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }
}

impl Output {
    /// Success, or what it complained of as a failure of this kind.
    ///
    /// # Errors
    ///
    /// If it ended with an error.
    pub fn success(self, invocation: &Invocation, cause: Cause, remedy: &str) -> Result<Self, Failure> {
        if self.status.success() {
            return Ok(self);
        }
        let said = [&self.stderr, &self.stdout].into_iter().find_map(|text| first_line(text));
        let said = said.map_or_else(|| self.status.to_string(), str::to_owned);
        Err(Failure::new(cause, format!("`{invocation}`: {said}"), remedy))
    }
}

impl Run for System {
    fn run(&self, invocation: &Invocation, within: &Within) -> Result<Output, CommandError> {
        let failed = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => CommandError::Missing(invocation.name()),
            _ => CommandError::Io { program: invocation.name(), cause },
        };
        let mut child = Command::new(&invocation.program)
            .args(&invocation.arguments)
            .env("LC_ALL", "C.UTF-8")
            .stdin(if invocation.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What it starts is ended with it.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let began = Instant::now();
        match attend(&mut child, invocation, within).map_err(failed) {
            Ok(Some(output)) => Ok(output),
            Ok(None) => {
                let command = invocation.to_string();
                let stopped = within.stop().is_given();
                if end(&mut child) {
                    Err(CommandError::Over { command, after: began.elapsed(), stopped })
                } else {
                    Err(CommandError::Stuck { command })
                }
            }
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }
}

/// Gives it what it reads, and takes what it writes, until it ends; `None` if it does not in time.
fn attend(child: &mut Child, invocation: &Invocation, within: &Within) -> io::Result<Option<Output>> {
    let Some(process) = Pidfd::open(child.id())? else { return Err(io::ErrorKind::NotFound.into()) };
    let (mut stdin, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut input = invocation.input.as_slice();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    for pipe in
        [stdin.as_ref().map(AsFd::as_fd), stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)]
    {
        pipe.map_or(Ok(()), |pipe| ioctl_fionbio(pipe, true))?;
    }
    loop {
        let ended = process.wait(Duration::ZERO)?;
        if feed(stdin.as_mut(), &mut input)? {
            stdin = None;
        }
        if drain(stdout.as_mut(), &mut out)? {
            stdout = None;
        }
        if drain(stderr.as_mut(), &mut err)? {
            stderr = None;
        }
        if ended {
            // Whoever it left behind may still hold the pipes.
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            return Ok(Some(Output { status: child.wait()?, stdout: text(out), stderr: text(err) }));
        }
        let left = within.left();
        if left.is_zero() {
            return Ok(None);
        }
        let mut fds = vec![PollFd::new(&process, PollFlags::IN), PollFd::new(within.stop(), PollFlags::IN)];
        fds.extend(stdin.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        fds.extend(stdout.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        fds.extend(stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        wait(&mut fds, left)?;
    }
}

/// Writes what can be written; returns whether that was all.
fn feed(pipe: Option<&mut impl Write>, input: &mut &[u8]) -> io::Result<bool> {
    let Some(pipe) = pipe else { return Ok(false) };
    while !input.is_empty() {
        match pipe.write(input) {
            Ok(written) => *input = input.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It does not want to know more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Reads what is there; returns whether that was all. What is beyond the limit is thrown away.
fn drain(pipe: Option<&mut impl Read>, into: &mut Vec<u8>) -> io::Result<bool> {
    let Some(pipe) = pipe else { return Ok(false) };
    let mut buffer = [0; 4096];
    // Not for ever, if it writes without end.
    for _ in 0..64 {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(read) => {
                let room = LIMIT.saturating_sub(into.len()).min(read);
                into.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Kills it and all that it started, and says whether it went.
fn end(child: &mut Child) -> bool {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have gone.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let went = Pidfd::open(child.id()).and_then(|process| process.map_or(Ok(true), |it| it.wait(KILLED)));
    went.is_ok_and(|went| went) && child.wait().is_ok()
}

fn first_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).find(|line| !line.is_empty())
}

/// The command line as one would type it, without what it reads.
impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.to_string_lossy())?;
        self.arguments.iter().try_for_each(|argument| {
            let argument = argument.to_string_lossy();
            if argument.is_empty() || argument.contains(|c: char| c.is_whitespace() || c == '\'') {
                write!(f, " '{}'", argument.replace('\'', "'\\''"))
            } else {
                write!(f, " {argument}")
            }
        })
    }
}

/// What it reads is not shown.
impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What stands in the way of a resource then.
impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let (cause, remedy) = match &error {
            CommandError::Missing(_) => (Cause::NoTool, "install it".to_owned()),
            CommandError::Io { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
                (Cause::NotPermitted, "run ha-agent as root".to_owned())
            }
            CommandError::Io { .. } => (Cause::Other, "see the kernel's log".to_owned()),
            CommandError::Over { stopped: true, .. } => {
                (Cause::Stopped, "something more urgent came between".to_owned())
            }
            CommandError::Over { .. } => {
                (Cause::TimedOut, "find out what it waits for, or allow it more time".to_owned())
            }
            CommandError::Stuck { .. } => {
                (Cause::TimedOut, "see the kernel's log for the device that does not answer".to_owned())
            }
        };
        Self::new(cause, error.to_string(), remedy)
    }
}

/// How much of what a program writes is kept, in bytes.
const LIMIT: usize = 4 << 20;
/// How long one that was killed may take to go.
const KILLED: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use anyhow::{Result, ensure};

    use super::super::within::Stop;
    use super::*;

    fn within(time: Duration) -> Result<Within> {
        Ok(Within::new(time, Stop::new()?))
    }

    fn shell(script: &str) -> Invocation {
        Invocation::new("sh", ["-c", script])
    }

    #[test]
    fn what_it_says_is_kept_and_what_it_reads_arrives() -> Result<()> {
        let long = "x".repeat(300_000);
        let invocation = shell("cat; echo bad >&2; exit 3").reading(long.clone());
        let output = System.run(&invocation, &within(Duration::from_secs(30))?)?;
        ensure!(output.stdout == long && output.stderr == "bad\n", "{output:?}");
        ensure!(output.status.code() == Some(3));
        let failure = output.success(&invocation, Cause::Other, "do better").expect_err("3");
        ensure!(failure.what == "`sh -c 'cat; echo bad >&2; exit 3'`: bad", "{failure}");
        Ok(())
    }

    #[test]
    fn who_does_not_read_is_not_waited_for() -> Result<()> {
        let invocation = shell("exec <&-; echo done").reading(vec![b'x'; 300_000]);
        let output = System.run(&invocation, &within(Duration::from_secs(30))?)?;
        ensure!(output.stdout == "done\n", "{output:?}");
        Ok(())
    }

    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() -> Result<()> {
        let began = Instant::now();
        let invocation = shell("sleep 77.25 & wait");
        let error = System.run(&invocation, &within(Duration::from_millis(100))?).expect_err("over");
        ensure!(matches!(error, CommandError::Over { stopped: false, .. }), "{error}");
        ensure!(began.elapsed() < Duration::from_secs(20));
        let is_left = || {
            let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
            let lines =
                all.filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok());
            lines.into_iter().any(|line| line.contains("77.25"))
        };
        // Nobody tells of the end of another one's child, and a busy machine takes its time to end it.
        while is_left() {
            ensure!(began.elapsed() < Duration::from_secs(20), "what it started runs still");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    #[test]
    fn whoever_is_left_behind_with_the_pipes_is_not_waited_for() -> Result<()> {
        let began = Instant::now();
        let output = System.run(&shell("sleep 30 & echo $!"), &within(Duration::from_secs(20))?)?;
        ensure!(began.elapsed() < Duration::from_secs(10));
        let pid = output.stdout.trim().parse()?;
        Pidfd::open(pid)?.map_or(Ok(()), |sleep| sleep.kill())?;
        Ok(())
    }

    #[test]
    fn a_missing_tool_is_named() -> Result<()> {
        let nothing = Invocation::new("no-such-tool", ["-x"]);
        let error = System.run(&nothing, &within(Duration::from_secs(1))?).expect_err("missing");
        let failure = Failure::from(error);
        ensure!(failure.cause == Cause::NoTool && failure.what.contains("no-such-tool"), "{failure}");
        Ok(())
    }
}
