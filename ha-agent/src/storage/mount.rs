//! A file system on a shared block device: ext4, XFS, btrfs, for everybody without ZFS.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::disk::{self, DiskId};
use super::holders::elsewhere;
use super::host::Host;
use super::mountinfo::{MountPoint, mounts};
use super::unmount::{Busy, unmount_all};
use crate::resource::{Cause, Failure, Finding, Invocation, Resource, Taken, Within};

/// What is mounted where.
#[derive(Clone, Debug)]
pub struct MountSettings {
    /// The block device: an absolute path that is the same on both nodes, `/dev/disk/by-id/…` best.
    pub device: PathBuf,
    /// The UUID of its file system, as `blkid` writes it. `None` (the default): it is not compared.
    pub uuid: Option<String>,
    /// Where it is mounted: an absolute path. The directory is made if it is not there.
    pub at: PathBuf,
    /// As for `mount -t`: `ext4`, `xfs`, `btrfs`, …
    pub kind: String,
    /// As for `mount -o`, without commas at the ends. Empty by default. A btrfs on several devices names them here:
    /// `device=/dev/…`.
    pub options: String,
    /// Whether `fsck -p` looks at it before it is mounted. No, by default: journalling file systems do what is needed when
    /// they are mounted.
    pub check: bool,
    /// What is done with whoever does not let go. To wait, by default.
    pub busy: Busy,
}

/// A file system that is mounted on the active node.
#[derive(Debug)]
pub struct Mount {
    name: String,
    settings: MountSettings,
    host: Host,
}

impl Mount {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: MountSettings, host: Host) -> Self {
        Self { name: format!("file system {}", settings.at.display()), settings, host }
    }

    /// The disk that it is on, for comparing and for reserving; none if it is not there.
    #[must_use]
    pub fn disks(&self) -> Vec<DiskId> {
        disk::identify(&self.host, &self.settings.device, None).into_iter().collect()
    }

    /// Where the device is mounted here.
    fn mounted(&self) -> Result<Vec<MountPoint>, Failure> {
        let all = mounts(&self.host, "self");
        let mut all = all.map_err(|error| Failure::system("the mounts can't be listed", &error))?;
        let is_it = self.is_it();
        all.retain(is_it);
        Ok(all)
    }

    /// Tells whether a mount is of this device. btrfs has a device number of its own, so the name counts too. A device that
    /// has vanished is recognised by the settings.
    fn is_it(&self) -> impl Fn(&MountPoint) -> bool + use<> {
        let number = device_number(&self.host, &self.settings.device);
        let device = self.host.canonical(&self.settings.device);
        let (host, settings) = (self.host.clone(), self.settings.clone());
        move |mount| {
            Some(mount.device) == number
                || mount.source == settings.device
                || device.as_ref().is_ok_and(|device| {
                    mount.source == *device
                        || host.canonical(&mount.source).is_ok_and(|source| source == *device)
                })
                || (device.is_err() && mount.at == settings.at && mount.kind == settings.kind)
        }
    }

    /// Whether it is mounted where it should be; or that something stands in the way there.
    fn is_in_place(&self) -> Result<bool, Failure> {
        let settings = &self.settings;
        let mounted = self.mounted()?;
        if mounted.iter().any(|mount| mount.at == settings.at) {
            return Ok(true);
        }
        if let Some(other) = mounted.first() {
            let what = format!("{} is mounted on {} already", settings.device.display(), other.at.display());
            return Err(Failure::new(Cause::Busy, what, "unmount it there"));
        }
        let all = mounts(&self.host, "self");
        let all = all.map_err(|error| Failure::system("the mounts can't be listed", &error))?;
        let Some(other) = all.iter().find(|mount| mount.at == settings.at) else { return Ok(false) };
        let what = format!("{} is mounted on {} already", other.source.display(), settings.at.display());
        Err(Failure::new(Cause::Busy, what, "unmount it, or choose another directory"))
    }

    /// Whether the file system is the one that was meant: nothing is mounted by a device's name alone.
    fn identify(&self, within: &Within) -> Result<(), Failure> {
        let Some(uuid) = &self.settings.uuid else { return Ok(()) };
        let device = &self.settings.device;
        let line = ["-p", "-o", "export", &device.display().to_string()].map(str::to_owned);
        let invocation = Invocation::new("blkid", line);
        let output = self.host.run(&invocation, within)?;
        // 2: it has found nothing.
        if !output.status.success() && output.status.code() != Some(2) {
            output.success(&invocation, Cause::DiskForeign, "look at what is on this device")?;
            return Ok(());
        }
        let says =
            |name: &str| output.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        match says("UUID") {
            Some(found) if found.eq_ignore_ascii_case(uuid) => Ok(()),
            found => {
                let found = found.map_or_else(|| "none".to_owned(), |found| format!("UUID {found}"));
                let what = format!("the file system on {} is not UUID {uuid}, but {found}", device.display());
                Err(Failure::new(Cause::DiskForeign, what, "name the right device or the right UUID"))
            }
        }
    }

    /// Lets `fsck` repair what needs no decision.
    fn repair(&self, within: &Within) -> Result<Vec<String>, Failure> {
        if !self.settings.check {
            return Ok(Vec::new());
        }
        let (program, device) = (format!("fsck.{}", self.settings.kind), &self.settings.device);
        let invocation = Invocation::new(program, ["-p".as_ref(), device.as_os_str()]);
        let output = self.host.run(&invocation, within)?;
        match output.status.code() {
            Some(0) => Ok(Vec::new()),
            Some(1) => Ok(vec![format!("`{invocation}` has corrected errors")]),
            _ => output
                .success(&invocation, Cause::FilesystemBroken, "repair it by hand with `fsck`")
                .map(|_| Vec::new()),
        }
    }

    fn mount(&self, within: &Within) -> Result<(), Failure> {
        let MountSettings { device, at, kind, options, .. } = &self.settings;
        let directory = self.host.path(at);
        fs::create_dir_all(&directory)
            .map_err(|error| Failure::system(&format!("{} can't be made", at.display()), &error))?;
        let mut line: Vec<&OsStr> = vec!["-t".as_ref(), kind.as_ref()];
        if !options.is_empty() {
            line.extend([OsStr::new("-o"), OsStr::new(options)]);
        }
        line.extend([device.as_os_str(), at.as_os_str()]);
        let invocation = Invocation::new("mount", line);
        let output = self.host.run(&invocation, within)?;
        let cause = if output.stderr.contains("busy") { Cause::Busy } else { Cause::FilesystemBroken };
        output.success(&invocation, cause, "see the kernel's log; check the type and the options")?;
        if self.is_in_place()? { Ok(()) } else { Err(Failure::gone(&self.name)) }
    }

    fn wants_read_only(&self) -> bool {
        self.settings.options.split(',').any(|option| option == "ro")
    }
}

