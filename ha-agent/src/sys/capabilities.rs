//! Which rights the process has.

use std::fmt;

/// The rights that the agent needs and does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(Vec<&'static str>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// A right that helps but need not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `CAP_IPC_LOCK`: to lock any amount of memory.
    IpcLock = 14,
    /// `CAP_SYS_NICE`: to have any priority.
    SysNice = 23,
}

/// Whether the calling thread has a right. Not if `/proc` can't tell.
#[must_use]
pub fn has(capability: Capability) -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok();
    status.and_then(|status| effective(&status)).is_some_and(|held| held & (1 << capability as u32) != 0)
}

/// What is missing of `CAP_NET_ADMIN`, `CAP_NET_RAW` and `CAP_BPF`, for which `CAP_SYS_ADMIN` stands as well; and of the
/// latter, if more than addresses is served.
///
/// `None` when nothing is, or when `/proc` can't tell: then the kernel's own refusal will.
#[must_use]
pub fn missing(serves_more: bool) -> Option<Missing> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let missing = missing_of(effective(&status)?, serves_more);
    (!missing.0.is_empty()).then_some(missing)
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing_of(effective: u64, serves_more: bool) -> Missing {
    let has = |bit: u32| effective & (1 << bit) != 0;
    let mut needed =
        vec![(CAP_NET_ADMIN, "CAP_NET_ADMIN"), (CAP_NET_RAW, "CAP_NET_RAW"), (CAP_BPF, "CAP_BPF")];
    if serves_more {
        needed.push((CAP_SYS_ADMIN, "CAP_SYS_ADMIN"));
    }
    let covered = |bit| has(bit) || (bit == CAP_BPF && has(CAP_SYS_ADMIN));
    Missing(needed.into_iter().filter(|(bit, _)| !covered(*bit)).map(|(_, name)| name).collect())
}

// linux/capability.h
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let table: [(u64, bool, &str); 7] = [
            (0, false, "CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF"),
            (1 << CAP_NET_ADMIN, false, "CAP_NET_RAW, CAP_BPF"),
            (1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW, false, "CAP_BPF"),
            (1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW | 1 << CAP_SYS_ADMIN, false, ""),
            (1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW | 1 << CAP_SYS_ADMIN, true, ""),
            (1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW | 1 << CAP_BPF, false, ""),
            (1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW | 1 << CAP_BPF, true, "CAP_SYS_ADMIN"),
        ];
        for (effective, serves_more, expected) in table {
            assert_eq!(missing_of(effective, serves_more).to_string(), expected, "{effective:#x}");
        }
    }

    #[test]
    fn reads_the_line_of_proc() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x01ff_ffff_ffff));
        assert_eq!(effective("Name:\tx\n"), None);
        assert_eq!(effective("CapEff:\tzz\n"), None);
    }
}
