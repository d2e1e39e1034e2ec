//! Letting a pool go.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Pool, datasets};
use crate::resource::{Cause, Failure, Invocation, Resource, Within};
use crate::storage::holders::elsewhere;
use crate::storage::unmount::{Patience, unmount_all};
use crate::storage::{Host, MountPoint};

/// Ends the sharing, unmounts, exports, and verifies it.
pub(super) fn release(pool: &Pool, within: &Within) -> Result<(), Failure> {
    let (host, settings) = (&pool.host, &pool.settings);
    // An import that was broken off may still come to its end in the kernel: what is not here yet can't be let go.
    if !host.wait_for(within, || pending_import(pool).is_none()) {
        let what = format!("an import of {} hangs in the kernel", pool.name);
        return Err(Failure::new(Cause::TimedOut, what, "reset this node, and see the kernel's log"));
    }
    if !pool.is_imported() {
        return Ok(());
    }
    match pool.check(within) {
        // It would wait for ever.
        Err(failure) if failure.cause == Cause::PoolSuspended => return Err(failure),
        Ok(()) | Err(_) => {}
    }
    // Where this fails, the export says more: it ends the sharing too.
    let unshared = datasets::unshare(host, &settings.name, &within.at_most(within.left() / 4));
    unmount_all(host, |mount| is_of(mount, &settings.name), settings.busy, within)?;
    export(pool, within)?;
    if pool.is_imported() {
        let what = format!("{} was exported, and is here still", pool.name);
        return Err(Failure::new(Cause::Busy, what, "find out who has imported it again"));
    }
    if let Err(failure) = unshared {
        tracing::warn!(%failure, "The sharing did not end as it should, but the pool is exported.");
    }
    Ok(())
}

/// The process that is still importing it, whoever has started that: a killed one may hang in the kernel.
pub(super) fn pending_import(pool: &Pool) -> Option<u32> {
    let guid = pool.settings.guid.to_string();
    pool.host.names("/proc").into_iter().filter_map(|name| name.parse().ok()).find(|process| {
        let Ok(line) = fs::read(pool.host.path(format!("/proc/{process}/cmdline"))) else { return false };
        let mut words = line.split(|&byte| byte == 0);
        let program = words.next().map(|word| Path::new(OsStr::from_bytes(word)));
        program.and_then(Path::file_name) == Some(OsStr::new("zpool"))
            && words.next() == Some(b"import")
            && words.any(|word| word == guid.as_bytes())
    })
}

fn export(pool: &Pool, within: &Within) -> Result<(), Failure> {
    let (host, settings) = (&pool.host, &pool.settings);
    let patience = Patience::new(settings.busy);
    // Force needs time of its own.
    let polite = if settings.force_export { within.at_most(within.left() * 3 / 4) } else { within.clone() };
    loop {
        let invocation = Invocation::new("zpool", ["export", &settings.name]);
        let output = host.run(&invocation, within)?;
        if output.status.success() || !pool.is_imported() {
            return Ok(());
        }
        if !output.stderr.contains("busy") {
            output.success(&invocation, Cause::Other, "see `zpool status` and the kernel's log")?;
        }
        if let Err(failure) = patience.with(host, &pool.name, &volumes(host, &settings.name), &polite) {
            if settings.force_export {
                let line = ["export", "-f", &settings.name];
                host.must(("zpool", line), within, (Cause::Busy, "end those who use it"))?;
                return Ok(());
            }
            let other = elsewhere(host, |mount| is_of(mount, &settings.name));
            let other =
                other.map_or_else(String::new, |holder| format!("; it is still mounted for {holder}"));
            return Err(Failure { what: failure.what + &other, ..failure });
        }
    }
}

fn is_of(mount: &MountPoint, pool: &str) -> bool {
    // The first part of a data set's name is its pool's; `@` is a snapshot's.
    let source = mount.source.as_os_str().as_bytes();
    let name = source.split(|byte| b"/@".contains(byte)).next();
    mount.kind == "zfs" && name == Some(pool.as_bytes())
}

/// The devices of the pool's volumes.
fn volumes(host: &Host, pool: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![Path::new("/dev/zvol").join(pool)];
    while let Some(directory) = directories.pop() {
        for name in host.names(&directory) {
            let path = directory.join(name);
            match fs::symlink_metadata(host.path(&path)) {
                Ok(it) if it.is_dir() => directories.push(path),
                Ok(_) => found.extend(host.canonical(&path)),
                Err(_) => {}
            }
        }
    }
    found
}
