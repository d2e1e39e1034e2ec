//! File systems that are real, on loop devices; skipped where there are none, or where it is not run by root.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;
use tempfile::TempDir;

use super::double::{Double, FAULTS, Fault, within};
use super::{Busy, Host, Mount, MountSettings, mounts};
use crate::resource::{Cause, Finding, Resource};

/// A file system on a loop device, in a directory of its own.
struct Lab {
    directory: TempDir,
    device: String,
    kind: &'static str,
}

impl Lab {
    /// None, if this machine can't.
    fn new(kind: &'static str, size: u64) -> Result<Option<Self>> {
        if !geteuid().is_root() {
            eprintln!("skipped: not root");
            return Ok(None);
        }
        let known = fs::read_to_string("/proc/filesystems")?;
        let tool = format!("mkfs.{kind}");
        if !known.split_whitespace().any(|it| it == kind) || Command::new(&tool).arg("-V").output().is_err() {
            eprintln!("skipped: no {kind} here");
            return Ok(None);
        }
        let directory = TempDir::new()?;
        let image = directory.path().join("image");
        File::create(&image)?.set_len(size)?;
        shell(&format!("{tool} -q {} 2>&1", image.display()))?;
        let Ok(device) = shell(&format!("losetup --find --show {}", image.display())) else {
            eprintln!("skipped: no loop devices");
            return Ok(None);
        };
        Ok(Some(Self { directory, device: device.trim().to_owned(), kind }))
    }

    fn settings(&self) -> MountSettings {
        MountSettings {
            device: self.directory.path().join("link"),
            uuid: None,
            at: self.at(),
            kind: self.kind.to_owned(),
            options: "noatime".to_owned(),
            check: false,
            busy: Busy::Wait,
        }
    }

    fn at(&self) -> PathBuf {
        self.directory.path().join("mounted here")
    }

    fn link(&self) -> Result<()> {
        Ok(std::os::unix::fs::symlink(&self.device, self.directory.path().join("link"))?)
    }

    fn is_mounted(&self) -> Result<bool> {
        Ok(mounts(&Host::system(), "self")?.iter().any(|mount| mount.at == self.at()))
    }

    /// Somebody who works there.
    fn holder(&self) -> Result<Child> {
        let child = Command::new("sleep").arg("600").current_dir(self.at()).spawn()?;
        Ok(child)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ =
            shell(&format!("umount '{}' 2>/dev/null; losetup --detach {}", self.at().display(), self.device));
    }
}