impl Resource for Mount {
    fn name(&self) -> &str {
        &self.name
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        within.go_on(&self.name)?;
        let mut remarks = Vec::new();
        if !self.is_in_place()? {
            let device = &self.settings.device;
            if !self.host.wait_for(within, || self.host.path(device).exists()) {
                let what = format!("there is no device {}", device.display());
                return Err(Failure::new(Cause::DiskMissing, what, "look at the disk and its cables"));
            }
            self.identify(within)?;
            remarks = self.repair(within)?;
            self.mount(within)?;
        }
        self.check(within)?;
        Ok(Taken { remarks })
    }

    fn release(&self, within: &Within) -> Result<(), Failure> {
        unmount_all(&self.host, self.is_it(), self.settings.busy, within)?;
        if let Some(holder) = elsewhere(&self.host, self.is_it()) {
            let what = format!("{} is still mounted for {holder}", self.settings.device.display());
            return Err(Failure::new(
                Cause::Busy,
                what,
                "end that process: it has a mount name space of its own",
            ));
        }
        if device_number(&self.host, &self.settings.device).is_some() {
            let line = ["--flushbufs".as_ref(), self.settings.device.as_os_str()];
            self.host.must(("blockdev", line), within, (Cause::Other, "see the kernel's log"))?;
        }
        Ok(())
    }

    fn is_here(&self, _: &Within) -> Result<bool, Failure> {
        Ok(!self.mounted()?.is_empty())
    }

    fn check(&self, _: &Within) -> Result<(), Failure> {
        let mounted = self.mounted()?;
        let Some(mount) = mounted.iter().rev().find(|mount| mount.at == self.settings.at) else {
            return Err(Failure::gone(&self.name));
        };
        if (mount.read_only || mount.all_read_only) && !self.wants_read_only() {
            let what = format!("{} can only be read any more", self.name);
            return Err(Failure::new(
                Cause::ReadOnly,
                what,
                "see the kernel's log for the error, and repair it",
            ));
        }
        Ok(())
    }

    fn examine(&self, within: &Within) -> Vec<Finding> {
        let MountSettings { device, kind, check, .. } = &self.settings;
        let mut tools = vec!["mount", "umount", "blkid", "blockdev"];
        let fsck = format!("fsck.{kind}");
        tools.extend(check.then_some(fsck.as_str()));
        let mut findings = self.host.examine_tools(&tools);
        findings.push(self.host.examine_room());
        if !self.host.path(device).exists() {
            let what = format!("there is no device {}", device.display());
            findings.push(Finding::Bad(Failure::new(
                Cause::DiskMissing,
                what,
                "look at the disk and its cables",
            )));
            return findings;
        }
        // While the other one writes, what is read may be old, but not whose it is.
        findings.push(match self.is_in_place().and_then(|_| self.identify(within)) {
            Ok(()) => Finding::Good(format!("{} is the device that was meant", device.display())),
            Err(failure) => Finding::Bad(failure),
        });
        findings
    }
}

fn device_number(host: &Host, device: &Path) -> Option<(u32, u32)> {
    let found = fs::metadata(host.path(device)).ok().filter(|found| found.file_type().is_block_device())?;
    Some((major(found.rdev()), minor(found.rdev())))
}
