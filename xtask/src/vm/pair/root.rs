//! The root of all guests: Debian 13 with the kernel's modules, in one image that each guest has a layer upon.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{super::kernel::Kernel, bootstrap, zfs};
use crate::{
    paths,
    process::{logged, say},
};

/// The image in the cache for `kernel`: ext4, without partitions.
///
/// # Errors
///
/// It cannot be made.
pub(super) fn image(kernel: &Kernel) -> Result<PathBuf> {
    let cache = paths::cache_dir()?.join("vm");
    let finished = cache.join(format!("pair-{}-{:016x}.ext4", kernel.release, recipe()));
    if finished.exists() {
        return Ok(finished);
    }
    let zfs = zfs::modules(kernel)?;
    let _lock = paths::lock("vm-pair")?;
    // Another xtask may have done it while we waited for the lock.
    if finished.exists() {
        return Ok(finished);
    }
    say("installing Debian for the guests (once per user, about a minute)");
    let root = cache.join("pair.root");
    bootstrap::into(&root, "minbase", &PACKAGES)?;
    add_modules(&root, kernel, &zfs)?;
    settle(&root)?;
    let staging = finished.with_extension("new");
    let mut command = Command::new("mke2fs");
    command.args(MKE2FS).arg("-d").arg(&root);
    logged(command.arg(&staging).arg(SIZE), &paths::log_file("vm-mke2fs")?)?;
    bootstrap::remove(&root)?;
    fs::rename(&staging, &finished).with_context(|| format!("cannot write {}", finished.display()))?;
    Ok(finished)
}

/// What the image is made of besides the kernel: another recipe is another image.
fn recipe() -> u64 {
    let mut hasher = DefaultHasher::new();
    (PACKAGES, MASKED, DISABLED, MKE2FS, SIZE).hash(&mut hasher);
    hasher.finish()
}

fn add_modules(root: &Path, kernel: &Kernel, zfs: &Path) -> Result<()> {
    let log = paths::log_file("vm-modules")?;
    let modules = root.join("usr/lib/modules");
    fs::create_dir_all(&modules).with_context(|| format!("cannot create {}", modules.display()))?;
    logged(Command::new("cp").arg("--archive").arg(&kernel.modules).arg(&modules), &log)?;
    let ours = modules.join(&kernel.release).join("updates");
    logged(Command::new("cp").arg("--recursive").arg(zfs).arg(ours), &log)?;
    logged(Command::new("chroot").arg(root).args(["depmod", &kernel.release]), &log)
}

/// Leaves no service that the guests have no use for: each takes seconds of an emulated processor.
fn settle(root: &Path) -> Result<()> {
    let log = paths::log_file("vm-services")?;
    let systemctl = |verb: &str, units: &[&str]| {
        let mut command = Command::new("chroot");
        logged(command.arg(root).args(["systemctl", verb]).args(units), &log)
    };
    systemctl("disable", &DISABLED)?;
    systemctl("mask", &MASKED)?;
    // Root has no password: whoever opens the console file of a guest is in.
    let mut command = Command::new("chroot");
    logged(command.arg(root).args(["passwd", "--delete", "root"]), &log)
}

/// From `main` and `contrib`, with what they depend on.
const PACKAGES: [&str; 24] = [
    "bpftool",
    "btrfs-progs",
    "ca-certificates",
    "e2fsprogs",
    "ethtool",
    "fdisk",
    "fio",
    "iproute2",
    "iputils-arping",
    "iputils-ping",
    "kmod",
    "nfs-common",
    "nfs-kernel-server",
    "open-iscsi",
    "procps",
    "psmisc",
    "qemu-guest-agent",
    "sg3-utils",
    "strace",
    "systemd-sysv",
    "tcpdump",
    "udev",
    "xfsprogs",
    "zfsutils-linux",
];
/// What a test starts itself when it wants it.
const DISABLED: [&str; 4] = ["iscsid.socket", "nfs-server.service", "open-iscsi.service", "rpcbind.service"];
/// What nobody wants. Pools are imported by the agent alone.
const MASKED: [&str; 33] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty-static.service",
    "getty@tty1.service",
    "kmod-static-nodes.service",
    "ldconfig.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-modules-load.service",
    "systemd-network-generator.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-sysusers.service",
    "systemd-udev-load-credentials.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
    "sys-fs-fuse-connections.mount",
    "zfs-import-cache.service",
    "zfs-import-scan.service",
    "zfs-load-module.service",
    "zfs-mount.service",
    "zfs-share.service",
];
/// With a journal: guests lose their power.
const MKE2FS: [&str; 6] = ["-q", "-F", "-t", "ext4", "-m", "0"];
/// The image takes no more of the cache than is in it.
const SIZE: &str = "3G";
