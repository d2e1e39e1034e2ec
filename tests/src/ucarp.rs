//! A running ucarp, the other implementation of CARP that Debian has.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::lan::Node;
use crate::netns::FILES;
use crate::process::Process;

/// What it is started with. It has one virtual host with one address, and the classic pace.
#[derive(Clone, Debug)]
pub struct UcarpConfig {
    /// Passphrase, at most 19 bytes.
    pub passphrase: String,
    /// Virtual host.
    pub vhid: u8,
    /// The virtual address; its scripts put it on `eth0` with prefix length 24.
    pub address: Ipv4Addr,
    /// Priority: seconds.
    pub advbase: u8,
    /// Priority: 1/256 seconds.
    pub advskew: u8,
    /// Whether it takes over from a worse master.
    pub preempt: bool,
}

/// A ucarp in a node's namespace; killed when dropped, its scripts removed.
#[derive(Debug)]
pub struct Ucarp {
    /// The process. What its scripts say is among its lines.
    pub process: Process,
    _scripts: TempDir,
}

impl Default for UcarpConfig {
    fn default() -> Self {
        Self {
            passphrase: "secret".to_owned(),
            vhid: 10,
            address: Ipv4Addr::new(10, 77, 0, 100),
            advbase: 1,
            advskew: 0,
            preempt: false,
        }
    }
}

impl Ucarp {
    /// Starts a ucarp and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn start(node: &Node, config: &UcarpConfig) -> Result<Self> {
        let UcarpConfig { passphrase, vhid, address, advbase, advskew, preempt } = config;
        let scripts =
            tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?;
        let up = script(scripts.path(), "up", &format!("ip address add {address}/24 dev \"$1\""))?;
        // It runs this one when it starts, too, with nothing to take off.
        let down =
            script(scripts.path(), "down", &format!("ip address del {address}/24 dev \"$1\" 2>/dev/null"))?;
        // Its output is buffered unless it is a terminal.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "ucarp", "--interface=eth0"]);
        command.arg(format!("--srcip={}", node.address));
        command.arg(format!("--vhid={vhid}")).arg(format!("--pass={passphrase}"));
        command.arg(format!("--addr={address}"));
        command.arg(format!("--advbase={advbase}")).arg(format!("--advskew={advskew}"));
        command.arg("--upscript").arg(up).arg("--downscript").arg(down);
        if *preempt {
            command.arg("--preempt");
        }
        let ucarp = Self { process: node.netns.spawn(&command)?, _scripts: scripts };
        ucarp.wait_for_state(0, "BACKUP")?;
        Ok(ucarp)
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
        self.process.wait_for_line(from, &format!("Switching to state: {state}"), PATIENCE)
    }

    /// Waits until its `up` or `down` script has run, in what it prints from the `from`th line on.
    ///
    /// # Errors
    ///
    /// If it does not within 10 s.
    pub fn wait_for_script(&self, from: usize, which: &str) -> Result<usize> {
        self.process.wait_for_line(from, &format!("the {which} script has run"), PATIENCE)
    }
}

fn script(directory: &Path, name: &str, action: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{action}\necho the {name} script has run\n"))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

const PATIENCE: Duration = Duration::from_secs(10);
