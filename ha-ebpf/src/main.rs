//! The XDP program: looks at every frame that an interface receives, finds the CARP advertisements for our
//! virtual hosts, stamps them and pushes them into the ring.
//!
//! It observes, and never changes a frame. [`judge`] says what a frame is; what that means for it stands in one
//! place, the table in [`ha_carp`]:
//!
//! | frame | verdict | counted |
//! |---|---|---|
//! | not protocol 112 | pass | no |
//! | the same, for a virtual address, where the [lease](lease) is over | drop | `silenced` |
//! | VRRP or unknown on protocol 112 | pass | `notcarp` or `badver`, common |
//! | CARP for somebody else's virtual host | pass | `badvhid`, common |
//! | CARP for our virtual host, refused | drop, or pass where the agent says so | its reason, for the watch |
//! | CARP for our virtual host, authentic | pass, so that captures show it | `accepted` |
//! | the same, but the ring is full | pass | `ringfull`, for the watch |

#![no_std]
#![no_main]
#![expect(
    missing_docs,
    reason = "the entry's macro makes a function of its own, which takes no documentation"
)]

mod countdown;
mod emit;
mod lease;
mod maps;
mod packet;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::{raw_tracepoint, xdp},
    programs::{RawTracePointContext, XdpContext},
};
use ha_common::{
    abi::{COMMON_SLOT, Watch},
    decode::{Candidate, Frame, decode},
    judge::{Judgement, judge},
    wire::carp,
};

use crate::maps::Maps;

#[expect(unreachable_pub, reason = "the kernel reaches it")]
#[xdp]
pub fn ha_carp(ctx: XdpContext) -> u32 {
    let frame = packet::Packet::new(&ctx);
    match decode(&frame) {
        Frame::Foreign if lease::forbids(&frame) => XDP_DROP,
        Frame::Foreign => XDP_PASS,
        Frame::NotCarp(reason) => {
            maps::count_refused(COMMON_SLOT, reason);
            XDP_PASS
        }
        Frame::Carp(candidate) => carp(&ctx, &candidate),
    }
}

/// A thread of this machine ends.
#[expect(unreachable_pub, reason = "the kernel reaches it")]
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn ha_exit(_ctx: RawTracePointContext) -> i32 {
    lease::shorten();
    0
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
    // It is always there.
    let Some(desk) = maps::desk() else { return XDP_PASS };
    let judgement = judge(candidate, ctx.ingress_ifindex() as u32, &Maps, desk);
    lease::doubt(desk);
    match judgement {
        Judgement::Others(reason) => {
            maps::count_refused(COMMON_SLOT, reason);
            XDP_PASS
        }
        Judgement::Refused(reason) => {
            maps::count_refused(desk.watch.slot, reason);
            maps::sight(desk.watch.slot, reason, desk.source);
            if desk.watch.has(Watch::PASS_REFUSED) { XDP_PASS } else { XDP_DROP }
        }
        Judgement::Accepted { stamp_ns, signer } => {
            let heard = countdown::set_back(desk.watch.slot, &desk.key, stamp_ns, carp::Header(&desk.carp));
            emit::advert(ctx, desk, stamp_ns, signer, &heard);
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
