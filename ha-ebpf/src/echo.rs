//! The echo: a probe of a peer's kernel is answered here, whatever the processes of this machine do.

use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, bpf_ktime_get_ns};
use ha_common::{
    abi::{Asked, Lease, Path, PathKey},
    decode::Cursor,
    echo::{self, Accepted, Desk, EchoCounters, Refusal, World},
    wire::{
        checksum,
        echo::{LEN, Role},
        ipv4, ipv6, udp,
    },
};

use crate::{
    asking,
    maps::{
        HA_DOUBT, HA_ECHO_ASKED, HA_ECHO_COUNT, HA_ECHO_DESK, HA_ECHO_PATH, HA_ECHO_ROLE, HA_ECHO_SELF,
        HA_LEASE,
    },
    packet::Packet,
};

/// Whether a frame was made an answer; `None` if it is not for the echo's port.
#[inline(always)]
pub(crate) fn answer(ifindex: u32, frame: &Packet<'_>) -> Option<bool> {
    let oneself = HA_ECHO_SELF.get(0)?;
    if oneself.port == 0 {
        return None;
    }
    let candidate = echo::find(frame, oneself.port as u16)?;
    // It is always there.
    let desk = HA_ECHO_DESK.get_ptr_mut(0)?;
    // SAFETY: nothing else uses this processor's copy while the program runs on it, and the program asks once.
    let desk = unsafe { &mut *desk };
    let (slot, verdict) = echo::judge(&candidate, ifindex, oneself, &Maps, desk);
    let answered = match verdict {
        Ok(Accepted::Answer) => turn(frame, desk),
        Ok(Accepted::Heard { departed_ns, now_ns }) => {
            asking::tell(slot, desk, departed_ns, now_ns);
            false
        }
        Err(_) => false,
    };
    count(slot, verdict);
    Some(answered)
}

/// Sends the frame back to where it came from, with an answer in it. The ports are the same already.
#[inline(always)]
fn turn(frame: &Packet<'_>, desk: &Desk) -> bool {
    let (l3, is_ipv4) = desk.place();
    let turned = if is_ipv4 {
        swap::<4>(frame, l3 + ipv4::LEN - 8) && put::<8>(frame, l3 + ipv4::LEN, &desk.message)
    } else {
        swap::<16>(frame, l3 + ipv6::LEN - 32) && put::<32>(frame, l3 + ipv6::LEN, &desk.message)
    };
    turned && swap::<6>(frame, 0)
}

/// Lets two neighbouring addresses change places.
#[inline(always)]
fn swap<const N: usize>(frame: &Packet<'_>, offset: usize) -> bool {
    let (Some(first), Some(second)) = (frame.get_mut::<N>(offset), frame.get_mut::<N>(offset + N)) else {
        return false;
    };
    core::mem::swap(first, second);
    true
}

/// Puts the answer behind the UDP header, which follows `N` bytes of addresses. Its checksum is made anew: what a machine of the
/// same host has sent may have none yet.
#[inline(always)]
fn put<const N: usize>(frame: &Packet<'_>, l4: usize, message: &[u8; LEN]) -> bool {
    let Some(addresses) = frame.get::<N>(l4 - N) else { return false };
    let addresses = checksum::sum(addresses);
    let Some(header) = frame.get_mut::<{ udp::LEN }>(l4) else { return false };
    header[6] = 0;
    header[7] = 0;
    let sum = checksum::udp(addresses, header, message);
    [header[6], header[7]] = sum.to_be_bytes();
    let Some(payload) = frame.get_mut::<LEN>(l4 + udp::LEN) else { return false };
    *payload = *message;
    true
}

/// What the maps know.
struct Maps;

impl World for Maps {
    #[inline(always)]
    fn path(&self, key: &PathKey) -> Option<&Path> {
        // SAFETY: the agent replaces values whole; one that is replaced meanwhile is still there.
        unsafe { HA_ECHO_PATH.get(key) }
    }

    #[inline(always)]
    fn asked(&self, slot: u32) -> Option<Asked> {
        HA_ECHO_ASKED.get(slot).copied()
    }

    #[inline(always)]
    fn remember(&self, slot: u32, asked: Asked) {
        if let Some(place) = HA_ECHO_ASKED.get_ptr_mut(slot) {
            // SAFETY: the pointer is to a map's value, which stays while the program runs. Two processors that are asked at
            // once on one path may both answer: that is as if one of the two had come twice.
            unsafe { *place = asked };
        }
    }

    #[inline(always)]
    fn departed(&self, slot: u32, nonce: u64) -> Option<u64> {
        asking::departed(slot, nonce)
    }

    #[inline(always)]
    fn answered(&self, slot: u32, nonce: u64) {
        asking::answered(slot, nonce);
    }

    #[inline(always)]
    fn role(&self, host: u32) -> Role {
        // SAFETY: the value is copied out at once.
        match unsafe { HA_ECHO_ROLE.get(&host) } {
            Some(2) => Role::Master,
            Some(_) => Role::Backup,
            None => Role::Unknown,
        }
    }

    #[inline(always)]
    fn lease(&self) -> (Lease, u64) {
        (HA_LEASE.get(0).copied().unwrap_or_default(), HA_DOUBT.get(0).copied().unwrap_or(0))
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn boot_ns(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_boot_ns() }
    }
}

#[inline(always)]
fn count(slot: u32, verdict: Result<Accepted, Refusal>) {
    let Some(counters) = HA_ECHO_COUNT.get_ptr_mut(slot) else { return };
    // SAFETY: the pointer is to this processor's own copy, which nothing else writes while the program runs on it.
    let counters: &mut EchoCounters = unsafe { &mut *counters };
    counters.received += 1;
    match verdict {
        Ok(Accepted::Answer | Accepted::Heard { .. }) => counters.accepted += 1,
        Err(reason) => {
            counters.count(reason);
        }
    }
}
