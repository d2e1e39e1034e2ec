//! The lease: where the agent does not vouch for this node any more, it goes quiet by itself.
//!
//! The agent may be hung, or the whole machine may have stood still while another one took over. In the second case its
//! clock may have stood still as well, and the lease seem good; but then the other one's advertisements wait before the
//! clients' frames of now, and say that he serves. The end of the agent's process is told by the kernel itself, and the lease
//! then lasts no longer than the peers wait.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns};
use ha_common::{
    abi::{Guarded, Lease},
    guard,
    judge::Desk,
};

use crate::{
    maps::{HA_DOUBT, HA_GUARDED, HA_LEASE, HA_SILENCED},
    packet::Packet,
};

/// Whether a frame must not be answered. Counts those.
#[inline(always)]
pub(crate) fn forbids(frame: &Packet<'_>) -> bool {
    let Some(lease) = HA_LEASE.get(0) else { return false };
    if !lease.has(Lease::GUARDS) || lease.holds(now_ns(), HA_DOUBT.get(0).copied().unwrap_or(0)) {
        return false;
    }
    let is_guarded = |family, address: &_| {
        HA_GUARDED.get_ptr(&Guarded { address: *address, family: u32::from(family) }).is_some()
    };
    let forbids = guard::concerns(frame, lease.has(Lease::ALL), is_guarded);
    if forbids && let Some(silenced) = HA_SILENCED.get_ptr_mut(0) {
        // SAFETY: the pointer is to this processor's own copy, which nothing else writes while the program runs on it.
        unsafe { *silenced += 1 };
    }
    forbids
}

/// Writes down if the frame on the desk says that its sender serves.
#[inline(always)]
pub(crate) fn doubt(desk: &Desk) {
    if desk.demoted == 0 {
        return;
    }
    let Some(lease) = HA_LEASE.get(0) else { return };
    if lease.has(Lease::DOUBTS)
        && desk.demoted <= lease.follows
        && let Some(doubt) = HA_DOUBT.get_ptr_mut(0)
    {
        // SAFETY: the pointer is to a map's value, which stays while the program runs. Of two processors that write at
        // once, either is right.
        unsafe { *doubt = now_ns() };
    }
}

/// The thread that runs has ended. Where it is the first one of the agent, the others end as well.
#[inline(always)]
pub(crate) fn shorten() {
    let ids = bpf_get_current_pid_tgid();
    let (process, thread) = ((ids >> 32) as u32, ids as u32);
    let Some(lease) = HA_LEASE.get_ptr_mut(0) else { return };
    // SAFETY: the pointer is to a map's value, which stays while the program runs. The agent, who writes it otherwise, has ended.
    unsafe {
        if process == thread && (*lease).process == process {
            (*lease).until_ns = (*lease).without_agent(now_ns());
            (*lease).flags |= Lease::ENDED;
        }
    }
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}
