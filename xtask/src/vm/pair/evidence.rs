//! What the disks themselves tell of who has written to them.

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    guest::{Guest, PATIENCE},
    lab::Lab,
    who::{Disk, Node, Who},
};
use crate::process::output;

/// The reservation of a disk, as its target has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reservation {
    /// The kind, the holder and the keys, one a line.
    pub(super) text: String,
}

/// A line of a pool's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The host that wrote it.
    pub(super) host: String,
    /// Whether the pool came to that host by it.
    pub(super) arrives: bool,
    /// As it stands there.
    pub(super) line: String,
}

/// What the target knows of the reservation of `disk`.
///
/// # Errors
///
/// The target does not answer.
pub(super) fn reservation(lab: &Lab, disk: Disk) -> Result<Reservation> {
    let lun = disk.lun();
    let dir = format!("/sys/kernel/config/target/core/iblock_{lun}/disk{lun}/pr");
    let text = lab
        .guest(Who::Target)?
        .run(&format!("cd {dir} && cat res_type res_holder res_pr_registered_i_pts"))?;
    Ok(Reservation { text })
}

/// How many writes of `node` to any disk were refused because of a reservation, since it booted.
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

/// Checks that the pool `name`, which `guest` has imported, was never in the hands of two: whoever wrote to its history
/// had been the last one to import it.
///
/// # Errors
///
/// Somebody else has, or the history cannot be read.
pub(super) fn one_importer(guest: &Guest, name: &str) -> Result<()> {
    let text = guest.run(&format!("zpool history -il {name}"))?;
    let entries = history(&text);
    ensure!(!entries.is_empty(), "there is nothing in: {text}");
    let mut holder = None;
    for entry in entries {
        match holder {
            _ if entry.arrives => holder = Some(entry.host),
            Some(ref holder) if *holder != entry.host => {
                bail!("{} wrote while {holder} had the pool: {}", entry.host, entry.line)
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// The entries of `zpool history -il` that name their host.
fn history(text: &str) -> Vec<Entry> {
    let host = |line: &str| {
        let (_, host) = line.rsplit_once(" on ")?;
        let host = host.trim_end_matches(']').split(':').next()?;
        (line.ends_with(']') && !host.is_empty()).then(|| host.to_owned())
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
