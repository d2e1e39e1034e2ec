//! What the disks themselves tell of who has written to them.

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    guest::PATIENCE,
    lab::Lab,
    who::{Disk, Node, Who},
};
use crate::process::output;

/// What the target knows of the reservation of `disk`: its kind, its holder and all keys, one a line.
///
/// # Errors
///
/// The target does not answer.
pub(super) fn reservation(lab: &Lab, disk: Disk) -> Result<String> {
    let lun = disk.lun();
    let dir = format!("/sys/kernel/config/target/core/iblock_{lun}/disk{lun}/pr");
    let files = "res_pr_type res_holder res_pr_registered_i_pts";
    lab.guest(Who::Target)?.run(&format!("cd {dir} && cat {files}"))
}

/// How often the kernel of `node` has told of requests that were refused because of a reservation, since it booted.
///
/// # Errors
///
/// It does not answer.
pub(super) fn conflicts(lab: &Lab, node: Node) -> Result<u64> {
    let output = lab.node(node)?.try_run("dmesg | grep --count 'reservation conflict'", PATIENCE)?;
    output.out.trim().parse().with_context(|| format!("'{}' is no number", output.out))
}

/// The SHA-256 of all of `disk`, from outside the guests.
///
/// # Errors
///
/// It cannot be read.
pub(super) fn digest(lab: &Lab, disk: Disk) -> Result<String> {
    let text = output(Command::new("sha256sum").arg(lab.image(disk)))?;
    text.split_whitespace().next().map(str::to_owned).context("sha256sum says nothing")
}

/// Checks that the pool `name`, which `node` has imported, was never in the hands of two: by its own history, whoever wrote
/// there had been the last one to import it; and the paths to the disks have heard that these hosts wrote to them, one after
/// the other, and nobody in between. All other writes of a lab count, too.
///
/// # Errors
///
/// Somebody else has, or the history cannot be read.
pub(super) fn one_importer(lab: &Lab, node: Node, name: &str) -> Result<()> {
    let text = lab.node(node)?.run(&format!("zpool history -il {name}"))?;
    let holders = holders(history(&text)).with_context(|| format!("the history of {name}"))?;
    let runs = lab.ledger().runs()?;
    let writers: Vec<_> = runs.iter().map(|run| run.node.to_string()).collect();
    ensure!(writers == holders, "{holders:?} had {name}, but {writers:?} wrote: {runs:#?}");
    Ok(())
}

/// Who had it, one after the other.
fn holders(entries: Vec<Entry>) -> Result<Vec<String>> {
    ensure!(!entries.is_empty(), "nothing in it names a host");
    let mut holders: Vec<String> = Vec::new();
    for entry in entries {
        match holders.last() {
            Some(holder) if *holder == entry.host => {}
            Some(holder) if !entry.arrives => {
                bail!("{} wrote while {holder} had the pool: {}", entry.host, entry.line)
            }
            Some(_) | None => holders.push(entry.host),
        }
    }
    Ok(holders)
}

/// A line of a pool's history.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// The host that wrote it.
    host: String,
    /// Whether the pool came to that host by it.
    arrives: bool,
    /// As it stands there.
    line: String,
}

/// The entries of `zpool history -il` that name their host.
fn history(text: &str) -> Vec<Entry> {
    let host = |line: &str| {
        // `[on HOST]`, or `[user 0 (root) on HOST:linux]`.
        let (rest, host) = line.strip_suffix(']')?.rsplit_once(' ')?;
        let host = host.split(':').next().filter(|host| !host.is_empty())?;
        (rest.ends_with("[on") || rest.ends_with(" on")).then(|| host.to_owned())
    };
    let lines = text.lines().filter_map(|line| Some((host(line)?, line)));
    let entry = |(host, line): (String, &str)| {
        let arrives = [" zpool import ", " zpool create "].iter().any(|command| line.contains(command))
            || [" open pool version ", " create pool version ", " import pool version "]
                .iter()
                .any(|event| line.contains(event));
        Entry { host, arrives, line: line.to_owned() }
    };
    lines.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: &str = "\
History for 'tank':
2026-11-29.01:56:04 [txg:4] create pool version 5000; software version zfs-2.3.9; uts a 6.12.107 x86_64 [on a]
2026-11-29.01:56:04 [txg:5] set tank (54) mountpoint=/tank [on a]
2026-11-29.01:56:05 zpool create tank mirror /dev/x /dev/y [user 0 (root) on a:linux]
";
    const IMPORTED: &str = "\
2026-11-29.01:57:00 [txg:90] open pool version 5000; software version zfs-2.3.9; uts b 6.12.107 x86_64 [on b]
2026-11-29.01:57:01 [txg:91] import pool version 5000; software version zfs-2.3.9; uts b 6.12.107 x86_64 [on b]
2026-11-29.01:57:02 zpool import -f tank [user 0 (root) on b:linux]
";

    #[test]
    fn who_writes_must_have_imported_last() {
        let late = "2026-11-29.01:58:00 [txg:95] set tank (54) x=y [on a]\n";
        let table = [
            (vec![CREATED], Some(vec!["a"])),
            (vec![CREATED, IMPORTED], Some(vec!["a", "b"])),
            (vec![CREATED, IMPORTED, late], None),
            (vec![CREATED, late, IMPORTED], Some(vec!["a", "b"])),
            (vec!["History for 'tank':\n"], None),
        ];
        for (parts, expected) in table {
            let found = holders(history(&parts.concat())).ok();
            assert_eq!(found, expected.map(|it| it.into_iter().map(str::to_owned).collect()), "{parts:?}");
        }
    }
}
