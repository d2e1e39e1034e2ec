//! A running keepalived, which speaks VRRP.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

use crate::lan::Node;
use crate::netns::FILES;
use crate::process::Process;

/// What it is started with: one virtual router on `eth0`, VRRP version 3, everything else as it is by itself.
#[derive(Clone, Debug)]
pub struct KeepalivedConfig {
    /// Virtual router.
    pub vrid: u8,
    /// The virtual address, with prefix length 24.
    pub address: Ipv4Addr,
    /// 1 to 254; the highest is master.
    pub priority: u8,
    /// From one advertisement to the next, in 1/100 s, 1 to 4095.
    pub interval: u16,
    /// Its process runs with this real-time priority, 1 to 99, and with its memory locked.
    pub real_time: Option<u8>,
}

/// A keepalived in a node's namespace; ended when dropped, its files removed.
///
/// Its log goes nowhere: in a flood it has a line for every frame.
#[derive(Debug)]
pub struct Keepalived {
    /// The process that looks after the one that speaks VRRP.
    pub process: Process,
    /// Prints its changes of state.
    notices: Process,
    directory: TempDir,
}

impl Default for KeepalivedConfig {
    fn default() -> Self {
        Self {
            vrid: 10,
            address: Ipv4Addr::new(10, 77, 0, 100),
            priority: 100,
            interval: 100,
            real_time: None,
        }
    }
}

impl KeepalivedConfig {
    /// The file's text.
    #[must_use]
    pub fn text(&self, notices: &Path) -> String {
        let Self { vrid, address, priority, interval, real_time } = self;
        let (seconds, hundredths) = (interval / 100, interval % 100);
        let real_time = real_time
            .map(|priority| format!("  vrrp_rt_priority {priority}\n  vrrp_no_swap\n"))
            .unwrap_or_default();
        format!(
            "global_defs {{\n  vrrp_notify_fifo {}\n{real_time}}}\nvrrp_instance data {{\n  interface eth0\n  version 3\n  \
             virtual_router_id {vrid}\n  priority {priority}\n  advert_int {seconds}.{hundredths:02}\n  \
             virtual_ipaddress {{\n    {address}/24\n  }}\n}}\n",
            notices.display()
        )
    }
}

impl Keepalived {
    /// Starts a keepalived and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn start(node: &Node, config: &KeepalivedConfig) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?;
        let file = |name: &str| directory.path().join(name);
        let fifo = file("notices");
        mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).context("the pipe for keepalived's notices")?;
        fs::write(file("keepalived.conf"), config.text(&fifo))?;
        let mut reader = Command::new("cat");
        reader.arg(&fifo);
        let notices = node.netns.spawn(&reader)?;

        let mut command = Command::new("keepalived");
        command.args(["--vrrp", "--dont-fork", "--no-syslog"]);
        command.arg("--use-file").arg(file("keepalived.conf"));
        // By their usual names there is only one on a machine.
        command.arg("--pid").arg(file("pid")).arg("--vrrp_pid").arg(file(VRRP_PID));
        let keepalived = Self { process: node.netns.spawn(&command)?, notices, directory };
        keepalived.wait_for_state(0, "BACKUP")?;
        Ok(keepalived)
    }

    /// Kills all of it (`SIGKILL`), and waits until it has ended. Its address stays.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub fn kill(&mut self) -> Result<()> {
        let [guardian, speaker] = self.pids()?;
        // In this order: the guardian would start another.
        kill(guardian, Signal::SIGKILL).context("killing keepalived")?;
        kill(speaker, Signal::SIGKILL).context("killing keepalived's VRRP process")?;
        self.process.wait(PATIENCE).map(drop)
    }

    /// The numbers of its processes.
    ///
    /// # Errors
    ///
    /// If the one that speaks VRRP is not there.
    pub fn pids(&self) -> Result<[Pid; 2]> {
        let text =
            fs::read_to_string(self.directory.path().join(VRRP_PID)).context("keepalived's pid file")?;
        Ok([self.process.pid(), Pid::from_raw(text.trim().parse().context("keepalived's pid file")?)])
    }

    /// How often it has changed its state: where to look from for what comes.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.notices.lines().len()
    }

    /// Waits for a change to a state, from the `from`th change on.
    ///
    /// # Errors
    ///
    /// If it does not come within 10 s.
    pub fn wait_for_state(&self, from: usize, state: &str) -> Result<usize> {
        self.notices.wait_for_line(from, &format!("INSTANCE \"data\" {state} "), PATIENCE)
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        // So that it ends the process that speaks VRRP; if it is killed, that one ends by itself a little later.
        if self.process.signal(Signal::SIGTERM).is_ok() {
            let _ = self.process.wait(PATIENCE);
        }
    }
}

const VRRP_PID: &str = "vrrp.pid";
const PATIENCE: Duration = Duration::from_secs(10);
