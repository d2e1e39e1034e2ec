//! The machine: QEMU, which emulates the processor.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::debian;
use crate::process::{last_lines, line, show};

/// Where QEMU is unpacked, with what it reads SCSI disks by over iSCSI, and `qemu-img`. Debian 12's own (7.2) makes
/// Linux 6.12 fault in `cmpxchg16b`; that of its backports does not.
///
/// # Errors
///
/// It cannot be fetched.
pub(super) fn qemu() -> Result<PathBuf> {
    debian::unpacked("qemu-iscsi", &debian::DEBIAN_12, |archive| {
        archive.download_all("qemu-system-x86", "bookworm-backports")?;
        // Not with all that it depends on, which is for other kinds of disks.
        archive.download(&[
            "qemu-block-extra/bookworm-backports",
            "qemu-utils/bookworm-backports",
            "libiscsi7",
        ])
    })
}

/// A program of QEMU's, so that it finds its libraries and modules; `qemu` is from [`qemu`].
pub(super) fn program(qemu: &Path, name: &str) -> Command {
    let mut command = Command::new(qemu.join("usr/bin").join(name));
    with_libraries(&mut command, qemu);
    command
}

/// Has `command`, which runs a program of QEMU's, find its libraries and modules.
pub(super) fn with_libraries(command: &mut Command, qemu: &Path) {
    command.env("LD_LIBRARY_PATH", qemu.join("usr/lib/x86_64-linux-gnu"));
    command.env("QEMU_MODULE_DIR", qemu.join("usr/lib/x86_64-linux-gnu/qemu"));
}

/// A guest before it is booted.
pub(super) struct Guest<'a> {
    /// From [`qemu`].
    pub(super) qemu: &'a Path,
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// Where the console's log and the report are written.
    pub(super) dir: &'a Path,
    /// How many tests it runs.
    pub(super) tests: usize,
}

impl Guest<'_> {
    /// Boots it and waits until it has powered itself off. What its tests print goes to our standard output. Returns
    /// its report.
    ///
    /// # Errors
    ///
    /// QEMU fails, or the guest does not come to its end in time: then the end of its console is shown.
    pub(super) fn run(&self) -> Result<String> {
        let (console, report) = (self.dir.join("console.log"), self.dir.join("report"));
        let mut command = self.command(&console, &report);
        let status = command.stdin(Stdio::null()).status().context("cannot run timeout(1)")?;
        let report = fs::read_to_string(&report).unwrap_or_default();
        if status.success() && report.lines().any(|line| line == "end") {
            return Ok(report);
        }
        let text = fs::read(&console).unwrap_or_default();
        show(last_lines(&String::from_utf8_lossy(&text), CONSOLE_LINES));
        let console = console.display();
        if status.code() == Some(TIMED_OUT) {
            bail!("the guest was ended after {} s; its whole console: {console}", self.limit());
        } else if !status.success() {
            bail!("`{}` failed ({status}); the guest's console: {console}", line(&command));
        }
        bail!("the guest ended before its tests did; its whole console: {console}");
    }

    fn command(&self, console: &Path, report: &Path) -> Command {
        let within = |path: &str| self.qemu.join(path);
        let serial = |path: &Path| format!("file:{}", path.display());
        let mut command = Command::new("timeout");
        // In the foreground: Ctrl-C reaches it.
        command.args(["--foreground", "--kill-after=5"]).arg(self.limit().to_string());
        command.arg(within("usr/bin/qemu-system-x86_64")).args(MACHINE);
        command.arg("-L").arg(within("usr/share/qemu")).arg("-L").arg(within("usr/share/seabios"));
        command.arg("-kernel").arg(self.kernel).args(["-append", KERNEL_LINE]);
        command.arg("-initrd").arg(self.initramfs);
        // In this order ttyS0, ttyS1 and ttyS2 of the guest.
        command.args(["-serial", &serial(console), "-serial", "stdio", "-serial", &serial(report)]);
        with_libraries(&mut command, self.qemu);
        command
    }

    /// Seconds. The guest ends each of its tests after 180 of its own, which are many more here while others work: this is
    /// for what cannot end.
    fn limit(&self) -> usize {
        120 + 400 * self.tests
    }
}

/// A processor, memory, three serial lines.
///
/// The clock counts instructions, two nanoseconds each, and leaps to the next timer when there is nothing to do: a guest
/// that gets too little time here is not late by its own clock, and waiting costs nothing.
#[rustfmt::skip]
const MACHINE: [&str; 17] = [
    "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
    "-machine", "pc", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "768M",
    "-icount", "shift=1,sleep=off",
];
/// An oops ends the guest: `-no-reboot` makes a reboot an end.
const KERNEL_LINE: &str = "console=ttyS0 loglevel=7 panic=-1 oops=panic mitigations=off net.ifnames=0";
/// The exit code of timeout(1).
const TIMED_OUT: i32 = 124;
const CONSOLE_LINES: usize = 40;
