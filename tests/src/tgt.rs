//! A real iSCSI target with persistent reservations: `tgtd`, with one disk in a file.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::iscsi::Initiator;
use crate::netns::{FILES, Netns};
use crate::process::Process;

/// A target in a namespace of its own; killed when dropped, its files removed.
#[derive(Debug)]
pub struct Tgt {
    /// The process.
    pub process: Process,
    netns: Netns,
    directory: TempDir,
}

impl Tgt {
    /// Starts it, with a disk of 1 MiB that has this serial number.
    ///
    /// # Errors
    ///
    /// If it does not serve.
    pub fn start(suffix: &str, serial: &str) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?;
        let netns = Netns::new(suffix)?;
        std::fs::File::create(directory.path().join("disk"))?.write_all(&vec![0; 1 << 20])?;
        let mut command = Command::new("tgtd");
        command.args(["--foreground", "--iscsi", &format!("portal={ADDRESS}")]);
        command.env(SOCKET, directory.path().join("socket"));
        let tgt = Self { process: netns.spawn(&command)?, netns, directory };
        tgt.make_disk(serial)?;
        Ok(tgt)
    }

    /// Logs in as the initiator of this name: a connection that the target knows from others.
    ///
    /// # Errors
    ///
    /// If the target refuses.
    pub fn connect(&self, name: &str) -> Result<Initiator> {
        let name = format!("iqn.2026-01.test:{name}");
        self.netns.run(move || Initiator::connect(ADDRESS, &name, TARGET, LUN))?
    }

    /// What the disk contains, from this byte on.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    pub fn contents(&self, at: usize, length: usize) -> Result<Vec<u8>> {
        let bytes = std::fs::read(self.directory.path().join("disk"))?;
        Ok(bytes.get(at..at + length).context("beyond the end")?.to_vec())
    }

    fn make_disk(&self, serial: &str) -> Result<()> {
        let file = self.directory.path().join("disk");
        let file = file.to_str().context("a strange path")?;
        let params = format!("scsi_sn={serial}");
        let (target, unit) =
            (["--mode", "target", "--tid", "1"], ["--mode", "logicalunit", "--tid", "1", "--lun", "1"]);
        // It listens to this some time after it was started.
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.admin("new", &target, &["--targetname", TARGET]) {
            ensure!(Instant::now() < deadline, "{error:#}; it printed: {}", self.process.lines().join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
        self.admin("new", &unit, &["--backing-store", file])?;
        self.admin("update", &unit, &["--params", &params])?;
        self.admin("bind", &target, &["--initiator-address", "ALL"])
    }

    fn admin(&self, operation: &str, object: &[&str], more: &[&str]) -> Result<()> {
        let mut command = Command::new("tgtadm");
        command.env(SOCKET, self.directory.path().join("socket"));
        command.args(["--lld", "iscsi", "--op", operation]).args(object).args(more);
        let output = command.output().context("tgtadm could not be started; is its package installed?")?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}

const SOCKET: &str = "TGT_IPC_SOCKET";
const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 3260);
const TARGET: &str = "iqn.2026-01.test:disks";
const LUN: u8 = 1;
const PATIENCE: Duration = Duration::from_secs(20);
