//! Debian packages: which are missing, what apt offers, and installing, or saying how, without the rights to.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Error, Result, anyhow};
use nix::unistd::geteuid;

use crate::{
    paths,
    process::{line, logged, output, say, show, succeeds},
    services::Held,
};

/// Installs those of `packages` that are missing. On a system without dpkg it only says what is needed.
///
/// # Errors
///
/// apt fails; or packages are missing and we are not root: then the commands to run are shown.
pub(crate) fn ensure(packages: &[&str]) -> Result<()> {
    if !succeeds(Command::new("dpkg-query").arg("--version")) {
        say(format_args!("no dpkg here: taking it that these are installed: {}", packages.join(", ")));
        return Ok(());
    }
    install(packages, "about 20 seconds")
}

/// Installs those of `packages` that are missing; that usually takes `usually`.
///
/// # Errors
///
/// As for [`ensure`].
pub(crate) fn install(packages: &[&str], usually: &str) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(only_root(&[apt_update(), apt_install(&missing)], &missing.join(", ")));
    }
    let _lock = paths::lock("apt")?;
    // Another xtask may have installed them while we waited for the lock.
    let missing = self::missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    if !known(&missing) {
        refresh()?;
    }
    say(format_args!("installing {} with apt (once per machine, {usually})", missing.join(", ")));
    let log = paths::log_file("apt-install")?;
    let _held = Held::of(&missing);
    if logged(waiting(&mut apt_install(&missing)), &log).is_ok() {
        return Ok(());
    }
    // Mostly a mirror that dropped out, or lists that name versions which are gone.
    say("apt failed: trying once more with fresh package lists");
    update()?;
    logged(waiting(&mut apt_install(&missing)), &log)
}

/// Whether apt can install all of `packages` without removing anything, after reading the package lists anew if it
/// does not know one of them.
///
/// # Errors
///
/// The package lists are empty, and we are not root.
pub(crate) fn offered(packages: &[&str]) -> Result<bool> {
    if !has_apt() {
        return Ok(false);
    }
    if !known(packages) {
        refresh()?;
    }
    Ok(known(packages) && succeeds(apt_install(packages).arg("--simulate")))
}

/// All packages that the candidate of `package` depends on, directly or not. Empty if apt does not know it.
pub(crate) fn dependencies(package: &str) -> Vec<String> {
    let mut command = Command::new("apt-cache");
    command.args(["depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts"]);
    command.args(["--no-breaks", "--no-replaces", "--no-enhances", package]);
    let text = output(command.env("LC_ALL", "C")).unwrap_or_default();
    // The names stand at the beginning of their lines, what each depends on is indented below.
    text.lines().filter(|line| !line.starts_with([' ', '|', '<'])).map(str::to_owned).collect()
}

/// Reads the package lists anew, once in the life of this process. Without the rights to, it is an error only if
/// there are no lists at all.
///
/// # Errors
///
/// There are no package lists, and we are not root.
pub(crate) fn refresh() -> Result<()> {
    if !has_apt() || REFRESHED.swap(true, Ordering::Relaxed) {
        Ok(())
    } else if geteuid().is_root() {
        update()
    } else if has_lists() {
        Ok(())
    } else {
        Err(only_root(&[apt_update()], "the package lists of apt"))
    }
}

/// Those of `packages` that are not installed.
fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut command = Command::new("dpkg-query");
    command.args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"]).args(packages);
    // It fails if it does not know one of them, and names the others all the same.
    let text = command.output().map(|output| output.stdout).unwrap_or_default();
    not_installed(packages, &String::from_utf8_lossy(&text))
}

fn not_installed<'a>(packages: &[&'a str], dpkg: &str) -> Vec<&'a str> {
    let installed = |package: &str| dpkg.lines().any(|line| line == format!("{package} installed"));
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Whether apt has a candidate for each of `packages`.
fn known(packages: &[&str]) -> bool {
    let text = output(Command::new("apt-cache").arg("policy").args(packages).env("LC_ALL", "C"));
    let text = text.unwrap_or_default();
    packages.iter().all(|package| candidate(&text, package).is_some())
}

