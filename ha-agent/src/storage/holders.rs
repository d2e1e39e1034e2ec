//! Who holds files open: what `fuser` tells, without asking the file system itself, which may hang.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::host::Host;
use crate::sys::pidfd::Pidfd;

/// A process, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) process: u32,
    name: String,
    what: PathBuf,
}

/// The processes that hold something at or below one of these paths, or one of these devices: open files, working
/// directories, roots, programs and mapped files. Only links and lists of the kernel are read.
pub(super) fn holders(host: &Host, paths: &[PathBuf]) -> Vec<Holder> {
    let held = |path: &Path| paths.iter().any(|held| path.starts_with(held));
    let processes = host.names("/proc").into_iter().filter_map(|name| name.parse().ok());
    let mut holders: Vec<_> = processes
        .filter_map(|process| {
            let what = held_by(host, process, &held)?;
            let name = host.read(format!("/proc/{process}/comm")).unwrap_or_else(|_| "?".to_owned());
            Some(Holder { process, name, what })
        })
        .collect();
    holders.sort_unstable_by_key(|holder| holder.process);
    holders
}

/// Kills those who still hold it, but neither this process nor the first one.
pub(super) fn kill(host: &Host, paths: &[PathBuf]) -> io::Result<()> {
    for Holder { process, .. } in holders(host, paths) {
        if process == 1 || process == std::process::id() {
            continue;
        }
        let Some(handle) = Pidfd::open(process)? else { continue };
        // The number may have gone to another one since.
        if held_by(host, process, &|path| paths.iter().any(|held| path.starts_with(held))).is_some() {
            handle.kill()?;
        }
    }
    Ok(())
}

/// Who holds it, in words.
pub(super) fn named(holders: &[Holder]) -> String {
    let Some((first, rest)) = holders.split_first() else {
        return "no process, so the kernel itself: an export, a loop device, a swap file or a backstore"
            .to_owned();
    };
    let mut text = first.to_string();
    for holder in rest.iter().take(SHOWN - 1) {
        text = format!("{text}, {holder}");
    }
    match rest.len().saturating_sub(SHOWN - 1) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// The processes, one of each mount namespace but our own, that see a mount for which `is_it`: where it is mounted for them.
pub(super) fn elsewhere(host: &Host, is_it: impl Fn(&super::MountPoint) -> bool) -> Option<Holder> {
    let namespace = |process: &str| fs::read_link(host.path(format!("/proc/{process}/ns/mnt"))).ok();
    let mut known = BTreeSet::from_iter(namespace("self"));
    host.names("/proc").into_iter().find_map(|name| {
        let process = name.parse().ok()?;
        if !known.insert(namespace(&name)?) {
            return None;
        }
        let mount = super::mounts(host, &name).ok()?.into_iter().find(&is_it)?;
        let name = host.read(format!("/proc/{process}/comm")).unwrap_or_else(|_| "?".to_owned());
        Some(Holder { process, name, what: mount.at })
    })
}

fn held_by(host: &Host, process: u32, held: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let directory = host.path(format!("/proc/{process}"));
    let link = |path: PathBuf| fs::read_link(path).ok().filter(|target| held(target));
    let single = ["cwd", "root", "exe"].into_iter().find_map(|name| link(directory.join(name)));
    let open = || fs::read_dir(directory.join("fd")).ok()?.flatten().find_map(|entry| link(entry.path()));
    let mapped = || {
        let maps = fs::read(directory.join("maps")).ok()?;
        String::from_utf8_lossy(&maps).lines().find_map(|line| {
            let path = Path::new(line.get(line.find('/')?..)?);
            held(path).then(|| path.to_owned())
        })
    };
    single.or_else(open).or_else(mapped)
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {}, {})", self.name, self.process, self.what.display())
    }
}

/// How many are named.
const SHOWN: usize = 4;
