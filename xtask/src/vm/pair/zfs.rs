//! `OpenZFS` for the guests' kernel: Debian has its sources, which `dkms` compiles here, once for each kernel.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{super::kernel::Kernel, bootstrap};
use crate::{
    paths,
    process::{logged, say},
};

/// The directory in the cache with `spl.ko.xz` and `zfs.ko.xz` for `kernel`.
///
/// # Errors
///
/// They cannot be built.
pub(super) fn modules(kernel: &Kernel) -> Result<PathBuf> {
    let cache = paths::cache_dir()?.join("vm");
    let finished = cache.join(format!("zfs-{}", kernel.release));
    if finished.exists() {
        return Ok(finished);
    }
    let _lock = paths::lock("vm-zfs")?;
    // Another xtask may have done it while we waited for the lock.
    if finished.exists() {
        return Ok(finished);
    }
    say(format_args!("building OpenZFS for Linux {} (once per user, about 10 minutes)", kernel.release));
    let root = cache.join("zfs.root");
    let headers = format!("linux-headers-{}", kernel.release);
    bootstrap::into(&root, "apt", &[&headers, "build-essential", "dkms", "kmod", "xz-utils", "zfs-dkms"])?;
    // What the package's own script does about it depends on the kernel that runs here: it may have built nothing.
    let mut build = Command::new("unshare");
    build
        .args(["--mount", "--pid", "--fork", "--kill-child", "chroot"])
        .arg(&root)
        .args(["sh", "-ec", BUILD, "build"]);
    logged(build.arg(&kernel.release), &paths::log_file("vm-zfs")?)?;
    keep(&root, kernel, &finished)?;
    bootstrap::remove(&root).map(|()| finished)
}

/// Copies the modules that were built in `root` to `finished`.
fn keep(root: &Path, kernel: &Kernel, finished: &Path) -> Result<()> {
    let staging = finished.with_extension("new");
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    let built = root.join("usr/lib/modules").join(&kernel.release).join("updates/dkms");
    for name in ["spl.ko.xz", "zfs.ko.xz"] {
        let from = built.join(name);
        if !from.exists() {
            bail!("dkms did not build {name}; its output: {}", paths::log_file("vm-zfs")?.display());
        }
        fs::copy(&from, staging.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    fs::rename(&staging, finished).with_context(|| format!("cannot write {}", finished.display()))
}

/// In the root where the packages are, with the kernel's release as argument.
const BUILD: &str = r#"
mount -t proc proc /proc
dkms install "zfs/$(ls /usr/src | sed -n 's/^zfs-//p')" -k "$1"
"#;