/// The candidate version of `package` in the output of `apt-cache policy`.
fn candidate<'a>(policy: &'a str, package: &str) -> Option<&'a str> {
    let mut lines = policy.lines().skip_while(|line| line.strip_suffix(':') != Some(package)).skip(1);
    let version = lines.by_ref().take_while(|line| line.starts_with(' ')).find_map(|line| {
        let version = line.trim_start().strip_prefix("Candidate: ")?;
        Some(version.trim())
    })?;
    (version != "(none)").then_some(version)
}

/// A source list that cannot be reached is no reason to stop: what we need may well come from another.
fn update() -> Result<()> {
    say("reading apt's package lists (about 10 seconds)");
    let _lock = paths::lock("apt-lists")?;
    let log = paths::log_file("apt-update")?;
    if let Err(error) = logged(&mut apt_update(), &log) {
        say(format_args!("warning: {error:#}; going on with the lists that are there"));
    }
    Ok(())
}

fn has_apt() -> bool {
    succeeds(Command::new("apt-get").arg("--version"))
}

fn has_lists() -> bool {
    let entries = fs::read_dir("/var/lib/apt/lists").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().contains("_Packages"))
}

fn apt_update() -> Command {
    apt(&["update"])
}

fn apt_install(packages: &[&str]) -> Command {
    // Nothing of what the user has is given up for what we need.
    let mut command = apt(&["install", "--yes", "--no-install-recommends", "--no-remove"]);
    command.args(packages);
    command
}

/// apt is not ended with us: an installation that stops halfway is worse than one that nobody waits for.
fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    command
}

/// Has apt wait for another that installs something, for up to 5 minutes.
fn waiting(apt: &mut Command) -> &mut Command {
    apt.args(["-o", "DPkg::Lock::Timeout=300"])
}

/// Shows `commands`, and returns the error that says why.
fn only_root(commands: &[Command], what: &str) -> Error {
    say("as root, run this, and then xtask again:");
    for command in commands {
        show(format_args!("    {}", line(command)));
    }
    anyhow!("not root, so this cannot be installed: {what}")
}

static REFRESHED: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_found_by_package() {
        let policy = "\
rustc-web:
  Installed: (none)
  Candidate: 1.96.0+dfsg1-1~deb12u2
  Version table:
     1.96.0+dfsg1-1~deb12u2 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
     1.85.0+dfsg3-1~deb12u3 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
gone:
  Installed: 1.0
  Candidate: (none)
  Version table:
bare:
llvm-22-dev:
  Installed: 1:22.1.8-1~deb12u1
  Candidate: 1:22.1.8-1~deb12u1
";
        let table = [
            ("rustc-web", Some("1.96.0+dfsg1-1~deb12u2")),
            ("gone", None),
            ("bare", None),
            ("llvm-22-dev", Some("1:22.1.8-1~deb12u1")),
            ("web", None),
            ("unknown", None),
            ("", None),
        ];
        for (package, expected) in table {
            assert_eq!(candidate(policy, package), expected, "{package:?}");
        }
        assert_eq!(candidate("", "rustc-web"), None);
        assert_eq!(candidate("N: Unable to locate package rustc-web\n", "rustc-web"), None);
    }

    #[test]
    fn only_a_whole_installation_counts() {
        let dpkg =
            "gcc installed\nucarp config-files\ntcpdump half-installed\nlibc6 installed\nlibc6 installed\n";
        let packages = ["gcc", "ucarp", "tcpdump", "libc6", "bpftool", "gc"];
        assert_eq!(not_installed(&packages, dpkg), ["ucarp", "tcpdump", "bpftool", "gc"]);
        assert_eq!(not_installed(&[], dpkg), [""; 0]);
    }
}
