//! What is in a pool: keys loaded, file systems mounted, and shared.

use std::path::PathBuf;

use crate::resource::{Cause, Failure, Invocation, Within};
use crate::storage::Host;

/// The key of an encrypted data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The encryption root, by its full name: `tank/secret`.
    pub data_set: String,
    /// A file with the key, in the form that the data set's `keyformat` says: an absolute path, not inside the pool.
    pub file: PathBuf,
}

/// A file system of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DataSet {
    name: String,
    /// Where it is to be mounted without being asked for, if it is.
    mount_point: Option<PathBuf>,
    is_mounted: bool,
    lacks_key: bool,
    is_shared: bool,
}

/// Loads the keys that are not loaded yet.
pub(super) fn load_keys(host: &Host, pool: &str, keys: &[Key], within: &Within) -> Result<(), Failure> {
    if keys.is_empty() {
        return Ok(());
    }
    let all = list(host, pool, within)?;
    for Key { data_set, file } in keys {
        if all.iter().any(|it| it.name == *data_set && !it.lacks_key) {
            continue;
        }
        let from = format!("file://{}", file.display());
        let (cause, remedy) = (Cause::Misconfigured, "see that the key file is there and is the right one");
        host.must(("zfs", ["load-key", "-L", &from, data_set]), within, (cause, remedy))?;
    }
    Ok(())
}

/// Mounts all that is to be mounted, parents first, and shares what is to be shared.
pub(super) fn mount(host: &Host, pool: &str, share: bool, within: &Within) -> Result<(), Failure> {
    let missing = |all: &[DataSet]| {
        let mut missing: Vec<_> =
            all.iter().filter(|it| it.mount_point.is_some() && !it.is_mounted).cloned().collect();
        missing.sort_by(|one, other| one.mount_point.cmp(&other.mount_point));
        missing
    };
    let mut all = list(host, pool, within)?;
    if let Some(locked) = all.iter().find(|it| it.mount_point.is_some() && it.lacks_key) {
        let what = format!("data set {} is encrypted, and its key is not loaded", locked.name);
        return Err(Failure::new(Cause::Misconfigured, what, "name its key file, or set canmount=noauto"));
    }
    if missing(&all).len() > 1 {
        // All at once is quicker, but ZFS 2.3 is the first to know how. What it has left out is seen below.
        host.run(&Invocation::new("zfs", ["mount", "-R", pool]), within)?;
        all = list(host, pool, within)?;
    }
    for data_set in missing(&all) {
        let remedy = "see that the directory is empty and nothing else is mounted there";
        host.must(("zfs", ["mount", &data_set.name]), within, (Cause::Busy, remedy))?;
    }
    for data_set in all.iter().filter(|it| share && it.is_shared && it.mount_point.is_some()) {
        let invocation = Invocation::new("zfs", ["share", &data_set.name]);
        let output = host.run(&invocation, within)?;
        if !output.stderr.contains("already shared") {
            output.success(&invocation, Cause::Other, "see that the NFS or SMB server is installed")?;
        }
    }
    Ok(())
}

/// Ends all sharing, so that clients let go.
pub(super) fn unshare(host: &Host, pool: &str, within: &Within) -> Result<(), Failure> {
    let all = list(host, pool, within)?;
    for data_set in all.iter().filter(|it| it.is_shared && it.is_mounted) {
        let invocation = Invocation::new("zfs", ["unshare", &data_set.name]);
        let output = host.run(&invocation, within)?;
        if !output.stderr.contains("not currently shared") {
            output.success(&invocation, Cause::Busy, "end the sharing by hand")?;
        }
    }
    Ok(())
}

fn list(host: &Host, pool: &str, within: &Within) -> Result<Vec<DataSet>, Failure> {
    let line = ["list", "-H", "-p", "-r", "-t", "filesystem", "-o", COLUMNS, pool];
    let output = host.must(("zfs", line), within, (Cause::Other, "see the kernel's log"))?;
    Ok(output.stdout.lines().filter_map(parse).collect())
}

/// One line of the list: fields between tabs.
fn parse(line: &str) -> Option<DataSet> {
    let fields: Vec<_> = line.split('\t').collect();
    let &[name, mount_point, can_mount, mounted, key, nfs, smb] = fields.as_slice() else { return None };
    Some(DataSet {
        name: name.to_owned(),
        // What is neither `legacy` nor `none` is a path.
        mount_point: Some(PathBuf::from(mount_point)).filter(|it| can_mount == "on" && it.is_absolute()),
        is_mounted: mounted == "yes",
        lacks_key: key == "unavailable",
        is_shared: [nfs, smb].iter().any(|share| !["off", "-"].contains(share)),
    })
}

const COLUMNS: &str = "name,mountpoint,canmount,mounted,keystatus,sharenfs,sharesmb";
