//! FRR's `bfdd`, which speaks BFD, and `vrrpd`, which speaks VRRP, each with a `zebra` that tells it of interfaces.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, User, chown};
use tempfile::TempDir;

use crate::lan::Node;
use crate::netns::FILES;
use crate::process::Process;

/// What `bfdd` is started with: one session on `eth0`.
#[derive(Clone, Debug)]
pub struct BfddConfig {
    /// Whom it watches.
    pub peer: Ipv4Addr,
    /// From one packet to the next, in ms, 10 to 4,294,967. It varies that by a quarter, as RFC 5880 has it.
    pub interval: u32,
    /// How many may be missed, 2 to 255.
    pub multiplier: u8,
}

/// What `vrrpd` is started with: one virtual router on `eth0`, VRRP version 3.
#[derive(Clone, Debug)]
pub struct VrrpdConfig {
    /// Virtual router.
    pub vrid: u8,
    /// The virtual address, with prefix length 24.
    pub address: Ipv4Addr,
    /// 1 to 254; the highest is master.
    pub priority: u8,
    /// From one advertisement to the next, in ms, a multiple of 10, 10 to 40,950.
    pub interval: u16,
}

/// A daemon of FRR in a node's namespace, with its own `zebra`; both are killed when dropped, their files removed.
#[derive(Debug)]
pub struct Frr {
    /// The one that speaks.
    pub daemon: Process,
    zebra: Process,
    _directory: TempDir,
}

impl Frr {
    /// Starts a `bfdd` and waits until it runs.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn bfdd(node: &Node, config: &BfddConfig) -> Result<Self> {
        Self::start(node, "bfdd", &config.text())
    }

    /// Starts a `vrrpd` and waits until it runs. The interface of its virtual router is made anew.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn vrrpd(node: &Node, config: &VrrpdConfig) -> Result<Self> {
        let VrrpdConfig { vrid, address, .. } = config;
        if node.hardware(VIRTUAL).is_ok() {
            node.netns.ip(&format!("link delete {VIRTUAL}"))?;
        }
        // As its manual has it. An address is answered for by its own interface only, or a backup would answer.
        node.netns.run(|| fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1"))??;
        node.netns.ip(&format!("link add {VIRTUAL} link eth0 type macvlan mode bridge"))?;
        node.netns.ip(&format!("link set {VIRTUAL} addrgenmode none address 00:00:5e:00:01:{vrid:02x}"))?;
        node.netns.ip(&format!("address add {address}/24 dev {VIRTUAL}"))?;
        node.netns.ip(&format!("link set {VIRTUAL} up"))?;
        Self::start(node, "vrrpd", &config.text())
    }

    fn start(node: &Node, name: &str, text: &str) -> Result<Self> {
        let user = User::from_name(USER)?.context("no user frr; is the package frr installed?")?;
        let directory =
            tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?;
        let path = directory.path();
        chown(path, Some(user.uid), Some(user.gid)).context("giving a directory to FRR")?;
        let spawn = |name: &str, text: &str| {
            let config = path.join(name).with_extension("conf");
            fs::write(&config, text)?;
            let mut command = as_user();
            command.arg(format!("/usr/lib/frr/{name}")).args(["--log", "stdout", "--log-level", "info"]);
            // Nobody speaks to it but what it is started with, and by the usual names there is only one.
            command.args(["--vty_port", "0", "--vty_socket"]).arg(path);
            command.arg("--config_file").arg(config).arg("--socket").arg(path.join("zserv"));
            command.arg("--pid_file").arg(path.join(name).with_extension("pid"));
            if name == "bfdd" {
                command.arg("--bfdctl").arg(path.join("bfdctl"));
            }
            let process = node.netns.spawn(&command)?;
            process.wait_for_line(0, " starting: ", PATIENCE)?;
            anyhow::Ok(process)
        };
        // It asks zebra only once in ten seconds.
        let zebra = spawn("zebra", "")?;
        Ok(Self { daemon: spawn(name, text)?, zebra, _directory: directory })
    }

    /// The numbers of its processes: of the one that speaks, and of its `zebra`.
    #[must_use]
    pub fn pids(&self) -> [Pid; 2] {
        [self.daemon.pid(), self.zebra.pid()]
    }

    /// Kills both (`SIGKILL`), and waits until they have ended.
    ///
    /// # Errors
    ///
    /// If they do not end.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.signal(Signal::SIGKILL)?;
        self.zebra.kill()?;
        self.daemon.wait(PATIENCE).map(drop)
    }

    /// Lets the one that speaks leave in order (`SIGTERM`), waits until it has ended, and kills its `zebra`.
    ///
    /// # Errors
    ///
    /// If one of them does not end.
    pub fn leave(&mut self) -> Result<()> {
        self.daemon.signal(Signal::SIGTERM)?;
        self.daemon.wait(PATIENCE)?;
        self.zebra.kill()
    }
}

impl BfddConfig {
    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { peer, interval, multiplier } = self;
        format!(
            "bfd\n peer {peer} interface eth0\n  detect-multiplier {multiplier}\n  receive-interval {interval}\n  \
             transmit-interval {interval}\n  no shutdown\n"
        )
    }
}

impl VrrpdConfig {
    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { vrid, address, priority, interval } = self;
        format!(
            "interface eth0\n vrrp {vrid} version 3\n vrrp {vrid} priority {priority}\n vrrp {vrid} \
             advertisement-interval {interval}\n vrrp {vrid} ip {address}\n"
        )
    }
}

/// A command that runs as FRR's user from the beginning: it would become that by itself, but then would outlive us.
fn as_user() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
    command.args(["--inh-caps", RIGHTS, "--ambient-caps", RIGHTS, "--pdeathsig", "KILL", "--"]);
    command
}

const USER: &str = "frr";
/// What it keeps for itself.
const RIGHTS: &str = "+net_admin,+net_raw,+sys_admin,+net_bind_service";
/// The interface of a virtual router.
const VIRTUAL: &str = "vrrp4";
const PATIENCE: Duration = Duration::from_secs(10);
