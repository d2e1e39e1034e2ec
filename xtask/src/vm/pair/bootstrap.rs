//! A Debian of our own in a directory, by `mmdebstrap`, which is fetched and not installed.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::super::debian;
use crate::{
    paths,
    process::{logged, output},
};

/// Puts Debian 13 with `packages` of it into the directory `root`, from scratch. `variant` is how much else there is:
/// `minbase`, or `apt` for less.
///
/// # Errors
///
/// The packages cannot be fetched or installed.
pub(super) fn into(root: &Path, variant: &str, packages: &[&str]) -> Result<()> {
    remove(root)?;
    let programs =
        debian::unpacked("mmdebstrap", &debian::DEBIAN_12, |archive| archive.download(&["mmdebstrap"]))?
            .join("usr/bin");
    // It calls a program that comes with it.
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(env::split_paths(&path).chain([programs.clone()])).context("PATH")?;
    let mut command = Command::new("perl");
    command.env("PATH", path).arg(programs.join("mmdebstrap"));
    command.args(["--mode=root", "--components=main,contrib", "--aptopt=APT::Install-Recommends \"false\""]);
    for place in ["doc", "info", "locale", "man"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{place}/*"));
    }
    command.arg(format!("--variant={variant}")).arg(format!("--include={}", packages.join(",")));
    command.arg("trixie").arg(root).arg(debian::MIRROR);
    logged(&mut command, &paths::log_file(&format!("vm-debian-{variant}"))?)
}

/// Removes what [`into`] made, or what is left of it.
///
/// # Errors
///
/// It cannot be removed.
pub(super) fn remove(root: &Path) -> Result<()> {
    // If that was interrupted, something may still be mounted in it, which is to stay.
    output(Command::new("rm").args(["--recursive", "--force", "--one-file-system"]).arg(root)).map(drop)
}
