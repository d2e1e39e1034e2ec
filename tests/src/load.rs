//! What keeps a machine busy: processes of usual priority, ended when dropped.

use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::netns::FILES;
use crate::process::Process;

/// Processes that do nothing but work.
#[derive(Debug)]
pub struct Load {
    processes: Vec<Process>,
    /// Stays until they have ended.
    directory: Option<TempDir>,
}

impl Load {
    /// So many that only compute.
    ///
    /// # Errors
    ///
    /// If they can't be started.
    pub fn cpu(count: usize) -> Result<Self> {
        Self::start(count, || shell("while :; do :; done"))
    }

    /// So many that start processes, one after another, which end at once.
    ///
    /// # Errors
    ///
    /// If they can't be started.
    pub fn forks(count: usize) -> Result<Self> {
        Self::start(count, || shell("while :; do /bin/true; done"))
    }

    /// Two that fill so much memory together, give it back and begin anew, and one that writes a file of 512 MiB and
    /// reads it, again and again. If memory runs out all the same, the kernel ends them before all others.
    ///
    /// # Errors
    ///
    /// If they can't be started.
    pub fn memory(bytes: u64) -> Result<Self> {
        let hog = || {
            let mut command = Command::new("choom");
            command.args(["-n", "1000", "--", "perl", "-e", HOG]).arg((bytes / 2).to_string());
            command
        };
        let mut load = Self::start(2, hog)?;
        let directory =
            tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?;
        let mut churn = shell(CHURN);
        churn.current_dir(directory.path());
        load.processes.push(Process::start(Process::tied(&churn))?);
        load.directory = Some(directory);
        Ok(load)
    }

    fn start(count: usize, command: impl Fn() -> Command) -> Result<Self> {
        let processes = (0..count).map(|_| Process::start(Process::tied(&command())));
        Ok(Self { processes: processes.collect::<Result<_>>()?, directory: None })
    }
}

/// How much memory can be filled so that a fifth of all stays free, in bytes.
///
/// # Errors
///
/// If the kernel does not tell.
pub fn spare_memory() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let find = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        line.and_then(|kib| kib.parse::<u64>().ok()).with_context(|| format!("/proc/meminfo: {name}"))
    };
    Ok((find("MemAvailable:")?.saturating_sub(find("MemTotal:")? / 5)) << 10)
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Reading zeroes touches every page.
const HOG: &str = "my $bytes = shift; open Z, '<', '/dev/zero'; while (1) { my $x = ''; while (length $x < $bytes) \
                   { sysread Z, $x, 1 << 20, length $x or die } undef $x }";
const CHURN: &str =
    "while :; do dd if=/dev/zero of=file bs=1M count=512 2>/dev/null; cat file >/dev/null; done";