fn shell(script: &str) -> Result<String> {
    let output = Command::new("sh").args(["-c", script]).output()?;
    ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn what_is_taken_twice_and_released_twice_leaves_nothing() -> Result<()> {
    for (kind, size) in [("ext4", 32 << 20), ("btrfs", 120 << 20), ("xfs", 310 << 20)] {
        let Some(lab) = Lab::new(kind, size)? else { continue };
        lab.link()?;
        let uuid = shell(&format!("blkid -p -s UUID -o value {}", lab.device))?.trim().to_uppercase();
        let mount = Mount::new(MountSettings { uuid: Some(uuid), ..lab.settings() }, Host::system());
        let findings = mount.examine(&within(20_000)?);
        ensure!(findings.iter().all(|it| matches!(it, Finding::Good(_))), "{findings:?}");
        ensure!(!mount.is_here(&within(1000)?)?);
        mount.take(&within(20_000)?)?;
        mount.take(&within(20_000)?)?;
        ensure!(mount.is_here(&within(1000)?)? && lab.is_mounted()?, "{kind}");
        mount.check(&within(1000)?)?;
        fs::write(lab.at().join("file"), "kept")?;
        // Something that is mounted on top goes too.
        fs::create_dir(lab.at().join("below"))?;
        shell(&format!(
            "mount -t tmpfs none '{0}/below' && mount --bind '{0}' '{0}/below'",
            lab.at().display()
        ))?;
        mount.release(&within(20_000)?)?;
        mount.release(&within(20_000)?)?;
        ensure!(!mount.is_here(&within(1000)?)? && !lab.is_mounted()?, "{kind}");
        ensure!(mount.check(&within(1000)?).is_err_and(|failure| failure.cause == Cause::Gone));
        ensure!(fs::read_dir(lab.at())?.next().is_none(), "the directory is as it was");
        mount.take(&within(20_000)?)?;
        ensure!(fs::read(lab.at().join("file"))? == b"kept");
        mount.release(&within(20_000)?)?;
    }
    Ok(())
}

#[test]
fn whoever_holds_it_is_named_and_killed_only_if_that_is_wanted() -> Result<()> {
    let Some(lab) = Lab::new("ext4", 32 << 20)? else { return Ok(()) };
    lab.link()?;
    let mount = Mount::new(lab.settings(), Host::system());
    mount.take(&within(20_000)?)?;
    let mut holder = lab.holder()?;
    let failure = mount.release(&within(4000)?).expect_err("busy");
    let process = format!("sleep (process {}", holder.id());
    ensure!(failure.cause == Cause::Busy && failure.what.contains(&process), "{failure}");
    ensure!(holder.try_wait()?.is_none() && lab.is_mounted()?);

    let began = Instant::now();
    let busy = Busy::Kill(Duration::from_millis(600));
    Mount::new(MountSettings { busy, ..lab.settings() }, Host::system()).release(&within(20_000)?)?;
    ensure!(began.elapsed() >= Duration::from_millis(600), "it had its time");
    ensure!(!holder.wait()?.success() && !lab.is_mounted()?);
    Ok(())
}

#[test]
fn another_name_space_that_has_it_mounted_is_noticed() -> Result<()> {
    let Some(lab) = Lab::new("ext4", 32 << 20)? else { return Ok(()) };
    lab.link()?;
    let mount = Mount::new(lab.settings(), Host::system());
    mount.take(&within(20_000)?)?;
    let mut other =
        Command::new("unshare").args(["--mount", "--propagation", "private", "sleep", "600"]).spawn()?;
    let own = fs::read_link("/proc/self/ns/mnt")?;
    let there = Host::system().wait_for(&within(10_000)?, || {
        fs::read_link(format!("/proc/{}/ns/mnt", other.id())).is_ok_and(|it| it != own)
    });
    ensure!(there, "no name space");
    std::thread::sleep(Duration::from_millis(200));
    let failure = mount.release(&within(5000)?).expect_err("elsewhere");
    ensure!(failure.cause == Cause::Busy && failure.what.contains("still mounted for sleep"), "{failure}");
    other.kill()?;
    other.wait()?;
    mount.release(&within(20_000)?)?;
    Ok(())
}

#[test]
fn another_file_system_is_not_mounted() -> Result<()> {
    let Some(lab) = Lab::new("ext4", 32 << 20)? else { return Ok(()) };
    lab.link()?;
    let uuid = "00000000-1111-2222-3333-444444444444".to_owned();
    let mount = Mount::new(MountSettings { uuid: Some(uuid), ..lab.settings() }, Host::system());
    let failure = mount.take(&within(20_000)?).expect_err("foreign");
    ensure!(failure.cause == Cause::DiskForeign && !lab.is_mounted()?, "{failure}");
    ensure!(mount.examine(&within(20_000)?).iter().any(|it| matches!(it, Finding::Bad(_))));
    // Of another type, or broken.
    let mount = Mount::new(MountSettings { kind: "btrfs".to_owned(), ..lab.settings() }, Host::system());
    let failure = mount.take(&within(20_000)?).expect_err("not btrfs");
    ensure!(failure.cause == Cause::FilesystemBroken && !lab.is_mounted()?, "{failure}");
    Ok(())
}

#[test]
fn a_device_is_waited_for_and_named_if_it_does_not_come() -> Result<()> {
    let Some(lab) = Lab::new("ext4", 32 << 20)? else { return Ok(()) };
    let mount = Mount::new(lab.settings(), Host::system());
    let failure = mount.take(&within(1000)?).expect_err("missing");
    ensure!(failure.cause == Cause::DiskMissing && failure.what.contains("link"), "{failure}");
    std::thread::scope(|scope| {
        let taken = scope.spawn(|| mount.take(&within(30_000)?).map_err(anyhow::Error::from));
        std::thread::sleep(Duration::from_millis(300));
        lab.link()?;
        let Ok(taken) = taken.join() else { bail!("the thread ended") };
        taken.context("it came")
    })?;
    mount.release(&within(20_000)?)?;
    Ok(())
}

#[test]
fn one_that_turns_read_only_is_reported() -> Result<()> {
    let Some(lab) = Lab::new("ext4", 32 << 20)? else { return Ok(()) };
    lab.link()?;
    let mount = Mount::new(lab.settings(), Host::system());
    mount.take(&within(20_000)?)?;
    shell(&format!("mount -o remount,ro '{}'", lab.at().display()))?;
    let failure = mount.check(&within(1000)?).expect_err("read-only");
    ensure!(failure.cause == Cause::ReadOnly, "{failure}");
    mount.release(&within(20_000)?)?;
    let wanted = Mount::new(MountSettings { options: "ro".to_owned(), ..lab.settings() }, Host::system());
    wanted.take(&within(20_000)?)?;
    wanted.release(&within(20_000)?)?;
    Ok(())
}

#[test]
fn whatever_goes_wrong_is_named_and_nothing_is_left() -> Result<()> {
    let root = TempDir::new()?;
    for directory in ["proc/self", "proc/self/ns", "dev"] {
        fs::create_dir_all(root.path().join(directory))?;
    }
    let list = root.path().join("proc/self/mountinfo");
    fs::write(root.path().join("dev/sda"), "")?;
    fs::write(&list, "")?;
    let mounted = list.clone();
    let programs = Arc::new(Double::new(move |line| {
        let words: Vec<_> = line.iter().map(String::as_str).collect();
        let mut stdout = "";
        match words.as_slice() {
            ["mount", .., device, at] => {
                let _ = fs::write(&mounted, format!("9 1 8:0 / {at} rw - ext4 {device} rw\n"));
            }
            ["umount", _] => {
                let _ = fs::write(&mounted, "");
            }
            ["blkid", ..] => stdout = "UUID=ab\nTYPE=ext4\n",
            ["fsck.ext4", ..] => return (1, String::new(), String::new()),
            other => return (1, String::new(), format!("what is {other:?}?")),
        }
        (0, stdout.to_owned(), String::new())
    }));
    let settings = MountSettings {
        device: "/dev/sda".into(),
        uuid: Some("AB".to_owned()),
        at: "/srv".into(),
        kind: "ext4".to_owned(),
        options: String::new(),
        check: true,
        busy: Busy::Wait,
    };
    let mount = Mount::new(settings, Host::new(programs.clone(), root.path()));
    let taken = mount.take(&within(1000)?)?;
    ensure!(taken.remarks.len() == 1 && taken.remarks[0].contains("has corrected errors"), "{taken:?}");
    ensure!(programs.calls().len() == 3);
    mount.release(&within(1000)?)?;
    for (at, fault) in (0..3).flat_map(|at| FAULTS.map(|fault| (at, fault))) {
        programs.fail(Some((at, fault)));
        match mount.take(&within(1000)?) {
            Err(failure) => ensure!(!failure.what.is_empty() && !failure.remedy.is_empty(), "{at} {fault:?}"),
            // That it has corrected errors is what `fsck` calls a failure.
            Ok(_) => ensure!(
                at == 1 && fault == Fault::Fails && mount.check(&within(1000)?).is_ok(),
                "{at} {fault:?}"
            ),
        }
        programs.fail(None);
        mount.release(&within(1000)?)?;
        ensure!(fs::read_to_string(&list)?.is_empty(), "{at} {fault:?}");
    }
    for fault in FAULTS {
        programs.fail(None);
        mount.take(&within(1000)?)?;
        programs.fail(Some((0, fault)));
        ensure!(mount.release(&within(1000)?).is_err(), "{fault:?}");
        programs.fail(None);
        mount.release(&within(1000)?)?;
        ensure!(fs::read_to_string(&list)?.is_empty(), "{fault:?}");
    }
    Ok(())
}

#[test]
fn what_stands_in_the_way_is_named() -> Result<()> {
    let Some(lab) = Lab::new("ext4", 32 << 20)? else { return Ok(()) };
    lab.link()?;
    let elsewhere = lab.directory.path().join("elsewhere");
    fs::create_dir(&elsewhere)?;
    shell(&format!("mount {} {}", lab.device, elsewhere.display()))?;
    let mount = Mount::new(lab.settings(), Host::system());
    let failure = mount.take(&within(20_000)?).expect_err("elsewhere");
    ensure!(failure.cause == Cause::Busy && failure.what.contains("elsewhere"), "{failure}");
    ensure!(mount.is_here(&within(1000)?)?);
    mount.release(&within(20_000)?)?;
    ensure!(mounts(&Host::system(), "self")?.iter().all(|mount| mount.at != elsewhere));

    fs::create_dir(lab.at())?;
    shell(&format!("mount -t tmpfs none '{}'", lab.at().display()))?;
    let failure = mount.take(&within(20_000)?).expect_err("in the way");
    shell(&format!("umount '{}'", lab.at().display()))?;
    ensure!(failure.cause == Cause::Busy && failure.what.contains("none is mounted on"), "{failure}");
    Ok(())
}

#[test]
fn errors_are_repaired_before_it_is_mounted_if_that_is_wanted() -> Result<()> {
    let Some(lab) = Lab::new("ext4", 32 << 20)? else { return Ok(()) };
    lab.link()?;
    shell(&format!("debugfs -w -R 'set_super_value state 2' {} 2>&1", lab.device))?;
    let mount = Mount::new(MountSettings { check: true, ..lab.settings() }, Host::system());
    let taken = mount.take(&within(20_000)?)?;
    ensure!(taken.remarks.len() <= 1, "{taken:?}");
    mount.release(&within(20_000)?)?;
    // So broken that it can't decide.
    let whole = File::options().write(true).open(&lab.device)?;
    rustix::io::pwrite(whole.as_fd(), &[0; 4096], 0)?;
    whole.sync_all()?;
    let failure = mount.take(&within(20_000)?).expect_err("broken");
    ensure!(failure.cause == Cause::FilesystemBroken && failure.what.contains("fsck.ext4 -p"), "{failure}");
    ensure!(Path::new(&lab.device).exists() && !lab.is_mounted()?);
    Ok(())
}
