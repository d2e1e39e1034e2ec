//! What `zpool import` says: it has no JSON. The texts are those of ZFS 2.1 to 2.4.

use crate::resource::{Cause, Failure, Output};

/// Why a pool was not imported, and whether it is worth trying again within the deadline.
pub(super) fn refused(pool: &str, output: &Output) -> (Failure, bool) {
    let text = format!("{}\n{}", output.stderr, output.stdout);
    let says = |what: &str| text.contains(what);
    let rule = RULES.iter().find(|rule| rule.texts.iter().any(|text| says(text)));
    let (cause, remedy, again) =
        rule.map_or((Cause::Other, "try it by hand", false), |rule| (rule.cause, rule.remedy, rule.again));
    let said: Vec<_> = output.stderr.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
    let said = if said.is_empty() { output.status.to_string() } else { said.join("; ") };
    (Failure::new(cause, format!("pool {pool} is not imported: {said}"), remedy), again)
}

/// What a text of the program means.
struct Rule {
    texts: &'static [&'static str],
    cause: Cause,
    remedy: &'static str,
    again: bool,
}

/// The first one that fits counts.
const RULES: &[Rule] = &[
    Rule {
        texts: &["hostid is not set"],
        cause: Cause::Misconfigured,
        remedy: "the pool's property multihost asks for it: give each node a host id with `zgenhostid`",
        again: false,
    },
    Rule {
        texts: &[
            "pool is imported on",
            "imported on a different host",
            "currently imported by another system",
        ],
        cause: Cause::PoolElsewhere,
        remedy: "the other system writes to it now, as the pool's property multihost shows: stop it or fence it first",
        again: false,
    },
    Rule {
        texts: &[
            "previously in use from another system",
            "last accessed by another system",
            "Last accessed by",
        ],
        cause: Cause::PoolElsewhere,
        remedy: "the other system has not exported it: fence it first, then it is imported all the same",
        again: false,
    },
    Rule {
        texts: &["modules cannot be auto-loaded", "modules are not loaded", "/dev/zfs"],
        cause: Cause::NoTool,
        remedy: "load the kernel module zfs, best when the system starts",
        again: false,
    },
    Rule {
        texts: &["use '-m' to import"],
        cause: Cause::DiskMissing,
        remedy: "bring back the log device, or allow importing without it, which may lose the last writes",
        again: true,
    },
    Rule {
        texts: &["no such pool available", "devices is currently unavailable", "no such device in pool"],
        cause: Cause::DiskMissing,
        remedy: "look at its disks and their cables, and at the directories that are named for them",
        again: true,
    },
    Rule {
        texts: &["devices are already in use"],
        cause: Cause::Busy,
        remedy: "find out who uses its disks: a mount, multipath, or another volume manager",
        again: true,
    },
    Rule {
        texts: &["devices is read only"],
        cause: Cause::NotPermitted,
        remedy: "find out why its disks can't be written to: a reservation, or a switch",
        again: false,
    },
    Rule {
        texts: &["already exists"],
        cause: Cause::Misconfigured,
        remedy: "there is another pool of that name: rename one of them",
        again: false,
    },
    Rule {
        texts: &["unsupported version or feature", "unsupported ZFS version", "feature(s) not supported"],
        cause: Cause::Misconfigured,
        remedy: "install the same version of ZFS on both nodes",
        again: false,
    },
    Rule { texts: &["out of space"], cause: Cause::NoSpace, remedy: "make room in it", again: false },
    Rule {
        texts: &["ermission denied"],
        cause: Cause::NotPermitted,
        remedy: "run ha-agent as root",
        again: false,
    },
    // A pool of which only half the disks are there yet looks just like a broken one.
    Rule {
        texts: &["I/O error", "Destroy and re-create", "invalid vdev configuration", "insufficient replicas"],
        cause: Cause::PoolBroken,
        remedy: "make sure that all its disks are seen before you believe that it is broken",
        again: true,
    },
];

/// The disks that `zpool import`, which lists what could be imported, does not see as they should be: in words, for a message.
pub(super) fn ill_disks(listing: &str, guid: u64) -> Vec<String> {
    let mut lines = listing.lines().skip_while(|line| {
        line.trim().strip_prefix("id:").and_then(|id| id.trim().parse().ok()) != Some(guid)
    });
    let mut ill = Vec::new();
    let _id = lines.next();
    for line in lines.take_while(|line| !line.trim_start().starts_with("pool:")) {
        let mut words = line.split_whitespace();
        let (Some(name), Some(state)) = (words.next(), words.next()) else { continue };
        if line.starts_with('\t') && ["UNAVAIL", "FAULTED", "REMOVED", "OFFLINE"].contains(&state) {
            let why = words.collect::<Vec<_>>().join(" ");
            ill.push(format!("{name} {state} {why}").trim_end().to_owned());
        }
    }
    ill
}
