//! The XDP program: looks at every frame that an interface receives, finds the CARP advertisements for our
//! virtual hosts, stamps them and pushes them into the ring.
//!
//! It observes and never changes a frame. What each outcome means for the frame stands in one place, the
//! table in [`ha_carp`]:
//!
//! | frame | verdict | counted |
//! |---|---|---|
//! | not protocol 112 | pass | no |
//! | VRRP or unknown on protocol 112 | pass | `notcarp`, common |
//! | CARP for somebody else's virtual host | pass | `badvhid`, common |
//! | CARP for our virtual host, refused | drop | its reason, for the virtual host |
//! | CARP for our virtual host | pass, so that captures show it | `accepted` |
//! | the same, but the ring is full | pass | `ringfull`, for the virtual host |

#![no_std]
#![no_main]
#![expect(
    missing_docs,
    reason = "the entry's macro makes a function of its own, which takes no documentation"
)]

mod emit;
mod maps;
mod packet;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    helpers::bpf_ktime_get_ns,
    macros::xdp,
    programs::XdpContext,
};
use ha_common::{
    abi::{COMMON_SLOT, FAMILY_IPV4, WatchKey},
    decode::{Candidate, Frame, decode},
    reason::Reason,
};

#[expect(unreachable_pub, reason = "the kernel reaches it")]
#[xdp]
pub fn ha_carp(ctx: XdpContext) -> u32 {
    let frame = packet::Packet::new(&ctx);
    match decode(&frame) {
        Frame::Foreign => XDP_PASS,
        Frame::NotCarp => {
            maps::count_refused(COMMON_SLOT, Reason::NotCarp);
            XDP_PASS
        }
        Frame::Carp(candidate) => carp(&ctx, &candidate),
    }
}

/// Does nothing: the floor that measurements compare [`ha_carp`] with. The agent never loads it.
#[expect(unreachable_pub, reason = "the kernel reaches it")]
#[xdp]
pub fn ha_empty(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// CARP, for us or for somebody else.
#[inline(always)]
fn carp(ctx: &XdpContext, candidate: &Candidate<'_>) -> u32 {
    let key = WatchKey {
        ifindex: ctx.ingress_ifindex() as u32,
        outer_vlan: candidate.outer_vlan,
        vlan: candidate.vlan,
        vhid: candidate.vhid,
        family: FAMILY_IPV4,
        reserved: [0; 2],
    };
    let Some(watch) = maps::watch(&key) else {
        maps::count_refused(COMMON_SLOT, Reason::BadVhid);
        return XDP_PASS;
    };
    match candidate.check(watch.group) {
        Err(reason) => {
            maps::count_refused(watch.slot, reason);
            XDP_DROP
        }
        Ok(carp) => {
            // SAFETY: the helper has no preconditions.
            let stamp_ns = unsafe { bpf_ktime_get_ns() };
            emit::advert(ctx, watch.slot, stamp_ns, &key, candidate.source(), carp);
            XDP_PASS
        }
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing in the program can panic; the linker drops this.
    loop {}
}

/// The kernel hands `bpf_timer` and others to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
