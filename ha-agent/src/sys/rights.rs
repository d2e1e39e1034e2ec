//! What the process gives up before it begins: every right that it does not need for as long as it runs.

use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use rustix::thread::{
    capabilities, capability_is_in_bounding_set, remove_capability_from_bounding_set, set_capabilities,
};

/// Rights that are not given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept(CapabilitySet);

impl Kept {
    /// What serving addresses takes: addresses and interfaces (`CAP_NET_ADMIN`), advertisements and announcements
    /// (`CAP_NET_RAW`), the kernel program (`CAP_BPF`, and `CAP_PERFMON` for the one that sees the process end). Where the
    /// process has `CAP_SYS_ADMIN` but not `CAP_BPF`, as in some containers, the former.
    ///
    /// With `low_ports`, `CAP_NET_BIND_SERVICE` as well: to listen at ports below 1024. Where limits allow less, and can't be
    /// raised, `CAP_SYS_NICE` and `CAP_IPC_LOCK`: for real-time priorities and locked memory.
    #[must_use]
    pub fn for_addresses(low_ports: bool) -> Self {
        let mut kept =
            CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::BPF | CapabilitySet::PERFMON;
        kept.set(CapabilitySet::NET_BIND_SERVICE, low_ports);
        kept.set(CapabilitySet::SYS_NICE, !allows(Resource::RLIMIT_RTPRIO, MOST_PRIORITY));
        kept.set(CapabilitySet::IPC_LOCK, !allows(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY));
        let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
        kept.set(CapabilitySet::SYS_ADMIN, !held.contains(CapabilitySet::BPF));
        Self(kept)
    }
}

/// Gives up all rights of the calling thread, and of all that it starts, but these. Programs that are
/// started later do not get them back, unless the process was not allowed to see to that (`CAP_SETPCAP`).
///
/// To be called before there are other threads, which keep theirs.
///
/// # Errors
///
/// The kernel's; in particular [`io::ErrorKind::PermissionDenied`] if it kept any. Rights may have been given up.
pub fn give_up_all_but(kept: Kept) -> io::Result<()> {
    let held = capabilities(None)?;
    for right in CapabilitySet::all().iter().filter(|right| !kept.0.contains(*right)) {
        // A kernel that does not know it has nothing to give up.
        if capability_is_in_bounding_set(right).unwrap_or(false)
            && held.effective.contains(CapabilitySet::SETPCAP)
        {
            remove_capability_from_bounding_set(right)?;
        }
    }
    let wanted = CapabilitySets {
        effective: held.effective & kept.0,
        permitted: held.permitted & kept.0,
        inheritable: held.inheritable & kept.0,
    };
    set_capabilities(None, wanted)?;
    if capabilities(None)? == wanted { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// Whether a limit is this high. It is raised if it may be.
fn allows(resource: Resource, wanted: u64) -> bool {
    let raised = || {
        let (_, hard) = getrlimit(resource)?;
        setrlimit(resource, wanted, hard.max(wanted))?;
        getrlimit(resource).map(|(soft, _)| soft)
    };
    raised().is_ok_and(|limit| limit >= wanted)
}

/// Of `SCHED_FIFO` (sched(7)).
const MOST_PRIORITY: u64 = 99;
