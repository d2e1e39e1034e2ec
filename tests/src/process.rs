//! A process whose output and end can be awaited.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::watched::Watched;

/// A child process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    state: Arc<Watched<State>>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
    open_streams: usize,
}

impl Process {
    /// The same command, killed by the kernel when the thread that starts it ends, and open to every signal,
    /// even if that thread blocks some.
    pub(crate) fn tied(command: &Command) -> Command {
        Self::run_by("env", &["--default-signal", "setpriv", "--pdeathsig", "KILL", "--"], command)
    }

    /// The same command, run by another one, which is given these arguments before it.
    pub(crate) fn run_by(program: &str, arguments: &[&str], command: &Command) -> Command {
        let mut by = Command::new(program);
        by.args(arguments).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => by.env(name, value),
                None => by.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            by.current_dir(directory);
        }
        by
    }

    /// Starts a process, its output and errors collected line by line.
    ///
    /// # Errors
    ///
    /// If it can't be started.
    pub fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let state = Arc::new(Watched::new(State { open_streams: 2, ..State::default() }));
        if let Some(stdout) = child.stdout.take() {
            collect(stdout, Arc::clone(&state));
        }
        if let Some(stderr) = child.stderr.take() {
            collect(stderr, Arc::clone(&state));
        }
        let pid = pid_of(&child);
        let watched = Arc::clone(&state);
        thread::spawn(move || {
            // Not reaped here: its number stays its own until the value is dropped.
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            watched.update(|state| state.ended = true);
        });
        Ok(Self { child, state })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// Sends it a signal. No harm if it has ended.
    ///
    /// # Errors
    ///
    /// If the signal is not allowed.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("{signal} to {}", self.pid()))
    }

    /// Kills it (`SIGKILL`), and waits until it has ended.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(10)).map(drop)
    }

    /// Everything that it has printed so far, up to the 100,000th line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.state.lock().lines.clone()
    }

    /// Waits for a line, from the `from`th on, that contains a text; returns its index.
    ///
    /// # Errors
    ///
    /// After `patience`, or when it ended before, with what it printed.
    pub fn wait_for_line(&self, from: usize, text: &str, patience: Duration) -> Result<usize> {
        let found = self.state.wait(patience, |state| {
            let index = state.lines.iter().skip(from).position(|line| line.contains(text));
            match index {
                Some(index) => Some(Some(from + index)),
                None => (state.ended && state.open_streams == 0).then_some(None),
            }
        });
        found
            .and_then(|found| found.context("it ended before"))
            .with_context(|| format!("waiting for '{text}'; it printed:\n{}", self.lines().join("\n")))
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// After `patience`, with what it printed.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let ended = |state: &State| (state.ended && state.open_streams == 0).then_some(());
        self.state
            .wait(patience, ended)
            .with_context(|| format!("waiting for its end; it printed:\n{}", self.lines().join("\n")))?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended and was reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time that a process has used, in user space and in the kernel, with all its threads but without
/// the processes that it has started.
///
/// # Errors
///
/// If there is no such process.
pub fn cpu_time(pid: Pid) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name, which may contain anything: user and system time are fields 14 and 15 of all.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u32::try_from(ticks).ok()).unwrap_or(100);
    Ok(Duration::from_secs(ticks) / per_second)
}

/// Memory of a process that is in use, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// At most, so far.
    pub peak: u64,
}

/// How much memory a process has in use.
///
/// # Errors
///
/// If there is no such process.
pub fn memory(pid: Pid) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let find = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        line.and_then(|kib| kib.parse::<u64>().ok()).map(|kib| kib << 10).context("/proc/PID/status")
    };
    Ok(Memory { resident: find("VmRSS:")?, peak: find("VmHWM:")? })
}

/// How often a thread of a process has waited for something and was woken.
///
/// # Errors
///
/// If there is no such thread.
pub fn wakes(pid: Pid, thread: &str) -> Result<u64> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() == thread {
            let status = fs::read_to_string(task.join("status"))?;
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            return count.and_then(|count| count.trim().parse().ok()).context("/proc/PID/task/TID/status");
        }
    }
    bail!("process {pid} has no thread {thread}")
}

fn collect(stream: impl Read + Send + 'static, state: Arc<Watched<State>>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            // What is not kept must be read all the same, or the process would wait for us.
            state.update(|state| state.lines.extend((state.lines.len() < KEPT).then_some(text)));
            line.clear();
        }
        state.update(|state| state.open_streams -= 1);
    });
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

/// Lines that are kept of what a process prints: some print one for each frame of a flood.
const KEPT: usize = 100_000;
